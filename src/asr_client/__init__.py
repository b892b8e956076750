"""Real-time speech recognition over DashScope's WebSocket protocol.

    async with AsrClient("ws://127.0.0.1:8000") as asr:
        async for sentence in asr.transcribe("meeting.wav"):
            print(sentence.text)

Audio is kept until a final sentence covers it, so a lost connection costs time and never words:
the stream reconnects, sends again what was not final yet, and shifts the times of the new task.
All times are integer milliseconds from the first sample of the stream.
Needs only `websockets`; `sounddevice` for the microphone and `rich` for live text are optional.
"""

from asr_client.client import AsrClient
from asr_client.errors import (
    AsrError,
    MicrophoneUnavailable,
    ProtocolError,
    ServerAway,
    ServerBusy,
    StreamClosed,
    TaskFailed,
    Unauthorized,
)
from asr_client.microphone import Microphone
from asr_client.protocol import __version__
from asr_client.stream import Stream
from asr_client.subtitles import captions, to_json, to_srt, to_txt, to_vtt
from asr_client.sync import SyncAsrClient, transcribe
from asr_client.types import (
    Caption,
    Event,
    Failed,
    Final,
    Finished,
    Interim,
    Level,
    Parameters,
    Reconnecting,
    Retry,
    Sentence,
    Started,
    Word,
)

__all__ = [
    "AsrClient",
    "AsrError",
    "Caption",
    "Event",
    "Failed",
    "Final",
    "Finished",
    "Interim",
    "Level",
    "Microphone",
    "MicrophoneUnavailable",
    "Parameters",
    "ProtocolError",
    "Reconnecting",
    "Retry",
    "Sentence",
    "ServerAway",
    "ServerBusy",
    "Started",
    "Stream",
    "StreamClosed",
    "SyncAsrClient",
    "TaskFailed",
    "Unauthorized",
    "Word",
    "__version__",
    "captions",
    "to_json",
    "to_srt",
    "to_txt",
    "to_vtt",
    "transcribe",
]
