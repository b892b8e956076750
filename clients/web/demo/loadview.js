// The panel of many streams: what each recognises, their latencies as they come, and the figures.

import { t } from './i18n.js';
import { LoadRun, samplesOf } from './load.js';
import { quantile } from './latency.js';
import { drawScatter } from './scatter.js';

const DRAW_EVERY_MS = 100;

export class LoadView {
  /** @type {LoadRun | null} */
  #run = null;

  /**
   * @param {HTMLElement} section
   * @param {{samples: import('./samples.js').Samples, makeClient: () => any,
   *   silenceMs: () => number, onError: (error: any) => void}} page
   */
  constructor(section, page) {
    Object.assign(this, { section, page });
    const part = (name) => section.querySelector(name);
    this.body = part('.load-body');
    this.button = part('button');
    this.lanes = part('.lanes');
    this.canvas = part('canvas');
    this.note = part('.note');
    this.status = part('[role=status]');
    this.button.addEventListener('click', () =>
      this.isRunning ? this.#run.stop() : this.#start(),
    );
    section.addEventListener('change', () => this.show());
    new ResizeObserver(() => this.refresh()).observe(this.canvas);
  }

  get isRunning() {
    return Boolean(this.#run) && !this.#run.isOver;
  }

  get #streams() {
    return Number(this.section.querySelector('input:checked').value);
  }

  /** Show all texts in the current language. */
  show() {
    this.section.hidden = this.page.samples.all.length === 0;
    this.button.textContent = t(this.isRunning ? 'load.stop' : 'load.start', this.#streams);
    this.button.classList.toggle('strong', !this.isRunning);
    for (const input of this.section.querySelectorAll('input')) input.disabled = this.isRunning;
    this.refresh();
  }

  /** Draw soon: rarely, as the drawing takes time from the streams. */
  refresh() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      if (this.#run) this.#draw(this.#run);
    }, DRAW_EVERY_MS);
  }

  async #start() {
    const { samples, makeClient, silenceMs, onError } = this.page;
    let sounds;
    this.button.disabled = true;
    try {
      const files = samples.all.map((sample) => fetch(samples.urlOf(sample)));
      const buffers = (await Promise.all(files)).map((response) => response.arrayBuffer());
      sounds = (await Promise.all(buffers)).map(samplesOf);
    } catch (error) {
      return onError({ code: 'server-away', message: error.message });
    } finally {
      this.button.disabled = false;
    }
    const onChange = () => this.refresh();
    const options = {
      streams: this.#streams,
      sounds,
      silenceMs: silenceMs(),
      makeClient,
      onChange,
    };
    const run = (this.#run = new LoadRun(options));
    this.status.textContent = '';
    this.lanes.replaceChildren(...run.lanes.map(() => document.createElement('li')));
    this.body.hidden = false;
    const done = run.run();
    this.show();
    await done;
    this.show();
    this.status.textContent = this.#summary(run);
    const failed = run.lanes.find(({ state }) => state === 'failed');
    if (failed) onError(failed.error);
  }

  #draw(run) {
    for (const [i, { state, text, isFinal }] of run.lanes.entries()) {
      const cell = this.lanes.children[i];
      cell.className = state === 'speaking' && isFinal ? 'final' : state;
      const shown = { refused: t('load.refused'), failed: t('load.failed') }[state] ?? text;
      if (cell.textContent !== shown) cell.textContent = shown;
    }
    const figures = {
      speaking: `${run.count('speaking')} / ${run.lanes.length}`,
      finals: String(run.finals),
      first: range(run.latencies('first')),
      final: range(run.latencies('final'), '+'),
      browser: range(run.delays),
      refused: String(run.count('refused')),
    };
    for (const [name, value] of Object.entries(figures)) {
      this.section.querySelector(`[data-figure="${name}"]`).textContent = value;
    }
    this.section.querySelector('.refusals').classList.toggle('some', run.count('refused') > 0);
    this.canvas.setAttribute('aria-label', this.#summary(run));
    drawScatter(this.canvas, run.points, run.elapsedMs);
    const notes = [t('load.note', run.silenceMs)];
    if (run.count('refused')) notes.unshift(t('load.refused.about', run.count('refused')));
    if (run.wasHidden) notes.unshift(t('load.hidden'));
    this.note.textContent = notes.join(' ');
    if (this.isRunning) this.refresh();
  }

  #summary(run) {
    const shown = (values, share) => Math.round(quantile(values, share) ?? 0);
    const [first, final] = [run.latencies('first'), run.latencies('final')];
    return t(
      'load.summary',
      run.lanes.length - run.count('refused'),
      run.finals,
      `${shown(first, 0.5)} / ${shown(first, 0.95)}`,
      `${shown(final, 0.5)} / ${shown(final, 0.95)}`,
      run.count('refused'),
    );
  }
}

/** Return the median and the 95th percentile in ms. */
function range(values, sign = '') {
  if (values.length === 0) return '–';
  const [middle, high] = [0.5, 0.95].map((share) => Math.round(quantile(values, share)));
  return `${sign}${middle} / ${sign}${high}`;
}
