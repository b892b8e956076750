// Latencies as this browser measures them: from the moment at which it sent a sample.

/** The clock at which each part of a stream's audio was sent. */
export class SentTimes {
  /** @type {[number, number][]} end of a part in ms of audio, clock in ms */
  #parts = [];

  /** @param {number} endMs @param {number} [clockMs] */
  add(endMs, clockMs = performance.now()) {
    this.#parts.push([endMs, clockMs]);
  }

  /** Return the clock at which the sample at `ms` was sent, or null; the last part has all later ones. */
  clockOf(ms) {
    let low = 0;
    let high = this.#parts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#parts[middle][0] <= ms) low = middle + 1;
      else high = middle;
    }
    return this.#parts[Math.min(low, this.#parts.length - 1)]?.[1] ?? null;
  }
}

/** The latencies of one stream in real time. */
export class LatencyMeter {
  #measured = null; // index of the last sentence whose first text was measured

  /** @param {SentTimes} sent @param {number} silenceMs that ends a sentence */
  constructor(sent, silenceMs) {
    Object.assign(this, { sent, silenceMs });
  }

  /**
   * Return the time from the onset of speech to the first text of a sentence; null for later interims.
   * @param {import('../AsrClient.js').Sentence} interim
   */
  first({ index, text, beginMs }) {
    if (!text || this.#measured === index) return null;
    this.#measured = index;
    return this.#since(beginMs);
  }

  /**
   * Return the time after the silence that the settings ask for: the server cannot know earlier that
   * the sentence is over. The end of the audio counts as such a silence.
   * @param {import('../AsrClient.js').Sentence} final
   */
  final({ endMs }) {
    return this.#since(endMs + this.silenceMs);
  }

  #since(ms) {
    const clock = this.sent.clockOf(ms);
    return clock === null ? null : Math.max(0, performance.now() - clock);
  }
}

/** @param {number[]} values @param {number} share 0.5 is the median @returns {number | null} */
export function quantile(values, share) {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
