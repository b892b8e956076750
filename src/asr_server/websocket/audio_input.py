"""One task's way through the recogniser, from the bytes it sends to what is heard of them."""

import asyncio
from typing import Any, TypeAlias

from asr_server.asr.engine import Engine
from asr_server.asr.stream import Stream
from asr_server.asr.types import StreamOptions
from asr_server.audio.decode import Decoder, open_decoder
from asr_server.audio.endpointer import EndpointingOptions
from asr_server.audio.units import SAMPLE_RATE, Pcm, Samples, from_ms
from asr_server.errors import AsrError, AudioTooLong, NoValidAudio
from asr_server.observability.metrics import Metrics, Outcome
from asr_server.protocol.events import Sentence
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.state.messages import Failed
from asr_server.state.task import Task
from asr_server.websocket.task_metrics import Stopwatch

Hotwords: TypeAlias = tuple[tuple[str, int], ...]

SLICE, BIG_SLICE = 4096, 65_536
"""Bytes decoded at once: compressed ones, of which little becomes much, and uncompressed ones."""

SENSITIVITY = 0.3
"""How far `speech_noise_threshold` 1 or -1 moves the probabilities that count as speech."""


class AudioInput:
    """A decoder and a stream that live and end together.

    What takes no time is decoded at once; compressed audio and big messages wait for `room`, which
    decodes them in a worker thread. The caller gives no more before `room` has returned.
    """

    def __init__(
        self,
        task: Task,
        decoder: Decoder,
        stream: Stream,
        max_lead: Samples,
        stopwatch: Stopwatch,
    ) -> None:
        self._task = task
        self._decoder = decoder
        self._stream = stream
        self._max_lead = max_lead
        self._stopwatch = stopwatch
        self._undecoded = b""
        self._finishing = False
        self._closed = False
        self._decoded: Samples = 0

    @classmethod
    def open(
        cls,
        task: Task,
        hotwords: Hotwords,
        engine: Engine,
        max_lead_s: float,
        metrics: Metrics,
    ) -> "AudioInput":
        """A place for a task. Raises what the decoder and the engine raise."""
        decoder = open_decoder(task.format, task.sample_rate)
        stream = engine.open(_options(task, hotwords))
        return cls(task, decoder, stream, from_ms(1000 * max_lead_s), Stopwatch(metrics))

    def push(self, data: bytes) -> None:
        """More audio. Raises DecodeError, AudioTooLong."""
        self._stopwatch.frame()
        if self._decoder.slow or len(data) > BIG_SLICE:
            self._undecoded = data
        else:
            self._push(self._decoder.feed(data))

    def finish(self) -> None:
        """There is no more. Raises DecodeError, NoValidAudio, AudioTooLong."""
        self._stopwatch.finishing()
        if self._decoder.slow:
            self._finishing = True
        else:
            self._end(self._decoder.finish())

    async def room(self) -> None:
        """Return once all is decoded and the recogniser not too far behind.

        Raises DecodeError, NoValidAudio, AudioTooLong.
        """
        data, self._undecoded = self._undecoded, b""
        size = SLICE if self._decoder.slow else BIG_SLICE
        for begin in range(0, len(data), size):
            piece = data[begin : begin + size]
            self._push(await asyncio.to_thread(self._decoder.feed, piece))
            await self._stream.room(self._max_lead)
        if self._finishing and not self._closed:
            self._finishing = False
            self._end(await asyncio.to_thread(self._decoder.finish))
        await self._stream.room(self._max_lead)

    async def next(self) -> Hypothesis | EndOfStream | Failed:
        """What the recogniser has to say next."""
        try:
            return await self._stream.next()
        except AsrError as error:
            return Failed(error)

    def told(self, sentence: Sentence) -> None:
        """A result is on its way to the client."""
        self._stopwatch.told(sentence)

    def close(self, outcome: Outcome) -> dict[str, Any]:
        """Forget everything at once; what there is to log of the task."""
        self._closed = True
        self._decoder.close()
        self._stream.close()
        return {
            "task_id": self._task.task_id,
            "model": self._task.model,
            "format": self._task.format,
            "sample_rate": self._task.sample_rate,
            **self._stopwatch.end(outcome),
        }

    def _push(self, samples: Pcm) -> None:
        if len(samples):
            self._decoded += len(samples)
            longest_s = self._task.family.longest_s
            if self._decoded > longest_s * SAMPLE_RATE:
                raise AudioTooLong(longest_s)
            self._stopwatch.decoded(self._decoded)
            self._stream.push(samples)

    def _end(self, samples: Pcm) -> None:
        self._push(samples)
        if not self._decoded:
            raise NoValidAudio
        self._stream.finish()


def _options(task: Task, hotwords: Hotwords) -> StreamOptions:
    asked = task.parameters
    defaults = EndpointingOptions()
    shift = SENSITIVITY * min(max(asked.speech_noise_threshold or 0.0, -1.0), 1.0)
    return StreamOptions(
        EndpointingOptions(
            max_sentence_silence_ms=task.max_sentence_silence_ms,
            speech_threshold=defaults.speech_threshold + shift,
            silence_threshold=defaults.silence_threshold + shift,
            shrinking=asked.multi_threshold_mode_enabled,
        ),
        punctuate=asked.punctuation_prediction_enabled,
        semantic=asked.semantic_punctuation_enabled,
        hotwords=hotwords,
    )
