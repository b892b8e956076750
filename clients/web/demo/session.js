// One session: a recording, its sentences, and the latencies measured while it ran.

import { Recording } from './recording.js';

/** @typedef {import('../AsrClient.js').Sentence} Sentence */

export class Session {
  /** @type {Sentence[]} */
  sentences = [];
  recording = new Recording();
  /** @type {string | null} id in the history, once there is something to keep */
  id = null;
  createdAt = Date.now();
  #latencies = { first: [], final: [] };
  #firstTextIndex = null; // the last sentence whose first text was measured

  /**
   * @param {{source?: string, sample?: object | null, isPaced?: boolean, silenceMs?: number}} options
   *   `source` is 'microphone' or the name of a file; only audio in real time has latencies
   */
  constructor({ source = '', sample = null, isPaced = false, silenceMs = 800 } = {}) {
    Object.assign(this, { source, sample, isPaced, silenceMs });
  }

  get text() {
    return this.sentences.map(({ text }) => text).join('');
  }

  /** Whether a failure must leave it on the page: it has text, or speech that nobody can repeat. */
  get isWorthKeeping() {
    const isSpoken = this.source === 'microphone' && this.recording.durationMs > 3000;
    return this.sentences.length > 0 || isSpoken;
  }

  /** @param {Sentence} sentence an interim */
  measureFirst({ index, text, beginMs }) {
    if (!text || this.#firstTextIndex === index) return;
    this.#firstTextIndex = index;
    this.#measure('first', beginMs);
  }

  /**
   * Measure the time after the silence that the settings ask for: the server cannot know earlier that
   * the sentence is over. The end of the audio counts as such a silence.
   * @param {Sentence} sentence
   */
  measureFinal({ endMs }) {
    this.#measure('final', endMs + this.silenceMs);
  }

  /** @param {'first' | 'final'} kind @returns {number | null} the median in ms */
  latency(kind) {
    const values = this.#latencies[kind];
    return values.length ? values[values.length >> 1] : null;
  }

  #measure(kind, ms) {
    const sent = this.recording.wallClockOf(ms);
    if (!this.isPaced || sent === null) return;
    this.#latencies[kind].push(Math.max(0, performance.now() - sent));
    this.#latencies[kind].sort((a, b) => a - b);
  }
}
