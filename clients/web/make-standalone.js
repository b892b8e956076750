// The demo page as one file that opens by a double click: `node make-standalone.js > standalone.html`.
//
// Browsers load modules, worklets and style sheets from a server only. Here each module becomes a
// function in one inline script, and the worklet a data URL.

import { readFileSync } from 'node:fs';

const read = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const WORKLET = 'pcm-worklet.js';
const MODULES = [
  WORKLET,
  'AsrClient.js',
  'demo/i18n.js',
  'demo/recording.js',
  'demo/settings.js',
  'demo/snippets.js',
  'demo/transcript.js',
  'demo/waveform.js',
  'demo/wirelog.js',
  'demo/demo.js',
];

/** `export` and `import` as a function's result and constants. */
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
  // A file's own blobs count as foreign to a worklet; a data URL does not.
  const worklet = JSON.stringify(`data:text/javascript,${encodeURIComponent(read(WORKLET))}`);
  const parts = MODULES.map(wrap).join('\n');
  return `const modules = { worklet: ${worklet} };\n${parts}`.replaceAll('</script', '<\\/script');
}

const page = read('demo/index.html')
  .replace('<!doctype html>', '<!doctype html>\n<!-- Made by make-standalone.js. -->')
  .replace(/<link rel="stylesheet".*>/, () => `<style>\n${read('demo/demo.css')}</style>`)
  .replace(
    /<script src="\.\/theme\.js"><\/script>/,
    () => `<script>\nglobalThis.isStandalone = true;\n${read('demo/theme.js')}</script>`,
  )
  .replace(
    /<script type="module".*<\/script>/,
    () => `<script type="module">\n${script()}\n</script>`,
  );
process.stdout.write(page);
