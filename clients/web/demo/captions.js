// Full-screen captions: the last lines large on a transparent page, for a stream or a projector.
//
// `/?captions` shows them at once; `lines`, `size` (pixels), `color` and `background` are options.

import { captions } from '../AsrClient.js';

const FADE_MS = 8000; // without a new word
const WIDTH = 0.9; // of the window
const RETRY_MS = 5000;

export class Captions {
  /** @param {HTMLElement} element @param {() => unknown} onRetry called after a failure */
  constructor(element, onRetry) {
    this.element = element;
    this.onRetry = onRetry;
    this.sentences = [];
    const options = new URLSearchParams(location.search);
    this.isFixed = options.has('captions'); // not to be left
    this.lines = Number(options.get('lines')) || 2;
    for (const name of ['color', 'background', 'size']) {
      const value = options.get(name);
      if (value)
        element.style.setProperty(
          `--caption-${name}`,
          name === 'size' ? `${parseFloat(value)}px` : value,
        );
    }
    if (this.isFixed) this.open();
  }

  get isOpen() {
    return document.documentElement.dataset.view === 'captions';
  }

  open() {
    document.documentElement.dataset.view = 'captions';
    this.element.hidden = false;
    if (!this.isFixed) document.documentElement.requestFullscreen?.().catch(() => {});
    this.#render([]);
  }

  close() {
    if (this.isFixed || !this.isOpen) return;
    delete document.documentElement.dataset.view;
    this.element.hidden = true;
    if (document.fullscreenElement) document.exitFullscreen();
  }

  /** @param {import('../AsrClient.js').Sentence[]} finals @param {import('../AsrClient.js').Sentence | null} open */
  update(finals, open) {
    if (!this.isOpen) return;
    this.#render([...finals.slice(-this.lines), ...(open?.text ? [open] : [])]);
    this.element.classList.remove('faded');
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.element.classList.add('faded'), FADE_MS);
  }

  /** Try again after a failure: nobody watches a page in a streaming program. */
  retry() {
    if (this.isFixed) setTimeout(this.onRetry, RETRY_MS);
  }

  #render(sentences) {
    const size = parseFloat(getComputedStyle(this.element).fontSize);
    const maxChars = Math.max(8, Math.floor((innerWidth * WIDTH) / size) - 1);
    const lines = sentences.flatMap((sentence) =>
      captions([sentence], maxChars).map(({ text }) => [text, sentence.isFinal]),
    );
    this.element.replaceChildren(
      ...lines.slice(-this.lines).map(([text, isFinal]) => {
        const line = document.createElement('p');
        const box = document.createElement('span');
        box.textContent = text;
        line.className = isFinal ? 'final' : 'open';
        line.append(box);
        return line;
      }),
    );
  }
}
