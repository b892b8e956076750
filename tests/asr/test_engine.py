"""The loop with a backend that needs no weights: sentences, isolation, failures, admission."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr_server.asr.admission import Limits
from asr_server.asr.engine import Engine, EngineOptions
from asr_server.asr.fake import FakeBackend
from asr_server.asr.stream import Stream
from asr_server.asr.types import (
    DecodeResult,
    OutOfMemoryError,
    Pcm,
    Step,
    StepResult,
    StreamOptions,
)
from asr_server.audio.endpointer import ONSET_LAG, RELEASE_LAG, WINDOW, EndpointingOptions
from asr_server.errors import EngineDead, EngineError, InternalError, Throttled
from asr_server.recognition import EndOfStream, Hypothesis, RecognitionEvent

PATIENCE_S = 10


@pytest.fixture(params=[1, 2], ids=["one lane", "two lanes"], scope="module", autouse=True)
def lanes(request: pytest.FixtureRequest) -> Iterator[int]:
    """Whatever is true of one step after another is true of two side by side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeBackend, "lanes", request.param)
        yield request.param


def speech(seconds: float) -> Pcm:
    return np.full(int(seconds * 16_000), 0.1, dtype=np.float32)


def silence(seconds: float) -> Pcm:
    return np.zeros(int(seconds * 16_000), dtype=np.float32)


TWO_SENTENCES = np.concatenate((silence(0.5), speech(2.0), silence(1.2), speech(1.3), silence(0.3)))


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(FakeBackend)
    await engine.start()
    yield engine
    await engine.stop()


async def listen(stream: Stream) -> list[RecognitionEvent]:
    """Everything up to `EndOfStream`."""
    events: list[RecognitionEvent] = []
    while not events or not isinstance(events[-1], EndOfStream):
        events.append(await asyncio.wait_for(stream.next(), PATIENCE_S))
    return events


async def recognise(
    engine: Engine, cuts: list[Pcm], options: StreamOptions | None = None
) -> list[RecognitionEvent]:
    stream = engine.open(options or StreamOptions())
    for piece in cuts:
        stream.push(piece)
        await asyncio.sleep(0)
    stream.finish()
    events = await listen(stream)
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
    early, late = ONSET_LAG + WINDOW, RELEASE_LAG + WINDOW  # this backend's VAD lags not at all
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
        engine = Engine(FakeBackend)
        await engine.start()
        whole = finals(await recognise(engine, [audio]))
        places = sorted(chance.sample(range(len(audio)), pieces))
        cut = finals(await recognise(engine, np.split(audio, places)))
        await engine.stop()
        assert cut == whole

    asyncio.run(run())


async def test_a_chunk_does_not_wait_for_more_than_its_own_audio(lanes: int) -> None:
    engine = Engine(FakeBackend, EngineOptions(preview_interval_ms=0))
    await engine.start()
    for message in (320, 512, 1_600, 9_600):
        stream = engine.open(StreamOptions())
        for _ in range(9_600 // message + (9_600 % message > 0)):
            stream.push(speech(message / 16_000))
            await asyncio.sleep(0.002)
        heard = await asyncio.wait_for(stream.next(), PATIENCE_S)
        assert isinstance(heard, Hypothesis), f"in messages of {message} samples"
        stream.close()
    await engine.stop()


async def test_finals_are_the_same_with_and_without_interims(engine: Engine) -> None:
    shown = await recognise(engine, np.split(TWO_SENTENCES, 50))
    hidden = await recognise(engine, np.split(TWO_SENTENCES, 50), StreamOptions(interim=False))
    assert finals(shown) == finals(hidden)
    assert any(isinstance(event, Hypothesis) and not event.final for event in shown)
    assert all(isinstance(event, EndOfStream) or event.final for event in hidden)


async def test_streams_do_not_hear_each_other(engine: Engine) -> None:
    lengths = [0.7 + 0.37 * n for n in range(20)]
    results = await asyncio.gather(*(recognise(engine, [speech(length)]) for length in lengths))
    alone = [finals(await recognise(engine, [speech(length)])) for length in lengths]
    assert [finals(events) for events in results] == alone


async def test_silence_and_nothing_at_all_drain_without_a_word(engine: Engine) -> None:
    assert await recognise(engine, [silence(3.0)]) == [EndOfStream()]
    assert await recognise(engine, []) == [EndOfStream()]


async def test_speech_up_to_the_very_end_is_heard(engine: Engine) -> None:
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


async def test_sentences_end_where_punctuation_says_when_that_is_asked() -> None:
    class Punctuating(FakeBackend):
        def step(self, step: Step) -> StepResult:
            result = super().step(step)
            marked = []
            for work, heard in zip(step.chunks, result.heard, strict=True):
                pieces = [*work.prefix, *(token.piece for token in heard.tokens)]
                marks = tuple("。" if piece in "黄荒" else "" for piece in pieces)
                marked.append(DecodeResult(heard.tokens, marks if work.punctuate else ()))
            return StepResult(result.probabilities, marked)

    engine = Engine(Punctuating)
    await engine.start()
    silent = finals(await recognise(engine, [speech(7.0)]))
    semantic = finals(await recognise(engine, [speech(7.0)], StreamOptions(semantic=True)))
    await engine.stop()
    assert [text for text, _, _ in silent] == ["天地玄黄宇宙洪荒日月盈昃"]
    assert [text for text, _, _ in semantic] == ["天地玄黄", "宇宙洪荒", "日月盈昃"]


async def test_a_final_comes_while_the_audio_goes_on(engine: Engine) -> None:
    stream = engine.open(StreamOptions(interim=False))
    stream.push(np.concatenate((speech(1.0), silence(1.0))))
    event = await asyncio.wait_for(stream.next(), PATIENCE_S)
    assert isinstance(event, Hypothesis)
    assert event.final
    stream.close()


async def test_one_stream_more_than_there_are_is_told_to_come_again() -> None:
    engine = Engine(FakeBackend, EngineOptions(max_streams=2))
    await engine.start()
    streams = [engine.open(StreamOptions()) for _ in range(2)]
    with pytest.raises(Throttled):
        engine.open(StreamOptions())
    streams[0].close()
    engine.open(StreamOptions())
    await engine.stop()


async def test_a_task_that_would_make_the_others_late_is_told_to_come_again(lanes: int) -> None:
    class Slow(FakeBackend):
        def step(self, step: Step) -> StepResult:
            time.sleep(0.04 * lanes * len(step.chunks))
            return super().step(step)

    engine = Engine(Slow, EngineOptions(limits=Limits(max_delay_s=0.1)))
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
    assert engine.open_streams == 0
    backend = engine._device.backend
    assert isinstance(backend, FakeBackend)
    await recognise(engine, [speech(1.0)])
    assert len(backend._chunks) <= 1
    assert not engine._scheduler._last_taken


def held_up(entered: threading.Event, release: threading.Event) -> type[FakeBackend]:
    """Computes no chunks before it is released."""

    class HeldUp(FakeBackend):
        def step(self, step: Step) -> StepResult:
            if step.chunks:
                entered.set()
                release.wait(PATIENCE_S)
            return super().step(step)

    return HeldUp


async def leave_during_a_step(engine: Engine, entered: threading.Event) -> None:
    """Open a stream, and close it once its step has `entered` the device."""
    leaver = engine.open(StreamOptions())
    leaver.push(speech(2.0))
    await asyncio.get_running_loop().run_in_executor(None, entered.wait, PATIENCE_S)
    leaver.close()


async def test_a_stream_closed_while_its_step_runs_bothers_nobody() -> None:
    entered, release = threading.Event(), threading.Event()
    engine = Engine(held_up(entered, release))
    await engine.start()
    await leave_during_a_step(engine, entered)
    release.set()
    assert len(finals(await recognise(engine, [speech(1.0)]))) == 1
    await engine.stop()


async def test_steps_run_side_by_side_on_as_many_lanes_and_share_no_stream(lanes: int) -> None:
    running: list[Step] = []
    judging: list[int] = []
    hearing: list[int] = []
    shared: list[frozenset[int]] = []

    class Watched(FakeBackend):
        def step(self, step: Step) -> StepResult:
            running.append(step)
            judging.append(sum(bool(step.judge) for step in running))
            hearing.append(sum(bool(step.chunks) for step in running))
            for other in running:
                if other is not step and other.streams & step.streams:
                    shared.append(other.streams & step.streams)
            time.sleep(0.002)
            result = super().step(step)
            running.remove(step)
            return result

    engine = Engine(Watched)
    await engine.start()
    results = await asyncio.gather(
        *(recognise(engine, np.split(TWO_SENTENCES, 50)) for _ in range(8))
    )
    await engine.stop()
    assert {tuple(text for text, _, _ in finals(events)) for events in results} == {
        ("天地玄黄宇", "天地玄黄")
    }
    assert max(hearing) == lanes
    assert max(judging) == 1
    assert not shared


async def test_nobody_waits_for_a_step_of_others_to_know_where_a_sentence_ends() -> None:
    entered, release = threading.Event(), threading.Event()
    engine = Engine(held_up(entered, release))
    await engine.start()
    quiet = engine.open(StreamOptions())
    await leave_during_a_step(engine, entered)
    quiet.push(silence(1.0))
    for _ in range(100):
        if not quiet.judge_due:
            break
        await asyncio.sleep(0.01)
    assert not quiet.judge_due
    release.set()
    await engine.stop()


async def test_a_slot_is_free_again_only_when_the_last_step_of_its_stream_is_done() -> None:
    entered, release = threading.Event(), threading.Event()
    closed_while_computed: list[int] = []
    computing: set[int] = set()

    class Slow(FakeBackend):
        def step(self, step: Step) -> StepResult:
            closed_while_computed.extend(computing.intersection(step.closed))
            if step.chunks and not entered.is_set():
                computing.update(step.streams)
                entered.set()
                release.wait(PATIENCE_S)
                computing.clear()
            return super().step(step)

    engine = Engine(Slow)
    await engine.start()
    await leave_during_a_step(engine, entered)
    others = asyncio.gather(*(recognise(engine, [speech(1.0)]) for _ in range(3)))
    await asyncio.sleep(0.1)
    release.set()
    await others
    await recognise(engine, [speech(1.0)])
    await engine.stop()
    assert not closed_while_computed


def failing(condition: Callable[[Step], bool]) -> type[FakeBackend]:
    class Failing(FakeBackend):
        def step(self, step: Step) -> StepResult:
            if condition(step):
                raise RuntimeError("device fault")
            return super().step(step)

    return Failing


async def test_a_fault_in_a_step_fails_only_the_stream_that_caused_it() -> None:
    culprit = 2
    backend = failing(lambda step: any(w.stream == culprit for w in step.chunks))
    engine = Engine(backend)
    await engine.start()
    streams = [engine.open(StreamOptions(interim=False)) for _ in range(3)]
    for stream in streams:
        stream.push(speech(2.0))
        stream.finish()
    with pytest.raises(EngineError):
        await listen(streams[1])
    assert len(finals(await listen(streams[0]))) == 1
    assert len(finals(await listen(streams[2]))) == 1
    assert engine.ready
    await engine.stop()


async def test_a_fault_that_passes_costs_nothing() -> None:
    faults = iter([True])
    engine = Engine(failing(lambda step: bool(step.chunks) and next(faults, False)))
    await engine.start()
    whole = finals(await recognise(engine, [speech(2.0)]))
    assert [text for text, _, _ in whole] == ["天地玄黄"]
    await engine.stop()


async def test_too_little_device_memory_makes_the_steps_smaller_and_loses_nothing() -> None:
    sizes: list[int] = []

    class Small(FakeBackend):
        def step(self, step: Step) -> StepResult:
            sizes.append(len(step.chunks))
            if len(step.chunks) > 4:
                raise OutOfMemoryError
            return super().step(step)

    engine = Engine(Small)
    await engine.start()
    audio = speech(2.0)
    results = await asyncio.gather(*(recognise(engine, [audio]) for _ in range(16)))
    assert {text for events in results for text, _, _ in finals(events)} == {"天地玄黄"}
    assert max(sizes) > 4
    assert max(sizes[-10:]) <= 4
    await engine.stop()


@pytest.mark.parametrize("fault", ["exit", "hang", "every step fails"])
async def test_a_dead_device_ends_every_task_and_comes_back(fault: str) -> None:
    loads: list[FakeBackend] = []
    release = threading.Event()

    class Mortal(FakeBackend):
        def __init__(self) -> None:
            super().__init__()
            loads.append(self)

        def step(self, step: Step) -> StepResult:
            if len(loads) == 1 and step.judge:
                if fault == "exit":
                    raise SystemExit
                if fault == "hang":
                    release.wait(PATIENCE_S)
                raise RuntimeError("device lost")
            return super().step(step)

    engine = Engine(Mortal, EngineOptions(step_timeout_s=0.2, failed_steps=2))
    await engine.start()
    bystander = engine.open(StreamOptions())
    for _ in range(2 if fault == "every step fails" else 1):
        unlucky = engine.open(StreamOptions())
        unlucky.push(speech(1.0))
        with pytest.raises(InternalError):
            await listen(unlucky)
    with pytest.raises(EngineDead):
        await listen(bystander)
    release.set()
    for _ in range(100):
        if engine.ready:
            break
        await asyncio.sleep(0.02)
    assert len(loads) == 2
    assert len(finals(await recognise(engine, [speech(1.0)]))) == 1
    await engine.stop()


async def test_stopping_ends_open_streams_with_an_error(engine: Engine) -> None:
    stream = engine.open(StreamOptions())
    await engine.stop()
    with pytest.raises(EngineError):
        await asyncio.wait_for(stream.next(), PATIENCE_S)
    with pytest.raises(EngineError):
        engine.open(StreamOptions())


async def test_a_stream_has_room_again_when_the_recogniser_caught_up(engine: Engine) -> None:
    stream = engine.open(StreamOptions())
    stream.push(speech(30.0))
    assert stream.backlog > 16_000
    await asyncio.wait_for(stream.room(16_000), PATIENCE_S)
    assert stream.backlog <= 16_000
    stream.close()


async def test_an_unread_interim_is_replaced_and_finals_are_kept(engine: Engine) -> None:
    stream = engine.open(StreamOptions())
    for piece in np.split(TWO_SENTENCES, 40):
        stream.push(piece)
        await asyncio.sleep(0.002)
    stream.finish()
    await asyncio.sleep(0.2)
    events = await listen(stream)
    assert [isinstance(e, EndOfStream) or e.final for e in events] == [True, True, True]
    stream.close()


@pytest.mark.parametrize("turns", range(6))
async def test_the_engine_stops_even_if_work_comes_at_that_moment(turns: int) -> None:
    engine = Engine(FakeBackend)
    await engine.start()
    stream = engine.open(StreamOptions())
    stream.push(np.zeros(512, dtype=np.float32))
    await asyncio.sleep(0.005)  # it waits for company, with a timeout
    stream.push(np.zeros(512, dtype=np.float32))
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(engine.stop())
    done, _ = await asyncio.wait({stopping}, timeout=3)
    stopping.cancel()
    assert done
