// Many streams at once: each sends the samples in real time, one after another, as a client of its own.

import { LatencyMeter, SentTimes } from './latency.js';

const RUN_MS = 20_000; // no sample begins later
const SPREAD_MS = 4000; // over which the streams begin: clients do not speak in chorus
const TAIL_MS = 300; // sent after the silence that ends a sentence
const PROBE_MS = 50;

/**
 * @typedef {object} Lane what one stream does
 * @property {'waiting' | 'speaking' | 'done' | 'refused' | 'failed'} state
 * @property {string} text the open sentence, or the last final
 * @property {boolean} isFinal whether `text` is final
 * @property {any} error why it was refused or failed, or null
 */

/** @typedef {{kind: 'first' | 'final', atMs: number, ms: number}} Point a latency, and when it was measured */

/** One run of many streams, and what it measures. */
export class LoadRun {
  /** @type {Point[]} */
  points = [];
  /** Delays of this page's own timers in ms: the part of each latency that may be the browser's. */
  delays = [];
  finals = 0;
  isOver = false;
  /** Whether the page was in the background, where browsers slow its timers. */
  wasHidden = false;
  #clients = [];
  #isStopped = false;
  #endedAt = null;

  /**
   * @param {object} options
   * @param {number} options.streams
   * @param {Int16Array[]} options.sounds at 16 kHz
   * @param {number} options.silenceMs that ends a sentence
   * @param {() => import('../AsrClient.js').AsrClient} options.makeClient
   * @param {() => void} options.onChange
   */
  constructor({ streams, sounds, silenceMs, makeClient, onChange }) {
    Object.assign(this, { silenceMs, makeClient, onChange });
    const tail = new Int16Array((silenceMs + TAIL_MS) * 16);
    this.sounds = sounds.map((sound) => concatenate(sound, tail));
    /** @type {Lane[]} */
    this.lanes = Array.from({ length: streams }, () => ({
      state: 'waiting',
      text: '',
      isFinal: false,
      error: null,
    }));
  }

  /** Resolves when every stream is over. */
  async run() {
    this.begunAt = performance.now();
    const probe = this.#probe();
    await Promise.all(this.lanes.map((lane, i) => this.#play(lane, i)));
    this.#endedAt = performance.now();
    this.isOver = true;
    await probe;
    this.onChange();
  }

  stop() {
    this.#isStopped = true;
    for (const client of this.#clients) client.close();
  }

  /** @param {Lane['state']} state @returns {number} the lanes in that state */
  count(state) {
    return this.lanes.filter((lane) => lane.state === state).length;
  }

  /** @param {Point['kind']} kind @returns {number[]} */
  latencies(kind) {
    return this.points.filter((point) => point.kind === kind).map(({ ms }) => ms);
  }

  get elapsedMs() {
    return (this.#endedAt ?? performance.now()) - this.begunAt;
  }

  async #play(lane, index) {
    await sleep((SPREAD_MS * index) / this.lanes.length);
    if (this.#isStopped) return;
    const client = this.makeClient();
    this.#clients.push(client);
    try {
      for (let turn = index; this.elapsedMs < RUN_MS && !this.#isStopped; turn += 1) {
        await this.#recognise(client, lane, this.sounds[turn % this.sounds.length]);
      }
      lane.state = 'done';
    } catch (error) {
      const state = error.code === 'busy' ? 'refused' : 'failed';
      Object.assign(lane, this.#isStopped ? { state: 'done' } : { state, error });
    }
    client.close();
    this.onChange();
  }

  async #recognise(client, lane, sound) {
    const sent = new SentTimes();
    const meter = new LatencyMeter(sent, this.silenceMs);
    const listeners = [
      client.on('audio', ({ pcm, beginMs }) => sent.add(beginMs + pcm.length / 16)),
      client.on('interim', (sentence) => {
        this.#add('first', meter.first(sentence));
        this.#show(lane, sentence);
      }),
      client.on('final', (sentence) => {
        this.#add('final', meter.final(sentence));
        this.finals += Number(sentence.text !== '');
        this.#show(lane, sentence);
      }),
    ];
    try {
      await client.start([sound], { pace: 1 });
      lane.state = 'speaking';
      await client.done();
    } finally {
      for (const remove of listeners) remove();
    }
  }

  #add(kind, ms) {
    if (ms !== null) this.points.push({ kind, atMs: this.elapsedMs, ms });
  }

  #show(lane, { text, isFinal }) {
    if (text) Object.assign(lane, { text, isFinal });
    this.onChange();
  }

  /** Measure how late this page's timers are while the streams run. */
  async #probe() {
    while (!this.isOver) {
      const due = performance.now() + PROBE_MS;
      await sleep(PROBE_MS);
      this.delays.push(Math.max(0, performance.now() - due));
      this.wasHidden ||= document.hidden;
    }
  }
}

/**
 * Return the samples of a WAV file with 16-bit samples at 16 kHz.
 * @param {ArrayBuffer} file @returns {Int16Array}
 */
export function samplesOf(file) {
  const view = new DataView(file);
  let at = 12;
  while (view.getUint32(at) !== 0x64617461) at += 8 + view.getUint32(at + 4, true); // 'data'
  return new Int16Array(file.slice(at + 8, at + 8 + (view.getUint32(at + 4, true) & ~1)));
}

function concatenate(a, b) {
  const whole = new Int16Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
