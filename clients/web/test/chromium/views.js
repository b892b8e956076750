// What the demo page shows of a sample, and as captions for a stream.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { ScriptedServer } from '../scripted-server.js';
import {
  CHROMIUM,
  checkAccessibility,
  keepScreenshot,
  sharedBrowser,
  state,
  visit,
} from '../support.js';

const NOTICE = 'DEMO MODEL. For real recognition: venv/bin/asr-server models download';
const MANIFEST = new URL('../../../../tests/data/manifest.json', import.meta.url);

describe('the demo page', { skip: !existsSync(CHROMIUM), timeout: 120_000 }, () => {
  let server;
  let browser;
  let page;
  let url;

  before(async () => {
    server = new ScriptedServer();
    await server.start();
    url = server.url.replace('ws', 'http');
    browser = await sharedBrowser();
    server.health = { status: 'ok', model: 'demo', device: 'cpu', notice: NOTICE };
    const viewport = { width: 390, height: 844 };
    page = await visit(browser, url, { viewport });
    await page.waitForSelector('.sample:visible');
  });
  after(async () => {
    await page.context().close();
    await server.stop();
  });

  async function check(step) {
    await checkAccessibility(page, step);
    await keepScreenshot(page, `views-${step}`);
  }

  test('the demo notice lists what is not recognised, and the command as it is typed', async () => {
    await page.click('#demo-notice summary');
    assert.match(await page.textContent('#demo-notice'), /无法识别真人/);
    assert.ok(await page.isVisible('#demo-cannot'));
    assert.equal(
      await page.textContent('#demo-commands'),
      'venv/bin/asr-server models download\nvenv/bin/asr-server serve',
    );
    await check('notice');
    await page.click('#demo-notice summary');
  });

  test('the names of the samples do not give their words away', async () => {
    const names = await page.$$eval('#sample-list .sample', (all) => all.map((e) => e.textContent));
    for (const [i, { punctuated }] of JSON.parse(await readFile(MANIFEST, 'utf8')).entries()) {
      const shared = [...names[i]].filter((c) => punctuated.includes(c)).length;
      assert.ok(shared < 4, `${names[i]} and ${punctuated}`);
    }
  });

  test('with the demo model the main button plays a sample against its right text', async () => {
    await page.click('#record');
    await page.waitForSelector('#truth .wrong, #truth .right');
    await page.click('#record');
    await state(page, 'idle');
    assert.match(await page.textContent('#truth-score'), /^正确 \d+ \/ 12 字$/);
    await check('truth');
    await page.click('#mic');
    await state(page, 'live');
    assert.ok(await page.isHidden('#truth'));
    await page.click('#record');
    await state(page, 'idle');
  });

  test('no setting is squeezed and no code is cut on a phone', async () => {
    await page.click('#open-settings');
    const widths = await page.$$eval('.row > span:first-child', (all) =>
      all.map((each) => each.clientWidth),
    );
    assert.ok(Math.min(...widths.filter(Boolean)) >= 80, String(widths));
    await page.click('#settings footer .pill');
    for (const name of ['DashScope', 'Python', 'JavaScript', 'Shell']) {
      await page.click(`#tab-${name}`);
      const [needed, width] = await page.$eval('.code pre', (e) => [e.scrollWidth, e.clientWidth]);
      assert.ok(needed <= width, `${needed} > ${width}`);
    }
    await page.click('#open-history');
    await page.waitForSelector('.entries li');
    await check('history');
    assert.deepEqual(page.faults, []);
  });

  test('captions fill a transparent page and nothing else is on it', async () => {
    server.health = { ...server.health, notice: null };
    await page.context().close();
    page = await visit(browser, `${url}/?captions&lines=1&size=60`, {
      viewport: { width: 1280, height: 720 },
      colorScheme: 'dark',
    });
    await page.waitForSelector('.captions p'); // of the tone
    assert.equal(await page.$$eval('.captions p', (all) => all.length), 1);
    const visible = await page.$$eval('body *', (all) =>
      all.filter((e) => e.checkVisibility() && e.id).map((e) => e.id),
    );
    assert.deepEqual(
      visible.filter((id) => !/^(captions|record|announce|spoken)/.test(id)),
      [],
    );
    const png = await page.screenshot({ omitBackground: true, animations: 'disabled' });
    const alpha = await page.evaluate(
      async (bytes) => {
        const image = await createImageBitmap(await (await fetch(bytes)).blob());
        const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
        context.drawImage(image, 0, 0);
        return context.getImageData(40, 40, 1, 1).data[3];
      },
      `data:image/png;base64,${png.toString('base64')}`,
    );
    assert.equal(alpha, 0);
    assert.deepEqual(page.faults, []);
  });
});
