"""Check what the second pass does to a conversation, with a scripted offline model."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from asr_server.asr import pace, second_pass, second_pass_stage, worker
from asr_server.asr.engine import Engine
from asr_server.asr.stream import Stream
from asr_server.asr.types import (
    Backend,
    DecodeResult,
    DecodeWork,
    OutOfMemoryError,
    Pcm,
    SecondPassResult,
    SecondPassToken,
    SecondPassWork,
    StreamOptions,
)
from asr_server.observability.metrics import Metrics
from asr_server.recognition import EndOfStream, Hypothesis, RecognitionEvent
from tests.support.engines import engine_with
from tests.support.fake_backend import FakeBackend
from tests.support.serving import within

TIMEOUT_S = 10

Works = Sequence[SecondPassWork]


class TwoPass(FakeBackend):
    second_pass = True


class Scripted(TwoPass):
    """Record the works of the offline model, and let `script` change what it does."""

    def __init__(self, script: Callable[[Works], None] = lambda works: None) -> None:
        super().__init__()
        self.script = script
        self.works: list[SecondPassWork] = []
        self.begun = threading.Event()

    def correct(self, works: Works) -> list[SecondPassResult]:
        self.works += works
        self.begun.set()
        self.script(works)
        return super().correct(works)

    async def begins(self) -> None:
        """Return once the offline model has begun, and forget it."""
        await asyncio.get_running_loop().run_in_executor(None, self.begun.wait, TIMEOUT_S)
        self.begun.clear()


class Session:
    """Hold an engine, its backend and its metrics."""

    def __init__(self, backend: Backend, settings: dict[str, Any]) -> None:
        self.metrics = Metrics()
        self.engine = engine_with(lambda: backend, self.metrics, **settings)

    def counts(self) -> dict[str, float]:
        """Return the outcomes that were counted."""
        return {
            sample.labels["outcome"]: sample.value
            for family in text_string_to_metric_families(self.metrics.text().decode())
            for sample in family.samples
            if sample.name == "asr_second_pass_total" and sample.value
        }


@asynccontextmanager
async def running(backend: Backend, **settings: Any) -> AsyncIterator[Session]:
    session = Session(backend, {"second_pass_deadline_ms": 5_000, **settings})
    await session.engine.start()
    try:
        yield session
    finally:
        await session.engine.stop()


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all audio for live, however fast it comes."""
    monkeypatch.setattr(pace, "LIVE_LEAD_S", inf)


def speech(seconds: float) -> Pcm:
    return np.full(int(seconds * 16_000), 0.1, dtype=np.float32)


def silence(seconds: float) -> Pcm:
    return np.zeros(int(seconds * 16_000), dtype=np.float32)


async def next_event(stream: Stream) -> RecognitionEvent:
    return await asyncio.wait_for(stream.next(), TIMEOUT_S)


async def next_final(stream: Stream) -> Hypothesis:
    while True:
        event = await next_event(stream)
        assert isinstance(event, Hypothesis)
        if event.final:
            return event


async def rest(stream: Stream) -> list[Hypothesis]:
    """Finish a stream; return its remaining hypotheses."""
    stream.finish()
    events = []
    while not isinstance(event := await next_event(stream), EndOfStream):
        events.append(event)
    stream.close()
    return events


async def recognise(engine: Engine, audio: Pcm, options: StreamOptions | None = None) -> list[str]:
    """Return the texts of all finals."""
    stream = engine.open(options or StreamOptions())
    stream.push(audio)
    return [text(event) for event in await rest(stream) if event.final]


def text(hypothesis: Hypothesis) -> str:
    return "".join(token.piece for token in hypothesis.tokens)


async def test_finals_are_the_offline_models_and_interims_are_not() -> None:
    async with running(TwoPass()) as session:
        stream = session.engine.open(StreamOptions())
        for _ in range(10):
            stream.push(speech(0.2))
            await asyncio.sleep(0.001)
        *interims, final = await rest(stream)
        assert {text(interim)[0] for interim in interims} == {"天"}
        assert text(final) == "甲乙丙丁"
        assert session.counts() == {"corrected": 1}


async def test_words_lie_inside_their_sentence_and_begin_where_the_interims_said() -> None:
    class Astray(TwoPass):
        def correct(self, works: Works) -> list[SecondPassResult]:
            times = [(-9_000, 100), (50, 40), (9_000, 8_000), (30_000, 99_000)]
            tokens = tuple(SecondPassToken("字", *time, 0.5) for time in times)
            return [SecondPassResult(tokens, ("", "", "", "。")) for _ in works]

    async with running(Astray()) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate((silence(0.5), speech(2.0))))
        *interims, final = await rest(stream)
        assert {event.begin for event in interims} == {final.begin}
        assert final.end is not None
        times = [final.begin]
        for token in final.tokens:
            times += [token.begin, token.end]
        assert times == sorted(times)
        assert times[-1] <= final.end + 512
        assert [token.mark for token in final.tokens] == ["", "", "", "。"]


@pytest.mark.usefixtures("live")
async def test_what_began_at_a_pause_is_the_final_if_the_sentence_ends_there() -> None:
    backend = Scripted()
    async with running(backend) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate((speech(1.0), silence(0.5))))
        await backend.begins()
        stream.push(silence(0.6))
        assert text(await next_final(stream)) == "甲乙丙"
        assert len(backend.works) == 1
        assert session.counts() == {"corrected": 1}


@pytest.mark.usefixtures("live")
async def test_what_began_at_a_pause_is_discarded_when_speech_resumes() -> None:
    backend = Scripted()
    async with running(backend) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate((speech(1.0), silence(0.5))))
        await backend.begins()
        stream.push(np.concatenate((speech(1.0), silence(1.0))))
        assert text(await next_final(stream)) == "甲乙丙丁戊"
        first, whole = (len(work.pcm) for work in backend.works)
        assert 16_000 < first < 24_000 < 40_000 < whole < 48_000
        assert session.counts() == {"corrected": 1, "discarded": 1}


@pytest.mark.usefixtures("live")
async def test_a_longer_pause_can_be_asked_for() -> None:
    backend = Scripted()
    async with running(backend, second_pass_pause_ms=700) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate((speech(1.0), silence(0.6), speech(1.0), silence(1.0))))
        await next_final(stream)
        assert len(backend.works) == 1


@pytest.mark.usefixtures("live")
async def test_a_late_second_pass_leaves_the_streaming_text() -> None:
    release = threading.Event()
    backend = Scripted(lambda works: release.wait(TIMEOUT_S) and None)
    async with running(backend, second_pass_deadline_ms=50) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate((speech(1.0), silence(1.0))))
        assert text(await next_final(stream)) == "天地玄"
        release.set()
        assert await rest(stream) == []
        assert session.counts() == {"late": 1}


@pytest.mark.usefixtures("live")
async def test_what_is_late_before_it_begins_is_not_computed() -> None:
    release = threading.Event()
    backend = Scripted(lambda works: release.wait(TIMEOUT_S) and None)
    async with running(backend, second_pass_deadline_ms=50) as session:
        first, second = (session.engine.open(StreamOptions()) for _ in range(2))
        first.push(np.concatenate((speech(1.0), silence(1.0))))
        await backend.begins()
        second.push(np.concatenate((speech(1.0), silence(1.0))))
        assert text(await next_final(first)) == text(await next_final(second)) == "天地玄"
        release.set()
        assert await rest(first) == await rest(second) == []
        assert len(backend.works) == 1
        assert session.counts() == {"late": 2}
        assert session.engine.no_second_pass == ""


@pytest.mark.usefixtures("live")
async def test_a_task_ends_within_the_deadline() -> None:
    release = threading.Event()
    backend = Scripted(lambda works: release.wait(TIMEOUT_S) and None)
    async with running(backend, second_pass_deadline_ms=150) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(speech(1.0))
        await asyncio.sleep(0.02)
        began = time.monotonic()
        (final,) = [event for event in await rest(stream) if event.final]
        assert time.monotonic() - began < 1  # a busy machine wakes late
        assert text(final) == "天地"
        release.set()


@pytest.mark.usefixtures("live")
async def test_the_next_interim_does_not_wait_and_order_is_kept() -> None:
    release = threading.Event()
    backend = Scripted(lambda works: release.wait(TIMEOUT_S) and None)
    async with running(backend) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate((speech(1.0), silence(1.0))))
        await backend.begins()
        stream.push(speech(0.7))
        final = await next_final(stream)
        interim = await next_event(stream)
        assert isinstance(interim, Hypothesis)
        assert text(final) == "天地玄"
        assert text(interim)[0] == "天"
        release.set()
        assert [text(event) for event in await rest(stream) if event.final] == ["甲乙"]
        assert session.counts() == {"late": 1, "corrected": 1}


@pytest.mark.usefixtures("live")
async def test_under_load_none_begins_and_no_final_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = False
    monkeypatch.setattr(second_pass_stage, "overloaded", lambda load: busy)
    release = threading.Event()
    backend = Scripted(lambda works: release.wait(TIMEOUT_S) and None)
    async with running(backend) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate((speech(1.0), silence(0.5))))
        await backend.begins()
        busy = True  # while a second pass is computed
        stream.push(np.concatenate((silence(0.5), speech(1.0), silence(1.0))))
        assert [text(await next_final(stream)) for _ in range(2)] == ["天地玄", "天地玄"]
        assert len(backend.works) == 1
        assert session.counts() == {"dropped": 2}
        release.set()


async def test_recordings_wait_for_the_offline_model_and_lose_nothing() -> None:
    backend = Scripted(lambda works: time.sleep(0.01 * len(works)))
    audio = np.concatenate([speech(1.0), silence(1.0)] * 6)
    async with running(backend, second_pass_deadline_ms=0) as session:
        texts = await asyncio.gather(*(recognise(session.engine, audio) for _ in range(5)))
        assert texts == [["甲乙丙"] * 6] * 5
        assert session.counts() == {"corrected": 30}
        assert len(backend.works) == 30


async def test_a_recording_is_not_read_on_while_the_offline_model_is_behind() -> None:
    release = threading.Event()
    backend = Scripted(lambda works: release.wait(TIMEOUT_S) and None)
    async with running(backend) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate([speech(1.0), silence(1.0)] * 4))
        await backend.begins()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(stream.room(32_000), 0.05)
        release.set()
        await asyncio.wait_for(stream.room(32_000), TIMEOUT_S)
        stream.close()


async def test_a_task_can_do_without() -> None:
    backend = Scripted()
    async with running(backend) as session:
        assert await recognise(session.engine, speech(2.0), StreamOptions(second_pass=False)) == [
            "天地玄黄"
        ]
        assert not backend.works
        assert session.counts() == {}


async def test_a_sentence_that_is_cut_keeps_its_streaming_text() -> None:
    async with running(TwoPass()) as session:
        options = StreamOptions(max_sentence_ms=3_000)
        texts = await recognise(session.engine, speech(5.0), options)
        assert "".join(texts) == "天地玄黄宇宙洪荒日"
        assert session.counts() == {"skipped": 1}


async def test_a_sentence_that_is_too_long_keeps_its_text_and_frees_its_audio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(second_pass, "MAX_SENTENCE", 48_000)
    async with running(TwoPass()) as session:
        stream = session.engine.open(StreamOptions())
        held = 0
        for _ in range(50):
            stream.push(speech(0.2))
            await stream.room(16_000)
            held = max(held, stream._ring.end - stream._ring.begin)
        assert held <= 48_000 + 2 * 16_000
        assert text((await rest(stream))[-1])[0] == "天"
        assert session.counts() == {"skipped": 1}


async def test_text_that_the_offline_model_does_not_find_remains() -> None:
    class Deaf(TwoPass):
        def correct(self, works: Works) -> list[SecondPassResult]:
            return [SecondPassResult(()) for _ in works]

    async with running(Deaf()) as session:
        assert await recognise(session.engine, speech(2.0)) == ["天地玄黄"]
        assert session.counts() == {"empty": 1}


async def test_punctuation_ends_sentences_in_the_corrected_text_too() -> None:
    class Punctuating(TwoPass):
        def correct(self, works: Works) -> list[SecondPassResult]:
            results = super().correct(works)
            marks = ("", "。", "", "。")
            return [SecondPassResult(result.tokens, marks) for result in results]

    async with running(Punctuating()) as session:
        texts = await recognise(session.engine, speech(2.0), StreamOptions(semantic=True))
        assert texts == ["甲乙", "丙丁"]


async def test_the_offline_model_gets_the_hotwords_and_whether_to_punctuate() -> None:
    backend = Scripted()
    async with running(backend) as session:
        options = StreamOptions(hotwords=(("玄黄", 4),), punctuate=False)
        await recognise(session.engine, speech(1.0), options)
        await recognise(session.engine, speech(1.0))
        listed, plain = backend.works
        assert listed.hotwords is not None
        assert set(listed.hotwords.pieces) == {"玄", "黄"}
        assert (listed.punctuate, plain.punctuate, plain.hotwords) == (False, True, None)


async def test_hotwords_are_not_lost_to_a_model_that_knows_none() -> None:
    class Unbiased(TwoPass):
        second_pass_hotwords = False

    async with running(Unbiased()) as session:
        options = StreamOptions(hotwords=(("悬黄", 5),))
        assert await recognise(session.engine, speech(2.0), options) == ["天地悬黄"]
        assert await recognise(session.engine, speech(2.0)) == ["甲乙丙丁"]


async def test_a_second_pass_that_fails_costs_only_itself() -> None:
    def script(works: Works) -> None:
        if any(len(work.pcm) > 30_000 for work in works):
            raise RuntimeError("no such kernel")

    async with running(Scripted(script)) as session:
        texts = await asyncio.gather(
            *(recognise(session.engine, speech(length)) for length in (1.9, 1.5, 2.0, 1.8))
        )
        assert texts == [["天地玄黄"], ["甲乙丙"], ["天地玄黄"], ["甲乙丙"]]
        assert session.engine.no_second_pass == ""


async def test_too_large_a_batch_is_computed_in_parts() -> None:
    def script(works: Works) -> None:
        if len(works) > 1:
            raise OutOfMemoryError

    async with running(Scripted(script)) as session:
        texts = await asyncio.gather(*(recognise(session.engine, speech(1.0)) for _ in range(6)))
        assert texts == [["甲乙"]] * 6


async def test_a_second_pass_that_always_fails_is_switched_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def script(works: Works) -> None:
        raise RuntimeError("no such kernel")

    backend = Scripted(script)
    async with running(backend) as session:
        for _ in range(6):
            assert await recognise(session.engine, speech(1.0)) == ["天地"]
        computed = len(backend.works)
        assert await recognise(session.engine, speech(1.0)) == ["天地"]
        assert len(backend.works) == computed
        assert session.engine.no_second_pass == "3 steps and a probe failed"
        assert session.engine.state == "ready"
    off = [one for one in caplog.messages if "switched off" in one]
    assert off == ["the second pass is switched off: it fails"]


@pytest.mark.usefixtures("live")
async def test_a_second_pass_that_hangs_is_switched_off() -> None:
    release = threading.Event()
    backend = Scripted(lambda works: release.wait(TIMEOUT_S) and None)
    async with running(backend, step_timeout_s=0.2) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate((speech(1.0), silence(1.0))))
        assert text(await next_final(stream)) == "天地玄"
        assert session.engine.no_second_pass
        assert session.engine.state == "ready"
        release.set()


@pytest.mark.usefixtures("live")
async def test_a_stream_closed_during_its_second_pass_leaves_nothing() -> None:
    release = threading.Event()
    backend = Scripted(lambda works: release.wait(TIMEOUT_S) and None)
    async with running(backend) as session:
        stream = session.engine.open(StreamOptions())
        stream.push(np.concatenate((speech(1.0), silence(1.0))))
        await backend.begins()
        stream.close()
        release.set()
        assert await recognise(session.engine, speech(1.0)) == ["甲乙"]
        assert session.engine.used_slots == 0


@pytest.mark.usefixtures("live")
async def test_decoding_goes_on_beside_a_second_pass() -> None:
    release = threading.Event()
    backend = Scripted(lambda works: release.wait(TIMEOUT_S) and None)
    async with running(backend) as session:
        first, second = (session.engine.open(StreamOptions()) for _ in range(2))
        first.push(np.concatenate((speech(1.0), silence(1.0))))
        await backend.begins()
        second.push(speech(1.5))
        async with within(5):
            assert text(await second.next())  # type: ignore[arg-type]
        release.set()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads have priorities on Linux")
async def test_the_second_pass_runs_with_a_low_priority() -> None:
    niceness: dict[str, int] = {}

    class Watched(TwoPass):
        def note(self, step: str) -> None:
            niceness[step] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        def decode(self, works: Sequence[DecodeWork]) -> list[DecodeResult]:
            self.note("decode")
            return super().decode(works)

        def correct(self, works: Works) -> list[SecondPassResult]:
            self.note("correct")
            return super().correct(works)

    async with running(Watched()) as session:
        await recognise(session.engine, speech(0.5))
    own = os.getpriority(os.PRIO_PROCESS, 0)
    low = min(19, own + worker.SECOND_PASS_NICENESS)
    assert niceness == {"decode": own, "correct": low}


async def test_a_server_without_an_offline_model_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(FakeBackend()) as session:
        assert await recognise(session.engine, speech(1.0)) == ["天地"]
        assert session.engine.no_second_pass == "there is no offline model"
