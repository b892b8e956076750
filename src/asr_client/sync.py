"""The client for code without asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from asr_client.client import AsrClient
from asr_client.protocol import DEFAULT_URL
from asr_client.types import Sentence

R = TypeVar("R")


class SyncAsrClient:
    """AsrClient for code without asyncio: the same arguments, plain iterators.

    with SyncAsrClient("ws://127.0.0.1:8000") as asr:
        for sentence in asr.transcribe("meeting.wav"):
            print(sentence.text)
    """

    def __init__(self, url: str = DEFAULT_URL, **options: Any) -> None:
        self._client = AsrClient(url, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> SyncAsrClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End every stream and the thread."""
        if self._loop.is_closed():
            return
        self._await(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def transcribe(
        self, source: Any, *, pace: float | None = None, interim: bool = False
    ) -> Iterator[Sentence]:
        """Yield sentences as `AsrClient.transcribe` does, without `async`."""
        sentences = self._client.transcribe(source, pace=pace, interim=interim)
        try:
            while (sentence := self._await(_next_or_none(sentences))) is not None:
                yield sentence
        finally:
            self._await(sentences.aclose())

    def _await(self, coroutine: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _next_or_none(items: AsyncIterator[R]) -> R | None:
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        return None


def transcribe(source: Any, url: str = DEFAULT_URL, **options: Any) -> Iterator[Sentence]:
    """Yield the sentences of one source: `for s in transcribe("a.wav"): print(s.text)`."""
    with SyncAsrClient(url, **options) as client:
        yield from client.transcribe(source)
