// The main flows of the demo page in Firefox as Debian ships it.
//
// playwright-core drives it over WebDriver BiDi. Its releases from 1.65 on need a newer Firefox than
// the ESR, hence the version in package.json.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { firefox } from 'playwright-core';
import { ScriptedServer, pcmOf } from './scripted-server.js';
import { finals, keepScreenshot, recordedFor, state, visit, wasShown, wav } from './support.js';

const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
const TEXT = '今天天气不错';
const FILE = {
  name: 'weather.wav',
  mimeType: 'audio/wav',
  buffer: wav(pcmOf(`  ${TEXT}${' '.repeat(9)}`)),
};
const PREFERENCES = {
  'media.navigator.streams.fake': true, // a microphone that sends a tone
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'dom.events.testing.asyncClipboard': true, // no prompt of the browser's own
};

/** Whether an AudioContext runs on this machine. */
const HAS_SOUND = () =>
  Promise.race([
    new AudioContext().resume().then(() => true),
    new Promise((resolve) => setTimeout(() => resolve(false), 2000)),
  ]);

describe('the demo page in Firefox', { skip: !existsSync(FIREFOX), timeout: 170_000 }, () => {
  let server;
  let browser;
  let page;

  before(async () => {
    server = new ScriptedServer();
    await server.start();
    server.health = { status: 'ok', model: 'demo', device: 'cpu', notice: 'DEMO MODEL' };
    browser = await firefox.launch({
      channel: 'moz-firefox',
      executablePath: FIREFOX,
      firefoxUserPrefs: PREFERENCES,
    });
    page = await visit(browser, server.url.replace('ws', 'http'), {
      viewport: { width: 1024, height: 768 },
    });
  });
  after(async () => {
    await browser?.close();
    await server.stop();
  });

  test('a file becomes text, which is played word by word and exported', async () => {
    await page.setInputFiles('#file', FILE);
    await page.waitForSelector('.sentences .final');
    await state(page, 'idle');
    assert.deepEqual(await finals(page), [`${TEXT}。`]);
    await page.click('.word >> nth=3');
    await wasShown(page, 'lit', [...TEXT][3]);
    // WebDriver BiDi reports no download of a blob: the blob itself is read.
    const offered = page.evaluate(
      () =>
        new Promise((resolve) => {
          const create = URL.createObjectURL;
          URL.createObjectURL = (blob) => {
            blob.text().then(resolve);
            return create(blob);
          };
        }),
    );
    await page.click('[data-export="srt"]');
    assert.match(await offered, /^1\n00:00:00,200 -->/);
  });

  test('the text is copied', async () => {
    await page.click('[data-export="copy"]');
    await page.waitForFunction(
      () => document.querySelector('[data-export="copy"]').textContent === '已复制',
    );
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${TEXT}。\n`);
  });

  test('a reload shows the text again, and an edit can be undone', async () => {
    await page.reload();
    await page.waitForSelector('.sentences .final');
    assert.deepEqual(await finals(page), [`${TEXT}。`]);
    await page.click('.edit');
    await page.fill('.sentences textarea', '改过。');
    await page.keyboard.press('Enter');
    await page.click('#toast .undo');
    await page.waitForFunction((text) => document.body.textContent.includes(text), TEXT);
    await page.click('#open-history');
    await page.waitForSelector('.entries li');
    await keepScreenshot(page, 'firefox-history');
    await page.click('#history header .tool');
  });

  test('the audio of the microphone reaches the server', async (t) => {
    await page.click('#mic');
    await state(page, 'live');
    const isHeard = await recordedFor(page, 0.8, 10_000).catch(() => false);
    const runs = await page.evaluate(HAS_SOUND);
    await page.click('#record');
    await state(page, 'idle');
    if (!isHeard && !runs) return t.skip('Firefox starts no AudioContext without a sound device');
    assert.ok(isHeard);
    const { audio, payload } = server.tasks.at(-1);
    assert.equal(payload.parameters.sample_rate, 16000);
    assert.ok(audio.length > 20_000, `${audio.length} bytes`);
    const samples = new Int16Array(audio.buffer.slice(audio.byteOffset, audio.byteOffset + 20_000));
    assert.ok(samples.some((sample) => Math.abs(sample) > 300));
  });

  test('a sample is compared with its right text, and many streams run at once', async () => {
    await page.click('#record');
    await page.waitForSelector('#truth .wrong, #truth .right');
    await page.click('#record');
    await state(page, 'idle');
    await page.check('[name=streams][value="10"]', { force: true });
    await page.click('#load .pill');
    await page.waitForFunction(() => document.querySelector('.lanes .speaking, .lanes .final'));
    await page.click('#load .pill');
    await page.waitForFunction(() => !document.querySelector('[name=streams]').disabled);
  });

  test('no screen has to be scrolled sideways', async () => {
    for (const width of [1440, 1024, 390]) {
      await page.setViewportSize({ width, height: 800 });
      const [needed, available] = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return [scrollWidth, clientWidth];
      });
      assert.ok(needed <= available, `${needed} > ${available}`);
      await keepScreenshot(page, `firefox-${width}`, { fullPage: true });
    }
    assert.deepEqual(page.faults, []);
  });
});
