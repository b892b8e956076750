"""The client of one server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from websockets.exceptions import InvalidHandshake, InvalidURI

from asr_client.audio import open_source
from asr_client.connection import (
    Connect,
    ConnectionPool,
    OnWire,
    Transport,
    connection_error,
    open_websocket,
)
from asr_client.protocol import DEFAULT_MODEL, DEFAULT_URL, websocket_url, without_key
from asr_client.stream import Stream
from asr_client.types import Parameters, Retry, Sentence


class AsrClient:
    """A server to recognise speech with; keeps one idle connection for the next stream."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        model: str = DEFAULT_MODEL,
        parameters: Parameters | None = None,
        retry: Retry | None = None,
        open_timeout_s: float = 10.0,
        frame_bytes: int | None = None,
        on_wire: OnWire | None = None,
        connect: Connect | None = None,
    ) -> None:
        """`on_wire` gets every message: for debugging, since messages carry what was said.

        `frame_bytes` is the audio in one message, 100 ms by default. `connect` replaces the
        WebSocket by another transport.
        """
        self.url = websocket_url(url)
        self.model = model
        self.parameters = parameters or Parameters()
        self.retry = retry or Retry()
        self.open_timeout_s = open_timeout_s
        self._api_key = api_key
        self._frame_bytes = frame_bytes
        self._on_wire = on_wire
        self._connections = ConnectionPool(connect or self._connect)
        self._streams: set[Stream] = set()

    async def __aenter__(self) -> AsrClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every stream and the connection."""
        await asyncio.gather(*(stream.aclose() for stream in list(self._streams)))
        await self._connections.close()

    def stream(
        self,
        *,
        format: str | None = None,
        sample_rate: int | None = None,
        levels: bool = False,
    ) -> Stream:
        """Begin a recognition that you push audio into; `levels` adds a Level for every push."""
        stream = Stream(
            self._connections,
            self.model,
            replace(
                self.parameters,
                format=format or self.parameters.format,
                sample_rate=sample_rate or self.parameters.sample_rate,
            ),
            self.retry,
            levels=levels,
            frame_bytes=self._frame_bytes,
            start_timeout_s=self.open_timeout_s,
            on_wire=self._on_wire,
            on_end=self._streams.discard,
        )
        self._streams.add(stream)
        return stream

    def open(self, source: Any, *, pace: float | None = None, levels: bool | None = None) -> Stream:
        """Begin a recognition of `source`; its events are those of `stream()`."""
        audio = open_source(source, self.parameters)
        stream = self.stream(
            format=audio.format,
            sample_rate=audio.sample_rate,
            levels=audio.live if levels is None else levels,
        )
        stream.feed_from(audio, pace)
        return stream

    async def transcribe(
        self, source: Any, *, pace: float | None = None, interim: bool = False
    ) -> AsyncGenerator[Sentence, None]:
        """Yield the sentences of a file, bytes, a (possibly asynchronous) iterable or a Microphone.

        `pace=1` sends in real time; None as fast as the server takes the audio. With `interim`
        the open sentence comes too; `is_final` distinguishes them.
        """
        stream = self.open(source, pace=pace, levels=False)
        try:
            async for sentence in stream.sentences(interim):
                yield sentence
        finally:
            await stream.aclose()

    async def _connect(self) -> Transport:
        try:
            return await open_websocket(self.url, self._api_key, self.open_timeout_s)
        except (OSError, asyncio.TimeoutError, InvalidHandshake, InvalidURI) as error:
            raise connection_error(without_key(self.url), error) from error
