// Takes back the last changes: a button that is shown for some seconds, and Ctrl+Z.

const SHOWN_MS = 10_000;
const MAX_STEPS = 50;

export class Undo {
  /** @param {HTMLElement} toast with a text, and buttons to undo and to close */
  constructor(toast) {
    this.toast = toast;
    this.steps = [];
    toast.querySelector('.undo').addEventListener('click', () => this.undo());
    toast.querySelector('.close').addEventListener('click', () => this.#hide());
    addEventListener('keydown', (event) => this.#key(event));
  }

  /** @param {string} text what was done @param {() => unknown} revert */
  offer(text, revert) {
    this.steps.push(revert);
    if (this.steps.length > MAX_STEPS) this.steps.shift();
    this.toast.querySelector('p').textContent = text;
    // Outside an open dialog nothing can be clicked.
    (document.querySelector('dialog[open]') ?? document.body).append(this.toast);
    this.toast.hidden = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#hide(), SHOWN_MS);
  }

  async undo() {
    this.#hide();
    await this.steps.pop()?.();
  }

  #hide() {
    clearTimeout(this.timer);
    this.toast.hidden = true;
  }

  #key(event) {
    const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === 'z';
    if (!isUndo || event.target.matches?.('input, textarea') || this.steps.length === 0) return;
    event.preventDefault();
    this.undo();
  }
}
