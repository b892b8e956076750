// All protocol messages of the session, for developers of other clients.

import { t } from './i18n.js';

const MAX_LINES = 400;

export class WireLog {
  constructor(details) {
    this.details = details;
    this.list = details.querySelector('ol');
    this.count = details.querySelector('#wire-count');
    this.interims = details.querySelector('#wire-interims');
    this.audio = details.querySelector('#wire-audio');
    for (const filter of [this.interims, this.audio]) {
      filter.addEventListener('change', () => this.#render());
    }
    details.addEventListener('toggle', () => this.#render());
    this.clear();
  }

  clear() {
    this.lines = [];
    this.messages = 0;
    this.bytes = 0;
    this.begun = performance.now();
    this.#render();
  }

  /** @param {{direction: 'in' | 'out', data: string | Uint8Array}} message */
  add({ direction, data }) {
    const isAudio = typeof data !== 'string';
    const line = {
      direction,
      isAudio,
      at: performance.now() - this.begun,
      text: isAudio ? '' : data,
      size: isAudio ? data.length : 0,
      isInterim: !isAudio && direction === 'in' && /"end_time":\s*null/.test(data),
    };
    if (isAudio) this.bytes += data.length;
    else this.messages += 1;
    this.lines.push(line);
    if (this.lines.length > 4 * MAX_LINES) this.lines.splice(0, MAX_LINES);
    this.#showCount();
    if (this.details.open && this.#isShown(line)) this.#append(line);
  }

  /** @returns {string} the shown lines as text */
  toString() {
    return this.lines
      .filter((line) => this.#isShown(line))
      .map((line) => `${arrow(line)} ${stamp(line)} ${this.#text(line)}`)
      .join('\n');
  }

  #isShown({ isAudio, isInterim }) {
    return (!isAudio || this.audio.checked) && (!isInterim || this.interims.checked);
  }

  #render() {
    this.list.replaceChildren();
    this.#showCount();
    if (!this.details.open) return;
    for (const line of this.lines.filter((each) => this.#isShown(each)).slice(-MAX_LINES)) {
      this.#append(line);
    }
  }

  #append(line) {
    const isAtEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 24;
    const item = document.createElement('li');
    item.className = line.direction;
    for (const text of [arrow(line), stamp(line), this.#text(line)]) {
      const part = document.createElement('span');
      part.textContent = text;
      item.append(part);
    }
    this.list.append(item);
    if (this.list.childElementCount > MAX_LINES) this.list.firstElementChild.remove();
    if (isAtEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  #text(line) {
    return line.isAudio ? t('wire.frame', line.size) : line.text;
  }

  #showCount() {
    const size =
      this.bytes < 1e6
        ? `${Math.round(this.bytes / 1000)} kB`
        : `${(this.bytes / 1e6).toFixed(1)} MB`;
    this.count.textContent = this.messages ? t('wire.count', this.messages, size) : '';
  }
}

function arrow({ direction }) {
  return direction === 'out' ? '↑' : '↓';
}

function stamp({ at }) {
  return (at / 1000).toFixed(3);
}
