// The page of the Python demo, given as SUBTITLES_URL, against the scripted server.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import { pcmOf } from './scripted-server.js';
import { CHROMIUM, checkAccessibility, keepScreenshot, launch, wav } from './support.js';

const SERVICE = process.env.SUBTITLES_URL;
const LINES = ['今天天气不错', '我们去公园'];
const FILES = [
  { name: '会议.wav', mimeType: 'audio/wav', buffer: wav(pcmOf(LINES.join(' '.repeat(9)))) },
  { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('not audio') },
];

describe('the subtitle page', { skip: !SERVICE || !existsSync(CHROMIUM), timeout: 180_000 }, () => {
  test('a recording becomes subtitles, any other file an error message', async () => {
    const browser = await launch();
    try {
      const page = await browser.newPage({ locale: 'zh-CN' });
      const faults = [];
      page.on('pageerror', (error) => faults.push(error.message));
      await page.goto(SERVICE);
      await page.setInputFiles('#file', FILES);
      await page.waitForSelector('[data-state="done"] footer a');
      await page.waitForSelector('[data-state="failed"]');
      const shown = await page.$$eval('.lines p', (all) => all.map((p) => p.textContent));
      assert.deepEqual(
        shown,
        LINES.map((text) => `${text}。`),
      );
      assert.match(await page.textContent('[data-state="failed"] .state'), /^处理失败：[^a-z]+$/i);
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.click('footer a >> text=SRT'),
      ]);
      assert.equal(download.suggestedFilename(), '会议.srt');
      await checkAccessibility(page, 'subtitles');
      await keepScreenshot(page, 'subtitles', { fullPage: true });
      await page.reload();
      await page.waitForSelector('[data-state="done"] footer a'); // jobs survive a reload of the page
      assert.deepEqual(faults, []);
    } finally {
      await browser.close();
    }
  });
});
