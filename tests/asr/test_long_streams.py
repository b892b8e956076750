"""A stream's tenth hour costs what its first minute costs, and a closed stream leaves nothing."""

import asyncio
import gc
import time
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from asr_server.asr.engine import Engine, EngineOptions
from asr_server.asr.fake import FakeBackend
from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.stream import Stream
from asr_server.asr.types import DecodeWork, Kind, Pcm, StreamOptions
from asr_server.audio.decode import open_decoder
from asr_server.audio.units import from_ms
from asr_server.recognition import EndOfStream
from tests.support.backends import load_backend
from tests.support.chunks import speechlike

DATA = Path(__file__).parents[1] / "data"
SECOND = 16_000
CHUNKS_IN_TEN_HOURS = 10 * 3600 * 10 // 6


# The model ---------------------------------------------------------------------------------------


class Cost(TorchDispatchMode):
    """Counts torch's operators and the numbers in their results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.numbers = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        self.operations += 1
        self.numbers += result.numel() if isinstance(result, torch.Tensor) else 0
        return result


def test_a_chunk_after_ten_hours_without_a_pause_costs_what_an_early_one_costs(
    backend: PyTorchBackend,
) -> None:
    """FunASR's table of positions alone is 134 MB after one hour."""
    stride, context = backend.geometry.stride, backend.geometry.context
    audio = speechlike(10.0)

    def dearest(chunks: int) -> tuple[int, int]:
        """Return the most operations and numbers of some chunks, since their tokens vary."""
        costs = []
        for begin in range(0, chunks * stride, stride):
            pcm = audio[begin : begin + context + stride]
            with Cost() as cost:
                backend.decode([DecodeWork(1, Kind.COMMIT, False, pcm)])
            costs.append((cost.operations, cost.numbers))
        operations, numbers = zip(*costs, strict=True)
        return max(operations), max(numbers)

    backend.decode([DecodeWork(1, Kind.COMMIT, True, audio[:stride])])
    early = dearest(10)
    backend.state.chunks[1] = CHUNKS_IN_TEN_HOURS
    late = dearest(10)
    assert early[0] > 50
    assert late[0] == early[0]
    assert late[1] < 1.5 * early[1]


# The stream -----------------------------------------------------------------------------------


def held(root: object) -> int:
    """Bytes of arrays and number of other objects that can be reached from `root`."""
    seen, waiting, size = {id(root)}, [root], 0
    while waiting:
        thing = waiting.pop()
        size += thing.nbytes if isinstance(thing, np.ndarray) else 1
        for other in gc.get_referents(thing):
            if id(other) not in seen and not isinstance(other, (type, ModuleType, FunctionType)):
                seen.add(id(other))
                waiting.append(other)
    return size


def talk(stream: Stream, backend: FakeBackend, sound: Pcm) -> None:
    """Push a piece and do at once everything that becomes due, then read all events."""
    stream.push(sound)
    while stream.judge_due or stream.chunk_due:
        if stream.judge_due:
            result = backend.step(Step(judge=(stream.cut_judge(),)))
            stream.accept_probabilities(result.probabilities[0])
        if stream.chunk_due:
            work = stream.cut_chunk()
            stream.accept_chunk(work, backend.step(Step(chunks=(work,))).heard[0])
    stream._collector._events.clear()


@pytest.mark.parametrize("pause_s", [0, 1, 30])
def test_a_stream_holds_no_more_after_an_hour_than_in_its_first_minutes(pause_s: int) -> None:
    backend = FakeBackend()
    backend.step(Step(opened=(1,)))
    nothing = lambda stream: None  # noqa: E731
    stream = Stream(1, StreamOptions(), backend.geometry, 3_200, nothing, nothing, time.monotonic)
    minute = np.full(60 * SECOND, 0.1, dtype=np.float32)
    if pause_s:
        minute[-pause_s * SECOND :] = 0
    most = []
    for _ in range(60):
        sizes = []
        for piece in np.split(minute, 60):
            talk(stream, backend, piece)
            sizes.append(held(stream))
        most.append(max(sizes))
    assert max(most[3:]) < max(most[:3]) + 57  # not even one object a minute


# Many streams ------------------------------------------------------------------------------------


async def test_two_thousand_streams_opened_and_closed_leave_nothing(model_dir: Path) -> None:
    """Counted in objects: the process's memory says less, and later."""
    at_once, rounds = 50, 40
    engine = Engine(
        lambda: load_backend(model_dir, slots=at_once), EngineOptions(max_streams=at_once)
    )
    await engine.start()
    said = open_decoder("wav", SECOND).feed((DATA / "greeting.wav").read_bytes())
    sound = said[from_ms(400) : from_ms(1_200)]
    heard = 0

    async def one(number: int) -> None:
        nonlocal heard
        stream = engine.open(StreamOptions(punctuate=False))
        stream.push(sound)
        if number % 2:
            stream.finish()
            while not isinstance(event := await stream.next(), EndOfStream):
                heard += len(event.tokens)
        stream.close()  # every other one in the middle of its audio

    sizes = []
    for _ in range(rounds):
        await asyncio.gather(*map(one, range(at_once)))
        assert engine.open_streams == 0
        sizes.append(held(engine))
    await engine.stop()
    grown = max(sizes[-5:]) - max(sizes[:5])
    assert heard > at_once * rounds // 2
    assert grown < at_once  # not even one object for every forty streams
