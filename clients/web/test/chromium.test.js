// All tests that need Chromium and the scripted server, in one process with one browser.
//
// `node --test test/chromium/page.js` runs one part alone.

import './chromium/library.js';
import './chromium/page.js';
import './chromium/errors.js';
import './chromium/history.js';
import './chromium/views.js';
import './chromium/load.js';
