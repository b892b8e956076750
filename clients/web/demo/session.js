// One session: a recording, its sentences, and what was measured while it ran.

import { LatencyMeter, quantile } from './latency.js';
import { Recording } from './recording.js';
import { Stability } from './revisions.js';

/** @typedef {import('../AsrClient.js').Sentence} Sentence */

/**
 * @typedef {object} Measures
 * @property {number | null} first median latency in ms
 * @property {number | null} final median latency in ms, after the silence
 * @property {number | null} revised share of the shown characters
 */

export class Session {
  /** @type {Sentence[]} */
  sentences = [];
  recording = new Recording();
  stability = new Stability();
  /** @type {string | null} id in the history, once there is something to keep */
  id = null;
  createdAt = Date.now();
  /** @type {Measures | null} of a session from the history */
  past = null;
  #latencies = { first: [], final: [] };

  /**
   * @param {{source?: string, sample?: object | null, isPaced?: boolean, silenceMs?: number}} options
   *   `source` is 'microphone' or the name of a file; only audio in real time has latencies
   */
  constructor({ source = '', sample = null, isPaced = false, silenceMs = 800 } = {}) {
    Object.assign(this, { source, sample, isPaced, silenceMs });
    this.meter = new LatencyMeter(this.recording.sent, silenceMs);
  }

  get text() {
    return this.sentences.map(({ text }) => text).join('');
  }

  /** Whether a failure must leave it on the page: it has text, or speech that nobody can repeat. */
  get isWorthKeeping() {
    const isSpoken = this.source === 'microphone' && this.recording.durationMs > 3000;
    return this.sentences.length > 0 || isSpoken;
  }

  /** @param {Sentence} interim */
  measureFirst(interim) {
    this.stability.add(interim);
    this.#keep('first', this.meter.first(interim));
  }

  /** @param {Sentence} final */
  measureFinal(final) {
    this.stability.add(final);
    this.#keep('final', this.meter.final(final));
  }

  /** @returns {Measures} */
  get measures() {
    if (this.past) return this.past;
    const [first, final] = [this.#latencies.first, this.#latencies.final];
    const revised = this.isPaced ? this.stability.revisedShare : null;
    return { first: quantile(first, 0.5), final: quantile(final, 0.5), revised };
  }

  #keep(kind, ms) {
    if (this.isPaced && ms !== null) this.#latencies[kind].push(ms);
  }
}
