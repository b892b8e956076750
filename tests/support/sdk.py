"""The official SDK, pointed at a server in this process; its calls block and so run in threads."""

import contextlib
import time
from typing import Any

import dashscope
from dashscope.audio.asr import Recognition, RecognitionCallback
from dashscope.common.error import InvalidParameter, InvalidTask

KEY = "sk-any"
MODEL = "paraformer-realtime-v2"


class Recorder(RecognitionCallback):
    """Writes down which callbacks came, and with what."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sentences: list[dict[str, Any]] = []
        self.finals: list[str] = []
        self.usages: list[Any] = []
        self.error: Any = None

    def on_open(self) -> None:
        self.calls.append("open")

    def on_event(self, result: Any) -> None:
        self.calls.append("event")
        sentence = result.get_sentence()
        self.sentences.append(sentence)
        self.usages.append(result.get_usage(sentence))
        if result.is_sentence_end(sentence):
            self.finals.append(sentence["text"])

    def on_complete(self) -> None:
        self.calls.append("complete")

    def on_error(self, result: Any) -> None:
        self.calls.append("error")
        self.error = result

    def on_close(self) -> None:
        self.calls.append("close")


def point_at(url: str) -> None:
    """What a user changes."""
    dashscope.api_key = KEY
    dashscope.base_websocket_api_url = url


def stream(audio: bytes, pace_s: float = 0.0, **options: Any) -> Recorder:
    """Callback mode: start, frames of 100 ms, stop."""
    options = {"model": MODEL, "format": "pcm", "sample_rate": 16000, **options}
    recorder, recognition = _started(options)
    with contextlib.suppress(InvalidParameter):  # "has stopped": the server failed the task
        for begin in range(0, len(audio), 3200):
            recognition.send_audio_frame(audio[begin : begin + 3200])
            time.sleep(pace_s)
        recognition.stop()
    return recorder


def _started(options: dict[str, Any]) -> tuple[Recorder, Recognition]:
    """Return a started recognition.

    The SDK counts as running only after it has started its thread. On a busy machine that thread
    may be quicker; it then takes the input for ended, and `start` fails.
    """
    for attempt in range(5):
        recorder = Recorder()
        recognition = Recognition(callback=recorder, **options)
        try:
            recognition.start()
        except InvalidTask:
            if attempt == 4:
                raise
        else:
            break
    return recorder, recognition


def call(path: str, **options: Any) -> Any:
    """File mode."""
    options = {"model": MODEL, "format": "wav", "sample_rate": 16000, **options}
    return Recognition(callback=None, **options).call(path)
