// Code samples that use this server.

/** @param {{ws: string, http: string}} address @returns {Record<string, string>} code by its name */
export function snippets({ ws }) {
  return {
    DashScope: `import dashscope
from dashscope.audio.asr import Recognition

dashscope.api_key = "any"
dashscope.base_websocket_api_url = \\
    "${ws}"

recogniser = Recognition(
    "paraformer-realtime-v2", None, "wav", 16000)
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
