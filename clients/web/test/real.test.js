// The library and the page against the real server, given as ASR_TEST_SERVER=http://host:port.
//
// The server runs the demo model; the recordings were not among those it was trained on.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { AsrClient } from '../AsrClient.js';
import { CHROMIUM, finals, keepScreenshot, launch, state, visit } from './support.js';

const SERVER = process.env.ASR_TEST_SERVER;
const DATA = new URL('../../../tests/data/', import.meta.url);
const SPOKEN = {
  punctuation_prediction_enabled: false,
  inverse_text_normalization_enabled: false,
};

async function samples() {
  return JSON.parse(await readFile(new URL('manifest.json', DATA), 'utf8'));
}

async function sample(name) {
  return (await samples()).find(({ file }) => file === name);
}

/** Characters to insert, delete or replace. */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}

describe('with the real server', { skip: !SERVER, timeout: 280_000 }, () => {
  test('a file becomes its transcript, in Node', async () => {
    const client = new AsrClient({ url: SERVER, WebSocket, parameters: SPOKEN });
    let errors = 0;
    let characters = 0;
    for (const { file, text } of await samples()) {
      const heard = [];
      for await (const sentence of client.transcribe(await readFile(new URL(file, DATA)))) {
        heard.push(sentence.text);
      }
      errors += distance(heard.join(''), text);
      characters += text.length;
    }
    assert.ok(errors / characters < 0.1, `${errors} of ${characters} wrong`); // a small model
    client.close();
  });

  test('paced as one speaks, interims come first and words keep their times', async () => {
    const client = new AsrClient({ url: SERVER, WebSocket, parameters: SPOKEN });
    const { file, text, sentences } = await sample('phone.wav');
    const interims = [];
    client.on('interim', (sentence) => interims.push(sentence.text));
    await client.start(await readFile(new URL(file, DATA)), { pace: 2 });
    const [heard] = await client.done();
    client.close();
    assert.equal(heard.text, text);
    assert.ok(interims.filter(Boolean).length > 2);
    assert.ok(Math.abs(heard.beginMs - sentences[0].begin_ms) < 300);
    assert.ok(Math.abs(heard.endMs - sentences[0].end_ms) < 500);
    const times = heard.words.flatMap(({ beginMs, endMs }) => [beginMs, endMs]);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
  });

  describe('in Chromium', { skip: !existsSync(CHROMIUM) }, () => {
    test('spoken into the microphone, it stands on the page', async () => {
      const { file, text } = await sample('phone.wav');
      const browser = await launch({ microphone: fileURLToPath(new URL(file, DATA)) });
      try {
        const page = await visit(browser, SERVER, { settings: { punctuation: false, itn: false } });
        await page.click('#record');
        await page.waitForSelector('.sentences .open');
        await keepScreenshot(page, 'microphone-interim');
        await page.waitForSelector('.sentences .final', { timeout: 20_000 });
        await page.click('#record');
        await state(page, 'idle');
        assert.equal((await finals(page)).join(''), text);
        assert.match(await page.textContent('#first-text'), /\d+ 毫秒/);
        await keepScreenshot(page, 'microphone-final');
        assert.deepEqual(page.faults, []);
      } finally {
        await browser.close();
      }
    });

    test('a sample recording is one click away', async () => {
      const samplesThere = await samples();
      const browser = await launch();
      try {
        const page = await visit(browser, SERVER);
        await page.waitForSelector('#demo-notice:not([hidden])');
        await page.click(`#sample-list .sample >> nth=${samplesThere.length - 1}`);
        await state(page, 'live');
        await state(page, 'idle', 30_000);
        assert.ok((await finals(page)).length >= 2);
        await keepScreenshot(page, 'sample', { fullPage: true });
        assert.deepEqual(page.faults, []);
      } finally {
        await browser.close();
      }
    });
  });
});
