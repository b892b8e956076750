// Records the demo page of a running server as an animated picture, for the READMEs:
//
//   node tools/record_page.mjs http://127.0.0.1:8000 docs/images/demo.webp en-US
//
// A sample is recognised against its right text; with a fourth argument, so many streams follow at
// once, which needs a machine without other load. Chromium takes the frames, ffmpeg joins them.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from '../clients/web/node_modules/playwright-core/index.mjs';

const [, , server, output, locale = 'en-US', streams] = process.argv;
const SIZE = { width: 1000, height: 640 };
const SAMPLE = 1; // the phone number: digits replace what was said
const FRAMES_PER_SECOND = 8;
const HOLD_S = 2; // of the last frame

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium-headless-shell',
  args: ['--no-sandbox', '--disable-gpu'],
});
const context = await browser.newContext({ viewport: SIZE, locale });
const page = await context.newPage();
await page.addInitScript(() =>
  localStorage.setItem('asr-demo', JSON.stringify({ aloud: false, theme: 'light' })),
);
await page.goto(server);
await page.waitForSelector('#sample-list .sample');

const frames = [];
const session = await context.newCDPSession(page);
session.on('Page.screencastFrame', ({ data, metadata, sessionId }) => {
  frames.push({ data, at: metadata.timestamp });
  session.send('Page.screencastFrameAck', { sessionId });
});
// Every frame as a PNG would take the processor from the server.
await session.send('Page.startScreencast', { format: 'jpeg', quality: 95, everyNthFrame: 6 });

const idle = () => page.waitForFunction(() => document.body.dataset.state === 'idle');
await page.waitForTimeout(1200);
await page.click(`#sample-list .sample >> nth=${SAMPLE}`);
await page.waitForTimeout(500);
await idle();
await page.waitForTimeout(1500);
if (streams) {
  await page.check(`[name=streams][value="${streams}"]`, { force: true });
  await page.evaluate(() => document.querySelector('#load').scrollIntoView({ block: 'end' }));
  await page.click('#load header .pill');
  await page.evaluate(() => scrollTo({ top: document.querySelector('#load').offsetTop - 12 }));
  await page.waitForTimeout(11_000);
}
await session.send('Page.stopScreencast');
if (streams) console.log(await page.getAttribute('#load canvas', 'aria-label'));
await browser.close();

const folder = mkdtempSync(join(tmpdir(), 'asr-page-'));
const list = ['ffconcat version 1.0'];
for (const [i, { data, at }] of frames.entries()) {
  writeFileSync(join(folder, `${i}.jpg`), Buffer.from(data, 'base64'));
  const duration = (frames[i + 1]?.at ?? at + HOLD_S) - at;
  list.push(`file '${i}.jpg'`, `duration ${duration.toFixed(3)}`);
}
writeFileSync(join(folder, 'list.txt'), list.join('\n'));
execFileSync(
  'ffmpeg',
  [
    ...['-y', '-loglevel', 'error', '-f', 'concat', '-i', join(folder, 'list.txt')],
    ...['-vf', `fps=${FRAMES_PER_SECOND}`, '-loop', '0'],
    ...(output.endsWith('.webp') ? ['-c:v', 'libwebp_anim', '-quality', '70'] : []),
    output,
  ],
  { stdio: 'inherit' },
);
rmSync(folder, { recursive: true });
