// The library and the page against the real server, given as ASR_TEST_SERVER=http://host:port.
//
// The server runs the demo model, whose training data do not contain the recordings.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { AsrClient } from '../AsrClient.js';
import { CHROMIUM, finals, keepScreenshot, launch, state, visit } from './support.js';

const SERVER = process.env.ASR_TEST_SERVER;
const DATA = new URL('../../../tests/data/', import.meta.url);
const SPOKEN_FORM = {
  punctuation_prediction_enabled: false,
  inverse_text_normalization_enabled: false,
};

async function samples() {
  return JSON.parse(await readFile(new URL('manifest.json', DATA), 'utf8'));
}

async function sample(name) {
  return (await samples()).find(({ file }) => file === name);
}

/** Return the edit distance in characters. */
function editDistance(a, b) {
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
    const client = new AsrClient({ url: SERVER, WebSocket, parameters: SPOKEN_FORM });
    let errors = 0;
    let characters = 0;
    for (const { file, text } of (await samples()).slice(0, 3)) {
      const texts = [];
      for await (const sentence of client.transcribe(await readFile(new URL(file, DATA)))) {
        texts.push(sentence.text);
      }
      errors += editDistance(texts.join(''), text);
      characters += text.length;
    }
    assert.ok(errors / characters < 0.1, `${errors} of ${characters} wrong`); // a small model
    client.close();
  });

  test('in real time, interims precede the final, and words have their times', async () => {
    const client = new AsrClient({ url: SERVER, WebSocket, parameters: SPOKEN_FORM });
    const { file, text, sentences } = await sample('phone.wav');
    const interims = [];
    client.on('interim', (interim) => interims.push(interim.text));
    await client.start(await readFile(new URL(file, DATA)), { pace: 2 });
    const [sentence] = await client.done();
    client.close();
    assert.equal(sentence.text, text);
    assert.ok(interims.filter(Boolean).length > 2);
    assert.ok(Math.abs(sentence.beginMs - sentences[0].begin_ms) < 300);
    assert.ok(Math.abs(sentence.endMs - sentences[0].end_ms) < 500);
    const times = sentence.words.flatMap(({ beginMs, endMs }) => [beginMs, endMs]);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
  });

  describe('in Chromium', { skip: !existsSync(CHROMIUM) }, () => {
    let browser;
    before(async () => {
      browser = await launch({ microphone: fileURLToPath(new URL('phone.wav', DATA)) });
    });
    after(() => browser?.close());

    test('speech into the microphone appears on the page', async () => {
      const { text } = await sample('phone.wav');
      const page = await visit(browser, SERVER, {
        settings: { punctuation: false, itn: false },
        reducedMotion: 'no-preference',
      });
      await page.click('#mic');
      await page.waitForSelector('.sentences .open');
      await keepScreenshot(page, 'microphone-interim');
      await page.waitForSelector('.sentences .final', { timeout: 20_000 });
      await page.click('#record');
      await state(page, 'idle');
      assert.equal((await finals(page)).join(''), text);
      assert.match(await page.textContent('#first-text'), /\d+ 毫秒/);
      await keepScreenshot(page, 'microphone-final');
      assert.deepEqual(page.faults, []);
      await page.context().close();
    });

    test('a click recognises a sample recording', async () => {
      const count = (await samples()).length;
      const page = await visit(browser, SERVER);
      await page.waitForSelector('#demo-notice:not([hidden])');
      await page.click(`#sample-list .sample >> nth=${count - 1}`);
      await state(page, 'live');
      await state(page, 'idle', 30_000);
      assert.ok((await finals(page)).length >= 2);
      await keepScreenshot(page, 'sample', { fullPage: true });
      assert.deepEqual(page.faults, []);
      await page.context().close();
    });
  });
});
