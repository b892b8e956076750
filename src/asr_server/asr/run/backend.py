"""Compute VAD and decode steps on PyTorch: features, Paraformer and punctuation, on CPU or CUDA."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr_server.asr.hotword_compiler import prepare_vocabulary
from asr_server.asr.hotwords import Evidence
from asr_server.asr.loading.model_dir import SPECIAL_TOKENS, ModelDir
from asr_server.asr.loading.networks import load_frontend, load_paraformer
from asr_server.asr.loading.packing import limit_product_cache
from asr_server.asr.loading.precision import best_dtype
from asr_server.asr.nn.frontend import CONTEXT, FRAME, LFR_SHIFT
from asr_server.asr.run.cuda_graphs import CudaGraphs
from asr_server.asr.run.decode_step import HEADER, DecodeStep, PackedOutputs, RowTokens, pack
from asr_server.asr.run.evidence import EvidenceGatherer
from asr_server.asr.run.punctuator import Punctuator
from asr_server.asr.run.second_pass import SecondPassRunner, load_second_pass
from asr_server.asr.run.shape_buckets import ROW_DIGITS, bucket
from asr_server.asr.run.state import ParaformerState
from asr_server.asr.run.vad_runner import VadRunner
from asr_server.asr.types import (
    ChunkGeometry,
    DecodedToken,
    DecodeResult,
    DecodeWork,
    Kind,
    OutOfMemoryError,
    SecondPassResult,
    SecondPassWork,
    VadWork,
)
from asr_server.settings import Settings

log = logging.getLogger(__name__)

CPU_THREADS = torch.get_num_threads()
"""PyTorch's choice: one for each core."""

LARGE = 50_000_000
"""Parameters from which several workers pay on a CPU (docs/adr/0009-step-threads.md)."""

WARM_UP_ROWS = 32
"""Rows of the largest batch compiled by the warm-up; larger ones, which only many cores compute in
time, are compiled at the first of each size."""


class PyTorchBackend:
    """Hold the networks and the state of every slot, and compute steps."""

    def __init__(
        self,
        path: Path,
        settings: Settings,
        punctuation: Path | None,
        second_pass: Path | None = None,
    ) -> None:
        """Load FunASR model directories.

        Raises `FileNotFoundError` or `ValueError` that name the file at fault; `LoadError` where
        that of the second pass is.
        """
        device = _device(settings.device)
        limit_product_cache()
        model = ModelDir.open(path)
        self.name = path.name
        self.device = device.type
        self.dtype = best_dtype(device) if settings.dtype == "auto" else settings.dtype
        self.gpu = _uuid(device)
        self.paraformer = load_paraformer(model, settings.chunk_size, device, self.dtype)
        config = self.paraformer.config
        self.geometry = ChunkGeometry(stride=config.stride * LFR_SHIFT, context=CONTEXT)
        self.vocabulary = model.tokens
        large = self.paraformer.parameter_count >= LARGE
        threads = settings.threads or CPU_THREADS
        # A second worker slows small models with many streams (docs/adr/0009-step-threads.md).
        self.workers = settings.step_threads or (2 if large and threads > 1 else 1)
        # A small model's threads wait for each other so often that it loses more than a core when
        # the VAD or the event loop takes one: one stays free (docs/adr/0014-vad-stage.md).
        self.worker_threads = max(1, threads // self.workers if large else threads - 1)
        """Threads of the CPU that compute the steps of one worker."""
        if device.type == "cuda":
            self.workers = 1  # a GPU computes one step after the other anyway
            # The weights of CIF are sums of small numbers: coarse ones lose or invent tokens.
            torch.backends.cudnn.allow_tf32 = False
        # Besides the dummy: a closed stream keeps its slot while its last chunk is in flight.
        self.slots = 1 + settings.max_tasks + settings.max_batch * self.workers
        # Half the memory and half the traffic, and less coarse than 8-bit weights.
        cache_dtype = torch.bfloat16 if self.dtype == "int8" else getattr(torch, self.dtype)
        self.state = ParaformerState(
            config, self.slots, cache_dtype, device, static=device.type == "cuda"
        )
        self.vad = VadRunner(self.slots)
        self.punctuator = Punctuator(punctuation) if punctuation else None
        self.offline: SecondPassRunner | None = None
        if second_pass:
            self.offline = load_second_pass(second_pass, model.tokens, device, self.dtype)
        self.second_pass = self.offline is not None
        self.second_pass_hotwords = self.offline is not None and self.offline.favours_hotwords
        self._step = DecodeStep(load_frontend(model).to(device), self.paraformer, self.state)
        self._max_batch = min(settings.max_batch, settings.max_tasks)
        self._graphs: CudaGraphs[PackedOutputs] | None = None
        self._gather_evidence = EvidenceGatherer(device)
        log.info("loaded %s on %s in %s", path, device, self.dtype)

    @torch.inference_mode()
    def detect(self, works: Sequence[VadWork]) -> list[NDArray[np.float32]]:
        """See `Backend.detect`."""
        # On more threads the VAD's few small products would make the workers wait for their cores.
        _use_threads(1)
        with _memory_errors():
            return self.vad.detect(works)

    @torch.inference_mode()
    def decode(self, works: Sequence[DecodeWork]) -> list[DecodeResult]:
        """See `Backend.decode`."""
        _use_threads(self.worker_threads)
        with _memory_errors():
            outputs = self._compute(works)
            results = self._results(works, outputs)
            self.state.apply(outputs.update)  # last: nothing can fail any more
            return results

    @torch.inference_mode()
    def correct(self, works: Sequence[SecondPassWork]) -> list[SecondPassResult]:
        """See `Backend.correct`."""
        assert self.offline is not None
        _use_threads(self.worker_threads)
        with _memory_errors():
            tokens = self.offline(works)
        marks: list[tuple[str, ...]] = [()] * len(works)
        if self.punctuator is not None:
            marks = self.punctuator.marks(
                [
                    tuple(token.piece for token in own) if work.punctuate else ()
                    for work, own in zip(works, tokens, strict=True)
                ]
            )
        return [SecondPassResult(*parts) for parts in zip(tokens, marks, strict=True)]

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Trace or capture the steps, compile for every shape bucket, and run each kind of step."""
        self.vad.compile()
        if self.device == "cpu":
            _use_threads(self.worker_threads)  # what is compiled depends on it
            self._step.runner.trace()
            self._step.runner.warm_up(min(self._max_batch, WARM_UP_ROWS))
            if self.offline:
                self.offline.trace()
                self.offline.warm_up()
        if self.device == "cuda":
            width = HEADER + self._step.max_samples
            self._graphs = CudaGraphs(self._step, width, self._max_batch)
        slot = 1
        self.detect([VadWork(slot, True, np.zeros(512 * 4, dtype=np.float32))])
        chunk = np.zeros(self.geometry.stride, dtype=np.float32)
        for kind in (Kind.COMMIT, Kind.PREVIEW, Kind.FLUSH):
            self.decode([DecodeWork(slot, kind, True, chunk, punctuate=True)])
        if self.offline:
            self.correct([SecondPassWork(chunk, punctuate=True)])
        prepare_vocabulary(self.vocabulary)

    def _compute(self, works: Sequence[DecodeWork]) -> PackedOutputs:
        if self.device == "cpu":
            longest = max(FRAME, max(len(work.pcm) for work in works))
            return self._step(pack(works, bucket(len(works), ROW_DIGITS), longest))
        rows = self._graphs.bucket(len(works)) if self._graphs else len(works)
        batch = pack(works, rows, self._step.max_samples, pinned=True)
        if self._graphs:
            return self._graphs(batch)
        return self._step(batch.to(self.device, non_blocking=True))

    def _results(self, works: Sequence[DecodeWork], outputs: PackedOutputs) -> list[DecodeResult]:
        rows = outputs.unpack()
        tokens = [
            tuple(
                DecodedToken(piece, at, confidence)
                for token, confidence, at in zip(*row, strict=True)
                if (piece := self.vocabulary[token]) not in SPECIAL_TOKENS
            )
            for row in rows[: len(works)]
        ]
        marks = self._punctuate(works, tokens)
        evidence = self._evidence(works, outputs, rows)
        return [DecodeResult(*parts) for parts in zip(tokens, marks, evidence, strict=True)]

    def _evidence(
        self, works: Sequence[DecodeWork], outputs: PackedOutputs, rows: Sequence[RowTokens]
    ) -> Sequence[Evidence | None]:
        """Return the evidence of the rows with hotwords, for their tokens with text."""
        if all(work.hotwords is None for work in works):
            return [None] * len(works)
        scores = [
            own[self._text_places(row.tokens)] if work.hotwords and row.tokens else None
            for work, row, own in zip(works, rows, outputs.scores_by_row(rows), strict=False)
        ]
        return self._gather_evidence(scores, [work.hotwords for work in works])

    def _text_places(self, tokens: Sequence[int]) -> list[int]:
        """Return the places of the tokens with text."""
        return [n for n, token in enumerate(tokens) if self.vocabulary[token] not in SPECIAL_TOKENS]

    def _punctuate(
        self, works: Sequence[DecodeWork], tokens: Sequence[tuple[DecodedToken, ...]]
    ) -> list[tuple[str, ...]]:
        if self.punctuator is None:
            return [()] * len(works)
        return self.punctuator.marks(
            [
                (*work.prefix, *(token.piece for token in own)) if work.punctuate else ()
                for work, own in zip(works, tokens, strict=True)
            ]
        )


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise the engine's `OutOfMemoryError` for that of torch."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise OutOfMemoryError from exc


def _use_threads(threads: int) -> None:
    """Set the number of threads for what the calling thread computes."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _uuid(device: torch.device) -> str | None:
    """Return the UUID as NVIDIA's tools write it, None for a CPU."""
    cuda = device.type == "cuda"
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}" if cuda else None
