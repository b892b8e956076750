// The recordings that come with the server, to see a result without speaking.

import { t } from './i18n.js';

const QUICK = 3; // offered in the empty transcript, too, where the list is far below

export class Samples {
  /**
   * @param {{section: HTMLElement, list: HTMLElement, quick: HTMLElement}} parts
   * @param {(sample: Sample) => void} onChoose
   */
  constructor(parts, onChoose) {
    Object.assign(this, parts);
    this.onChoose = onChoose;
    /** @type {Sample[]} */
    this.all = [];
    this.turn = 0;
  }

  /** @param {URL} root the folder of the recordings; the page works without them, too */
  async load(root) {
    this.root = root;
    try {
      const response = await fetch(new URL('manifest.json', root));
      if (response.ok) this.all = await response.json();
    } catch {
      // the server is away; checkHealth() shows it
    }
    this.show();
  }

  /** Show the list in the current language. */
  show() {
    const item = (sample) => {
      const element = document.createElement('li');
      element.append(this.#button(sample));
      return element;
    };
    this.list.replaceChildren(...this.all.map(item));
    this.quick.replaceChildren(...this.all.slice(0, QUICK).map((sample) => this.#button(sample)));
    this.section.hidden = this.all.length === 0;
  }

  /** @param {boolean} isDisabled */
  disable(isDisabled) {
    for (const each of document.querySelectorAll('.sample')) each.disabled = isDisabled;
  }

  /** Return the next sample in turn. */
  next() {
    return this.all[this.turn++ % this.all.length];
  }

  /** @param {Sample} sample */
  urlOf(sample) {
    return new URL(sample.file, this.root);
  }

  #button(sample) {
    const button = document.createElement('button');
    Object.assign(button, { type: 'button', className: 'sample' });
    const text = document.createElement('span');
    text.textContent = labelOf(sample);
    const time = document.createElement('small');
    time.textContent = `${(sample.duration_ms / 1000).toFixed(1)} s`;
    button.append(text, time);
    button.addEventListener('click', () => this.onChoose(sample));
    return button;
  }
}

/**
 * What a recording is about: a label with its words would give the result away.
 * @param {Sample} sample
 */
export function labelOf({ file }) {
  const name = file.replace(/\.\w+$/, '');
  const label = t(`sample.${name}`);
  return label === `sample.${name}` ? name : label;
}

/** @typedef {{file: string, text: string, punctuated?: string, written?: string, duration_ms: number}} Sample */
