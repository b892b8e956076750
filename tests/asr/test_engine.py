"""Check the engine with a backend that needs no weights: sentences, isolation, faults, limits."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr_server.asr import stage
from asr_server.asr.engine import Engine
from asr_server.asr.stream import Stream
from asr_server.asr.types import (
    DecodeResult,
    DecodeWork,
    OutOfMemoryError,
    Pcm,
    StreamOptions,
    VadWork,
)
from asr_server.audio.endpointer import ONSET_LAG, RELEASE_LAG, WINDOW, EndpointingOptions
from asr_server.errors import EngineDead, EngineError, InternalError, Throttled
from asr_server.recognition import EndOfStream, Hypothesis, RecognitionEvent
from tests.support.engines import engine_with
from tests.support.fake_backend import FakeBackend

TIMEOUT_S = 10

Works = Sequence[DecodeWork]
Probabilities = list[np.ndarray]


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"], scope="module", autouse=True)
def workers(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run every test with decode steps one after another and with two side by side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeBackend, "workers", request.param)
        yield request.param


def speech(seconds: float) -> Pcm:
    return np.full(int(seconds * 16_000), 0.1, dtype=np.float32)


def silence(seconds: float) -> Pcm:
    return np.zeros(int(seconds * 16_000), dtype=np.float32)


TWO_SENTENCES = np.concatenate((silence(0.5), speech(2.0), silence(1.2), speech(1.3), silence(0.3)))


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = engine_with()
    await engine.start()
    yield engine
    await engine.stop()


async def events_of(stream: Stream) -> list[RecognitionEvent]:
    """Return all events up to `EndOfStream`."""
    events: list[RecognitionEvent] = []
    while not events or not isinstance(events[-1], EndOfStream):
        events.append(await asyncio.wait_for(stream.next(), TIMEOUT_S))
    return events


async def recognise(
    engine: Engine, cuts: list[Pcm], options: StreamOptions | None = None
) -> list[RecognitionEvent]:
    stream = engine.open(options or StreamOptions())
    for piece in cuts:
        stream.push(piece)
        await asyncio.sleep(0)
    stream.finish()
    events = await events_of(stream)
    stream.close()
    return events


def finals(events: list[RecognitionEvent]) -> list[tuple[str, int, int]]:
    return [
        ("".join(token.piece for token in event.tokens), event.begin, event.end or 0)
        for event in events
        if isinstance(event, Hypothesis) and event.final
    ]


async def test_each_stretch_of_speech_becomes_one_final(engine: Engine) -> None:
    (first, second) = finals(await recognise(engine, [TWO_SENTENCES]))
    assert first[0] == "天地玄黄宇"
    assert second[0] == "天地玄黄"
    early, late = ONSET_LAG + WINDOW, RELEASE_LAG + WINDOW  # this backend's VAD has no lag
    assert abs(first[1] - 8_000) <= early
    assert abs(first[2] - 40_000) <= late
    assert abs(second[1] - 59_200) <= early
    assert abs(second[2] - 80_000) <= late


@settings(max_examples=40)
@given(
    lengths=st.lists(st.floats(0.05, 1.5), min_size=1, max_size=9),
    pieces=st.integers(1, 60),
    chance=st.randoms(use_true_random=False),
)
@example(lengths=[0.5, 2.0, 1.2, 1.3, 0.3], pieces=20, chance=random.Random(1))
@example(lengths=[0.3, 0.3 + 0.6, 0.32, 0.6, 0.9], pieces=60, chance=random.Random(2))
def test_finals_do_not_depend_on_how_the_audio_was_cut(
    lengths: list[float], pieces: int, chance: random.Random
) -> None:
    audio = np.concatenate(
        [(speech if number % 2 else silence)(length) for number, length in enumerate(lengths)]
    )

    async def run() -> None:
        engine = engine_with()
        await engine.start()
        whole = finals(await recognise(engine, [audio]))
        places = sorted(chance.sample(range(len(audio)), pieces))
        cut = finals(await recognise(engine, np.split(audio, places)))
        await engine.stop()
        assert cut == whole

    asyncio.run(run())


async def test_a_chunk_waits_for_no_more_than_its_own_audio() -> None:
    engine = engine_with(previews=False)
    await engine.start()
    for message in (320, 512, 1_600, 9_600):
        stream = engine.open(StreamOptions())
        for _ in range(9_600 // message + (9_600 % message > 0)):
            stream.push(speech(message / 16_000))
            await asyncio.sleep(0.002)
        event = await asyncio.wait_for(stream.next(), TIMEOUT_S)
        assert isinstance(event, Hypothesis), f"in messages of {message} samples"
        stream.close()
    await engine.stop()


async def test_finals_are_the_same_with_and_without_interims(engine: Engine) -> None:
    shown = await recognise(engine, np.split(TWO_SENTENCES, 50))
    hidden = await recognise(engine, np.split(TWO_SENTENCES, 50), StreamOptions(interim=False))
    assert finals(shown) == finals(hidden)
    assert any(isinstance(event, Hypothesis) and not event.final for event in shown)
    assert all(isinstance(event, EndOfStream) or event.final for event in hidden)


async def test_streams_do_not_affect_each_other(engine: Engine) -> None:
    lengths = [0.7 + 0.37 * n for n in range(20)]
    results = await asyncio.gather(*(recognise(engine, [speech(length)]) for length in lengths))
    alone = [finals(await recognise(engine, [speech(length)])) for length in lengths]
    assert [finals(events) for events in results] == alone


async def test_silence_and_no_audio_end_without_a_hypothesis(engine: Engine) -> None:
    assert await recognise(engine, [silence(3.0)]) == [EndOfStream()]
    assert await recognise(engine, []) == [EndOfStream()]


async def test_speech_up_to_the_very_end_is_recognised(engine: Engine) -> None:
    for samples in (9_600, 9_601, 10_000, 19_199, 19_200, 700, 1_100):
        events = finals(await recognise(engine, [speech(samples / 16_000)]))
        assert events[-1][2] == samples


async def test_a_shorter_silence_cuts_more_sentences(engine: Engine) -> None:
    audio = np.concatenate((speech(1.0), silence(0.5), speech(1.0), silence(0.5), speech(1.0)))
    patient = StreamOptions(endpoint=EndpointingOptions(max_sentence_silence_ms=800))
    quick = StreamOptions(endpoint=EndpointingOptions(max_sentence_silence_ms=300))
    assert len(finals(await recognise(engine, [audio], patient))) == 1
    assert len(finals(await recognise(engine, [audio], quick))) == 3


async def test_a_sentence_without_a_pause_is_closed_when_it_grows_too_long(
    engine: Engine,
) -> None:
    options = StreamOptions(max_sentence_ms=3_000)
    cut = finals(await recognise(engine, [speech(13.0)], options))
    whole = finals(await recognise(engine, [speech(13.0)]))
    assert len(cut) > 3
    assert "".join(text for text, _, _ in cut) == whole[0][0]  # nothing lost, nothing twice
    assert all(one[2] <= other[1] for one, other in zip(cut, cut[1:], strict=False))
    assert cut[-1][2] == whole[-1][2]


async def test_semantic_punctuation_ends_sentences_where_it_is_asked_for() -> None:
    class Punctuating(FakeBackend):
        def decode(self, works: Works) -> list[DecodeResult]:
            marked = []
            for work, result in zip(works, super().decode(works), strict=True):
                pieces = [*work.prefix, *(token.piece for token in result.tokens)]
                marks = tuple("。" if piece in "黄荒" else "" for piece in pieces)
                marked.append(DecodeResult(result.tokens, marks if work.punctuate else ()))
            return marked

    engine = engine_with(Punctuating)
    await engine.start()
    silent = finals(await recognise(engine, [speech(7.0)]))
    semantic = finals(await recognise(engine, [speech(7.0)], StreamOptions(semantic=True)))
    await engine.stop()
    assert [text for text, _, _ in silent] == ["天地玄黄宇宙洪荒日月盈昃"]
    assert [text for text, _, _ in semantic] == ["天地玄黄", "宇宙洪荒", "日月盈昃"]


async def test_a_final_comes_while_the_audio_goes_on(engine: Engine) -> None:
    stream = engine.open(StreamOptions(interim=False))
    stream.push(np.concatenate((speech(1.0), silence(1.0))))
    event = await asyncio.wait_for(stream.next(), TIMEOUT_S)
    assert isinstance(event, Hypothesis)
    assert event.final
    stream.close()


async def test_a_stream_above_the_limit_is_throttled() -> None:
    engine = engine_with(max_tasks=2)
    await engine.start()
    streams = [engine.open(StreamOptions()) for _ in range(2)]
    with pytest.raises(Throttled):
        engine.open(StreamOptions())
    streams[0].close()
    engine.open(StreamOptions())
    await engine.stop()


async def test_a_stream_that_would_delay_the_others_is_throttled(workers: int) -> None:
    class Slow(FakeBackend):
        def decode(self, works: Works) -> list[DecodeResult]:
            time.sleep(0.04 * workers * len(works))
            return super().decode(works)

    engine = engine_with(Slow, max_delay_ms=100)
    await engine.start()
    streams = [engine.open(StreamOptions(interim=False)) for _ in range(8)]
    for stream in streams:
        stream.push(speech(2.0))
    await asyncio.sleep(1.0)
    with pytest.raises(Throttled):
        engine.open(StreamOptions())
    for stream in streams:
        stream.close()
    engine.open(StreamOptions())
    await engine.stop()


async def test_ten_thousand_streams_leave_nothing_behind(engine: Engine) -> None:
    for _ in range(10_000):
        stream = engine.open(StreamOptions())
        stream.push(speech(0.1))
        stream.close()
    await recognise(engine, [speech(1.0)])
    assert engine.open_streams == engine.used_slots == 0


def blocked(entered: threading.Event, release: threading.Event) -> type[FakeBackend]:
    """Return a backend whose decode steps wait for `release`."""

    class Blocked(FakeBackend):
        def decode(self, works: Works) -> list[DecodeResult]:
            entered.set()
            release.wait(TIMEOUT_S)
            return super().decode(works)

    return Blocked


async def close_during_a_step(engine: Engine, entered: threading.Event) -> None:
    """Open a stream, and close it once its step has `entered` the backend."""
    closing = engine.open(StreamOptions())
    closing.push(speech(2.0))
    await asyncio.get_running_loop().run_in_executor(None, entered.wait, TIMEOUT_S)
    closing.close()


async def test_a_stream_closed_during_its_step_does_not_affect_others() -> None:
    entered, release = threading.Event(), threading.Event()
    engine = engine_with(blocked(entered, release))
    await engine.start()
    await close_during_a_step(engine, entered)
    release.set()
    assert len(finals(await recognise(engine, [speech(1.0)]))) == 1
    await engine.stop()


async def test_steps_run_side_by_side_on_all_workers_and_share_no_slot(workers: int) -> None:
    running: dict[str, list[set[int]]] = {"vad": [], "decode": []}
    most = {"vad": 0, "decode": 0}
    shared: list[set[int]] = []

    class Watched(FakeBackend):
        def watch(self, kind: str, works: Sequence[VadWork | DecodeWork]) -> set[int]:
            slots = {work.slot for work in works}
            shared.extend(slots & other for others in running.values() for other in others)
            running[kind].append(slots)
            most[kind] = max(most[kind], len(running[kind]))
            time.sleep(0.002)
            return slots

        def detect(self, works: Sequence[VadWork]) -> Probabilities:
            slots = self.watch("vad", works)
            results = super().detect(works)
            running["vad"].remove(slots)
            return results

        def decode(self, works: Works) -> list[DecodeResult]:
            slots = self.watch("decode", works)
            results = super().decode(works)
            running["decode"].remove(slots)
            return results

    engine = engine_with(Watched)
    await engine.start()
    results = await asyncio.gather(
        *(recognise(engine, np.split(TWO_SENTENCES, 50)) for _ in range(8))
    )
    await engine.stop()
    assert {tuple(text for text, _, _ in finals(events)) for events in results} == {
        ("天地玄黄宇", "天地玄黄")
    }
    assert most == {"vad": 1, "decode": workers}
    assert not any(shared)


async def test_vad_does_not_wait_for_a_decode_step_of_other_streams() -> None:
    entered, release = threading.Event(), threading.Event()
    engine = engine_with(blocked(entered, release))
    await engine.start()
    quiet = engine.open(StreamOptions())
    await close_during_a_step(engine, entered)
    quiet.push(silence(1.0))
    for _ in range(100):
        if not quiet.windows_due:
            break
        await asyncio.sleep(0.01)
    assert not quiet.windows_due
    release.set()
    await engine.stop()


async def test_a_slot_is_not_reused_while_a_step_of_its_stream_runs() -> None:
    entered, release = threading.Event(), threading.Event()
    engine = engine_with(blocked(entered, release))
    await engine.start()
    await close_during_a_step(engine, entered)
    assert (engine.open_streams, engine.used_slots) == (0, 1)
    slots = {engine.open(StreamOptions()).slot for _ in range(3)}
    assert 1 not in slots
    release.set()
    assert len(finals(await recognise(engine, [speech(1.0)]))) == 1
    assert engine.used_slots == engine.open_streams == 3
    await engine.stop()


async def test_a_stream_without_a_slot_is_throttled() -> None:
    class Narrow(FakeBackend):
        slots = 3  # with the dummy

    engine = engine_with(Narrow)
    await engine.start()
    streams = [engine.open(StreamOptions()) for _ in range(2)]
    with pytest.raises(Throttled):
        engine.open(StreamOptions())
    streams[0].close()
    engine.open(StreamOptions())
    await engine.stop()


def failing(condition: Callable[[Works], bool]) -> type[FakeBackend]:
    """Return a backend whose decode steps fail where the condition holds."""

    class Failing(FakeBackend):
        def decode(self, works: Works) -> list[DecodeResult]:
            if condition(works):
                raise RuntimeError("device fault")
            return super().decode(works)

    return Failing


async def test_a_fault_in_a_step_fails_only_the_stream_that_caused_it() -> None:
    engine = engine_with(failing(lambda works: any(work.slot == 2 for work in works)))
    await engine.start()
    streams = [engine.open(StreamOptions(interim=False)) for _ in range(3)]
    for stream in streams:
        stream.push(speech(2.0))
        stream.finish()
    with pytest.raises(EngineError):
        await events_of(streams[1])
    assert len(finals(await events_of(streams[0]))) == 1
    assert len(finals(await events_of(streams[2]))) == 1
    assert engine.state == "ready"
    await engine.stop()


async def test_a_transient_fault_loses_nothing() -> None:
    faults = iter([True])
    engine = engine_with(failing(lambda works: next(faults, False)))
    await engine.start()
    whole = finals(await recognise(engine, [speech(2.0)]))
    assert [text for text, _, _ in whole] == ["天地玄黄"]
    await engine.stop()


async def test_out_of_memory_makes_batches_smaller_and_loses_nothing() -> None:
    sizes: list[int] = []

    class Small(FakeBackend):
        def decode(self, works: Works) -> list[DecodeResult]:
            sizes.append(len(works))
            if len(works) > 4:
                raise OutOfMemoryError
            return super().decode(works)

    engine = engine_with(Small)
    await engine.start()
    audio = speech(2.0)
    results = await asyncio.gather(*(recognise(engine, [audio]) for _ in range(16)))
    assert {text for events in results for text, _, _ in finals(events)} == {"天地玄黄"}
    assert max(sizes) > 4
    assert max(sizes[-10:]) <= 4
    await engine.stop()


async def test_infinite_and_huge_samples_never_reach_the_backend() -> None:
    peaks: list[float] = []

    class Watched(FakeBackend):
        def decode(self, works: Works) -> list[DecodeResult]:
            peaks.extend(float(np.abs(work.pcm).max()) for work in works)
            return super().decode(works)

    engine = engine_with(Watched)
    await engine.start()
    audio = speech(2.0)
    audio[100:104] = np.nan, np.inf, -np.inf, 3e38
    assert [text for text, _, _ in finals(await recognise(engine, [audio]))] == ["天地玄黄"]
    assert max(peaks) == 1.0
    await engine.stop()


async def test_streams_that_fail_by_themselves_never_end_the_device() -> None:
    class Picky(FakeBackend):
        def decode(self, works: Works) -> list[DecodeResult]:
            if any(work.pcm.max() > 0.5 for work in works):
                raise RuntimeError("bad samples")
            return super().decode(works)

    engine = engine_with(Picky)
    await engine.start()
    bystander = engine.open(StreamOptions())
    for _ in range(3 * stage.MAX_FAILED_STEPS):
        culprit = engine.open(StreamOptions())
        culprit.push(9 * speech(1.0))
        with pytest.raises(EngineError):
            await events_of(culprit)
    bystander.push(speech(1.0))
    bystander.finish()
    assert len(finals(await events_of(bystander))) == 1
    assert engine.state == "ready"
    await engine.stop()


@pytest.mark.parametrize("fault", ["exit", "hang", "every step fails"])
async def test_a_dead_device_fails_every_task_and_is_restarted(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "MAX_FAILED_STEPS", 2)
    loads: list[FakeBackend] = []
    release = threading.Event()

    class Mortal(FakeBackend):
        def __init__(self) -> None:
            super().__init__()
            loads.append(self)

        def detect(self, works: Sequence[VadWork]) -> Probabilities:
            if len(loads) == 1:
                if fault == "exit":
                    raise SystemExit
                if fault == "hang":
                    release.wait(TIMEOUT_S)
                raise RuntimeError("device lost")
            return super().detect(works)

    engine = engine_with(Mortal, step_timeout_s=0.2)
    await engine.start()
    bystander = engine.open(StreamOptions())
    for _ in range(2 if fault == "every step fails" else 1):
        victim = engine.open(StreamOptions())
        victim.push(speech(1.0))
        with pytest.raises(InternalError):
            await events_of(victim)
    with pytest.raises(EngineDead):
        await events_of(bystander)
    release.set()
    for _ in range(100):
        if engine.state == "ready":
            break
        await asyncio.sleep(0.02)
    assert len(loads) == 2
    assert len(finals(await recognise(engine, [speech(1.0)]))) == 1
    await engine.stop()


async def test_stopping_ends_open_streams_with_an_error(engine: Engine) -> None:
    stream = engine.open(StreamOptions())
    await engine.stop()
    with pytest.raises(EngineError):
        await asyncio.wait_for(stream.next(), TIMEOUT_S)
    with pytest.raises(EngineError):
        engine.open(StreamOptions())


async def test_room_returns_when_the_backlog_is_below_its_limit(engine: Engine) -> None:
    stream = engine.open(StreamOptions())
    stream.push(speech(30.0))
    assert stream.backlog > 16_000
    await asyncio.wait_for(stream.room(16_000), TIMEOUT_S)
    assert stream.backlog <= 16_000
    stream.close()


async def test_an_unread_interim_is_replaced_and_finals_are_kept(engine: Engine) -> None:
    stream = engine.open(StreamOptions())
    for piece in np.split(TWO_SENTENCES, 40):
        stream.push(piece)
        await asyncio.sleep(0.002)
    stream.finish()
    await asyncio.sleep(0.2)
    events = await events_of(stream)
    assert [isinstance(e, EndOfStream) or e.final for e in events] == [True, True, True]
    stream.close()


@pytest.mark.parametrize("turns", range(6))
async def test_the_engine_stops_even_if_work_comes_at_that_moment(turns: int) -> None:
    engine = engine_with()
    await engine.start()
    stream = engine.open(StreamOptions())
    stream.push(np.zeros(512, dtype=np.float32))
    await asyncio.sleep(0.005)  # the batching delay has a timer
    stream.push(np.zeros(512, dtype=np.float32))
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(engine.stop())
    done, _ = await asyncio.wait({stopping}, timeout=3)
    stopping.cancel()
    assert done
