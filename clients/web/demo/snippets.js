// How to reach this very server from a program.

/** @param {{ws: string, http: string}} address @returns {Record<string, string>} code by its name */
export function snippets({ ws }) {
  return {
    DashScope: `import dashscope
from dashscope.audio.asr import Recognition, RecognitionCallback

dashscope.api_key = "none"
dashscope.base_websocket_api_url = "${ws}"

result = Recognition(
    model="paraformer-realtime-v2",
    format="wav",
    sample_rate=16000,
    callback=RecognitionCallback(),
).call("a.wav")
print(result.get_sentence())`,
    Python: `from AsrClient import AsrClient

async with AsrClient("${ws}") as asr:
    async for sentence in asr.transcribe("a.wav"):
        print(sentence.begin_ms, sentence.text)`,
    JavaScript: `import { AsrClient } from './AsrClient.js';

const asr = new AsrClient({ url: '${ws}' });
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
