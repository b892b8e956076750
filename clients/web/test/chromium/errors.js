// The demo page says what is wrong, and works below a path. One page for each address.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { ScriptedServer, pcmOf } from '../scripted-server.js';
import { CHROMIUM, finals, sharedBrowser, state, visit, wav } from '../support.js';

const TEXT = '今天天气不错';
const FILE = {
  name: 'weather.wav',
  mimeType: 'audio/wav',
  buffer: wav(pcmOf(`${TEXT}${' '.repeat(9)}`)),
};

describe('the demo page', { skip: !existsSync(CHROMIUM), timeout: 120_000 }, () => {
  let server;
  let browser;
  let page;

  before(async () => {
    server = new ScriptedServer();
    server.prefix = '/asr';
    await server.start();
    browser = await sharedBrowser();
    page = await visit(browser, `${server.url.replace('ws', 'http')}/asr/`, {
      expected: /WebSocket|ERR_|404|401/,
    });
  });
  after(async () => {
    await page.context().close();
    await server.stop();
  });

  /** Do something and return the alert that it shows. */
  async function alertAfter(act) {
    if (await page.isVisible('#alert')) await page.click('#alert-close');
    await act();
    await page.waitForSelector('#alert:not([hidden])');
    return page.textContent('#alert-text');
  }

  const choose = (file) => page.setInputFiles('#file', file);

  test('works below a path', async () => {
    assert.match(page.url(), /\/asr\/$/);
    assert.equal(await page.getAttribute('#model', 'data-state'), 'ok');
    assert.match(await page.getAttribute('#model-name', 'href'), /\/asr\/status$/);
    assert.match(await page.textContent('#code-text'), /\/asr\/api-ws\/v1\/inference"/);
    await choose(FILE);
    await page.waitForSelector('.sentences .final');
    await state(page, 'idle');
    assert.deepEqual(await finals(page), [`${TEXT}。`]);
  });

  test('tells a missing key from a wrong one', async () => {
    server.apiKey = 'the right key';
    assert.match(await alertAfter(() => choose(FILE)), /需要 API Key/);
    await page.click('#alert-settings');
    await page.fill('[name=key]', 'another');
    await page.click('#settings footer .pill');
    assert.match(await alertAfter(() => choose(FILE)), /API Key 无效/);
    server.apiKey = '';
  });

  test('tells a server that refuses the connection from one that is away', async () => {
    server.refuseWith = 503;
    assert.match(await alertAfter(() => choose(FILE)), /在线，但没有接受连接/);
    server.refuseWith = 0;
    await server.stop();
    for (const act of [
      () => choose(FILE),
      () => page.click('#record'), // its worklet cannot be loaded
      () => page.click('#sample-list .sample'),
    ]) {
      assert.match(await alertAfter(act), /无法连接服务器 http:\/\/127/);
      await state(page, 'idle');
    }
    await server.start();
  });

  test('tells that the server is at capacity', async () => {
    server.failRun = [['Throttling.RateQuota', 'Requests rate limit exceeded']];
    assert.match(await alertAfter(() => choose(FILE)), /并发已满/);
  });

  test('refuses a file without audio, and an empty one', async () => {
    const readme = { name: 'README.md', mimeType: 'text/markdown', buffer: Buffer.from('# Title') };
    assert.match(await alertAfter(() => choose(readme)), /“README.md”不是可识别的音频/);
    const empty = { ...readme, buffer: Buffer.alloc(0) };
    assert.match(await alertAfter(() => choose(empty)), /空的/);
    assert.deepEqual(await finals(page), [`${TEXT}。`]); // what was there before
  });

  test('refuses an address that is none', async () => {
    await page.click('#open-settings');
    await page.fill('[name=url]', 'http://');
    await page.click('#settings footer .pill');
    assert.match(await alertAfter(() => choose(FILE)), /地址无效：http:/);
    assert.deepEqual(page.faults, []);
  });

  test('names the remedy for a denied microphone', async () => {
    server.permissions = 'microphone=()';
    await page.reload();
    await page.waitForSelector('#model[data-state]', { state: 'attached' });
    assert.match(await alertAfter(() => page.click('#record')), /没有麦克风权限/);
    await state(page, 'idle');
    server.permissions = '';
  });

  test('over http in a local network it copies, and names the remedy for the microphone', async () => {
    const { port } = new URL(server.url);
    await page.context().close();
    page = await visit(browser, `http://lan.test:${port}/asr/`);
    assert.equal(await page.evaluate(() => isSecureContext || Boolean(navigator.clipboard)), false);
    assert.match(await page.textContent('#hint'), /http:\/\/lan\.test:\d+ /);
    const remedies = await alertAfter(() => page.click('#record'));
    assert.match(remedies, /unsafely-treat-insecure-origin-as-secure/);
    await choose(FILE);
    await page.waitForSelector('.sentences .final');
    await state(page, 'idle');
    await page.click('[data-export="copy"]');
    await page.waitForFunction(
      () => document.querySelector('[data-export="copy"]').textContent === '已复制',
    );
    await page.click('#open-settings');
    await page.focus('[name=hotwords]');
    await page.keyboard.press('Control+V');
    assert.equal(await page.inputValue('[name=hotwords]'), `${TEXT}。\n`);
    await page.click('#settings footer .pill');
    await page.evaluate(() => (document.execCommand = () => false));
    assert.match(await alertAfter(() => page.click('[data-export="copy"]')), /不允许复制/);
    assert.deepEqual(page.faults, []);
  });
});
