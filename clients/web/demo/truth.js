// Compares a recognised sample with its right text, character by character, while it is recognised.

import { t } from './i18n.js';

const MARKS = /[\s，。！？；：、,.!?;:“”"'’]/gu;

/**
 * Return the pairs [recognised, right] of the alignment with the fewest edits; '' where one has none.
 * @param {string} recognised
 * @param {string} right
 * @param {boolean} isOpen whether more follows: the rest of the right text then counts as not said yet
 * @returns {{said: string, right: string, state: 'right' | 'wrong' | 'pending'}[]}
 */
export function align(recognised, right, isOpen) {
  const said = [...recognised];
  const wanted = [...right];
  const costs = [wanted.map((_, j) => j).concat(wanted.length)];
  for (let i = 1; i <= said.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= wanted.length; j += 1) {
      const replaced = costs[i - 1][j - 1] + Number(said[i - 1] !== wanted[j - 1]);
      row.push(Math.min(replaced, row[j - 1] + 1, costs[i - 1][j] + 1));
    }
    costs.push(row);
  }
  const last = costs[said.length];
  let j = isOpen ? last.lastIndexOf(Math.min(...last)) : wanted.length;
  const pending = wanted.slice(j).map((c) => ({ said: '', right: c, state: 'pending' }));
  const pairs = [];
  for (let i = said.length; i > 0 || j > 0;) {
    const isSame = i > 0 && j > 0 && said[i - 1] === wanted[j - 1];
    const cost = costs[i][j];
    if (i > 0 && j > 0 && costs[i - 1][j - 1] + Number(!isSame) === cost) {
      pairs.push([said[(i -= 1)], wanted[(j -= 1)]]);
    } else if (i > 0 && costs[i - 1][j] + 1 === cost) {
      pairs.push([said[(i -= 1)], '']);
    } else {
      pairs.push(['', wanted[(j -= 1)]]);
    }
  }
  const aligned = pairs.reverse().map(([a, b]) => ({
    said: a,
    right: b,
    state: a === b ? 'right' : 'wrong',
  }));
  return [...aligned, ...pending];
}

/** Text without punctuation, which does not count. */
export function plain(text) {
  // A mark between digits belongs to the number: 64.23
  return text
    .replace(/(\d)\.(?=\d)/g, '$1\u0000')
    .replace(MARKS, '')
    .replaceAll('\u0000', '.');
}

/** The panel with the right text, in which characters light up as they are recognised. */
export class Truth {
  /** @param {{panel: HTMLElement, text: HTMLElement, score: HTMLElement}} parts */
  constructor(parts) {
    Object.assign(this, parts);
    this.hide();
  }

  hide() {
    this.right = null;
    this.panel.hidden = true;
  }

  /** @param {string} right */
  show(right) {
    this.right = right;
    this.panel.hidden = false;
    this.update('', true);
  }

  /**
   * @param {string} recognised everything up to now
   * @returns {{right: number, of: number} | null} the score at the end
   */
  update(recognised, isOpen) {
    if (this.right === null) return null;
    const pairs = align(plain(recognised), plain(this.right), isOpen);
    this.text.replaceChildren(...pairs.map(element));
    const right = pairs.filter(({ state }) => state === 'right').length;
    const of = plain(this.right).length;
    this.score.textContent = t('truth.right', right, of);
    this.panel.classList.toggle('perfect', right === of && pairs.length === of);
    return { right, of };
  }
}

function element({ said, right, state }) {
  const unit = document.createElement(state === 'wrong' ? 'ruby' : 'span');
  unit.className = state;
  unit.textContent = right || '＋';
  if (state === 'wrong') {
    const above = document.createElement('rt');
    above.textContent = said || '–';
    unit.append(above);
  }
  return unit;
}
