// No text is lost on the demo page: history, editing, undo, exports. One page for all tests.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { ScriptedServer, pcmOf } from '../scripted-server.js';
import { CHROMIUM, finals, sharedBrowser, state, visit, wav } from '../support.js';

const WEATHER = '今天天气不错';
const MEETING = '明天上午开会';

function file(name, text) {
  return { name, mimeType: 'audio/wav', buffer: wav(pcmOf(`${text}${' '.repeat(9)}`)) };
}

describe('the history', { skip: !existsSync(CHROMIUM), timeout: 120_000 }, () => {
  let server;
  let page;

  before(async () => {
    server = new ScriptedServer();
    await server.start();
    page = await visit(await sharedBrowser(), server.url.replace('ws', 'http'), {
      expected: /WebSocket|ERR_|404/,
    });
  });
  after(async () => {
    await page.context().close();
    await server.stop();
  });

  const shows = (text) =>
    page.waitForFunction(
      (wanted) => document.querySelector('#sentences').textContent.includes(wanted),
      text,
    );
  const undo = () => page.click('#toast .undo');
  const titles = () => page.$$eval('.entry strong', (all) => all.map((each) => each.textContent));

  async function recognise(name, text) {
    await page.setInputFiles('#file', file(name, text));
    await shows(`${text}。`);
    await state(page, 'idle');
  }

  async function openHistory() {
    await page.click('#open-history');
    await page.waitForSelector('#history[open]');
  }

  const closeHistory = () => page.click('#history header .tool');

  test('a new recording keeps the text before, and undo shows it again', async () => {
    await recognise('weather.wav', WEATHER);
    await recognise('meeting.wav', MEETING);
    await undo();
    await shows(WEATHER);
    await page.click('#play'); // with its audio
    await page.waitForSelector('#play.on');
    await page.keyboard.press('Escape');
    await openHistory();
    assert.deepEqual(await titles(), ['meeting.wav', 'weather.wav']);
    await closeHistory();
  });

  test('a start that fails keeps the text on the page', async () => {
    await server.stop();
    await page.setInputFiles('#file', file('lost.wav', MEETING));
    await page.waitForSelector('#alert:not([hidden])');
    assert.deepEqual(await finals(page), [`${WEATHER}。`]);
    assert.ok(await page.isEnabled('#play'));
    await server.start();
  });

  test('a reload shows the text again', async () => {
    await page.reload();
    await shows(WEATHER);
    assert.ok(await page.isDisabled('#play')); // its audio is not kept
    assert.ok(await page.isEnabled('[data-export="srt"]'));
  });

  test('a sentence can be edited, and the edit undone and kept', async () => {
    const edit = async (text) => {
      await page.click('.edit');
      await page.fill('.sentences textarea', text);
      await page.keyboard.press('Enter');
    };
    await edit('今天天气很好。');
    await shows('今天天气很好。');
    await undo();
    await shows(WEATHER);
    await edit('后天天气不错。');
    await shows('后天天气不错。');
    await page.reload();
    await shows('后天天气不错。');
  });

  test('an entry can be renamed', async () => {
    await openHistory();
    await page.click('.entries li:nth-child(2) .rename');
    await page.fill('.entries input', '天气');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() =>
      document.querySelector('.entries').textContent.includes('天气'),
    );
    assert.deepEqual(await titles(), ['meeting.wav', '天气']);
  });

  test('a deleted entry can be restored with its text', async () => {
    await page.click('.entries li:nth-child(2) .delete');
    await page.waitForFunction(() => document.querySelectorAll('.entries li').length === 1);
    await undo();
    await page.waitForFunction(() => document.querySelectorAll('.entries li').length === 2);
    await page.click('.entries li:nth-child(2) .entry');
    await shows('后天天气不错。');
    assert.equal(await page.isVisible('#history'), false);
  });

  test('all entries can be exported', async () => {
    await openHistory();
    const exported = async (kind) => {
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.click(`[data-all="${kind}"]`),
      ]);
      return readFile(await download.path());
    };
    const entries = JSON.parse(await exported('json'));
    assert.deepEqual(
      entries.map(({ title, sentences }) => [title, sentences.map(({ text }) => text)]),
      [
        ['meeting.wav', [`${MEETING}。`]],
        ['天气', ['后天天气不错。']],
      ],
    );
    assert.match(String(await exported('txt')), /meeting\.wav\n\n明天上午开会。\n[^]*天气\n\n后天/);
    const archive = await exported('srt');
    assert.equal(archive.readUInt16LE(archive.length - 12), 2); // entries in the central directory
    assert.ok(archive.includes('00:00:00,000 --> '));
    await closeHistory();
    assert.deepEqual(page.faults, []);
  });
});
