"""Carry one task's audio into the engine: received bytes, decoded samples, the stream."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from asr_server.access import Caller
from asr_server.asr.engine import Engine
from asr_server.asr.hotwords import HotwordSet
from asr_server.asr.stream import Stream
from asr_server.asr.types import StreamOptions
from asr_server.audio.decode import Decoder
from asr_server.audio.endpointer import EndpointingOptions
from asr_server.audio.units import SAMPLE_RATE, Pcm, Samples, from_ms
from asr_server.errors import AudioTooLong, NotFound, NoValidAudio
from asr_server.protocol.context import Context
from asr_server.state.task import Task
from asr_server.text.context import context_hotwords
from asr_server.text.hotwords import Hotwords
from asr_server.vocabularies import Vocabularies
from asr_server.websocket.server_context import ServerContext
from asr_server.websocket.task_log import TaskLog

log = logging.getLogger(__name__)

NOISE_THRESHOLD_SCALE = 0.3
"""How far `speech_noise_threshold` 1 or -1 moves the VAD thresholds."""


@dataclass(frozen=True, slots=True)
class TaskHotwords:
    """Hold the hotwords of a task."""

    listed: Hotwords
    """Those of the task and of the vocabulary that it names."""
    with_names: HotwordSet | None
    """These and the names of its context; None if it has no context."""


async def find_hotwords(server: ServerContext, caller: Caller, task: Task) -> TaskHotwords:
    """Return the hotwords of a task, compiled for its stream. Raises DatabaseUnavailable."""
    listed = await _listed(server.vocabularies, caller, task)
    await server.engine.prepare(listed)
    names = await _names(task.context)
    return TaskHotwords(listed, await server.engine.prepare(listed, names) if names else None)


async def _listed(vocabularies: Vocabularies, caller: Caller, task: Task) -> Hotwords:
    """Return the hotwords of a task and of the vocabulary it names.

    A task whose vocabulary is not found runs without it: clients that move here from DashScope
    name vocabularies that only exist there.
    """
    if task.vocabulary_id is None:
        return task.hotwords
    try:
        vocabulary = await vocabularies.database.run(vocabularies.get, caller, task.vocabulary_id)
    except NotFound:
        log.info("vocabulary not found; the task runs without it", extra={"task_id": task.task_id})
        return task.hotwords
    return tuple((str(w["text"]), int(w["weight"])) for w in vocabulary.words) + task.hotwords


async def _names(context: Context) -> Hotwords:
    """Return the names of a context; the longest takes 10 ms, so not on the event loop."""
    return await asyncio.to_thread(context_hotwords, context) if context else ()


class AudioInput:
    """Decode a task's audio and push it into the task's stream; both are closed together."""

    def __init__(
        self,
        task: Task,
        decoder: Decoder,
        stream: Stream,
        hotwords: Hotwords,
        engine: Engine,
        max_lead: Samples,
        task_log: TaskLog,
    ) -> None:
        self.stream = stream
        self.task_log = task_log
        self._decoder = decoder
        self._hotwords = hotwords
        """Those that are not from the context."""
        self._engine = engine
        self._max_lead = max_lead
        self._longest_s = task.family.longest_s
        self._decoded: Samples = 0
        self._closed = False

    @classmethod
    def open(
        cls,
        task: Task,
        hotwords: TaskHotwords,
        server: ServerContext,
    ) -> "AudioInput":
        """Open a decoder and a stream. Raises what `Decoder` and `Engine.open` raise."""
        decoder = Decoder(task.format, task.sample_rate, server.decoders)
        stream = server.engine.open(_stream_options(task, hotwords.listed))
        if hotwords.with_names is not None:
            stream.favour(hotwords.with_names)
        max_lead = from_ms(1000 * server.settings.max_lead_s)
        task_log = TaskLog(task, server.metrics)
        return cls(task, decoder, stream, hotwords.listed, server.engine, max_lead, task_log)

    @property
    def decoded_s(self) -> float:
        """Return the seconds of audio so far."""
        return self._decoded / SAMPLE_RATE

    async def push(self, data: bytes) -> None:
        """Decode bytes, push the samples and return once the stream's backlog is small enough.

        Raises DecodeError, AudioTooLong, InternalError.
        """
        self.task_log.frame_received()
        await self._push(self._decoder.feed(data))
        delay_s = self._decoder.queueing_delay_s
        if delay_s is not None and self.stream.live:
            self._engine.decoder_waited(delay_s)

    async def replace_context(self, context: Context) -> None:
        """Favour the names of a context from the next sentence on, and those before no more."""
        names = await _names(context)
        self.stream.favour(await self._engine.prepare(self._hotwords, names))

    async def finish(self) -> None:
        """End the audio. Raises DecodeError, NoValidAudio, AudioTooLong, InternalError."""
        self.task_log.finish_received()
        await self._push(self._decoder.finish())
        if not self._decoded:
            raise NoValidAudio
        self.stream.finish()

    def close(self) -> None:
        """Close the decoder and the stream; what they still hold is dropped."""
        self._closed = True
        self._decoder.close()
        self.stream.close()

    async def _push(self, decoding: AsyncIterator[Pcm]) -> None:
        async for samples in decoding:
            if self._closed:
                return
            if len(samples):
                self._decoded += len(samples)
                if self._decoded > self._longest_s * SAMPLE_RATE:
                    raise AudioTooLong(self._longest_s)
                self.task_log.audio_decoded(self._decoded)
                self.stream.push(samples)
            await self.stream.room(self._max_lead)


def _stream_options(task: Task, hotwords: Hotwords) -> StreamOptions:
    asked = task.parameters
    defaults = EndpointingOptions()
    shift = NOISE_THRESHOLD_SCALE * min(max(asked.speech_noise_threshold or 0.0, -1.0), 1.0)
    return StreamOptions(
        EndpointingOptions(
            max_sentence_silence_ms=task.max_sentence_silence_ms,
            speech_threshold=defaults.speech_threshold + shift,
            silence_threshold=defaults.silence_threshold + shift,
            shrinking=asked.multi_threshold_mode_enabled,
        ),
        punctuate=asked.punctuation_prediction_enabled,
        prefix_padding_ms=task.prefix_padding_ms,
        announce_speech=task.announces_speech,
        semantic=asked.semantic_punctuation_enabled,
        second_pass=task.second_pass,
        hotwords=hotwords,
        previews=task.interim,
    )
