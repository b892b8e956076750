// Builds the demo page as one file that opens without a server: `npm run build`, or
// `node make-standalone.js FILE`.
//
// Browsers do not load modules and worklets from the file system. Here each module becomes a
// function in one inline script, and the worklet a data URL.

import { readFileSync, writeFileSync } from 'node:fs';

const read = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const WORKLET = 'pcm-worklet.js';
const OUTPUT = process.argv[2] ?? new URL('standalone.html', import.meta.url);

/** Each after those it imports. */
const MODULES = [
  WORKLET,
  'AsrClient.js',
  'demo/i18n.js',
  'demo/latency.js',
  'demo/recording.js',
  'demo/truth.js',
  'demo/revisions.js',
  'demo/session.js',
  'demo/settings.js',
  'demo/snippets.js',
  'demo/server.js',
  'demo/files.js',
  'demo/history.js',
  'demo/undo.js',
  'demo/zip.js',
  'demo/output.js',
  'demo/captions.js',
  'demo/transcript.js',
  'demo/historyview.js',
  'demo/player.js',
  'demo/samples.js',
  'demo/archive.js',
  'demo/alert.js',
  'demo/load.js',
  'demo/scatter.js',
  'demo/loadview.js',
  'demo/trend.js',
  'demo/notice.js',
  'demo/phone.js',
  'demo/meters.js',
  'demo/settingsview.js',
  'demo/waveform.js',
  'demo/wirelog.js',
  'demo/demo.js',
];

/** Return a module as a function: its exports are the result, its imports become constants. */
function wrap(name) {
  const exported = [];
  const body = read(name)
    .replace(/^import \{([^}]*)\} from '.*\/([\w-]+\.js)';$/gm, (_, names, from) => {
      return `const {${names}} = modules['${from}'];`;
    })
    .replace(/^export \{ (.*) \};$/gm, (_, names) => void exported.push(names) ?? '')
    .replace(/^export (?=(?:async )?(?:class|function\*?|const) (\w+))/gm, (_, local) => {
      exported.push(local);
      return '';
    })
    .replace(`new URL('./${WORKLET}', import.meta.url)`, 'modules.worklet');
  const base = name.split('/').at(-1);
  return `modules['${base}'] = (() => {\n${body}\nreturn { ${exported.join(', ')} };\n})();`;
}

function script() {
  // A page from a file may not load a worklet from a blob URL, but from a data URL.
  const worklet = JSON.stringify(`data:text/javascript,${encodeURIComponent(read(WORKLET))}`);
  const parts = MODULES.map(wrap).join('\n');
  return `const modules = { worklet: ${worklet} };\n${parts}`.replaceAll('</script', '<\\/script');
}

const page = read('index.html')
  .replace('<!doctype html>', '<!doctype html>\n<!-- Built by make-standalone.js. -->')
  .replace(
    /<link rel="stylesheet" href="\.\/(.*?)" \/>/g,
    (_, file) => `<style>\n${read(file)}</style>`,
  )
  .replace(
    /<script src="\.\/demo\/theme\.js"><\/script>/,
    () => `<script>\nglobalThis.isStandalone = true;\n${read('demo/theme.js')}</script>`,
  )
  .replace(
    /<script type="module".*<\/script>/,
    () => `<script type="module">\n${script()}\n</script>`,
  );
writeFileSync(OUTPUT, page);
