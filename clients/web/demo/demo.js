// The demo page: recorder, transcript, latency, exports, code samples and wire log.

import { AsrClient, toSrt, toTxt, toVtt, websocketUrl } from '../AsrClient.js';
import { language, t, translate } from './i18n.js';
import { Recording } from './recording.js';
import { Settings } from './settings.js';
import { snippets } from './snippets.js';
import { Transcript, clock } from './transcript.js';
import { Waveform } from './waveform.js';
import { WireLog } from './wirelog.js';

const $ = (id) => document.getElementById(id);
const LOCAL_SERVER = 'ws://127.0.0.1:8000'; // default of the page opened as a file

const settings = new Settings();
const recording = new Recording();
const waveform = new Waveform($('wave'), recording);
const wireLog = new WireLog($('wire'));
const transcript = new Transcript(
  { list: $('sentences'), scroller: $('transcript'), empty: $('empty'), toEnd: $('to-end') },
  (fromMs, toMs) => play(fromMs, toMs),
);

/** @type {AsrClient | null} */
let asr = null;
let state = 'idle';
let health = null;
let latencies = { first: [], final: [] };
let isPaced = true;
let firstTextIndex = null; // the last sentence whose first text was measured
let sampleAudio = null;
let tabName = 'DashScope';

// --------------------------------------------------------------------------------------- session

/**
 * @param {import('../AsrClient.js').Source} source
 * @param {import('../AsrClient.js').StartOptions} [options]
 */
async function begin(source, options = {}) {
  if (state !== 'idle') return;
  clearSession();
  isPaced = source === 'microphone' || Boolean(options.pace);
  setState('starting');
  asr = makeClient();
  listen(asr);
  try {
    await asr.start(source, options);
    if (state === 'starting') setState('live');
  } catch {
    // the 'failed' event shows the error
  }
}

function makeClient() {
  const { url, key, model, device } = settings.values;
  return new AsrClient({
    url: url || serverUrl(),
    apiKey: key,
    model,
    parameters: settings.parameters,
    microphone: device ? { deviceId: { exact: device } } : {},
  });
}

function serverUrl() {
  return location.protocol.startsWith('http') ? location.origin : LOCAL_SERVER;
}

function listen(client) {
  client.on('wire', (message) => wireLog.add(message));
  client.on('audio', ({ pcm, sampleRate }) => {
    recording.append(pcm, sampleRate);
    waveform.refresh();
    showTime();
  });
  client.on('level', showLevel);
  client.on('interim', onInterim);
  client.on('final', onFinal);
  client.on('started', ({ resumed }) => {
    if (resumed > 0 && !$('alert').hidden) hideAlert();
    if (resumed > 0) announce(t('state.resumed'));
  });
  client.on('reconnecting', ({ attempt }) => showAlert(t('state.reconnecting', attempt)));
  client.on('finished', () => {
    hideAlert();
    setState('idle');
    announce(t('state.done', transcript.sentences.length));
  });
  client.on('failed', (error) => {
    transcript.dropOpen();
    setState('idle');
    if (error.code !== 'closed') showAlert(explain(error));
  });
}

function onInterim(sentence) {
  if (sentence.text && firstTextIndex !== sentence.index) {
    firstTextIndex = sentence.index;
    measure('first', sentence.beginMs);
  }
  if (sentence.text) transcript.showInterim(sentence);
  waveform.open = sentence;
  showCharacters(sentence.text.length);
}

function onFinal(sentence) {
  measure('final', sentence.endMs);
  transcript.showFinal(sentence);
  waveform.open = null;
  waveform.sentences = transcript.sentences;
  waveform.refresh();
  $('spoken').textContent = sentence.text;
  showCharacters(0);
  enableExports();
}

/** Record the time since the sample at `ms` was sent, and show the session's median. */
function measure(kind, ms) {
  const sent = recording.wallClockOf(ms);
  if (!isPaced || sent === null) return;
  const values = latencies[kind];
  values.push(performance.now() - sent);
  values.sort((a, b) => a - b);
  $(`${kind}-text`).textContent = t('ms', Math.round(values[values.length >> 1]));
}

async function end() {
  if (state !== 'live' && state !== 'starting') return;
  setState('stopping');
  sampleAudio?.pause();
  await asr.stop().catch(() => {});
}

function clearSession() {
  recording.clear(16000);
  transcript.clear();
  wireLog.clear();
  Object.assign(waveform, { sentences: [], open: null, headMs: null });
  latencies = { first: [], final: [] };
  firstTextIndex = null;
  hideAlert();
  asr?.close();
  sampleAudio?.pause();
  sampleAudio = null;
  for (const id of ['first-text', 'final-text']) $(id).textContent = '–';
  showCharacters(0);
  showTime();
  enableExports();
}

function setState(next) {
  state = next;
  document.body.dataset.state = next;
  waveform.isLive = next !== 'idle';
  waveform.refresh();
  const isOn = next !== 'idle';
  $('record').setAttribute('aria-pressed', String(isOn));
  $('record').disabled = next === 'stopping';
  $('record-label').textContent = t(isOn ? 'record.stop' : 'record.start');
  $('pick').disabled = isOn;
  $('play').disabled = isOn || recording.samples === 0;
  for (const button of document.querySelectorAll('.sample')) button.disabled = isOn;
  if (!isOn) showLevel({ rmsDb: -100, peakDb: -100 });
  if (next !== 'idle') announce(t(`state.${next}`));
  enableExports();
}

// ---------------------------------------------------------------------------------------- views

function showLevel({ rmsDb, peakDb }) {
  const share = (db) => Math.max(0, Math.min(1, (db + 60) / 60));
  $('level').style.setProperty('--level', share(rmsDb));
  $('level').style.setProperty('--peak', share(peakDb));
  $('record').style.setProperty('--level', share(rmsDb));
  $('level').setAttribute('aria-valuenow', String(Math.round(Math.max(-60, rmsDb))));
}

function showTime() {
  const ms = recording.positionMs ?? waveform.headMs ?? recording.durationMs;
  $('time').textContent = `${clock(ms)}.${Math.floor((ms % 1000) / 100)}`;
  $('wave').setAttribute('aria-valuemax', String(Math.round(recording.durationMs / 1000)));
  $('wave').setAttribute('aria-valuenow', String(Math.round(ms / 1000)));
  $('wave').setAttribute('aria-valuetext', clock(ms));
}

function showCharacters(open) {
  const count = transcript.sentences.reduce((sum, { text }) => sum + text.length, 0);
  $('characters').textContent = String(count + open);
}

function announce(text) {
  $('announce').textContent = text;
}

function showAlert(text) {
  $('alert-text').textContent = text;
  $('alert').hidden = false;
}

function hideAlert() {
  $('alert').hidden = true;
}

function explain(error) {
  if (error.code === 'server-away')
    return t('error.server-away', settings.values.url || serverUrl());
  return t(`error.${error.code}`, error.message);
}

function enableExports() {
  const isEmpty = transcript.sentences.length === 0;
  for (const button of $('exports').children) {
    const needsAudio = button.dataset.export === 'wav';
    button.disabled = needsAudio ? state !== 'idle' || recording.samples === 0 : isEmpty;
  }
}

// ------------------------------------------------------------------------------------- playback

function play(fromMs, toMs) {
  if (state !== 'idle') return;
  recording.play(fromMs, toMs, () => {
    waveform.headMs = null;
    transcript.highlight(null);
    showPlaying();
    waveform.refresh();
    showTime();
  });
  showPlaying();
  follow();
}

function follow() {
  const { positionMs } = recording;
  if (positionMs === null) return;
  waveform.headMs = positionMs;
  waveform.refresh();
  transcript.highlight(positionMs);
  showTime();
  requestAnimationFrame(follow);
}

function showPlaying() {
  $('play-label').textContent = t(recording.isPlaying ? 'pause' : 'play');
  $('play').classList.toggle('on', recording.isPlaying);
}

function togglePlayback() {
  if (recording.isPlaying) recording.stop();
  else play(0, recording.durationMs);
}

function seek(event) {
  const steps = { ArrowRight: 1000, ArrowLeft: -1000, Home: -Infinity };
  if (state !== 'idle' || recording.samples === 0) return;
  if (event.key in steps) {
    event.preventDefault();
    const now = recording.positionMs ?? waveform.headMs ?? 0;
    const to = Math.max(0, Math.min(recording.durationMs - 100, now + steps[event.key]));
    play(to, recording.durationMs);
  } else if (event.key === 'Enter') {
    togglePlayback();
  }
}

// ------------------------------------------------------------------------------ files and samples

async function recogniseFile(file) {
  if (file) await begin(file, settings.values.realtime ? { pace: 1 } : {});
}

async function loadSamples() {
  try {
    const response = await fetch(new URL('manifest.json', samplesRoot()));
    if (!response.ok) return;
    showSamples(await response.json());
  } catch {
    // the page works without samples
  }
}

/** Return the folder of the samples: beside the page, or on the server if the page is a file. */
function samplesRoot() {
  return new URL('samples/', location.protocol.startsWith('http') ? location.href : httpUrl());
}

function showSamples(samples) {
  const items = samples.map((sample) => {
    const item = document.createElement('li');
    item.append(sampleButton(sample));
    return item;
  });
  $('sample-list').replaceChildren(...items);
  $('samples').hidden = items.length === 0;
  // On a phone the list is far below, so the empty transcript offers the first samples.
  $('quick').replaceChildren(...samples.slice(0, 3).map(sampleButton));
  showHint();
}

function sampleButton(sample) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'sample';
  const text = document.createElement('span');
  text.lang = 'zh-CN';
  text.textContent = sample.punctuated ?? sample.text;
  const time = document.createElement('small');
  time.textContent = `${(sample.duration_ms / 1000).toFixed(1)} s`;
  button.append(text, time);
  button.addEventListener('click', () => recogniseSample(sample));
  return button;
}

async function recogniseSample(sample) {
  const url = new URL(sample.file, samplesRoot());
  const audio = await (await fetch(url)).arrayBuffer();
  await begin(audio, { pace: 1 });
  if (!settings.values.aloud || state !== 'live') return;
  sampleAudio = new Audio(url);
  sampleAudio.play().catch(() => {}); // the browser may require another user gesture
}

function setUpDropping() {
  const target = $('drop');
  let depth = 0;
  const show = (change) => {
    depth = Math.max(0, depth + change);
    target.classList.toggle('dropping', depth > 0 && state === 'idle');
  };
  addEventListener('dragenter', () => show(1));
  addEventListener('dragleave', () => show(-1));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    show(-depth);
    recogniseFile(event.dataTransfer.files[0]);
  });
}

// ---------------------------------------------------------------------------------------- export

async function exportAs(kind, button) {
  const { sentences } = transcript;
  if (kind === 'copy') return copy(toTxt(sentences), button);
  const makers = {
    txt: () => new Blob([toTxt(sentences)], { type: 'text/plain' }),
    srt: () => new Blob([toSrt(sentences)], { type: 'application/x-subrip' }),
    vtt: () => new Blob([toVtt(sentences)], { type: 'text/vtt' }),
    json: () => new Blob([JSON.stringify(sentences, null, 2)], { type: 'application/json' }),
    wav: () => recording.toWav(),
  };
  const link = document.createElement('a');
  link.href = URL.createObjectURL(makers[kind]());
  link.download = `${new Date().toISOString().slice(0, 19).replace(/[T:]/g, '-')}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function copy(text, button) {
  await navigator.clipboard?.writeText(text).catch(() => {});
  const label = button.textContent;
  button.textContent = t('copied');
  announce(t('copied'));
  setTimeout(() => {
    button.textContent = label;
  }, 1500);
}

// ------------------------------------------------------------------------- server, code, settings

async function checkHealth() {
  try {
    const response = await fetch(new URL('healthz', httpUrl()));
    health = await response.json();
  } catch {
    health = null;
  }
  showHealth();
}

function httpUrl() {
  const url = new URL(websocketUrl(settings.values.url || serverUrl()));
  url.protocol = url.protocol.replace('ws', 'http');
  return new URL('/', url);
}

function showHealth() {
  // Only the demo model has a notice.
  const isDemo = Boolean(health?.notice);
  $('model').dataset.state = health ? (isDemo ? 'demo' : 'ok') : 'away';
  const device = document.createElement('span');
  device.className = 'device';
  device.textContent = health?.device ? ` · ${health.device}` : '';
  const name = isDemo ? t('model.demo') : health?.model;
  const link = $('model-name');
  link.replaceChildren(health ? name : t('model.away'), device);
  link.title = health ? t('model.status') : '';
  if (health) link.setAttribute('href', String(new URL('status', httpUrl())));
  else link.removeAttribute('href');
  $('demo-notice').hidden = !isDemo;
  fillList($('demo-can'), t('demo.can'));
  fillList($('demo-cannot'), t('demo.cannot'));
  showHint();
}

function fillList(list, lines) {
  list.replaceChildren(
    ...lines.map((line) => {
      const item = document.createElement('li');
      item.textContent = line;
      return item;
    }),
  );
}

function showHint() {
  const isDemo = $('model').dataset.state === 'demo' && !$('samples').hidden;
  $('hint').textContent = t(isDemo ? 'hint.demo' : 'hint.mic');
}

function showCode() {
  const url = new URL(websocketUrl(settings.values.url || serverUrl()));
  const code = snippets({ ws: url.href });
  const tabs = Object.keys(code).map((name) => {
    const tab = document.createElement('button');
    Object.assign(tab, { type: 'button', role: 'tab', textContent: name, id: `tab-${name}` });
    tab.setAttribute('aria-selected', String(name === tabName));
    tab.setAttribute('aria-controls', 'code-panel');
    tab.tabIndex = name === tabName ? 0 : -1;
    tab.addEventListener('click', () => chooseTab(name));
    return tab;
  });
  $('code-tabs').replaceChildren(...tabs);
  $('code-panel').setAttribute('aria-labelledby', `tab-${tabName}`);
  $('code-text').textContent = code[tabName];
}

function chooseTab(name) {
  tabName = name;
  showCode();
}

function onTabKey(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const names = [...$('code-tabs').children].map(({ textContent }) => textContent);
  chooseTab(names[(names.indexOf(tabName) + step + names.length) % names.length]);
  $(`tab-${tabName}`).focus();
}

function showLanguage() {
  translate(settings.values.language ?? (navigator.language.startsWith('zh') ? 'zh' : 'en'));
  $('language').textContent = language() === 'zh' ? 'EN' : '中文';
  $('language').lang = language() === 'zh' ? 'en' : 'zh-CN';
  showTheme();
  showHealth();
  showPlaying();
  $('record-label').textContent = t(state === 'idle' ? 'record.start' : 'record.stop');
  $('settings-form').elements.device.options[0]?.replaceChildren(t('device.default'));
}

function showTheme() {
  const { theme } = settings.values;
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const label = t('theme', t(`theme.${theme}`));
  $('theme').setAttribute('aria-label', label);
  $('theme').title = label;
  waveform.refresh();
}

async function listDevices() {
  const select = $('settings-form').elements.device;
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  const options = devices
    .filter(({ kind, deviceId, label }) => kind === 'audioinput' && deviceId && label)
    .map(({ deviceId, label }) => new Option(label, deviceId));
  select.replaceChildren(new Option(t('device.default'), ''), ...options);
  select.value = settings.values.device;
}

function setUpSettings() {
  $('settings-form').elements.url.placeholder = serverUrl();
  settings.bind($('settings-form'), (name) => {
    if (name !== 'url') return;
    showCode();
    checkHealth();
  });
  $('open-settings').addEventListener('click', () => {
    listDevices();
    $('settings').showModal();
  });
  $('reset').addEventListener('click', () => {
    settings.reset();
    settings.show();
    showCode();
    checkHealth();
  });
  $('language').addEventListener('click', () => {
    settings.set('language', language() === 'zh' ? 'en' : 'zh');
    showLanguage();
  });
  $('theme').addEventListener('click', () => {
    const themes = ['auto', 'light', 'dark'];
    settings.set('theme', themes[(themes.indexOf(settings.values.theme) + 1) % 3]);
    showTheme();
  });
}

// ----------------------------------------------------------------------------------------- start

function setUpControls() {
  $('record').addEventListener('click', () => (state === 'idle' ? begin('microphone') : end()));
  $('pick').addEventListener('click', () => $('file').click());
  $('file').addEventListener('change', () => {
    recogniseFile($('file').files[0]);
    $('file').value = ''; // so that choosing the same file again fires a change event
  });
  $('play').addEventListener('click', togglePlayback);
  $('alert-close').addEventListener('click', hideAlert);
  $('wave').addEventListener('keydown', seek);
  $('wave').addEventListener('click', ({ clientX }) => {
    if (recording.samples > 0) play(waveform.timeAt(clientX), recording.durationMs);
  });
  $('exports').addEventListener('click', ({ target }) => {
    if (target.dataset.export) exportAs(target.dataset.export, target);
  });
  $('code-copy').addEventListener('click', ({ target }) =>
    copy($('code-text').textContent, target),
  );
  $('code-tabs').addEventListener('keydown', onTabKey);
  $('wire-copy').addEventListener('click', ({ target }) => copy(wireLog.toString(), target));
  addEventListener('keydown', (event) => {
    const isUnfocused = event.target === document.body || event.target === $('transcript');
    if (event.key === 'Escape') recording.stop();
    if (event.code !== 'Space' || !isUnfocused || event.repeat) return;
    event.preventDefault();
    $('record').click();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => waveform.refresh());
}

setUpControls();
setUpDropping();
setUpSettings();
showLanguage();
showCode();
setState('idle');
$('model-name').textContent = t('model.checking');
loadSamples();
checkHealth();
setInterval(checkHealth, 30_000);
