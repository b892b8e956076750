"""One recording as one task of a server, here or anywhere; audio as fast as the server takes it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed

from asr_client import AsrClient, Parameters, Retry
from asr_client.connection import Connect
from asr_client.errors import (
    NO_AUDIO,
    AsrError,
    ProtocolError,
    ServerAway,
    ServerBusy,
    Unauthorized,
)
from asr_client.protocol import DEFAULT_MODEL, DEFAULT_URL
from asr_client.types import Sentence
from asr_server.recordings.files import BLOCK_BYTES, NO_SOUND, OpenRecording, RecordingError

BUSY_PAUSES_S = (0.5, 1.0, 2.0, *75 * (4.0,))
"""Pauses before a busy server is asked again: five minutes of them."""
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """A server, and the task's parameters beside those of the recording."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str = DEFAULT_MODEL
    url: str = DEFAULT_URL
    api_key: str | None = None
    connect: Connect | None = None
    """Opens connections in place of a WebSocket to `url`."""


async def recognise(
    recording: OpenRecording,
    request: Request,
    on_progress: Callable[[float], None] = lambda share: None,
) -> AsyncGenerator[Sentence, None]:
    """Yield the final sentences of a recording; `on_progress` gets the share that was sent.

    Raises AsrError of asr_client and RecordingError.
    """
    pauses = iter(BUSY_PAUSES_S)
    sent = False

    def note(share: float) -> None:
        nonlocal sent
        sent = True
        on_progress(share)

    while True:
        began = False
        try:
            async with (
                _client(recording, request, note) as client,
                aclosing(client.transcribe(recording.blocks())) as sentences,
            ):
                async for sentence in sentences:
                    began = True
                    yield sentence
            if not sent:
                raise RecordingError(NO_SOUND)
            return
        except AsrError as exc:
            if exc.code == NO_AUDIO:
                raise RecordingError(NO_SOUND) from exc
            pause_s = next(pauses, None)
            if not isinstance(exc, ServerBusy) or began or pause_s is None:
                raise
            await asyncio.sleep(pause_s)


def ends_run(error: AsrError | RecordingError) -> bool:
    """Return whether every other recording would fail as well."""
    lost = isinstance(error.__cause__, ConnectionClosed)
    return (
        isinstance(error, (Unauthorized, ProtocolError))
        or (isinstance(error, AsrError) and error.code == "ModelNotFound")
        or (isinstance(error, ServerAway) and not lost)
    )


def _client(
    recording: OpenRecording, request: Request, on_progress: Callable[[float], None]
) -> AsrClient:
    sent = 0

    def count(direction: str, message: str | bytes) -> None:
        nonlocal sent
        if direction == "out" and isinstance(message, bytes):
            sent += len(message)
            on_progress(min(1.0, sent / recording.size) if recording.size else 0.0)

    return AsrClient(
        request.url,
        api_key=request.api_key,
        model=request.model,
        parameters=Parameters(
            format=recording.format, sample_rate=recording.sample_rate, extra=request.parameters
        ),
        retry=Retry(attempts=0),  # so that no audio is kept for a resume
        open_timeout_s=START_TIMEOUT_S,
        frame_bytes=BLOCK_BYTES,
        on_wire=count,
        connect=request.connect,
    )
