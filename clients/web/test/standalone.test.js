// The page in one file can be built with Node alone: all parts are inside, and its script compiles.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const BUILDER = fileURLToPath(new URL('../make-standalone.js', import.meta.url));

test('the page in one file is complete and its script compiles', () => {
  const folder = mkdtempSync(join(tmpdir(), 'asr-standalone-'));
  const file = join(folder, 'page.html');
  execFileSync(process.execPath, [BUILDER, file]);
  const html = readFileSync(file, 'utf8');
  assert.doesNotMatch(html, /<script[^>]* src=|<link rel="stylesheet"|^(import|export) /m);
  const script = /<script type="module">([^]*)<\/script>/.exec(html)[1];
  writeFileSync(join(folder, 'page.mjs'), script);
  execFileSync(process.execPath, ['--check', join(folder, 'page.mjs')]);
});
