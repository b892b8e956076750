// Code samples that use this server, and the tabs that show them.

/** @param {string} ws the server's address @returns {Record<string, string>} code by its name */
function snippets(ws) {
  return {
    DashScope: `import dashscope
from dashscope.audio.asr import Recognition

dashscope.api_key = "any"
dashscope.base_websocket_api_url = \\
    "${ws}"

recogniser = Recognition(
    "paraformer-realtime-v2", None,
    "wav", 16000)
result = recogniser.call("a.wav")
for sentence in result.get_sentence():
    print(sentence["text"])`,
    Python: `from AsrClient import AsrClient

url = "${ws}"
async with AsrClient(url) as asr:
    async for s in asr.transcribe("a.wav"):
        print(s.begin_ms, s.text)`,
    JavaScript: `import { AsrClient } from './AsrClient.js';

const url = '${ws}';
const asr = new AsrClient({ url });
asr.on('interim', ({ text }) => show(text));
asr.on('final', ({ text }) => keep(text));
await asr.start('microphone');
// ...
await asr.stop();`,
    Shell: `pip install websockets
python AsrClient.py a.wav --srt a.srt \\
    --url ${ws}`,
  };
}

export class CodePanel {
  /** @param {{tabs: HTMLElement, panel: HTMLElement, code: HTMLElement}} parts */
  constructor(parts) {
    Object.assign(this, parts);
    this.chosen = 'DashScope';
    this.tabs.addEventListener('keydown', (event) => this.#key(event));
  }

  /** @param {string} ws */
  show(ws) {
    this.samples = snippets(ws);
    this.tabs.replaceChildren(...Object.keys(this.samples).map((name) => this.#tab(name)));
    this.panel.setAttribute('aria-labelledby', `tab-${this.chosen}`);
    this.code.textContent = this.samples[this.chosen];
    this.ws = ws;
  }

  #tab(name) {
    const tab = document.createElement('button');
    Object.assign(tab, { type: 'button', role: 'tab', textContent: name, id: `tab-${name}` });
    tab.setAttribute('aria-selected', String(name === this.chosen));
    tab.setAttribute('aria-controls', this.panel.id);
    tab.tabIndex = name === this.chosen ? 0 : -1;
    tab.addEventListener('click', () => this.#choose(name));
    return tab;
  }

  #choose(name) {
    this.chosen = name;
    this.show(this.ws);
    document.getElementById(`tab-${name}`).focus();
  }

  #key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const names = Object.keys(this.samples);
    this.#choose(names[(names.indexOf(this.chosen) + step + names.length) % names.length]);
  }
}
