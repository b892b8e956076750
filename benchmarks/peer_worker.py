"""One engine in a process of its own, told over its standard input what to measure.

    python -m benchmarks.peer_worker ENGINE MODEL SPEECH.wav THREADS

Runs in the environment of the engine that it measures, so it imports nothing of the project but
inside `Ours`. Commands and answers are JSON, one a line; see `service` and `paced`.
"""

import asyncio
import json
import os
import sys
import time
import wave
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, Protocol

RATE = 16_000
STRIDE = 9_600
PERIOD_S = STRIDE / RATE
"""Every stream brings a chunk this often."""
FRAME = 1_600
"""Samples that a client sends at once, where the engine takes any number."""
WINDOW = 512
"""Samples that the VAD judges at once."""
CHUNKS, WARM_UP = 24, 4
"""Chunks of which the time is taken, and how many of them do not count."""


class BatchOne(Protocol):
    """An engine that computes one chunk of one stream at a time."""

    def open(self) -> Any:
        """A new stream."""

    def chunk(self, stream: Any, samples: Any) -> int:
        """Recognise 600 ms more; how many tokens came of it."""


class FunAsr:
    """`AutoModel.generate` as FunASR's documentation runs it, [0, 10, 5], look-back 4 and 1."""

    def __init__(self, model: Path, threads: int) -> None:
        import torch
        from funasr import AutoModel

        self._model = AutoModel(
            model=str(model),
            disable_update=True,
            disable_pbar=True,
            device="cpu",
            log_level="ERROR",
            ncpu=threads,
        )
        assert torch.get_num_threads() == threads

    def open(self) -> dict[str, Any]:
        return {}

    def chunk(self, stream: dict[str, Any], samples: Any) -> int:
        answer = self._model.generate(
            input=samples,
            cache=stream,
            is_final=False,
            chunk_size=[0, 10, 5],
            encoder_chunk_look_back=4,
            decoder_chunk_look_back=1,
        )
        return len(answer[0]["text"].replace(" ", ""))


class FunAsrOnnx:
    """funasr-onnx's streaming Paraformer on 8-bit ONNX files."""

    chunk_size = (5, 10, 5)

    def __init__(self, model: Path, threads: int) -> None:
        from funasr_onnx.paraformer_online_bin import Paraformer

        self._model = Paraformer(
            str(model),
            quantize=True,
            chunk_size=list(self.chunk_size),
            intra_op_num_threads=threads,
        )

    def open(self) -> dict[str, Any]:
        import copy

        # The frontend keeps a stream's samples in itself, so every stream needs one of its own.
        return {"cache": {}, "frontend": copy.copy(self._fresh_frontend())}

    def chunk(self, stream: dict[str, Any], samples: Any) -> int:
        self._model.frontend = stream["frontend"]
        answer = self._model(samples, param_dict={"cache": stream["cache"], "is_final": False})
        return sum(len(part["preds"][1]) for part in answer)

    def _fresh_frontend(self) -> Any:
        import copy

        frontend = copy.copy(self._model.frontend)
        frontend.cache_reset()
        return frontend


class FunAsrOnnxLean(FunAsrOnnx):
    """The same without left context: 15 frames a chunk as in [0, 10, 5], the least work."""

    chunk_size = (0, 10, 5)


class SherpaOnnx:
    """sherpa-onnx's OnlineRecognizer; its chunk is 5 + 10 + 3 frames, fixed in its source."""

    def __init__(self, model: Path, threads: int) -> None:
        import sherpa_onnx

        self._model = sherpa_onnx.OnlineRecognizer.from_paraformer(
            tokens=str(model / "tokens.txt"),
            encoder=str(model / "encoder.int8.onnx"),
            decoder=str(model / "decoder.int8.onnx"),
            num_threads=threads,
        )

    def open(self) -> Any:
        return self._model.create_stream()

    def chunk(self, stream: Any, samples: Any) -> int:
        before = len(self._model.tokens(stream))
        stream.accept_waveform(RATE, samples)
        while self._model.is_ready(stream):
            self._model.decode_stream(stream)
        return len(self._model.tokens(stream)) - before


PEERS = {
    "funasr": FunAsr,
    "funasr-one": FunAsr,  # in one process, as FunASR's own server runs it
    "funasr-onnx": FunAsrOnnx,
    "funasr-onnx-lean": FunAsrOnnxLean,
    "sherpa-onnx": SherpaOnnx,
}


def service(engine: BatchOne, speech: Any, batches: list[int]) -> dict[str, Any]:
    """Milliseconds a chunk of one stream, without waiting; `batches` is for who can."""
    stream, taken = engine.open(), []
    for number in range(CHUNKS):
        samples = speech[number * STRIDE : (number + 1) * STRIDE]
        began = time.perf_counter()
        engine.chunk(stream, samples)
        taken.append(time.perf_counter() - began)
    return {"steps": {"1": 1000 * median(taken[WARM_UP:])}}


def paced(
    engine: BatchOne, speech: Any, streams: int, first: int, every: int, at: float, seconds: float
) -> dict[str, Any]:
    """The streams `first`, `first + every`, ... of `streams`, which bring chunks on a schedule.

    Starts at wall time `at`. Chunks are computed in the order in which they became whole; the
    latency of a chunk runs from then to its tokens.
    """
    numbers = range(first, streams, every)
    opened = {number: engine.open() for number in numbers}
    places = {number: _place(number, len(speech)) for number in numbers}
    due = sorted(
        (PERIOD_S * (chunk + number / streams), number, chunk)
        for number in numbers
        for chunk in range(int(seconds / PERIOD_S))
    )
    offset = at - time.time() + time.perf_counter()
    latencies, tokens, busy = [], 0, 0.0
    for whole, number, chunk in due:
        arrived = offset + PERIOD_S + whole
        time.sleep(max(0.0, arrived - time.perf_counter()))
        began = time.perf_counter()
        if began - offset > seconds + 5:
            break  # hopelessly late; what is here says so
        begin = (places[number] + chunk * STRIDE) % (len(speech) - STRIDE)
        tokens += engine.chunk(opened[number], speech[begin : begin + STRIDE])
        ended = time.perf_counter()
        busy += ended - began
        latencies.append((whole, ended - arrived))
    return {
        "latencies": latencies,
        "due": len(due),
        "tokens": tokens,
        "busy": busy / (time.perf_counter() - offset),
    }


def _place(number: int, length: int) -> int:
    """Where in the speech a stream begins: no two say the same at the same time."""
    return number * 7_919 * 4 % (length - STRIDE)


class Ours:
    """The server's engine: scheduler, VAD, features, model, sentences; everything but sockets."""

    def __init__(self, model: Path, dtype: str, threads: int) -> None:
        from asr_server.asr.load import build_engine
        from asr_server.settings import Settings

        self._settings = Settings(
            model=str(model), dtype=dtype, threads=threads, max_tasks=256, max_delay_ms=0
        )
        self._engine = build_engine(self._settings, model)

    async def obey(
        self, commands: Iterable[str], speech: Any, answer: Callable[[Any], None]
    ) -> None:
        """Load, say so, then measure what is asked for."""
        await self._engine.start()
        answer({"ready": "ours"})
        loop = asyncio.get_running_loop()
        lines = iter(commands)
        while line := await loop.run_in_executor(None, next, lines, None):
            command = json.loads(line)
            measure = self.service if command.pop("do") == "service" else self.paced
            answer(await measure(speech, **command))
        await self._engine.stop()

    async def service(self, speech: Any, batches: list[int]) -> dict[str, Any]:
        """Milliseconds of a whole step, VAD included."""
        from asr_server.asr.types import DecodeWork, Kind, Step, VadWork

        engine = self._engine
        backend = engine._device.backend
        stride, context = backend.geometry.stride, backend.geometry.context
        windows = stride // WINDOW * WINDOW

        def step(rows: range, chunk: int) -> Step:
            works, judge = [], []
            for row in rows:
                begin = _place(row, len(speech) - 40 * stride) + chunk * stride
                pcm = speech[begin : begin + context + stride]
                judge.append(VadWork(row, pcm[:windows]))
                pcm = pcm[context:] if chunk == 0 else pcm
                works.append(DecodeWork(row, Kind.COMMIT, chunk == 0, pcm))
            return Step(tuple(rows) if chunk == 0 else (), (), tuple(judge), tuple(works))

        answer: dict[str, Any] = {"steps": {}}
        for size in batches:
            taken = []
            for chunk in range(CHUNKS if size == 1 else 3 * WARM_UP):
                due = step(range(size), chunk)
                began = time.perf_counter()
                await engine._device.hear(due)
                taken.append(time.perf_counter() - began)
            await engine._device.hear(Step(closed=tuple(range(size))))
            answer["steps"][str(size)] = 1000 * median(taken[WARM_UP:])
        return answer

    async def paced(self, speech: Any, streams: int, seconds: float) -> dict[str, Any]:
        """Streams that bring `FRAME` samples at a time; latencies as in `paced` above.

        A chunk is whole when the frame with its last sample has come.
        """
        from asr_server.asr.types import Kind, StreamOptions

        engine = self._engine
        clock = asyncio.get_running_loop().time
        begins: dict[int, float] = {}
        latencies, batches, tokens = [], [], 0
        deliver = engine._deliver

        def watched(step: Any, result: Any) -> None:
            nonlocal tokens
            now = clock()
            for work, heard in zip(step.chunks, result.heard, strict=True):
                stream = engine._streams.get(work.stream)
                if stream is None or work.kind is not Kind.COMMIT:
                    continue
                end = stream._cut[1]
                whole = begins[work.stream] + -(-end // FRAME) * FRAME / RATE
                latencies.append((whole - began, now - whole))
                tokens += len(heard.tokens)
            if step.chunks:
                batches.append(len(step.chunks))
            deliver(step, result)

        engine._deliver = watched
        began = clock() + 0.5

        async def speak(number: int) -> None:
            stream = engine.open(StreamOptions(punctuate=False))
            begins[stream.id] = began + PERIOD_S * number / streams
            reading = asyncio.create_task(self._read(stream))
            place = _place(number, len(speech))
            for frame in range(int(seconds * RATE / FRAME)):
                due = begins[stream.id] + (frame + 1) * FRAME / RATE
                await asyncio.sleep(max(0.0, due - clock()))
                begin = (place + frame * FRAME) % (len(speech) - FRAME)
                stream.push(speech[begin : begin + FRAME])
            reading.cancel()
            stream.close()

        used = time.process_time()
        await asyncio.gather(*map(speak, range(streams)))
        used = time.process_time() - used
        engine._deliver = deliver
        return {
            "latencies": latencies,
            "due": streams * int(seconds / PERIOD_S),
            "tokens": tokens,
            "busy": used / seconds / (os.cpu_count() or 1),
            "batch": sum(batches) / max(1, len(batches)),
        }

    async def _read(self, stream: Any) -> None:
        while True:
            await stream.next()


def read_wave(path: str) -> Any:
    import numpy as np

    with wave.open(path) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return pcm.astype(np.float32) / 32_768


def main(name: str, model: Path, speech: Any, threads: int) -> None:
    """Load, say so, then obey."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # engines print what they like, but not among the answers

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    if name.startswith("ours:"):
        ours = Ours(model, name.partition(":")[2], threads)
        asyncio.run(ours.obey(sys.stdin, speech, answer))
        return
    peer = PEERS[name](model, threads)
    service(peer, speech, [])  # warm
    answer({"ready": name})
    for line in sys.stdin:
        command = json.loads(line)
        measure = service if command.pop("do") == "service" else paced
        answer(measure(peer, speech, **command))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), read_wave(sys.argv[3]), int(sys.argv[4]))
