"""Measure one engine in a process of its own, by commands on its standard input.

    python -m benchmarks.peer_worker ENGINE MODEL SPEECH.wav THREADS

The process runs in the environment of the engine it measures, so only `OwnEngine` imports the
package. Commands and answers are JSON, one a line; see `service` and `paced`.
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
"""New samples of a chunk."""
CHUNK_S = STRIDE / RATE
"""Every stream has a new chunk this often."""
FRAME = 1_600
"""Samples of one message, where the engine takes any number."""
WINDOW = 512
"""Samples of a VAD window."""
CHUNKS, WARM_UP = 24, 4
"""Chunks that are timed, and how many of them are left out of the median."""


class BatchOneEngine(Protocol):
    """Decode one chunk of one stream at a time."""

    def open(self) -> Any:
        """Return a new stream."""

    def decode(self, stream: Any, samples: Any) -> int:
        """Decode the next 600 ms and return the number of new tokens."""


class FunAsr:
    """Run `AutoModel.generate` as FunASR's documentation does: [0, 10, 5], look-back 4 and 1."""

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

    def decode(self, stream: dict[str, Any], samples: Any) -> int:
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
    """Run funasr-onnx's streaming Paraformer on 8-bit ONNX files."""

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

        # The frontend keeps the samples of its stream, so every stream needs its own.
        return {"cache": {}, "frontend": copy.copy(self._fresh_frontend())}

    def decode(self, stream: dict[str, Any], samples: Any) -> int:
        self._model.frontend = stream["frontend"]
        answer = self._model(samples, param_dict={"cache": stream["cache"], "is_final": False})
        return sum(len(part["preds"][1]) for part in answer)

    def _fresh_frontend(self) -> Any:
        import copy

        frontend = copy.copy(self._model.frontend)
        frontend.cache_reset()
        return frontend


class FunAsrOnnxLean(FunAsrOnnx):
    """Run the same without left context: 15 frames a chunk as in [0, 10, 5], the least work."""

    chunk_size = (0, 10, 5)


class SherpaOnnx:
    """Run sherpa-onnx's OnlineRecognizer; its chunk is 5 + 10 + 3 frames, fixed in its source."""

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

    def decode(self, stream: Any, samples: Any) -> int:
        before = len(self._model.tokens(stream))
        stream.accept_waveform(RATE, samples)
        while self._model.is_ready(stream):
            self._model.decode_stream(stream)
        return len(self._model.tokens(stream)) - before


PEERS = {
    "funasr": FunAsr,
    "funasr-one": FunAsr,  # one process with all threads, as FunASR's own server runs
    "funasr-onnx": FunAsrOnnx,
    "funasr-onnx-lean": FunAsrOnnxLean,
    "sherpa-onnx": SherpaOnnx,
}


def service(engine: BatchOneEngine, speech: Any, batches: list[int]) -> dict[str, Any]:
    """Return the milliseconds of a chunk of one stream, without waiting; ignore `batches`."""
    stream, seconds = engine.open(), []
    for number in range(CHUNKS):
        samples = speech[number * STRIDE : (number + 1) * STRIDE]
        began = time.perf_counter()
        engine.decode(stream, samples)
        seconds.append(time.perf_counter() - began)
    return {"steps": {"1": 1000 * median(seconds[WARM_UP:])}}


def paced(
    engine: BatchOneEngine,
    speech: Any,
    streams: int,
    first: int,
    every: int,
    at: float,
    seconds: float,
) -> dict[str, Any]:
    """Decode the streams `first`, `first + every`, ... of `streams` in real time.

    Starts at wall time `at`. Chunks are decoded in the order in which their last sample arrives;
    the latency of a chunk runs from then to its tokens.
    """
    numbers = range(first, streams, every)
    opened = {number: engine.open() for number in numbers}
    offsets = {number: _offset(number, len(speech)) for number in numbers}
    schedule = sorted(
        (CHUNK_S * (chunk + number / streams), number, chunk)
        for number in numbers
        for chunk in range(int(seconds / CHUNK_S))
    )
    start = at - time.time() + time.perf_counter()
    latencies, tokens, busy = [], 0, 0.0
    for due, number, chunk in schedule:
        arrived = start + CHUNK_S + due
        time.sleep(max(0.0, arrived - time.perf_counter()))
        began = time.perf_counter()
        if began - start > seconds + 5:
            break  # overloaded: the share of decoded chunks shows it
        begin = (offsets[number] + chunk * STRIDE) % (len(speech) - STRIDE)
        tokens += engine.decode(opened[number], speech[begin : begin + STRIDE])
        ended = time.perf_counter()
        busy += ended - began
        latencies.append((due, ended - arrived))
    return {
        "latencies": latencies,
        "due": len(schedule),
        "tokens": tokens,
        "busy": busy / (time.perf_counter() - start),
    }


def _offset(number: int, length: int) -> int:
    """Return where in the speech a stream begins; streams differ, so their batches do too."""
    return number * 7_919 * 4 % (length - STRIDE)


class OwnEngine:
    """Run the server's engine: batching, VAD, features, model, sentences; all but the sockets."""

    def __init__(self, model: Path, dtype: str, threads: int, **others: Any) -> None:
        from asr_server.asr.load import build_engine
        from asr_server.settings import Settings

        options = {"max_tasks": 256, "max_delay_ms": 0, **others}
        settings = Settings(model=str(model), dtype=dtype, threads=threads, **options)
        self._engine = build_engine(settings, model)
        self.start, self.stop = self._engine.start, self._engine.stop

    async def run(
        self, commands: Iterable[str], speech: Any, answer: Callable[[Any], None]
    ) -> None:
        """Load the model, answer `ready`, then run every command."""
        await self.start()
        answer({"ready": "own engine"})
        loop = asyncio.get_running_loop()
        lines = iter(commands)
        while line := await loop.run_in_executor(None, next, lines, None):
            command = json.loads(line)
            measure = self.service if command.pop("do") == "service" else self.paced
            answer(await measure(speech, **command))
        await self.stop()

    async def service(self, speech: Any, batches: list[int]) -> dict[str, Any]:
        """Return the milliseconds of a VAD step and a decode step by batch size."""
        from asr_server.asr.types import DecodeWork, Kind, VadWork

        workers = self._engine._workers
        geometry = workers.backend.geometry
        stride, context = geometry.stride, geometry.context
        windows = stride // WINDOW * WINDOW

        async def step(slots: range, chunk: int) -> float:
            first, vad, decode = chunk == 0, [], []
            for slot in slots:
                begin = _offset(slot, len(speech) - 40 * stride) + chunk * stride
                pcm = speech[begin : begin + context + stride]
                vad.append(VadWork(slot, first, pcm[:windows]))
                pcm = pcm[context:] if first else pcm
                decode.append(DecodeWork(slot, Kind.COMMIT, first, pcm))
            began = time.perf_counter()
            await workers.detect(vad)
            await workers.decode(decode)
            return time.perf_counter() - began

        steps_ms = {}
        for size in batches:
            slots = range(1, size + 1)  # slot 0 is a dummy row
            chunks = range(CHUNKS if size == 1 else 3 * WARM_UP)
            seconds = [await step(slots, chunk) for chunk in chunks]
            steps_ms[str(size)] = 1000 * median(seconds[WARM_UP:])
        return {"steps": steps_ms}

    async def paced(self, speech: Any, streams: int, seconds: float) -> dict[str, Any]:
        """Push `FRAME` samples at a time into streams in real time; latencies as in `paced` above.

        A chunk is complete when the frame with its last sample has arrived.
        """
        from asr_server.asr.types import Kind, StreamOptions

        engine = self._engine
        clock = asyncio.get_running_loop().time
        latencies, batches, tokens = [], [], 0
        backend = engine._workers.backend
        decode = backend.decode

        def counting_decode(works: Any) -> Any:
            batches.append(len(works))
            return decode(works)

        def watch(stream: Any, begin: float) -> None:
            """Note the latency of each whole chunk when the stream accepts its tokens."""
            accept = stream.accept_chunk

            def accept_chunk(work: Any, result: Any) -> None:
                nonlocal tokens
                if work.kind is Kind.COMMIT:
                    complete = begin + -(-stream._cut[1] // FRAME) * FRAME / RATE
                    latencies.append((complete - began, clock() - complete))
                    tokens += len(result.tokens)
                accept(work, result)

            stream.accept_chunk = accept_chunk

        backend.decode = counting_decode
        began = clock() + 0.5

        async def send(number: int) -> None:
            stream = engine.open(StreamOptions(punctuate=False))
            begin = began + CHUNK_S * number / streams
            watch(stream, begin)
            reading = asyncio.create_task(self._read(stream))
            offset = _offset(number, len(speech))
            for frame in range(int(seconds * RATE / FRAME)):
                due = begin + (frame + 1) * FRAME / RATE
                await asyncio.sleep(max(0.0, due - clock()))
                place = (offset + frame * FRAME) % (len(speech) - FRAME)
                stream.push(speech[place : place + FRAME])
            reading.cancel()
            stream.close()

        used = time.process_time()
        await asyncio.gather(*map(send, range(streams)))
        used = time.process_time() - used
        backend.decode = decode
        return {
            "latencies": latencies,
            "due": streams * int(seconds / CHUNK_S),
            "tokens": tokens,
            "busy": used / seconds / (os.cpu_count() or 1),
            "batch": sum(batches) / max(1, len(batches)),
        }

    async def _read(self, stream: Any) -> None:
        while True:
            await stream.next()


def read_wave(path: str) -> Any:
    """Return (n,) float32 samples in [-1, 1]."""
    import numpy as np

    with wave.open(path) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return pcm.astype(np.float32) / 32_768


def main(name: str, model: Path, speech: Any, threads: int) -> None:
    """Load an engine, answer `ready`, then run every command."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # engines print to stdout: that goes to stderr, the answers do not

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    if name.startswith("own:"):
        engine = OwnEngine(model, name.partition(":")[2], threads)
        asyncio.run(engine.run(sys.stdin, speech, answer))
        return
    peer = PEERS[name](model, threads)
    service(peer, speech, [])  # warm up
    answer({"ready": name})
    for line in sys.stdin:
        command = json.loads(line)
        measure = service if command.pop("do") == "service" else paced
        answer(measure(peer, speech, **command))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), read_wave(sys.argv[3]), int(sys.argv[4]))
