// The demo page in Chromium, against the scripted server.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { BLOCK, ScriptedServer, pcmOf } from './scripted-server.js';
import {
  CHROMIUM,
  finals,
  keepScreenshot,
  launch,
  state,
  visit,
  wasShown,
  wav,
  wavFile,
} from './support.js';

const axe = createRequire(import.meta.url).resolve('axe-core');
const BUILDER = fileURLToPath(new URL('../make-standalone.js', import.meta.url));
const SCREENS = {
  phone: { width: 390, height: 844 },
  small: { width: 320, height: 568 },
  tablet: { width: 820, height: 1100 },
  desktop: { width: 1280, height: 800 },
};
const LINES = [
  '今天天气不错我们去公园散步吧',
  '请把客厅的空调调到二十六度',
  '明天上午九点半在三号会议室开会',
];
const PCM = pcmOf(`  ${LINES.join(' '.repeat(9))}${' '.repeat(9)}`);
const FILE = { name: 'lines.wav', mimeType: 'audio/wav', buffer: wav(PCM) };
const TEXTS = LINES.map((text) => `${text.replaceAll('一', '')}。`); // 一 encodes silence
const BRIEF = ['今天天气', '明天开会'];
const BRIEF_FILE = {
  name: 'brief.wav',
  mimeType: 'audio/wav',
  buffer: wav(pcmOf(`${BRIEF.join(' '.repeat(9))} `)),
};
const BRIEF_TEXTS = BRIEF.map((text) => `${text}。`);

describe('the demo page', { skip: !existsSync(CHROMIUM), timeout: 280_000 }, () => {
  let server;
  let browser;
  let url;

  before(async () => {
    // A tone that rises and falls, unlike the beeps of the browser's fake microphone.
    const tone = new Int16Array(32_000).map(
      (_, i) => 12_000 * Math.sin(i * 0.3) * Math.sin(i / 9000),
    );
    browser = await launch({ microphone: await wavFile('tone', tone) });
  });
  after(() => browser?.close());

  beforeEach(async () => {
    server = new ScriptedServer();
    await server.start();
    url = server.url.replace('ws', 'http');
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    await server.stop();
  });

  async function recognise(page, file = FILE) {
    await page.setInputFiles('#file', file);
    await page.waitForSelector('.sentences .final');
    await state(page, 'idle');
  }

  test('a file becomes text, and the text can be exported', async () => {
    const page = await visit(browser, url);
    await page.setInputFiles('#file', FILE);
    await page.waitForFunction(() => document.querySelectorAll('.final').length === 3);
    assert.deepEqual(await finals(page), TEXTS);
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.click('[data-export="srt"]'),
    ]);
    const srt = await readFile(await download.path(), 'utf8');
    assert.match(srt, /^1\n00:00:00,200 --> 00:00:0\d,\d{3}\n今天天气/);
    await state(page, 'idle');
    const [audio] = await Promise.all([
      page.waitForEvent('download'),
      page.click('[data-export="wav"]'),
    ]);
    const exported = await readFile(await audio.path());
    assert.deepEqual(exported.subarray(44), FILE.buffer.subarray(44));
    assert.deepEqual(page.faults, []);
  });

  test('a word that is clicked is played and marked', async () => {
    const page = await visit(browser, url);
    await recognise(page);
    await page.click('.word >> nth=3');
    await wasShown(page, 'lit', [...TEXTS[0]][3]);
    await page.waitForFunction(() => !document.querySelector('.word.lit'));
    await page.click('#play');
    await page.waitForSelector('#play.on');
    await page.click('#wave', { position: { x: 300, y: 20 } });
    await page.waitForFunction(() => Number(document.querySelector('#wave').ariaValueNow) > 1);
    assert.deepEqual(page.faults, []);
  });

  test('the page can be used with the keyboard alone', async () => {
    const page = await visit(browser, url);
    await recognise(page);
    await page.focus('.word');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), [...TEXTS[0]][2]);
    await page.keyboard.press('Enter');
    await wasShown(page, 'lit', [...TEXTS[0]][2]);
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press('Space');
    await state(page, 'live');
    assert.equal(await page.getAttribute('#record', 'aria-pressed'), 'true');
    await page.keyboard.press('Space');
    await state(page, 'idle');
    assert.deepEqual(page.faults, []);
  });

  test('the audio of the microphone reaches the server', async () => {
    const page = await visit(browser, url);
    await page.click('#record');
    await state(page, 'live');
    await recordedFor(page, 1.1);
    await page.click('#record');
    await state(page, 'idle');
    const { audio, payload } = server.tasks[0];
    assert.equal(payload.parameters.sample_rate, 16000);
    assert.ok(audio.length > 25_000, `${audio.length} bytes`);
    const samples = new Int16Array(
      audio.buffer.slice(audio.byteOffset, audio.byteOffset + audio.length),
    );
    const peak = samples.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    assert.ok(peak > 1000, `peak ${peak}`);
    // 0.3 radians a sample at 16 kHz is 764 Hz, whatever rate the sound card has.
    assert.ok(Math.abs(frequencyOf(samples) - 764) < 25, `${frequencyOf(samples)} Hz`);
    assert.deepEqual(page.faults, []);
  });

  test('a connection lost in mid-sentence loses no text', async () => {
    const page = await visit(browser, url, {
      settings: { realtime: true },
      expected: /WebSocket|ERR_/,
    });
    server.dropAfter = [15 * BLOCK]; // in the second sentence
    await page.setInputFiles('#file', BRIEF_FILE);
    await wasShown(page, 'alerts', '重连');
    await keepScreenshot(page, 'reconnecting');
    await state(page, 'idle');
    assert.deepEqual(await finals(page), BRIEF_TEXTS);
    assert.equal(server.connections, 2);
    assert.ok(await page.isHidden('#alert'));
    assert.deepEqual(page.faults, []);
  });

  test('a network outage loses no text', async () => {
    const page = await visit(browser, url, {
      settings: { realtime: true },
      expected: /WebSocket|ERR_/,
    });
    await page.setInputFiles('#file', BRIEF_FILE);
    await page.waitForSelector('.sentences .final');
    await page.context().setOffline(true);
    await wasShown(page, 'alerts', '重连');
    await page.context().setOffline(false);
    await state(page, 'idle', 30_000);
    assert.deepEqual(await finals(page), BRIEF_TEXTS);
    assert.ok(server.connections >= 2);
    assert.deepEqual(page.faults, []);
  });

  test('an unreachable server is reported', async () => {
    const page = await visit(browser, url, { expected: /WebSocket|ERR_/ });
    await server.stop();
    await page.setInputFiles('#file', FILE);
    await page.waitForSelector('#alert:not([hidden])');
    assert.match(await page.textContent('#alert-text'), /无法连接服务器/);
    await state(page, 'idle');
    await server.start();
  });

  test('a server at capacity is reported', async () => {
    const page = await visit(browser, url, { locale: 'en-US' });
    server.failRun = [['Throttling.RateQuota', 'Requests rate limit exceeded']];
    await page.setInputFiles('#file', FILE);
    await page.waitForSelector('#alert:not([hidden])');
    assert.match(await page.textContent('#alert-text'), /at capacity/);
  });

  test('a denied microphone is reported', async () => {
    const strict = await launch({ allow: false });
    try {
      const page = await visit(strict, url);
      await page.click('#record');
      await page.waitForSelector('#alert:not([hidden])');
      assert.match(await page.textContent('#alert-text'), /没有麦克风权限|找不到可用的麦克风/);
      await state(page, 'idle');
    } finally {
      await strict.close();
    }
  });

  test('settings are sent with the task and stored, the API key is not stored', async () => {
    const page = await visit(browser, url);
    await page.click('#open-settings');
    await page.fill('[name=hotwords]', '达摩院 5\n霍聪慧');
    await page.uncheck('[name=itn]');
    await page.locator('[name=silence]').fill('400');
    await page.fill('[name=key]', 'secret');
    await page.click('#settings footer .pill');
    await recognise(page);
    assert.deepEqual(server.tasks[0].payload.parameters, {
      heartbeat: true,
      max_sentence_silence: 400,
      inverse_text_normalization_enabled: false,
      vocabulary: { 达摩院: 5, 霍聪慧: 4 },
      format: 'pcm',
      sample_rate: 16000,
    });
    assert.match(server.requests[0].url, /\?api_key=secret$/);
    const stored = await page.evaluate(() => localStorage.getItem('asr-demo'));
    assert.match(stored, /霍聪慧/);
    assert.doesNotMatch(stored, /secret/);
  });

  test('the page switches its language', async () => {
    const page = await visit(browser, url, { locale: 'en-US' });
    assert.equal(await page.title(), 'Dictation · asr_server');
    await page.click('#language');
    assert.equal(await page.title(), '听写 · asr_server');
    assert.equal(await page.getAttribute('html', 'lang'), 'zh-CN');
  });

  test('the demo notice lists what the model does not recognise', async () => {
    server.health = { status: 'ok', model: 'demo', device: 'cpu', notice: 'DEMO MODEL' };
    const page = await visit(browser, url);
    await page.waitForSelector('#demo-notice:not([hidden])');
    assert.match(await page.textContent('#demo-notice'), /无法识别真人/);
    await page.click('#demo-notice summary');
    assert.ok(await page.isVisible('#demo-cannot'));
    await keepScreenshot(page, 'demo-notice');
  });

  test('the name of the model links to the status page if the server is reachable', async () => {
    const page = await visit(browser, url);
    await page.waitForSelector('#model[data-state="ok"]');
    const link = () => page.getAttribute('#model-name', 'href');
    assert.equal(new URL(await link()).pathname, '/status');
    server.health = null;
    await page.reload();
    await page.waitForSelector('#model[data-state="away"]');
    assert.equal(await link(), null);
  });

  test('the wire log shows every message', async () => {
    const page = await visit(browser, url);
    await recognise(page);
    await page.click('#wire summary');
    await page.waitForSelector('#wire-list li'); // the log is rendered after it opens
    const lines = await page.$$eval('#wire-list li', (all) => all.map((li) => li.textContent));
    assert.match(lines[0], /run-task/);
    assert.match(lines.at(-1), /task-finished/);
    await page.uncheck('#wire-interims');
    const fewer = await page.$$eval('#wire-list li', (all) => all.length);
    assert.equal(fewer, 7); // run, started, three finals, finish, finished
  });

  test('opened as a file, the page refers to the page in one file', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(new URL('../index.html', import.meta.url).href);
    await page.waitForSelector('#alert:not([hidden])');
    const link = await page.getAttribute('#alert a', 'href');
    assert.equal(link, './standalone.html');
  });

  test('the page in one file works without a server for it, the microphone too', async () => {
    const file = join(tmpdir(), `asr-${process.pid}-standalone.html`);
    execFileSync(process.execPath, [BUILDER, file]);
    const page = await visit(browser, pathToFileURL(file).href, { settings: { url: server.url } });
    await page.waitForSelector('#model[data-state="ok"]');
    await recognise(page);
    assert.deepEqual(await finals(page), TEXTS);
    await page.click('#record');
    await state(page, 'live');
    await recordedFor(page, 0.4);
    await page.click('#record');
    await state(page, 'idle');
    assert.ok(server.tasks[1].audio.length > 10_000);
    assert.deepEqual(page.faults, []);
  });

  for (const [colorScheme, first] of [
    ['light', 'small'],
    ['dark', 'desktop'],
  ]) {
    test(`the page fits every screen in ${colorScheme} mode, and axe finds no violation`, async () => {
      server.health = { status: 'ok', model: 'demo', device: 'cpu', notice: 'DEMO MODEL' };
      const page = await visit(browser, url, { colorScheme, viewport: SCREENS[first] });
      await page.waitForSelector('.sample:visible');
      await fits(page, `${colorScheme}-empty`);
      await checkAccessibility(page, 'empty');
      await page.setViewportSize(SCREENS[first]);
      await recognise(page);
      await fits(page, `${colorScheme}-text`, { fullPage: true });
      await checkAccessibility(page, 'text');
      await page.click('#open-settings');
      await checkAccessibility(page, 'settings');
      assert.deepEqual(page.faults, []);
    });
  }
});

/** Check that no screen has to be scrolled sideways. */
async function fits(page, name, options = {}) {
  for (const [screen, viewport] of Object.entries(SCREENS)) {
    await page.setViewportSize(viewport);
    const { scrollWidth, clientWidth } = await page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      return { scrollWidth, clientWidth };
    });
    assert.ok(scrollWidth <= clientWidth, `${screen}: ${scrollWidth} > ${clientWidth}`);
    await keepScreenshot(page, `${screen}-${name}`, options);
  }
}

/** Check the page with axe; colours count at the end of an animation. */
async function checkAccessibility(page, step) {
  await page.emulateMedia({ reducedMotion: 'reduce' });
  if (!(await page.evaluate(() => 'axe' in window))) await page.addScriptTag({ path: axe });
  const { violations } = await page.evaluate(() => window.axe.run());
  const found = violations.map(
    ({ id, nodes }) => `${id}: ${nodes[0].html} ${nodes[0].failureSummary}`,
  );
  assert.deepEqual(found, [], step);
  await page.emulateMedia({ reducedMotion: 'no-preference' });
}

/** Wait until the page shows that more than `seconds` are recorded. */
function recordedFor(page, seconds) {
  const isLonger = (least) =>
    parseFloat(document.querySelector('#time').textContent.slice(3)) > least;
  return page.waitForFunction(isLonger, seconds);
}

/** Return the frequency in Hz: the median of tenths of a second, some of which a busy machine loses. */
function frequencyOf(samples) {
  const found = [];
  for (let begin = 4800; begin + 1600 <= samples.length - 800; begin += 800) {
    let crossings = 0;
    for (let i = begin + 1; i < begin + 1600; i += 1) {
      crossings += samples[i - 1] < 0 !== samples[i] < 0;
    }
    found.push((crossings / 2 / 1600) * 16_000);
  }
  return found.sort((a, b) => a - b)[found.length >> 1];
}
