"""Recognise whole sentences with one engine in a process of its own, by commands on its input.

    python -m benchmarks.second_pass_worker ENGINE MODEL SPEECH.wav THREADS

The process runs in the environment of the engine it measures, so only `Own` imports the package.
A command is a JSON object on one line, `{"seconds": 5, "batch": 4, "for_s": 3}`; the answer has the
milliseconds of every call of so many sentences of that length, and the tokens of a sentence.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal, Protocol

from benchmarks.peer_worker import RATE, read_wave

FEWEST, MOST = 3, 200
"""Timed calls of a command."""


class OfflineEngine(Protocol):
    """Recognise a batch of whole sentences."""

    def __call__(self, sentences: list[Any]) -> int:
        """Return the number of tokens of all of them."""


class FunAsr:
    """Run `AutoModel.generate` with the batch as `batch_size`; hotwords are not given."""

    def __init__(self, model: Path, threads: int) -> None:
        from funasr import AutoModel

        self._model = AutoModel(
            model=str(model),
            disable_update=True,
            disable_pbar=True,
            device="cpu",
            log_level="ERROR",
            ncpu=threads,
        )

    def __call__(self, sentences: list[Any]) -> int:
        answers = self._model.generate(input=sentences, batch_size=len(sentences))
        return sum(len(answer["text"].replace(" ", "")) for answer in answers)


class FunAsrOnnx:
    """Run funasr-onnx's `Paraformer` on an 8-bit ONNX file with timestamps."""

    def __init__(self, model: Path, threads: int) -> None:
        from funasr_onnx import Paraformer

        self._model = Paraformer(str(model), quantize=True, intra_op_num_threads=threads)
        self._model.load_data = lambda samples, _: samples  # it takes lists for paths

    def __call__(self, sentences: list[Any]) -> int:
        self._model.batch_size = len(sentences)
        answers = self._model(sentences)
        return sum(len(answer["preds"].replace(" ", "")) for answer in answers)


class Own:
    """Run the server's backend."""

    def __init__(
        self,
        model: Path,
        threads: int,
        dtype: str,
        streaming: Path | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        from asr_server.asr.run.backend import PyTorchBackend
        from asr_server.settings import Settings
        from benchmarks.full_size import full_size

        settings = Settings(device=device, dtype=dtype, threads=threads, step_threads=1)
        self._backend = PyTorchBackend(streaming or full_size(), settings, None, model)

    def __call__(self, sentences: list[Any]) -> int:
        from asr_server.asr.types import SecondPassWork

        results = self._backend.correct([SecondPassWork(pcm) for pcm in sentences])
        return sum(len(result.tokens) for result in results)


def measure(
    engine: OfflineEngine, speech: Any, seconds: float, batch: int, for_s: float
) -> dict[str, Any]:
    """Return the milliseconds of calls with `batch` sentences of so many seconds.

    Sentences are pieces of the speech at different places, of the same length.
    """
    length, calls, tokens = int(seconds * RATE), [], 0

    def sentences(call: int) -> list[Any]:
        begins = [(call * batch + n) * 7_919 * 4 % (len(speech) - length) for n in range(batch)]
        return [speech[begin : begin + length] for begin in begins]

    engine(sentences(0))
    until = time.perf_counter() + for_s
    while len(calls) < FEWEST or (time.perf_counter() < until and len(calls) < MOST):
        pieces = sentences(len(calls))
        began = time.perf_counter()
        tokens += engine(pieces)
        calls.append(1000 * (time.perf_counter() - began))
    return {"ms": calls, "tokens": tokens / len(calls) / batch}


def main(name: str, model: Path, speech: Any, threads: int) -> None:
    """Load an engine, answer `ready`, then run every command."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # engines print to stdout: that goes to stderr, the answers do not

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    engine: OfflineEngine
    if name.startswith("own:"):
        engine = Own(model, threads, name.partition(":")[2])
    else:
        engine = {"funasr": FunAsr, "funasr-onnx": FunAsrOnnx}[name](model, threads)
    answer({"ready": name})
    for line in sys.stdin:
        answer(measure(engine, speech, **json.loads(line)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), read_wave(sys.argv[3]), int(sys.argv[4]))
