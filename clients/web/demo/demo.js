// The demo page: connects the recogniser, the session on the page, and the history.

import { AsrClient, toTxt } from '../AsrClient.js';
import { Alert } from './alert.js';
import { Archive, lastShown, rememberShown } from './archive.js';
import { Captions } from './captions.js';
import { FileError, acceptDrops, readAudio } from './files.js';
import { History } from './history.js';
import { HistoryView } from './historyview.js';
import { t } from './i18n.js';
import { LoadView } from './loadview.js';
import { Meters } from './meters.js';
import { showServer } from './notice.js';
import { copyText, download, downloadTranscript } from './output.js';
import { Phone } from './phone.js';
import { Player } from './player.js';
import { Samples } from './samples.js';
import { addressOf, isMixedContent, readHealth } from './server.js';
import { Session } from './session.js';
import { Settings } from './settings.js';
import { SettingsView } from './settingsview.js';
import { CodePanel } from './snippets.js';
import { Transcript } from './transcript.js';
import { showTrend } from './trend.js';
import { Truth } from './truth.js';
import { Undo } from './undo.js';
import { Waveform } from './waveform.js';
import { WireLog } from './wirelog.js';

const $ = (id) => document.getElementById(id);

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
const archive = new Archive(new History(), ({ message }) =>
  alert.show(t('error.not-kept', message)),
);
const meters = new Meters($);
const alert = new Alert({
  element: $('alert'),
  text: $('alert-text'),
  remedy: $('alert-settings'),
  close: $('alert-close'),
});
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
const historyView = new HistoryView($('history'), archive, undo, {
  onOpen: openEntry,
  onRemoved: (id) => (id === session.id ? show(new Session()) : refreshTrend()),
  isBusy: () => state !== 'idle',
});
const load = new LoadView($('load'), {
  samples,
  makeClient: () => {
    const address = addressOf(settings.values.url) ?? addressOf('');
    return makeClient(address, { attempts: 0, initialAttempts: 0 });
  },
  silenceMs: () => settings.values.silence,
  onError: (error) => alert.showError(error, settings.values),
});
const phone = new Phone($('open-phone'), $('phone'), () => settings.values.key);

const settingsView = new SettingsView(
  {
    dialog: $('settings'),
    form: $('settings-form'),
    reset: $('reset'),
    language: $('language'),
    theme: $('theme'),
  },
  settings,
  {
    onServer: () => {
      showCode();
      checkHealth();
      phone.find();
    },
    onLanguage: () => {
      samples.show();
      load.show();
      showHealth();
      showFigures();
      refreshTrend();
      player.show();
    },
    onTheme: refreshDrawings,
  },
);

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
  if (!address) return alert.show(t('error.bad-address', settings.values.url));
  if (isMixedContent(address)) return alert.show(t('error.mixed-content', address.ws.href));
  const before = session;
  asr?.close();
  alert.hide();
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
  const begun = session;
  if (before.sentences.length === 0 || begun === before) return;
  undo.offer(t('undo.new'), () => begun === session && returnTo(before));
}

/** @param {{ws: URL}} address @param {Partial<import('../AsrClient.js').Retry>} [retry] */
function makeClient({ ws }, retry = {}) {
  const { key, model, device } = settings.values;
  return new AsrClient({
    url: ws.href,
    apiKey: key,
    model,
    parameters: settings.parameters,
    retry,
    microphone: device ? { deviceId: { exact: device } } : {},
  });
}

function listen(client, before) {
  client.on('wire', (message) => wireLog.add(message));
  client.on('audio', ({ pcm, sampleRate }) => {
    if (captions.isFixed) return; // shown for hours, with nobody who would play it
    session.recording.append(pcm, sampleRate);
    waveform.refresh();
    showTime();
  });
  client.on('level', (level) => meters.showLevel(level));
  client.on('interim', onInterim);
  client.on('final', onFinal);
  client.on('started', ({ resumed }) => {
    if (resumed > 0 && alert.isShown) alert.hide();
    if (resumed > 0) announce(t('state.resumed'));
  });
  client.on('reconnecting', ({ attempt }) => alert.show(t('state.reconnecting', attempt)));
  client.on('finished', () => {
    alert.hide();
    setState('idle');
    refreshTrend();
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
    await alert.showError(error, settings.values);
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
  rememberShown(next.id);
  captions.update(next.sentences, null);
  showFigures();
  showTime();
  enableExports();
  refreshTrend();
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
  if (!isOn) meters.showSilence();
  if (isOn) announce(t(`state.${next}`));
  showMainAction();
  enableExports();
}

// --------------------------------------------------------------------------------------- history

/** @param {import('../AsrClient.js').Sentence[]} changed */
function keep(changed) {
  archive.keep(session, changed);
  rememberShown(session.id);
}

async function openEntry(id) {
  const before = session;
  const opened = await archive.read(id);
  if (!opened || state !== 'idle') return;
  show(opened);
  setState('idle');
  if (before.recording.samples > 0) undo.offer(t('undo.opened'), () => returnTo(before));
}

function editSentence(sentence, text) {
  const target = session;
  archive.edit(target, sentence, text);
  showEdited(target);
  undo.offer(t(text ? 'undo.edited' : 'undo.removed'), () => {
    archive.revert(target, sentence);
    showEdited(target);
  });
}

function showEdited(target) {
  if (target !== session) return;
  transcript.load(target.sentences, transcript.isPlayable);
  truth.update(target.text, state !== 'idle');
  waveform.refresh();
  showFigures();
  enableExports();
}

// ---------------------------------------------------------------------------------------- views

function showTime() {
  meters.showTime(session.recording, waveform.headMs);
}

/** @param {number} [open] characters of the open sentence */
function showFigures(open) {
  meters.showFigures(session, open);
}

async function refreshTrend() {
  showTrend($('trend'), await archive.history.list(), session.id);
}

function refreshDrawings() {
  waveform.refresh();
  load.refresh();
}

function announce(text) {
  $('announce').textContent = text;
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
    if (!(error instanceof FileError)) throw error;
    alert.show(t(`error.${error.code}`, file.name));
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
    await alert.showError({ code: 'server-away', message: error.message }, settings.values);
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

function exportAs(kind, button) {
  if (kind === 'copy') copy(toTxt(session.sentences), button);
  else if (kind === 'wav') download(session.recording.toWav(), 'wav');
  else downloadTranscript(kind, session.sentences);
}

async function copy(text, button) {
  if (!(await copyText(text))) return alert.show(t('error.copy'));
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
  showServer($, health, addressOf(settings.values.url));
  samples.disable(state !== 'idle');
  load.show();
  showMainAction();
}

function showCode() {
  code.show((addressOf(settings.values.url) ?? addressOf('')).ws.href);
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
  for (const id of ['open-settings', 'alert-settings']) {
    $(id).addEventListener('click', () => settingsView.open());
  }
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
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', refreshDrawings);
}

setUpControls();
acceptDrops($('drop'), () => state === 'idle', recogniseFile);
settingsView.showLanguage();
showCode();
setState('idle');
if (lastShown() && !captions.isFixed) openEntry(lastShown());
checkHealth().then(() => captions.isFixed && !isSampleFirst() && startMainAction());
phone.find();
setInterval(checkHealth, 30_000);
