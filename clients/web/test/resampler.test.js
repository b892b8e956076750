// The resampler passes speech, removes what would alias, and is continuous across blocks.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Resampler, toInt16, toMono } from '../pcm-worklet.js';

function tone(frequency, rate, seconds = 0.5) {
  return new Float32Array(rate * seconds).map((_, i) =>
    Math.sin((2 * Math.PI * frequency * i) / rate),
  );
}

function resample(input, from, to, block = input.length) {
  const resampler = new Resampler(from, to);
  const parts = [];
  for (let at = 0; at < input.length; at += block) {
    parts.push(...resampler.process(input.subarray(at, at + block)));
  }
  return Float32Array.from([...parts, ...resampler.flush()]);
}

/** Return the RMS of the middle, away from the ends of the stream. */
function rms(samples) {
  const middle = samples.subarray(samples.length / 4, (samples.length * 3) / 4);
  return Math.sqrt(middle.reduce((sum, x) => sum + x * x, 0) / middle.length);
}

for (const rate of [48000, 44100, 32000, 22050, 8000, 96000]) {
  test(`${rate} Hz: the number of samples follows from the duration`, () => {
    assert.equal(resample(tone(440, rate), rate, 16000).length, 8000);
  });

  test(`${rate} Hz: speech passes unchanged and in time`, () => {
    const output = resample(tone(1000, rate), rate, 16000);
    const expected = tone(1000, 16000);
    for (let i = 500; i < 7500; i += 1) assert.ok(Math.abs(output[i] - expected[i]) < 1e-3);
  });
}

for (const frequency of [8500, 9000, 12000, 15000, 20000]) {
  test(`${frequency} Hz is removed, not aliased to ${Math.abs(16000 - frequency)} Hz`, () => {
    const db = 20 * Math.log10(rms(resample(tone(frequency, 48000), 48000, 16000)) / Math.SQRT1_2);
    assert.ok(db < -60, `${db.toFixed(1)} dB`);
  });
}

test('7 kHz passes', () => {
  const db = 20 * Math.log10(rms(resample(tone(7000, 48000), 48000, 16000)) / Math.SQRT1_2);
  assert.ok(Math.abs(db) < 1, `${db.toFixed(2)} dB`);
});

test('the output does not depend on the block size', () => {
  const input = tone(523, 44100).map((x, i) => x * Math.cos(i / 99));
  const whole = resample(input, 44100, 16000);
  for (const block of [1, 7, 128, 1000]) {
    assert.deepEqual(resample(input, 44100, 16000, block), whole);
  }
});

test('the same rate passes through', () => {
  const input = tone(440, 16000);
  assert.deepEqual(resample(input, 16000, 16000, 128), input);
});

test('samples beyond full scale are clipped', () => {
  assert.deepEqual([...toInt16(new Float32Array([2, -2, 0.5]))], [32767, -32768, 16384]);
});

test('channels are averaged', () => {
  assert.deepEqual(
    [...toMono([new Float32Array([1, 0]), new Float32Array([0, 0.5])])],
    [0.5, 0.25],
  );
});
