// The audio of a session as it was sent, for playback, the waveform and WAV export.

import { levelOf } from '../AsrClient.js';
import { SentTimes } from './latency.js';

const PEAK_MS = 20;

export class Recording {
  constructor() {
    this.clear(16000);
  }

  clear(sampleRate) {
    this.stop();
    this.sampleRate = sampleRate;
    this.blocks = [];
    this.samples = 0;
    this.peaks = []; // peak amplitude of every 20 ms, 0 to 1
    this.sent = new SentTimes();
    this.buffer = null;
  }

  get durationMs() {
    return (this.samples / this.sampleRate) * 1000;
  }

  /** @param {Int16Array} pcm */
  append(pcm, sampleRate) {
    if (this.samples === 0) this.sampleRate = sampleRate;
    this.blocks.push(pcm);
    this.samples += pcm.length;
    this.buffer = null;
    this.sent.add(this.durationMs);
    const step = (this.sampleRate * PEAK_MS) / 1000;
    for (let at = 0; at < pcm.length; at += step) {
      this.peaks.push(10 ** (levelOf(pcm.subarray(at, at + step)).peakDb / 20));
    }
  }

  /** Return the peak amplitude between two times, 0 to 1. */
  peakBetween(fromMs, toMs) {
    let peak = 0;
    const last = Math.min(this.peaks.length, Math.ceil(toMs / PEAK_MS));
    for (let i = Math.max(0, Math.floor(fromMs / PEAK_MS)); i < last; i += 1) {
      peak = Math.max(peak, this.peaks[i]);
    }
    return peak;
  }

  get isPlaying() {
    return Boolean(this.source);
  }

  /** The position of playback in ms; null while stopped. */
  get positionMs() {
    if (!this.source) return null;
    return Math.min(this.toMs, this.fromMs + (this.context.currentTime - this.startedAt) * 1000);
  }

  /** @param {() => void} onEnd called at the end and by stop() */
  play(fromMs, toMs, onEnd) {
    this.stop();
    if (this.samples === 0) return;
    this.context ??= new AudioContext();
    this.context.resume();
    const source = this.context.createBufferSource();
    source.buffer = this.buffer ??= this.#toBuffer();
    source.connect(this.context.destination);
    source.onended = () => {
      if (this.source === source) this.stop();
    };
    Object.assign(this, { source, fromMs, toMs, onEnd, startedAt: this.context.currentTime });
    source.start(0, fromMs / 1000, Math.max(0.03, (toMs - fromMs) / 1000));
  }

  stop() {
    const { source, onEnd } = this;
    this.source = null;
    if (!source) return;
    source.stop();
    onEnd?.();
  }

  /** @returns {Int16Array} */
  toPcm() {
    const pcm = new Int16Array(this.samples);
    let at = 0;
    for (const block of this.blocks) {
      pcm.set(block, at);
      at += block.length;
    }
    return pcm;
  }

  /** @returns {Blob} a WAV file */
  toWav() {
    const header = new DataView(new ArrayBuffer(44));
    const text = (at, value) =>
      [...value].forEach((c, i) => header.setUint8(at + i, c.charCodeAt(0)));
    text(0, 'RIFF');
    header.setUint32(4, 36 + this.samples * 2, true);
    text(8, 'WAVEfmt ');
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true);
    header.setUint16(22, 1, true);
    header.setUint32(24, this.sampleRate, true);
    header.setUint32(28, this.sampleRate * 2, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    text(36, 'data');
    header.setUint32(40, this.samples * 2, true);
    return new Blob([header, this.toPcm()], { type: 'audio/wav' });
  }

  #toBuffer() {
    const buffer = this.context.createBuffer(1, this.samples, this.sampleRate);
    buffer.copyToChannel(
      Float32Array.from(this.toPcm(), (x) => x / 32768),
      0,
    );
    return buffer;
  }
}
