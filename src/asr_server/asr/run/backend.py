"""A step on PyTorch: VAD, features, Paraformer and punctuation over slots, on CPU or CUDA."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr_server.asr.hotwords import Evidence, prepare
from asr_server.asr.loading.config import ParaformerConfig
from asr_server.asr.loading.model_dir import CMVN, ModelDir, load_weights
from asr_server.asr.loading.packing import keep_compiled_once
from asr_server.asr.loading.precision import best_dtype, set_precision
from asr_server.asr.nn.frontend import CONTEXT, FRAME, LFR_SHIFT, Frontend
from asr_server.asr.nn.paraformer import Paraformer
from asr_server.asr.nn.punctuation import Punctuator
from asr_server.asr.run.cuda_graphs import Graphs
from asr_server.asr.run.decode_step import HEAD, Answer, Hearing, Row, pack
from asr_server.asr.run.evidence import EvidenceGatherer
from asr_server.asr.run.shape_buckets import ROW_DIGITS, rounded
from asr_server.asr.run.slots import SlotTable
from asr_server.asr.run.state import ParaformerState, Progress
from asr_server.asr.run.vad_state import VadState
from asr_server.asr.types import (
    ChunkGeometry,
    DecodedToken,
    DecodeResult,
    DecodeWork,
    Kind,
    OutOfMemoryError,
    Step,
    StepResult,
    VadWork,
)

log = logging.getLogger(__name__)

CPU_THREADS = torch.get_num_threads()
"""What PyTorch chooses: one for each core."""

LARGE = 50_000_000
"""Parameters from which steps side by side pay on a CPU (docs/adr/0009-lanes.md)."""

REHEARSED = 32
"""Rows of the largest batch compiled for at the start; only many cores compute larger ones in time,
and then at the first of each size."""

SPECIAL_TOKENS = frozenset({"<blank>", "<s>", "</s>"})
"""Tokens that mean nothing heard; FunASR drops them too."""


@dataclass(frozen=True, slots=True)
class PyTorchOptions:
    """How the model runs."""

    device: str = "auto"
    dtype: str = "auto"
    chunk_size: tuple[int, int, int] = (0, 10, 5)
    threads: int = 0
    """Of the CPU, in all; 0 takes one for each core."""
    lanes: int = 1
    """Steps computed side by side, each on its share of the threads; 0 chooses."""
    slots: int = 256
    """Streams at once."""
    max_batch: int = 64
    """Chunks of a step for which a GPU keeps captured graphs."""


class PyTorchBackend:
    """Everything a step needs, and the state of every open stream."""

    def __init__(
        self,
        name: str,
        frontend: Frontend,
        paraformer: Paraformer,
        tokens: Sequence[str],
        punctuator: Punctuator | None,
        slots: int,
        dtype: str,
        lanes: int = 1,
        threads: int = 1,
        max_batch: int = 64,
    ) -> None:
        config = paraformer.config
        weight = paraformer.decoder.after_norm.weight
        self.name = name
        self.device = weight.device.type
        self.dtype = dtype
        self.gpu = _uuid(weight.device)
        self.lanes = lanes
        self._threads = threads
        """That compute the chunks of one lane."""
        self.geometry = ChunkGeometry(stride=config.stride * LFR_SHIFT, context=CONTEXT)
        self._paraformer = paraformer
        self.vocabulary = tuple(tokens)
        self._punctuator = punctuator
        self._slots = SlotTable(slots)
        # Half the memory and half the traffic; less coarse than the weights around it.
        memory_dtype = torch.bfloat16 if dtype == "int8" else getattr(torch, dtype)
        self._state = ParaformerState(
            config,
            slots,
            memory_dtype,
            weight.device,
            static=weight.is_cuda,
        )
        self._vad = VadState(slots)
        self._hearing = Hearing(frontend, paraformer, self._state)
        self._max_batch = max_batch
        self._graphs: Graphs[Answer] | None = None
        self._gather = EvidenceGatherer(weight.device)

    @classmethod
    def load(
        cls, path: Path, options: PyTorchOptions, punctuation: Path | None
    ) -> "PyTorchBackend":
        """Build from a FunASR model directory.

        Raises `FileNotFoundError` or `ValueError` that name the file at fault.
        """
        device = _device(options.device)
        model = ModelDir.open(path)
        config = ParaformerConfig.from_funasr(model.config, len(model.tokens), options.chunk_size)
        with torch.device("meta"):  # the weights come from the file, none are made up first
            paraformer = Paraformer(config)
        large = sum(parameter.numel() for parameter in paraformer.parameters()) >= LARGE
        keep_compiled_once()
        dtype = best_dtype(device) if options.dtype == "auto" else options.dtype
        load_weights(paraformer, model.weights(), str(path))
        threads = options.threads or CPU_THREADS
        # With many streams small models lose by it (docs/adr/0009-lanes.md).
        lanes = options.lanes or (2 if large and threads > 1 else 1)
        if device.type == "cuda":
            lanes = 1  # a GPU computes one step after the other anyway
            # The weights of CIF are sums of small numbers: coarse ones lose or invent tokens.
            torch.backends.cudnn.allow_tf32 = False
        # A small model's threads wait for each other so often that it loses more than a core when
        # the VAD or the event loop takes one: it leaves them one (docs/adr/0014-judging-beside.md).
        lane_threads = threads // lanes if large else threads - 1
        set_precision(paraformer.eval().requires_grad_(False).to(device), dtype)
        frontend = Frontend.from_file(path / CMVN).to(device)
        log.info("loaded %s on %s in %s", path, device, dtype)
        return cls(
            name=path.name,
            frontend=frontend,
            paraformer=paraformer,
            tokens=model.tokens,
            punctuator=Punctuator.load(punctuation) if punctuation else None,
            # The spare one and one for the warm-up; a stream that is gone keeps its slot until its
            # last chunk is done.
            slots=2 + options.slots + options.max_batch * lanes,
            dtype=dtype,
            lanes=lanes,
            threads=max(1, lane_threads),
            max_batch=min(options.max_batch, options.slots),
        )

    @torch.inference_mode()
    def step(self, step: Step) -> StepResult:
        """See `Backend.step`."""
        try:
            return self._step(step)
        except torch.OutOfMemoryError as exc:
            raise OutOfMemoryError from exc

    def _step(self, step: Step) -> StepResult:
        # A thread beside the lanes that spread its few small products over their cores would keep
        # them waiting at every one of theirs.
        _spread_over(self._threads if step.chunks else 1)
        for stream in step.closed:
            self._slots.close(stream)
        for stream in step.opened:
            self._slots.open(stream)
            self._vad.reset(self._slots[stream])
        heard, progress = self._hear(step.chunks) if step.chunks else ([], None)
        probabilities = self._judge(step.judge) if step.judge else []
        if progress is not None:  # last of all: nothing can fail any more
            self._state.advance(progress)
        return StepResult(probabilities, heard)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run a few silent chunks of each kind through everything; on a GPU, capture its steps."""
        self._vad.record()
        if self.device == "cpu":
            _spread_over(self._threads)  # what is compiled depends on it
            self._paraformer.record(self._state)
            self._paraformer.rehearse(self._state, min(self._max_batch, REHEARSED))
        if self.device == "cuda":
            self._graphs = Graphs(self._hearing, HEAD + self._hearing.longest, self._max_batch)
        stream = -1
        chunk = np.zeros(self.geometry.stride, dtype=np.float32)
        judge = (VadWork(stream, np.zeros(512 * 4, dtype=np.float32)),)
        self.step(Step(opened=(stream,), judge=judge))
        for kind in (Kind.COMMIT, Kind.PREVIEW, Kind.FLUSH):
            self.step(Step(chunks=(DecodeWork(stream, kind, True, chunk, (), True),)))
        self.step(Step(closed=(stream,)))
        prepare(self.vocabulary)

    def _judge(self, works: Sequence[VadWork]) -> list[NDArray[np.float32]]:
        return self._vad.judge([self._slots[work.stream] for work in works], [w.pcm for w in works])

    def _hear(self, works: Sequence[DecodeWork]) -> tuple[list[DecodeResult], Progress]:
        answer = self._answer(works)
        rows = answer.rows()
        fired = [
            tuple(
                DecodedToken(piece, at, confidence)
                for token, confidence, at in zip(*row, strict=True)
                if (piece := self.vocabulary[token]) not in SPECIAL_TOKENS
            )
            for row in rows[: len(works)]
        ]
        marks = self._punctuate(works, fired)
        evidence = self._evidence(works, answer, rows)
        heard = [DecodeResult(*heard) for heard in zip(fired, marks, evidence, strict=True)]
        return heard, answer.progress

    def _answer(self, works: Sequence[DecodeWork]) -> Answer:
        slots = [self._slots[work.stream] for work in works]
        if self.device == "cpu":
            longest = max(FRAME, max(len(work.pcm) for work in works))
            rows = rounded(len(works), ROW_DIGITS)
            return self._hearing(pack(works, slots, rows, longest))
        rows = self._graphs.padded(len(works)) if self._graphs else len(works)
        batch = pack(works, slots, rows, self._hearing.longest, pinned=True)
        if self._graphs:
            return self._graphs(batch)
        return self._hearing(batch.to(self.device, non_blocking=True))

    def _evidence(
        self, works: Sequence[DecodeWork], answer: Answer, rows: Sequence[Row]
    ) -> Sequence[Evidence | None]:
        """For the rows with hotwords, of the tokens that are text."""
        if all(work.hotwords is None for work in works):
            return [None] * len(works)
        scores = [
            own[self._texts(row.tokens)] if work.hotwords and row.tokens else None
            for work, row, own in zip(works, rows, answer.scores_by_row(rows), strict=False)
        ]
        return self._gather(scores, [work.hotwords for work in works])

    def _texts(self, tokens: Sequence[int]) -> list[int]:
        """Places of the tokens that mean something."""
        return [n for n, token in enumerate(tokens) if self.vocabulary[token] not in SPECIAL_TOKENS]

    def _punctuate(
        self, works: Sequence[DecodeWork], fired: Sequence[tuple[DecodedToken, ...]]
    ) -> list[tuple[str, ...]]:
        pieces = [
            (*work.prefix, *(token.piece for token in tokens)) if work.punctuate else ()
            for work, tokens in zip(works, fired, strict=True)
        ]
        if self._punctuator is None:
            return [()] * len(works)
        return self._punctuator.marks(pieces)


def _spread_over(threads: int) -> None:
    """Have what the calling thread computes use so many; PyTorch keeps the number for each."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _uuid(device: torch.device) -> str | None:
    """As NVIDIA's tools write it; None for a CPU, and before PyTorch 2.5, which does not say."""
    if device.type != "cuda":
        return None
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return f"GPU-{uuid}" if uuid else None
