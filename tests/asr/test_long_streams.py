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

from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.stream import Stream
from asr_server.asr.types import DecodeWork, Kind, StreamOptions
from asr_server.audio.units import Pcm, from_ms
from asr_server.recognition import EndOfStream
from tests.support.backends import load_backend
from tests.support.chunks import speechlike
from tests.support.decoding import decode_stream
from tests.support.engines import engine_with
from tests.support.fake_backend import FakeBackend

DATA = Path(__file__).parents[1] / "data"
SECOND = 16_000
CHUNKS_IN_TEN_HOURS = 10 * 3600 * 10 // 6
MEASURED_MINUTES = (0, 1, 2, 57, 58, 59)
"""Of an hour. To count a stream's objects takes longer than to recognise a second."""


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


def size_of(root: object) -> int:
    """Return bytes of arrays plus number of other objects that can be reached from `root`."""
    found, waiting, size = {id(root)}, [root], 0
    while waiting:
        thing = waiting.pop()
        size += thing.nbytes if isinstance(thing, np.ndarray) else 1
        for other in gc.get_referents(thing):
            if id(other) not in found and not isinstance(other, (type, ModuleType, FunctionType)):
                found.add(id(other))
                waiting.append(other)
    return size


async def recognise(stream: Stream, backend: FakeBackend, audio: Pcm) -> None:
    """Push audio, run every step that becomes due, and let the reader read all events."""
    stream.push(audio)
    while stream.windows_due or stream.chunk_due:
        if stream.windows_due:
            [probabilities] = backend.detect([stream.cut_windows()])
            stream.accept_probabilities(probabilities)
        if stream.chunk_due:
            work = stream.cut_chunk()
            [result] = backend.decode([work])
            stream.accept_chunk(work, result)
    await asyncio.sleep(0)  # the reader's turn


@pytest.mark.parametrize("pause_s", [0, 1, 30])
async def test_a_stream_holds_no_more_after_an_hour_than_in_its_first_minutes(
    pause_s: int,
) -> None:
    backend = FakeBackend()
    nothing = lambda stream: None  # noqa: E731
    options = StreamOptions()
    stream = Stream(1, 1, options, backend.geometry, True, nothing, nothing, clock=time.monotonic)

    async def read() -> None:
        while True:
            await stream.next()

    reader = asyncio.create_task(read(), name="read")
    minute = np.full(60 * SECOND, 0.1, dtype=np.float32)
    if pause_s:
        minute[-pause_s * SECOND :] = 0
    most = {}
    for number in range(60):
        sizes = [0]
        for piece in np.split(minute, 60):
            await recognise(stream, backend, piece)
            if number in MEASURED_MINUTES:
                sizes.append(size_of(stream))
        most[number] = max(sizes)
    reader.cancel()
    first, last = MEASURED_MINUTES[:3], MEASURED_MINUTES[3:]
    grown = max(most[number] for number in last) - max(most[number] for number in first)
    assert grown < 57  # not even one object a minute


# Many streams ------------------------------------------------------------------------------------


async def test_two_thousand_streams_opened_and_closed_leave_nothing(model_dir: Path) -> None:
    """Counted in objects: the process's memory shows less, and later."""
    at_once, rounds = 50, 40
    engine = engine_with(lambda: load_backend(model_dir, max_tasks=at_once), max_tasks=at_once)
    await engine.start()
    recording = await decode_stream([(DATA / "greeting.wav").read_bytes()], "wav")
    audio = recording[from_ms(400) : from_ms(1_200)]
    tokens = 0

    async def run(number: int) -> None:
        nonlocal tokens
        stream = engine.open(StreamOptions(punctuate=False))
        stream.push(audio)
        if number % 2:
            stream.finish()
            while not isinstance(event := await stream.next(), EndOfStream):
                tokens += len(event.tokens)
        stream.close()  # every other one in the middle of its audio

    sizes = []
    for number in range(rounds):
        await asyncio.gather(*map(run, range(at_once)))
        assert engine.open_streams == 0
        if number < 5 or number >= rounds - 5:
            sizes.append(size_of(engine))
    await engine.stop()
    grown = max(sizes[-5:]) - max(sizes[:5])
    assert tokens > at_once * rounds // 2
    assert grown < at_once  # not even one object for every forty streams
