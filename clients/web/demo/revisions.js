// What a newer text changes of an older one: revised interims, and words that the final corrects.

import { align, plain } from './truth.js';

/**
 * Return for each character of `after`, without punctuation, the text it replaces: '' where it was
 * inserted, null where it stays or is new at the end.
 * @param {string} before @param {string} after @returns {(string | null)[]}
 */
export function replaced(before, after) {
  return align(plain(before), plain(after), true)
    .filter(({ right }) => right)
    .map(({ said, state }) => (state === 'wrong' ? said : null));
}

/** The share of the shown characters that later results took back. */
export class Stability {
  #shown = 0;
  #revised = 0;
  #open = { index: -1, text: '' };

  /** @param {import('../AsrClient.js').Sentence} sentence an interim or a final */
  add({ index, text }) {
    const before = this.#open.index === index ? this.#open.text : '';
    const pairs = align(plain(before), plain(text), true);
    this.#revised += pairs.filter(({ said, state }) => said && state === 'wrong').length;
    this.#shown += pairs.filter(({ right, state }) => right && state !== 'right').length;
    this.#open = { index, text };
  }

  /** @returns {number | null} 0 if nothing that was shown has changed */
  get revisedShare() {
    return this.#shown ? this.#revised / this.#shown : null;
  }
}
