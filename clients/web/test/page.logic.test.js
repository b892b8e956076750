// The parts of the demo page that need no browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edited } from '../demo/history.js';
import { LatencyMeter, SentTimes, quantile } from '../demo/latency.js';
import { Stability, replaced } from '../demo/revisions.js';
import { addressOf } from '../demo/server.js';
import { align, plain } from '../demo/truth.js';
import { zip } from '../demo/zip.js';

const states = (said, right, isOpen = false) =>
  align(said, right, isOpen)
    .map(({ state }) => state[0])
    .join('');

test('characters of a sample are right, wrong, or not said yet', () => {
  assert.equal(states('今天天气', '今天天气'), 'rrrr');
  assert.equal(states('今天', '今天天气', true), 'rrpp');
  assert.equal(states('今天', '今天晴朗'), 'rrww');
  assert.equal(states('金天天汽', '今天天气'), 'wrrw');
  assert.equal(states('', '今天', true), 'pp');
  assert.deepEqual(align('今天好', '今天', false).at(-1), {
    said: '好',
    right: '',
    state: 'wrong',
  });
});

test('punctuation does not count, but a decimal point does', () => {
  assert.equal(plain('成本下降了64.23%。您好，'), '成本下降了64.23%您好');
});

test('words outside an edit keep their times', () => {
  const word = (text, beginMs, punctuation = '') => ({
    text,
    punctuation,
    beginMs,
    endMs: beginMs + 100,
    confidence: null,
  });
  const words = [word('今', 0), word('天', 100), word('雨', 300, '。')];
  const sentence = { index: 0, beginMs: 0, endMs: 400, text: '今天雨。', words };
  const { text, words: kept } = edited(sentence, '今天有大雨。');
  assert.equal(text, '今天有大雨。');
  assert.deepEqual(
    kept.map(({ text, beginMs, endMs }) => [text, beginMs, endMs]),
    [
      ['今', 0, 100],
      ['天', 100, 200],
      ['有大', 200, 300],
      ['雨', 300, 400],
    ],
  );
  const texts = (wanted) => edited(sentence, wanted).words.map((w) => w.text + w.punctuation);
  assert.deepEqual(texts('今天。'), ['今', '天', '。']);
  assert.deepEqual(texts('雨。'), ['雨。']);
  assert.deepEqual(texts('今天雨。雨。'), ['今', '天', '雨。', '雨。']);
});

test('the addresses of a server keep its path and drop nothing else', () => {
  const hrefs = (text) => Object.values(addressOf(text) ?? {}).map(({ href }) => href);
  const ws = 'api-ws/v1/inference';
  assert.deepEqual(hrefs('a:8000'), [`ws://a:8000/${ws}`, 'http://a:8000/']);
  assert.deepEqual(hrefs('https://a/asr/'), [`wss://a/asr/${ws}`, 'https://a/asr/']);
  assert.deepEqual(hrefs(`wss://a/asr/${ws}`), [`wss://a/asr/${ws}`, 'https://a/asr/']);
  assert.deepEqual(hrefs('ftp://a'), []);
  assert.deepEqual(hrefs('http://'), []);
});

test('an archive holds its files with their checksums', async () => {
  const bytes = Buffer.from(await zip([['名.srt', '123456789']]).arrayBuffer());
  assert.equal(bytes.readUInt32LE(0), 0x04034b50);
  assert.equal(bytes.readUInt32LE(14), 0xcbf43926); // CRC-32's check value
  assert.equal(bytes.subarray(30, 37).toString(), '名.srt');
  const directory = bytes.readUInt32LE(bytes.length - 6);
  assert.equal(bytes.readUInt32LE(directory), 0x02014b50);
});

test('a revision is what a later result replaces, not what it adds', () => {
  assert.deepEqual(replaced('今天天汽', '今天天气不错。'), [null, null, null, '汽', null, null]);
  assert.deepEqual(replaced('今天气', '今天天气'), [null, '', null, null]);
  assert.deepEqual(replaced('', '今天'), [null, null]);
  const stability = new Stability();
  assert.equal(stability.revisedShare, null);
  for (const text of ['今天', '今天天汽', '今天天气。']) stability.add({ index: 0, text });
  stability.add({ index: 1, text: '好' });
  assert.equal(stability.revisedShare, 1 / 6); // 今天天汽, 气, 好
});

test('a final is measured from the end of the silence that it had to wait for', () => {
  const sent = new SentTimes();
  for (let ms = 100; ms <= 3000; ms += 100) sent.add(ms, performance.now() - 3000 + ms);
  const meter = new LatencyMeter(sent, 800);
  const near = (value, wanted) => assert.ok(Math.abs(value - wanted) < 50, `${value}`);
  near(meter.final({ endMs: 2000 }), 100); // the block with 2800 ms was sent at 2900
  near(meter.final({ endMs: 2900 }), 0); // the end of the audio counts as the silence
  near(meter.first({ index: 0, text: '今', beginMs: 1050 }), 1900);
  assert.equal(meter.first({ index: 0, text: '今天', beginMs: 1050 }), null);
  assert.equal(quantile([3, 1, 2], 0.5), 2);
  assert.equal(quantile([], 0.5), null);
});
