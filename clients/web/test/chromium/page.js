// The demo page in Chromium, against the scripted server. One page for all tests but those that need
// another address.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { BLOCK, ScriptedServer, pcmOf } from '../scripted-server.js';
import {
  CHROMIUM,
  checkAccessibility,
  finals,
  keepScreenshot,
  recordedFor,
  sharedBrowser,
  state,
  visit,
  wasShown,
  wav,
} from '../support.js';

const BUILDER = fileURLToPath(new URL('../../make-standalone.js', import.meta.url));
const SCREENS = {
  phone: { width: 390, height: 844 },
  small: { width: 320, height: 568 },
  tablet: { width: 820, height: 1100 },
  laptop: { width: 1024, height: 768 },
  desktop: { width: 1440, height: 900 },
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

describe('the demo page', { skip: !existsSync(CHROMIUM), timeout: 200_000 }, () => {
  let server;
  let browser;
  let page;
  let url;

  before(async () => {
    server = new ScriptedServer();
    await server.start();
    url = server.url.replace('ws', 'http');
    browser = await sharedBrowser();
    page = await visit(browser, url);
  });
  after(async () => {
    await page.context().close();
    await server.stop();
  });

  async function recognise(page, file = FILE) {
    await page.setInputFiles('#file', file);
    await page.waitForSelector('.sentences .final');
    await state(page, 'idle');
  }

  async function set(act) {
    await page.click('#open-settings');
    await act();
    await page.click('#settings footer .pill');
  }

  test('a file becomes text, and the text can be exported', async () => {
    await page.setInputFiles('#file', FILE);
    await page.waitForFunction(() => document.querySelectorAll('.sentences .final').length === 3);
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
  });

  test('the wire log shows every message', async () => {
    await page.click('#wire summary');
    await page.waitForSelector('#wire-list li'); // the log is rendered after it opens
    const lines = await page.$$eval('#wire-list li', (all) => all.map((li) => li.textContent));
    assert.match(lines[0], /run-task/);
    assert.match(lines.at(-1), /task-finished/);
    await page.uncheck('#wire-interims');
    const fewer = await page.$$eval('#wire-list li', (all) => all.length);
    assert.equal(fewer, 7); // run, started, three finals, finish, finished
    await page.click('#wire summary');
  });

  test('a word that is clicked is played and marked', async () => {
    await page.click('.word >> nth=3');
    await wasShown(page, 'lit', [...TEXTS[0]][3]);
    await page.waitForFunction(() => !document.querySelector('.word.lit'));
    await page.click('#play');
    await page.waitForSelector('#play.on');
    await page.click('#wave', { position: { x: 300, y: 20 } });
    await page.waitForFunction(() => Number(document.querySelector('#wave').ariaValueNow) > 1);
    await page.keyboard.press('Escape');
  });

  test('the page can be used with the keyboard alone', async () => {
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
  });

  test('the audio of the microphone reaches the server', async () => {
    await page.click('#record');
    await state(page, 'live');
    await recordedFor(page, 1.1);
    await page.click('#record');
    await state(page, 'idle');
    const { audio, payload } = server.tasks.at(-1);
    assert.equal(payload.parameters.sample_rate, 16000);
    assert.ok(audio.length > 25_000, `${audio.length} bytes`);
    const samples = new Int16Array(
      audio.buffer.slice(audio.byteOffset, audio.byteOffset + audio.length),
    );
    const peak = samples.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    assert.ok(peak > 1000, `peak ${peak}`);
    // 0.3 radians a sample at 16 kHz is 764 Hz, whatever rate the sound card has.
    assert.ok(Math.abs(frequencyOf(samples) - 764) < 25, `${frequencyOf(samples)} Hz`);
  });

  test('settings are sent with the task and stored, the API key is not stored', async () => {
    await set(async () => {
      await page.fill('[name=hotwords]', '达摩院 5\n霍聪慧');
      await page.uncheck('[name=itn]');
      await page.uncheck('[name=confidence]');
      await page.locator('[name=silence]').fill('400');
      await page.fill('[name=key]', 'secret');
    });
    await recognise(page);
    assert.deepEqual(server.tasks.at(-1).payload.parameters, {
      heartbeat: true,
      max_sentence_silence: 400,
      inverse_text_normalization_enabled: false,
      vocabulary: { 达摩院: 5, 霍聪慧: 4 },
      format: 'pcm',
      sample_rate: 16000,
    });
    assert.match(server.requests.at(-1).url, /\?api_key=secret$/);
    const stored = await page.evaluate(() => localStorage.getItem('asr-demo'));
    assert.match(stored, /霍聪慧/);
    assert.doesNotMatch(stored, /secret/);
    await set(() => page.click('#reset'));
  });

  test('a connection lost in mid-sentence loses no text', async () => {
    page.expected = /WebSocket|ERR_/;
    await set(() => page.check('[name=realtime]'));
    const { connections } = server;
    server.dropAfter = [15 * BLOCK]; // in the second sentence
    await page.setInputFiles('#file', BRIEF_FILE);
    await wasShown(page, 'alerts', '重连');
    await keepScreenshot(page, 'reconnecting');
    await state(page, 'idle');
    assert.deepEqual(await finals(page), BRIEF_TEXTS);
    assert.equal(server.connections, connections + 2);
    assert.ok(await page.isHidden('#alert'));
  });

  test('a network outage loses no text', async () => {
    const { connections } = server;
    await page.setInputFiles('#file', BRIEF_FILE);
    await page.waitForFunction(() => document.querySelectorAll('.sentences .final').length === 1);
    await page.evaluate(() => (window.shown.alerts = []));
    await page.context().setOffline(true);
    await wasShown(page, 'alerts', '重连');
    await page.context().setOffline(false);
    await state(page, 'idle', 30_000);
    assert.deepEqual(await finals(page), BRIEF_TEXTS);
    assert.ok(server.connections >= connections + 2);
    page.expected = /$^/;
  });

  test('the name of the model links to the status page if the server is reachable', async () => {
    const link = () => page.getAttribute('#model-name', 'href');
    assert.equal(new URL(await link()).pathname, '/status');
    server.health = null;
    await page.reload();
    await page.waitForSelector('#model[data-state="away"]');
    assert.equal(await link(), null);
    assert.deepEqual(page.faults, []);
  });

  test('opened as a file, the page refers to the page in one file', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(new URL('../../index.html', import.meta.url).href);
    await page.waitForSelector('#alert:not([hidden])');
    const link = await page.getAttribute('#alert a', 'href');
    assert.equal(link, './standalone.html');
    await context.close();
  });

  test('the page in one file works without a server for it, the microphone too', async () => {
    const file = join(tmpdir(), `asr-${process.pid}-standalone.html`);
    execFileSync(process.execPath, [BUILDER, file]);
    server.health = { status: 'ok', model: 'scripted', device: 'cpu', notice: null };
    const page = await visit(browser, pathToFileURL(file).href, { settings: { url: server.url } });
    await page.waitForSelector('#model[data-state="ok"]');
    await recognise(page);
    assert.deepEqual(await finals(page), TEXTS);
    await page.click('#record');
    await state(page, 'live');
    await recordedFor(page, 0.4);
    await page.click('#record');
    await state(page, 'idle');
    assert.ok(server.tasks.at(-1).audio.length > 10_000);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });

  test('the page fits every screen in both themes and languages, and axe finds no violation', async () => {
    server.health = { status: 'ok', model: 'demo', device: 'cpu', notice: 'DEMO MODEL' };
    const options = { colorScheme: 'light', viewport: SCREENS.small, locale: 'en-US' };
    const page = await visit(browser, url, options);
    assert.equal(await page.title(), 'Dictation · asr_server');
    await page.waitForSelector('.sample:visible');
    await fits(page, 'light-empty');
    await checkBothThemes(page, 'empty');
    await page.setViewportSize(SCREENS.small);
    await recognise(page);
    await page.click('#language');
    assert.equal(await page.title(), '听写 · asr_server');
    assert.equal(await page.getAttribute('html', 'lang'), 'zh-CN');
    await fits(page, 'light-text', { fullPage: true });
    await checkBothThemes(page, 'text');
    await page.click('#open-settings');
    await checkBothThemes(page, 'settings');
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
});

/** Check that no screen has to be scrolled sideways, and that no code is cut. */
async function fits(page, name, options = {}) {
  for (const [screen, viewport] of Object.entries(SCREENS)) {
    await page.setViewportSize(viewport);
    const overflows = await page.evaluate(() =>
      [document.documentElement, ...document.querySelectorAll('.code pre, .row > span')]
        .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)
        .map(({ className, scrollWidth, clientWidth }) => [className, scrollWidth, clientWidth]),
    );
    assert.deepEqual(overflows, [], screen);
    await keepScreenshot(page, `${screen}-${name}`, options);
  }
}

/** Check with axe: everything in the light theme, what depends on colours in the dark one. */
async function checkBothThemes(page, step) {
  await checkAccessibility(page, step);
  await page.emulateMedia({ colorScheme: 'dark' });
  await checkAccessibility(page, `${step}, dark`, ['color-contrast']);
  await page.emulateMedia({ colorScheme: 'light' });
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
