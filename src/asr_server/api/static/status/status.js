// The status page: polls the server's figures while the page is visible, and draws them.

import { Plot } from './plot.js';
import { language, shown, t, translate } from './words.js';

const $ = (id) => document.getElementById(id);
const STORE = 'asr-demo'; // language and theme are shared with the demo page
const TIMEOUT_MS = 10_000; // a server that hangs counts as unreachable
const THEMES = ['auto', 'light', 'dark'];
const TILES = [
  'tasks',
  'busy',
  'real_time_factor',
  'first_text_p95_s',
  'final_p95_s',
  'tail_p95_s',
];
const GOALS = { first_text_p95_s: 'first_text_s', tail_p95_s: 'tail_s' };

const plots = [
  {
    id: 'first-text',
    figures: ['first_text_p50_s', 'first_text_p95_s'],
    goal: (data) => data.goals.first_text_s,
    least: 0.5,
  },
  { id: 'final', figures: ['final_p50_s', 'final_p95_s'], least: 0.5 },
  {
    id: 'tail',
    figures: ['tail_p50_s', 'tail_p95_s'],
    goal: (data) => data.goals.tail_s,
    least: 0.1,
  },
  { id: 'busy', figures: ['gpu_utilization', 'busy'], least: 1 },
  { id: 'tasks', figures: ['connections', 'tasks'], least: 4 },
  { id: 'waiting', figures: ['loop_lag_p95_s', 'queue_age_p95_s'], least: 0.02 },
  {
    id: 'errors',
    figures: ['client_errors_per_min', 'own_errors_per_min', 'refusals_per_min'],
    least: 4,
  },
  { id: 'real-time-factor', figures: ['real_time_factor'], least: 0.05 },
  { id: 'memory', figures: ['gpu_used_memory_bytes', 'memory_bytes'], least: 100e6 },
].map((options) => new Plot(options, (at) => plots.forEach((plot) => plot.point(at))));

let data = null;
let isUnreachable = false;

async function poll() {
  try {
    const response = await fetch('./status/data', { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(response.statusText);
    data = await response.json();
    isUnreachable = false;
  } catch {
    isUnreachable = true;
  }
  show();
  setTimeout(whenVisible, 1000 * (data?.period_s ?? 5), poll);
}

/** Call now, or when the page becomes visible again. */
function whenVisible(action) {
  if (!document.hidden) return action();
  document.addEventListener('visibilitychange', action, { once: true });
}

function show() {
  $('away').hidden = !isUnreachable;
  showHealth();
  if (!data) return;
  $('notice').hidden = !data.server.notice;
  $('tiles').hidden = $('plots').hidden = false;
  $('tiles').replaceChildren(...TILES.map(tile));
  for (const plot of plots) plot.show(data);
  for (const cell of document.querySelectorAll('[data-figure]')) {
    cell.textContent = shown(cell.dataset.figure, figure(cell.dataset.figure));
  }
}

/** Return the current value of a figure. */
function figure(name) {
  if (name === 'state') return t(`state.${data.server.state}`);
  return data.points[name]?.at(-1) ?? data.totals[name] ?? data.server[name];
}

function showHealth() {
  if (!data && !isUnreachable) return; // before the first response, keep the state rendered by the server
  const state = isUnreachable ? 'away' : data.server.state;
  const dots = { ready: 'ok', loading: 'demo', draining: 'demo' };
  $('health').dataset.state = dots[state] ?? 'away';
  const { model, device } = isUnreachable ? {} : data.server;
  const text = [t(`state.${state}`), model, device].filter(Boolean).join(' · ');
  // Screen readers announce every change of this element.
  if ($('health-text').textContent !== text) $('health-text').textContent = text;
}

function tile(name) {
  const value = figure(name);
  const goal = data.goals[GOALS[name]];
  const isMissed = goal !== undefined && value > goal;
  const box = document.createElement('div');
  box.className = isMissed ? 'missed' : '';
  const label = document.createElement('dt');
  label.textContent = t(name);
  const content = document.createElement('dd');
  content.textContent = shown(name, value);
  const more = document.createElement('small');
  if (name === 'tasks') more.textContent = t('of', shown('slots', figure('slots')));
  else if (goal !== undefined)
    more.textContent = t(isMissed ? 'goal.missed' : 'goal', shown(name, goal));
  content.append(more);
  box.append(label, content);
  return box;
}

// ------------------------------------------------------------------------------ language, theme

function loadChoices() {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? '{}') ?? {};
  } catch {
    return {};
  }
}

function saveChoice(choice) {
  try {
    localStorage.setItem(STORE, JSON.stringify({ ...loadChoices(), ...choice }));
  } catch {
    // private windows may forbid storage: the choice then lasts until the page closes
  }
}

function setLanguage(name) {
  translate(name);
  $('language').textContent = name === 'zh' ? 'EN' : '中文';
  $('language').lang = name === 'zh' ? 'en' : 'zh-CN';
  setTheme(theme);
  show();
}

function setTheme(name) {
  theme = name;
  if (name === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  const label = t('theme', t(`theme.${name}`));
  $('theme').setAttribute('aria-label', label);
  $('theme').title = label;
}

let theme = THEMES.includes(loadChoices().theme) ? loadChoices().theme : 'auto';
$('plots').append(...plots.map((plot) => plot.element));
$('tools').hidden = false;
$('language').addEventListener('click', () => {
  setLanguage(language() === 'zh' ? 'en' : 'zh');
  saveChoice({ language: language() });
});
$('theme').addEventListener('click', () => {
  setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  saveChoice({ theme });
});
setLanguage(loadChoices().language ?? (navigator.language.startsWith('zh') ? 'zh' : 'en'));
poll();
