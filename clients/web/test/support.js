// Chromium as a user has it, with a recording in place of the microphone.

import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { chromium } from 'playwright-core';

export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const AXE = createRequire(import.meta.url).resolve('axe-core');
const ARTIFACTS = new URL('../../../tests/artifacts/', import.meta.url);
const QUIET = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
  '--use-fake-ui-for-media-stream', // allows the microphone
  '--use-fake-device-for-media-stream',
];

/** @param {{microphone?: string, more?: string[]}} options `microphone` is a WAV file */
export function launch({ microphone, more = [] } = {}) {
  const args = [...QUIET, ...more];
  if (microphone) args.push(`--use-file-for-fake-audio-capture=${microphone}%noloop`);
  return chromium.launch({ executablePath: CHROMIUM, args });
}

let shared;
after(async () => (await shared)?.close());

/**
 * Return the browser of this process. Its microphone is a tone that rises and falls, unlike the
 * beeps of the browser's own. The host lan.test is this machine, but not as localhost.
 */
export function sharedBrowser() {
  shared ??= (async () => {
    const tone = new Int16Array(320_000).map(
      (_, i) => 12_000 * Math.sin(i * 0.3) * Math.sin(i / 9000),
    );
    const more = ['--host-resolver-rules=MAP lan.test 127.0.0.1'];
    return launch({ microphone: await wavFile('tone', tone), more });
  })();
  return shared;
}

/**
 * Open the page and collect its errors in `page.faults`, for the test to check, except those that
 * `page.expected` matches. Animations, which take a sixth of the processor time, are off unless the
 * options ask for them.
 */
export async function visit(browser, url, { settings = {}, expected = /$^/, ...options } = {}) {
  const context = await browser.newContext({
    locale: 'zh-CN',
    reducedMotion: 'reduce',
    ...options,
  });
  await context.addInitScript((stored) => {
    try {
      localStorage.setItem('asr-demo', JSON.stringify({ aloud: false, ...stored }));
    } catch {
      // Firefox runs this in documents without storage, too, such as the empty one of a new page
    }
  }, settings);
  await context.addInitScript(recordTransients);
  const page = await context.newPage();
  page.faults = [];
  page.expected = expected;
  page.on('pageerror', ({ message, stack }) => page.faults.push(`${message} ${stack}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !page.expected.test(message.text()))
      page.faults.push(message.text());
  });
  await page.goto(url);
  await page.waitForSelector('#model[data-state]', { state: 'attached' });
  return page;
}

/** Record what the page shows too briefly to poll for: marked words and alerts. */
function recordTransients() {
  window.shown = { lit: [], alerts: [] };
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      if (target.classList?.contains('lit')) window.shown.lit.push(target.textContent);
      if (target.id === 'alert-text') window.shown.alerts.push(target.textContent);
    }
  }).observe(document, { subtree: true, attributes: true, childList: true });
}

/** Wait until the page shows, or has shown, a text. @param {'lit' | 'alerts'} kind */
export function wasShown(page, kind, text) {
  const has = ([name, part]) => window.shown[name].some((each) => each.includes(part));
  return page.waitForFunction(has, [kind, text]);
}

export function state(page, wanted, timeout = 20_000) {
  return page.waitForFunction((name) => document.body.dataset.state === name, wanted, { timeout });
}

/** Wait until the page shows that more than `seconds` are recorded. */
export function recordedFor(page, seconds, timeout = 30_000) {
  const isLonger = (least) =>
    parseFloat(document.querySelector('#time').textContent.slice(3)) > least;
  return page.waitForFunction(isLonger, seconds, { timeout });
}

/**
 * Check the page with axe, without animations: colours count at the end of one.
 * @param {string[]} [rules] all of them if absent
 */
export async function checkAccessibility(page, step, rules) {
  await page.emulateMedia({ reducedMotion: 'reduce' });
  if (!(await page.evaluate(() => 'axe' in window)))
    await page.evaluate(await readFile(AXE, 'utf8'));
  const { violations } = await page.evaluate(
    (runOnly) => window.axe.run({ resultTypes: ['violations'], ...(runOnly && { runOnly }) }),
    rules,
  );
  const found = violations.map(
    ({ id, nodes }) => `${id}: ${nodes[0].html} ${nodes[0].failureSummary}`,
  );
  assert.deepEqual(found, [], step);
}

export function finals(page) {
  return page.$$eval('.sentences .final p', (all) => all.map((p) => p.textContent));
}

/** Write a picture of the page to tests/artifacts if SCREENSHOTS is set. */
export async function keepScreenshot(page, name, options = {}) {
  if (!process.env.SCREENSHOTS) return;
  await mkdir(ARTIFACTS, { recursive: true });
  const path = new URL(`${name}.png`, ARTIFACTS).pathname;
  await page.screenshot({ path, animations: 'disabled', ...options });
}

/** @param {Int16Array} pcm at 16 kHz @returns {Buffer} a WAV file */
export function wav(pcm) {
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + pcm.byteLength, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(16000, 24);
  header.writeUInt32LE(32000, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(pcm.byteLength, 40);
  return Buffer.concat([header, Buffer.from(pcm.buffer)]);
}

export async function wavFile(name, pcm) {
  const path = join(tmpdir(), `asr-${process.pid}-${name}.wav`);
  await writeFile(path, wav(pcm));
  return path;
}
