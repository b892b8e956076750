// The demo page: connects the recogniser, the session on the page, and the history.

import { AsrClient, toTxt } from '../AsrClient.js';
import { Captions } from './captions.js';
import { readAudio } from './files.js';
import { History, edited, summary } from './history.js';
import { HistoryView } from './historyview.js';
import { language, t, translate } from './i18n.js';
import { copyText, download, downloadTranscript } from './output.js';
import { Player } from './player.js';
import { Samples, labelOf } from './samples.js';
import { addressOf, diagnose, isMixedContent, ownServer, readHealth } from './server.js';
import { Session } from './session.js';
import { Settings } from './settings.js';
import { CodePanel } from './snippets.js';
import { Transcript, clock } from './transcript.js';
import { Truth } from './truth.js';
import { Undo } from './undo.js';
import { Waveform } from './waveform.js';
import { WireLog } from './wirelog.js';

const $ = (id) => document.getElementById(id);
const SETTINGS_HELP = new Set(['server-away', 'unauthorized', 'key-missing', 'refused']);
const SHOWN_SESSION = 'asr-demo.shown'; // in sessionStorage: what a reload shows again

let session = new Session();
/** @type {AsrClient | null} */
let asr = null;
let state = 'idle';
let health; // undefined until the server was asked, null while it is away
let sampleAudio = null;

const settings = new Settings();
const waveform = new Waveform($('wave'), session.recording);
const wireLog = new WireLog($('wire'));
const undo = new Undo($('toast'));
const history = new History();
const transcript = new Transcript(
  { list: $('sentences'), scroller: $('transcript'), empty: $('empty'), toEnd: $('to-end') },
  { onPlay: (fromMs, toMs) => player.play(fromMs, toMs), onEdit: editSentence },
);
const player = new Player(
  { waveform, transcript, button: $('play'), label: $('play-label') },
  { canPlay: () => state === 'idle' && session.recording.samples > 0, onMove: showTime },
);
const truth = new Truth({ panel: $('truth'), text: $('truth-text'), score: $('truth-score') });
const samples = new Samples(
  { section: $('samples'), list: $('sample-list'), quick: $('quick') },
  recogniseSample,
);
const code = new CodePanel({ tabs: $('code-tabs'), panel: $('code-panel'), code: $('code-text') });
const captions = new Captions($('captions'), startMainAction);
const historyView = new HistoryView($('history'), history, undo, {
  onOpen: openEntry,
  onRemoved: (id) => id === session.id && show(new Session()),
  isBusy: () => state !== 'idle',
});

// --------------------------------------------------------------------------------------- session

/**
 * Recognise a source in a new session. The one before stays in the history, and on the page if the
 * start fails.
 * @param {import('../AsrClient.js').Source} source
 * @param {import('../AsrClient.js').StartOptions} [options]
 * @param {{name?: string, sample?: import('./samples.js').Sample}} [about]
 */
async function begin(source, options = {}, { name = 'microphone', sample } = {}) {
  if (state !== 'idle') return;
  const address = addressOf(settings.values.url);
  if (!address) return showAlert(t('error.bad-address', settings.values.url));
  if (isMixedContent(address)) return showAlert(t('error.mixed-content', address.ws.href));
  const before = session;
  asr?.close();
  hideAlert();
  wireLog.clear();
  const { silence } = settings.values;
  const isPaced = source === 'microphone' || Boolean(options.pace);
  show(new Session({ source: name, sample, isPaced, silenceMs: silence }));
  setState('starting');
  asr = makeClient(address);
  listen(asr, before);
  try {
    await asr.start(source, options);
    if (state === 'starting') setState('live');
  } catch {
    return; // the 'failed' event shows the error
  }
  if (before.sentences.length > 0) undo.offer(t('undo.new'), () => returnTo(before));
}

function makeClient({ ws }) {
  const { key, model, device } = settings.values;
  return new AsrClient({
    url: ws.href,
    apiKey: key,
    model,
    parameters: settings.parameters,
    microphone: device ? { deviceId: { exact: device } } : {},
  });
}

function listen(client, before) {
  client.on('wire', (message) => wireLog.add(message));
  client.on('audio', ({ pcm, sampleRate }) => {
    session.recording.append(pcm, sampleRate);
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
    const score = truth.update(session.text, false);
    announce(
      score ? t('truth.score', score.right, score.of) : t('state.done', session.sentences.length),
    );
  });
  client.on('failed', async (error) => {
    if (session.isWorthKeeping) transcript.dropOpen();
    else show(before);
    sampleAudio?.pause();
    setState('idle');
    if (error.code === 'closed') return;
    await showError(error);
    captions.retry();
  });
}

/** Stop what runs and show a session again; what was recognised meanwhile is in the history. */
function returnTo(earlier) {
  asr?.cancel();
  sampleAudio?.pause();
  show(earlier);
  setState('idle');
}

/** Show a session in all parts of the page. */
function show(next) {
  session.recording.stop();
  session = next;
  transcript.load(next.sentences, next.recording.samples > 0 || !next.id);
  Object.assign(waveform, {
    recording: next.recording,
    sentences: next.sentences,
    open: null,
    headMs: null,
  });
  waveform.refresh();
  if (next.sample) truth.show(rightText(next.sample));
  else truth.hide();
  if (next.sentences.length > 0) truth.update(next.text, false);
  remember(next.id);
  captions.update(next.sentences, null);
  showFigures();
  showTime();
  enableExports();
}

function rightText({ text, punctuated = text, written = punctuated }) {
  return settings.values.itn ? written : punctuated;
}

function onInterim(sentence) {
  session.measureFirst(sentence);
  if (sentence.text) transcript.showInterim(sentence);
  waveform.open = sentence;
  truth.update(session.text + sentence.text, true);
  captions.update(session.sentences, sentence);
  showFigures(sentence.text.length);
}

function onFinal(sentence) {
  session.measureFinal(sentence);
  transcript.showFinal(sentence);
  waveform.open = null;
  waveform.refresh();
  truth.update(session.text, true);
  captions.update(session.sentences, null);
  $('spoken').textContent = sentence.text;
  showFigures();
  enableExports();
  if (sentence.text) keep([sentence]);
}

async function end() {
  if (state !== 'live' && state !== 'starting') return;
  setState('stopping');
  sampleAudio?.pause();
  await asr.stop().catch(() => {});
}

function setState(next) {
  state = next;
  document.body.dataset.state = next;
  const isOn = next !== 'idle';
  waveform.isLive = isOn;
  waveform.refresh();
  $('record').setAttribute('aria-pressed', String(isOn));
  $('record').disabled = next === 'stopping';
  $('play').disabled = isOn || session.recording.samples === 0;
  for (const id of ['pick', 'mic']) $(id).disabled = isOn;
  samples.disable(isOn);
  if (!isOn) showLevel({ rmsDb: -100, peakDb: -100 });
  if (isOn) announce(t(`state.${next}`));
  showMainAction();
  enableExports();
}

// --------------------------------------------------------------------------------------- history

/**
 * Write a session to the history, with those of its sentences that are new or have changed.
 * @param {import('./session.js').Sentence[]} changed @param {Session} [kept]
 */
async function keep(changed, kept = session) {
  const { createdAt, sentences, recording, source, sample } = kept;
  kept.id ??= newId();
  if (kept === session) remember(kept.id);
  try {
    const entry = (await history.entry(kept.id)) ?? {
      title: '',
      source: sample ? labelOf(sample) : source === 'microphone' ? '' : source,
    };
    const durationMs = Math.round(recording.durationMs) || entry.durationMs;
    await history.save(
      { ...entry, id: kept.id, createdAt, durationMs, ...summary(sentences) },
      changed,
    );
  } catch (error) {
    showAlert(t('error.not-kept', error.message));
  }
}

function newId() {
  // crypto.randomUUID exists only in secure contexts, not in a page over plain http.
  return `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 10)}`;
}

/** Note in this tab which entry is shown, for a reload. */
function remember(id) {
  try {
    if (id) sessionStorage.setItem(SHOWN_SESSION, id);
    else sessionStorage.removeItem(SHOWN_SESSION);
  } catch {
    // storage may be forbidden: a reload then shows an empty page
  }
}

async function openEntry(id) {
  const before = session;
  const [entry, sentences] = await Promise.all([history.entry(id), history.sentences(id)]);
  if (!entry || state !== 'idle') return;
  const opened = new Session({ source: entry.source });
  Object.assign(opened, { id, sentences, createdAt: entry.createdAt });
  show(opened);
  setState('idle');
  $('transcript').focus();
  // Its audio is not in the history.
  if (before.recording.samples > 0) undo.offer(t('undo.opened'), () => returnTo(before));
}

async function reopenAfterReload() {
  let id = null;
  try {
    id = sessionStorage.getItem(SHOWN_SESSION);
  } catch {
    // storage may be forbidden
  }
  if (id) await openEntry(id);
}

function editSentence(sentence, text) {
  const target = session;
  replaceSentence(target, sentence, text ? edited(sentence, text) : null);
  undo.offer(t(text ? 'undo.edited' : 'undo.removed'), () => {
    replaceSentence(target, sentence, sentence);
  });
}

/** Put `next` in the place of a sentence; null removes it. */
function replaceSentence(target, { index }, next) {
  const { sentences } = target;
  const at = sentences.findIndex((each) => each.index >= index);
  const place = at < 0 ? sentences.length : at;
  sentences.splice(place, sentences[place]?.index === index ? 1 : 0, ...(next ? [next] : []));
  if (!next) history.removeSentence(target.id, index);
  keep(next ? [next] : [], target);
  if (target !== session) return;
  transcript.load(sentences, transcript.isPlayable);
  truth.update(target.text, state !== 'idle');
  waveform.refresh();
  showFigures();
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
  const { durationMs, positionMs } = session.recording;
  const ms = positionMs ?? waveform.headMs ?? durationMs;
  $('time').textContent = `${clock(ms)}.${Math.floor((ms % 1000) / 100)}`;
  $('wave').setAttribute('aria-valuemax', String(Math.round(durationMs / 1000)));
  $('wave').setAttribute('aria-valuenow', String(Math.round(ms / 1000)));
  $('wave').setAttribute('aria-valuetext', clock(ms));
}

/** @param {number} [open] characters of the open sentence */
function showFigures(open = 0) {
  const shown = (ms, key) => (ms === null ? '–' : t(key, Math.round(ms)));
  $('first-text').textContent = shown(session.latency('first'), 'ms');
  $('final-text').textContent = shown(session.latency('final'), 'ms.beyond');
  $('latency-about').textContent = t('latency.about', session.silenceMs);
  $('characters').textContent = String(session.text.length + open);
}

function announce(text) {
  $('announce').textContent = text;
}

/** @param {string} text @param {boolean} [isForSettings] whether the settings may be the remedy */
function showAlert(text, isForSettings = false) {
  $('alert-text').textContent = text;
  $('alert-settings').hidden = !isForSettings;
  $('alert').hidden = false;
}

function hideAlert() {
  $('alert').hidden = true;
}

/** Show why a stream failed. */
async function showError(error) {
  const { url, key } = settings.values;
  const address = addressOf(url);
  let reason = error.code;
  if (reason === 'server-away' && address) reason = await diagnose(address, key);
  if (reason === 'unsupported' && !isSecureContext) reason = 'insecure';
  if (error.serverCode === 'NO_VALID_AUDIO_ERROR') reason = 'no-audio';
  const values = {
    insecure: [location.origin, location.origin.replace(location.hostname, 'localhost')],
    'task-failed': [error.message],
    'bad-audio': [error.message],
  };
  const shown = values[reason] ?? [url || ownServer()];
  showAlert(t(`error.${reason}`, ...shown), SETTINGS_HELP.has(reason));
}

function enableExports() {
  const isEmpty = session.sentences.length === 0;
  for (const button of $('exports').children) {
    const needsAudio = button.dataset.export === 'wav';
    button.disabled = needsAudio ? state !== 'idle' || session.recording.samples === 0 : isEmpty;
  }
}

// ------------------------------------------------------------------------------ files and samples

async function recogniseFile(file) {
  if (!file || state !== 'idle') return;
  try {
    const { source, options } = await readAudio(file);
    const pace = settings.values.realtime ? { pace: 1 } : {};
    await begin(source, { ...options, ...pace }, { name: file.name });
  } catch (error) {
    showAlert(t(`error.${error.code}`, file.name));
  }
}

/** Return the folder of the samples: beside the page, or on the server if the page is a file. */
function samplesRoot() {
  const isServed = location.protocol.startsWith('http');
  return new URL('samples/', isServed ? location.href : addressOf(settings.values.url)?.http);
}

async function recogniseSample(sample) {
  if (state !== 'idle') return;
  const url = samples.urlOf(sample);
  let audio;
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    audio = await response.arrayBuffer();
  } catch (error) {
    await showError({ code: 'server-away', message: error.message });
    return;
  }
  await begin(audio, { pace: 1 }, { name: sample.file, sample });
  if (!settings.values.aloud || state !== 'live') return;
  sampleAudio = new Audio(url);
  sampleAudio.play().catch(() => {}); // the browser may require another user gesture
}

/** The demo model does not recognise people: a sample shows more than the microphone. */
function isSampleFirst() {
  return Boolean(health?.notice) && samples.all.length > 0;
}

function startMainAction() {
  if (isSampleFirst()) recogniseSample(samples.next());
  else begin('microphone');
}

function showMainAction() {
  const isSample = isSampleFirst();
  $('record').dataset.action = isSample ? 'sample' : 'microphone';
  const start = isSample ? 'record.sample' : 'record.start';
  $('record-label').textContent = t(state === 'idle' ? start : 'record.stop');
  $('record').title = $('record-label').textContent;
  $('mic').hidden = !isSample;
  $('invite').textContent = t(isSample ? 'invite.demo' : 'invite');
  const hint = isSample ? 'hint.demo' : isSecureContext ? 'hint.mic' : 'hint.insecure';
  $('hint').textContent = t(hint, location.origin);
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

function exportAs(kind, button) {
  if (kind === 'copy') copy(toTxt(session.sentences), button);
  else if (kind === 'wav') download(session.recording.toWav(), 'wav');
  else downloadTranscript(kind, session.sentences);
}

async function copy(text, button) {
  if (!(await copyText(text))) return showAlert(t('error.copy'));
  const label = button.textContent;
  button.textContent = t('copied');
  announce(t('copied'));
  setTimeout(() => {
    button.textContent = label;
  }, 1500);
}

// ------------------------------------------------------------------------------- server, settings

async function checkHealth() {
  const address = addressOf(settings.values.url);
  try {
    health = await readHealth(address);
    if (samples.all.length === 0) await samples.load(samplesRoot());
  } catch {
    health = null;
  }
  showHealth();
}

function showHealth() {
  if (health === undefined) {
    $('model-name').textContent = t('model.checking');
    return showMainAction();
  }
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
  if (health) link.href = String(new URL('status', addressOf(settings.values.url).http));
  else link.removeAttribute('href');
  $('demo-notice').hidden = !isDemo;
  fillList($('demo-can'), t('demo.can'));
  fillList($('demo-cannot'), t('demo.cannot'));
  samples.disable(state !== 'idle');
  showMainAction();
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

function showCode() {
  code.show((addressOf(settings.values.url) ?? addressOf('')).ws.href);
}

function showLanguage() {
  translate(settings.values.language ?? (navigator.language.startsWith('zh') ? 'zh' : 'en'));
  $('language').textContent = language() === 'zh' ? 'EN' : '中文';
  $('language').lang = language() === 'zh' ? 'en' : 'zh-CN';
  showTheme();
  samples.show();
  showHealth();
  showFigures();
  player.show();
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

function openSettings() {
  listDevices();
  $('settings').showModal();
}

function setUpSettings() {
  $('settings-form').elements.url.placeholder = ownServer();
  settings.bind($('settings-form'), (name) => {
    if (name !== 'url') return;
    showCode();
    checkHealth();
  });
  $('open-settings').addEventListener('click', openSettings);
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
  $('record').addEventListener('click', () => (state === 'idle' ? startMainAction() : end()));
  $('mic').addEventListener('click', () => begin('microphone'));
  $('pick').addEventListener('click', () => $('file').click());
  $('file').addEventListener('change', () => {
    recogniseFile($('file').files[0]);
    $('file').value = ''; // so that choosing the same file again fires a change event
  });
  $('alert-close').addEventListener('click', hideAlert);
  $('alert-settings').addEventListener('click', openSettings);
  $('open-history').addEventListener('click', () => historyView.show());
  $('open-captions').addEventListener('click', () => captions.open());
  $('exports').addEventListener('click', ({ target }) => {
    if (target.dataset.export) exportAs(target.dataset.export, target);
  });
  $('code-copy').addEventListener('click', ({ target }) =>
    copy($('code-text').textContent, target),
  );
  $('wire-copy').addEventListener('click', ({ target }) => copy(wireLog.toString(), target));
  addEventListener('keydown', (event) => {
    const isUnfocused = event.target === document.body || event.target === $('transcript');
    if (event.key === 'Escape') {
      session.recording.stop();
      captions.close();
    }
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
reopenAfterReload();
checkHealth().then(() => captions.isFixed && !isSampleFirst() && startMainAction());
setInterval(checkHealth, 30_000);
