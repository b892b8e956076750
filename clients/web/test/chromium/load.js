// The panel of many streams, the figures of a session, and what a final corrects.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { ScriptedServer, pcmOf } from '../scripted-server.js';
import {
  CHROMIUM,
  checkAccessibility,
  keepScreenshot,
  sharedBrowser,
  state,
  visit,
  wav,
} from '../support.js';

const FILE = {
  name: 'weather.wav',
  mimeType: 'audio/wav',
  buffer: wav(pcmOf(`今天天气不错${' '.repeat(9)}`)),
};

const IMAGE =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'%3E%3Cpath d='M1 1h7v7'/%3E%3C/svg%3E";

describe('the demo page', { skip: !existsSync(CHROMIUM), timeout: 120_000 }, () => {
  let server;
  let page;

  before(async () => {
    server = new ScriptedServer();
    server.maxTasks = 8;
    await server.start();
    page = await visit(await sharedBrowser(), server.url.replace('ws', 'http'), {
      settings: { realtime: true },
    });
    await page.waitForSelector('#load:not([hidden])');
  });
  after(async () => {
    await page.context().close();
    await server.stop();
  });

  const figure = (name) => page.textContent(`[data-figure="${name}"]`);
  const isIdle = () => page.waitForFunction(() => !document.querySelector('#load input').disabled);

  test('streams many samples at once, draws latencies, and shows the refused ones as such', async () => {
    await page.check('[name=streams][value="10"]', { force: true });
    await page.click('#load .pill');
    await page.waitForFunction(() => document.querySelectorAll('.lanes .refused').length === 2);
    await page.waitForFunction(
      () => document.querySelector('[data-figure="first"]').textContent !== '–',
    );
    const drawn = await page.$eval('#load canvas', (canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return data.some((value) => value > 0);
    });
    assert.ok(drawn);
    await checkAccessibility(page, 'load');
    await keepScreenshot(page, 'load', { fullPage: true });
    await page.click('#load .pill'); // stops
    await isIdle();
    assert.equal(await figure('refused'), '2');
    assert.match(await figure('first'), /^\d+ \/ \d+$/);
    assert.match(await page.textContent('#load .note'), /2 路被拒绝.*800 毫秒断句静音.*浏览器自身/);
    assert.ok(server.tasks.length >= 8, `${server.tasks.length} tasks`);
    assert.ok(await page.isHidden('#alert'));
  });

  test('says why no stream could run', async () => {
    page.expected = /WebSocket|ERR_|404/;
    server.refuseWith = 503;
    await page.click('#load .pill');
    await page.waitForSelector('#alert:not([hidden])');
    assert.match(await page.textContent('#alert-text'), /在线，但没有接受连接/);
    await isIdle();
    server.refuseWith = 0;
    page.expected = /$^/;
  });

  test('marks what the final corrects, and counts it as revised', async () => {
    server.mistakes = { 气: '汽', 不: '布' };
    await page.setInputFiles('#file', FILE);
    await page.waitForSelector('.word.corrected');
    await state(page, 'idle');
    const marked = await page.$$eval('.corrected', (all) =>
      all.map(({ textContent, title }) => [textContent, title]),
    );
    assert.deepEqual(marked, [
      ['气', '中间结果为“汽” · 置信度 50 %'],
      ['不', '中间结果为“布” · 置信度 70 %'],
    ]);
    assert.equal(await page.textContent('#revised'), '25.0 %'); // 2 of the 8 characters shown
    assert.match(await page.getAttribute('.word >> nth=0', 'title'), /^置信度 95 %$/);
    assert.ok(await page.isVisible('.word.doubt:has-text("气")'));
    assert.ok(await page.isVisible('.word.fair:has-text("不")'));
    server.mistakes = {};
  });

  test('shows the latencies of past sessions, and again after a reload', async () => {
    assert.ok(await page.isHidden('#trend'));
    await page.setInputFiles('#file', FILE);
    await page.waitForSelector('#trend circle.final >> nth=1');
    assert.match(await page.getAttribute('#trend svg', 'aria-label'), /^最近 2 次/);
    const shown = await page.textContent('#final-text');
    assert.match(shown, /^\+\d+ 毫秒$/);
    await state(page, 'idle');
    await page.reload();
    await page.waitForSelector('#trend circle.final >> nth=1');
    assert.equal(await page.textContent('#final-text'), shown);
  });

  test('over https shows the QR code of a server that has one, for the key of its address', async () => {
    const context = page.context();
    const origin = 'https://asr.test';
    await context.route(`${origin}/**`, async (route) => {
      const { pathname } = new URL(route.request().url());
      if (pathname !== '/page/phone') {
        const url = `${server.url.replace('ws', 'http')}${pathname}`;
        return route.fulfill({ response: await route.fetch({ url }) });
      }
      const isKnown = route.request().headers().authorization === 'Bearer a-key';
      const json = { url: 'https://192.0.2.7:8000/#key=a-key', qr: IMAGE };
      return route.fulfill(isKnown ? { json } : { status: 401 });
    });
    await page.goto(`${origin}/#key=a-key`);
    await page.click('#open-phone');
    await page.waitForFunction(() => document.querySelector('#phone img').naturalWidth > 0);
    assert.equal(await page.textContent('#phone .address'), 'https://192.0.2.7:8000');
    await checkAccessibility(page, 'phone');
    await keepScreenshot(page, 'phone');
    assert.deepEqual(page.faults, []);
  });
});
