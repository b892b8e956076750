"""DashScope's SDK before 2.0, which most programs in production use; pip fetches it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serving import LOUD, QUIET, serving

pytestmark = pytest.mark.hub

STREAMING = """
import json, sys
import dashscope
from dashscope.audio.asr import Recognition, RecognitionCallback

class Recorder(RecognitionCallback):
    calls, finals = [], []
    def on_open(self): self.calls.append("open")
    def on_complete(self): self.calls.append("complete")
    def on_close(self): self.calls.append("close")
    def on_error(self, result): self.calls.append("error")
    def on_event(self, result):
        sentence = result.get_sentence()
        if result.is_sentence_end(sentence):
            self.finals.append(sentence["text"])

dashscope.api_key = "sk-any"
dashscope.base_websocket_api_url = sys.argv[1]
audio = sys.stdin.buffer.read()
recognition = Recognition("paraformer-realtime-v2", Recorder(), "pcm", 16000)
recognition.start()
for begin in range(0, len(audio), 3200):
    recognition.send_audio_frame(audio[begin : begin + 3200])
recognition.stop()
print(json.dumps({"calls": Recorder.calls, "finals": Recorder.finals}))
"""


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dashscope")
    fetch = ["-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), "dashscope<2"]
    subprocess.run([sys.executable, *fetch], check=True)
    return folder


async def test_the_older_sdk_gets_two_sentences_and_completes(sdk: Path) -> None:
    async with serving() as served:
        asked = [sys.executable, "-c", STREAMING, served.url]
        run = await asyncio.create_subprocess_exec(
            *asked,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(sdk)},
        )
        said, _ = await asyncio.wait_for(run.communicate(LOUD + QUIET + LOUD + QUIET), 60)
    recorded = json.loads(said)
    assert recorded["calls"] == ["open", "complete", "close"]
    assert len(recorded["finals"]) == 2
