// A plot of a few figures over the last minutes: lines, a goal, and the values at one time.

import { duration, shown, t } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 132;
const EDGE = { top: 10, right: 8, bottom: 20, left: 60 };
const SPAN_S = 600;

/**
 * @typedef {object} PlotOptions
 * @property {string} id the title is the text `plot.${id}`
 * @property {string[]} figures names of the lines, the faintest first
 * @property {(data: object) => number | undefined} [goal] upper limit of the figures
 * @property {number} least lower bound of the scale's upper end
 */

export class Plot {
  #options;
  #data;
  #at = null;
  #element = make('figure', 'plot');
  #title = make('h2');
  #about = make('small');
  #legend = make('figcaption');
  #svg = document.createElementNS(SVG, 'svg');

  /**
   * @param {PlotOptions} options
   * @param {(at: number | null) => void} onPoint receives the index of the point under the pointer
   */
  constructor(options, onPoint) {
    this.#options = options;
    this.#element.id = `plot-${options.id}`;
    this.#svg.setAttribute('role', 'img');
    this.#element.append(this.#title, this.#about, this.#svg, this.#legend);
    new ResizeObserver(() => this.#draw()).observe(this.#element);
    this.#svg.addEventListener('pointermove', (event) => onPoint(this.#nearest(event.clientX)));
    this.#svg.addEventListener('pointerleave', () => onPoint(null));
  }

  get element() {
    return this.#element;
  }

  /** Draw the data of the server. */
  show(data) {
    this.#data = data;
    this.#draw();
  }

  /** Show the values of one point; null shows the last. @param {number | null} at */
  point(at) {
    this.#at = at;
    this.#draw();
  }

  #draw() {
    if (!this.#data) return;
    const { id, figures, goal, least } = this.#options;
    const { points, ages_s: ages } = this.#data;
    const drawn = figures.filter((name) => points[name].some((value) => value !== null));
    const limit = goal?.(this.#data);
    const values = drawn.flatMap((name) => points[name]).filter((value) => value !== null);
    const top = niceCeiling(Math.max(least, 1.2 * (limit ?? 0), ...values));
    const width = Math.max(this.#element.clientWidth - 32, 160);
    const x = (age) => EDGE.left + (width - EDGE.left - EDGE.right) * (1 - age / SPAN_S);
    const y = (value) => HEIGHT - EDGE.bottom - (HEIGHT - EDGE.top - EDGE.bottom) * (value / top);

    this.#title.textContent = t(`plot.${id}`);
    this.#about.textContent = t(`about.${id}`) ?? '';
    this.#svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    this.#svg.replaceChildren();
    for (const share of [0, 0.5, 1]) {
      this.#line('grid', x(SPAN_S), y(share * top), x(0), y(share * top));
      this.#text(
        'scale',
        EDGE.left - 6,
        y(share * top) + 4,
        shown(drawn[0] ?? figures[0], share * top),
      );
    }
    for (const age of [600, 300, 0]) {
      const label = age ? `−${duration(age)}` : t('now');
      this.#text(`time-${age}`, x(age), HEIGHT - 4, label);
    }
    if (limit !== undefined) this.#line('goal', x(SPAN_S), y(limit), x(0), y(limit));
    figures.forEach((name, i) => {
      const path = document.createElementNS(SVG, 'path');
      path.setAttribute('class', `line line-${i}`);
      path.setAttribute(
        'd',
        pathOf(points[name], (j) => x(ages[j]), y),
      );
      this.#svg.append(path);
    });
    const at = Math.min(this.#at ?? ages.length - 1, ages.length - 1);
    if (this.#at !== null) this.#line('cursor', x(ages[at]), EDGE.top, x(ages[at]), y(0));
    this.#showLegend(drawn.length ? drawn : figures.slice(0, 1), at, limit);
  }

  #showLegend(names, at, limit) {
    const { points, ages_s: ages } = this.#data;
    const entries = names.map((name) => {
      const entry = make('span', `entry entry-${this.#options.figures.indexOf(name)}`);
      const value = make('b');
      value.textContent = shown(name, points[name][at]);
      entry.append(make('i'), `${t(name)} `, value);
      return entry;
    });
    if (limit !== undefined) {
      const entry = make('span', 'entry entry-goal');
      entry.append(make('i'), t('goal', shown(names[0], limit)));
      entries.push(entry);
    }
    if (this.#at !== null) {
      const when = make('span', 'when');
      when.textContent = t('ago', duration(ages[at]));
      entries.push(when);
    }
    this.#legend.replaceChildren(...entries);
    const values = names.map((name) => `${t(name)} ${shown(name, points[name].at(-1))}`);
    this.#svg.setAttribute('aria-label', `${t(`plot.${this.#options.id}`)}: ${values.join(', ')}`);
  }

  /** Return the index of the point nearest to a horizontal position of the screen. */
  #nearest(clientX) {
    const { left, width } = this.#svg.getBoundingClientRect();
    const share = (clientX - left - EDGE.left) / (width - EDGE.left - EDGE.right);
    const age = SPAN_S * (1 - share);
    const { ages_s: ages } = this.#data;
    const distance = ages.map((each) => Math.abs(each - age));
    return distance.indexOf(Math.min(...distance));
  }

  #line(name, x1, y1, x2, y2) {
    const line = document.createElementNS(SVG, 'line');
    line.setAttribute('class', name);
    for (const [key, value] of Object.entries({ x1, y1, x2, y2 })) line.setAttribute(key, value);
    this.#svg.append(line);
  }

  #text(name, x, y, content) {
    const text = document.createElementNS(SVG, 'text');
    text.setAttribute('class', name);
    text.setAttribute('x', x);
    text.setAttribute('y', y);
    text.textContent = content;
    this.#svg.append(text);
  }
}

/** Return lines between neighbours; an isolated value is a line of length 0, a dot by its round caps. */
function pathOf(values, x, y) {
  let path = '';
  values.forEach((value, i) => {
    if (value === null) return;
    const at = `${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
    const isJoined = i > 0 && values[i - 1] !== null;
    path += isJoined ? `L${at}` : `M${at}L${at}`;
  });
  return path;
}

/** Return a number not below `value`, with few digits, as has its half. */
function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}

function make(tag, name = '') {
  const element = document.createElement(tag);
  if (name) element.className = name;
  return element;
}
