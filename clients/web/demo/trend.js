// A small chart of the latencies of the last sessions.

import { t } from './i18n.js';

const SHOWN = 24;
const WIDTH = 300;
const HEIGHT = 56;
const SVG = 'http://www.w3.org/2000/svg';

/**
 * Show the median latencies of the last sessions; nothing while there are fewer than two.
 * @param {HTMLElement} figure with an svg
 * @param {import('./history.js').Entry[]} entries the newest first
 * @param {string | null} current id of the session on the page
 */
export function showTrend(figure, entries, current) {
  const measured = entries
    .filter(({ measures }) => measures?.final != null)
    .slice(0, SHOWN)
    .reverse();
  figure.hidden = measured.length < 2;
  if (figure.hidden) return;
  const top = Math.max(
    ...measured.flatMap(({ measures }) => [measures.first ?? 0, measures.final]),
  );
  const x = (i) => 6 + (i * (WIDTH - 12)) / Math.max(SHOWN / 2, measured.length - 1);
  const y = (ms) => HEIGHT - 6 - (ms / top) * (HEIGHT - 16);
  const chart = figure.querySelector('svg');
  chart.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  chart.replaceChildren();
  for (const kind of ['first', 'final']) {
    const shown = measured
      .map(({ id, measures }, i) => ({ id, ms: measures[kind], at: x(i) }))
      .filter(({ ms }) => ms != null);
    const points = shown.map(({ ms, at }) => `${at},${y(ms)}`).join(' ');
    chart.append(element('polyline', { class: kind, points }));
    for (const { id, ms, at } of shown) {
      const radius = id === current ? 4 : 2.4;
      const dot = element('circle', { class: kind, cx: at, cy: y(ms), r: radius });
      const title = element('title', {});
      title.textContent = `${t(`${kind}-text`)} ${t('ms', Math.round(ms))}`;
      dot.append(title);
      chart.append(dot);
    }
  }
  const last = measured.at(-1).measures;
  const values = [last.first, last.final].map((ms) => Math.round(ms ?? 0));
  chart.setAttribute('aria-label', t('trend.about', measured.length, ...values));
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
