// The server's status page in Chromium, at a real server whose address is in ASR_TEST_SERVER.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { checkAccessibility, keepScreenshot, launch } from './support.js';

const SERVER = process.env.ASR_TEST_SERVER;

describe('the status page', { skip: !SERVER, timeout: 240_000 }, () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  async function visit(options = {}) {
    const context = await browser.newContext({ locale: 'zh-CN', ...options });
    const page = await context.newPage();
    page.faults = [];
    page.on('pageerror', (error) => page.faults.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') page.faults.push(message.text());
    });
    await page.goto(`${SERVER}/status`);
    return page;
  }

  /** Wait until there are points to draw. */
  const drawn = (page) =>
    page.waitForSelector('#plot-memory .line-1[d^="M"]', { state: 'attached' });

  const values = (page) =>
    page.$$eval('[data-figure]', (cells) =>
      Object.fromEntries(cells.map((cell) => [cell.dataset.figure, cell.textContent])),
    );

  test('the plots show the data of the server and are updated', async () => {
    const page = await visit();
    await page.waitForSelector('#health[data-state="ok"]');
    assert.match(await page.textContent('#health-text'), /^就绪 · demo · cpu$/);
    assert.ok(await page.isVisible('#notice'));
    assert.equal(await page.locator('.plot').count(), 9);
    const figures = await values(page);
    assert.equal(figures.tasks_finished, '1');
    assert.match(figures.memory_bytes, /^\d+ MB$|^\d\.\d\d GB$/);
    const line = () => page.getAttribute('#plot-memory .line-1', 'd');
    const first = await line();
    assert.match(first, /^M[\d. ]+L/);
    await page.waitForFunction(
      ([was]) => document.querySelector('#plot-memory .line-1').getAttribute('d') !== was,
      [first],
    );
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });

  test('pointing at a time shows the values at that time in every plot', async () => {
    const page = await visit();
    await drawn(page);
    await page.hover('#plot-busy svg', { position: { x: 80, y: 60 } });
    await page.waitForSelector('#plot-memory .cursor', { state: 'attached' }); // too thin to count as visible
    assert.match(await page.textContent('#plot-memory .when'), /^\d+:\d\d 前$/);
    await page.mouse.move(0, 0);
    await page.waitForSelector('#plot-memory .cursor', { state: 'detached' });
    await page.context().close();
  });

  test('the page switches its language and stores the choice', async () => {
    const page = await visit({ locale: 'en-US' });
    await page.waitForSelector('#health[data-state="ok"]');
    assert.equal(await page.title(), 'Status · asr_server');
    await page.click('#language');
    assert.equal(await page.textContent('#plot-first-text h2'), '首字延迟');
    await page.click('#theme');
    await page.reload();
    assert.equal(await page.title(), '状态 · asr_server');
    assert.equal(await page.getAttribute('html', 'data-theme'), 'light');
    await page.context().close();
  });

  test('an unreachable server is reported, and so is its return', async () => {
    const page = await visit();
    await page.waitForSelector('#health[data-state="ok"]');
    await page.context().setOffline(true);
    await page.waitForSelector('#away:not([hidden])');
    assert.equal(await page.textContent('#health-text'), '无法连接服务器');
    await page.context().setOffline(false);
    await page.waitForSelector('#health[data-state="ok"]');
    assert.ok(await page.isHidden('#away'));
    await page.context().close();
  });

  test('without JavaScript the page is a table', async () => {
    const page = await visit({ javaScriptEnabled: false });
    const rows = await page.locator('.all tr').allTextContents();
    assert.ok(
      rows.some((row) => /已完成任务 Tasks finished1/.test(row)),
      rows.join('|'),
    );
    assert.ok(await page.isHidden('#plots'));
    await keepScreenshot(page, 'status-plain', { fullPage: true });
    await page.context().close();
  });

  for (const colorScheme of ['light', 'dark']) {
    test(`the page fits every screen in ${colorScheme} mode, and axe finds no violation`, async () => {
      const page = await visit({ colorScheme, viewport: { width: 390, height: 844 } });
      await drawn(page);
      for (const [name, viewport] of Object.entries({
        phone: { width: 390, height: 844 },
        small: { width: 320, height: 568 },
        desktop: { width: 1280, height: 800 },
      })) {
        await page.setViewportSize(viewport);
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(width <= viewport.width, `${width} > ${viewport.width}`);
        await keepScreenshot(page, `status-${name}-${colorScheme}`, { fullPage: true });
        const rules = colorScheme === 'dark' ? ['color-contrast'] : undefined;
        await checkAccessibility(page, name, rules);
      }
      assert.deepEqual(page.faults, []);
      await page.context().close();
    });
  }
});
