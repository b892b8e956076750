"""A step on PyTorch: VAD, features, Paraformer and punctuation over slots, on CPU or CUDA."""

import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr_server.asr.backends.evidence import EvidenceGatherer
from asr_server.asr.backends.frontend import CONTEXT, LFR_SHIFT, Frontend
from asr_server.asr.backends.model_dir import CMVN, ModelDir, load_weights
from asr_server.asr.backends.paraformer import ChunkBatch, Decoded, Paraformer
from asr_server.asr.backends.paraformer_config import ParaformerConfig
from asr_server.asr.backends.paraformer_state import ParaformerState, Progress
from asr_server.asr.backends.precision import attention_dtype, best_dtype, set_precision
from asr_server.asr.backends.punctuation import Punctuator
from asr_server.asr.backends.slots import SlotTable
from asr_server.asr.backends.vad_state import VadState
from asr_server.asr.hotwords import Evidence, prepare
from asr_server.asr.types import (
    ChunkGeometry,
    ChunkWork,
    FiredToken,
    Heard,
    JudgeWork,
    Kind,
    OutOfMemoryError,
    Step,
    StepResult,
)

log = logging.getLogger(__name__)

FRAME_CENTRE = 200
"""Samples from a frame's first sample to its middle: half an fbank window."""

CPU_THREADS = torch.get_num_threads()
"""What PyTorch chooses: one for each core."""

LARGE = 50_000_000
"""Parameters from which steps side by side pay on a CPU (docs/adr/0009-lanes.md)."""

KEPT_SHAPES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""How many shapes of products oneDNN keeps compiled, the last 1024 by default; read at first use.

A batch of a new size brings 40 shapes: 4 ms to compile, which only a small model's step feels, and
4 MB that lie between everything else. With 1024 memory rises for an hour as if it leaked.
"""

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
    ) -> None:
        config = paraformer.config
        weight = paraformer.decoder.after_norm.weight
        self.name = name
        self.device = weight.device.type
        self.dtype = dtype
        self.gpu = _uuid(weight.device)
        self.lanes = lanes
        self.geometry = ChunkGeometry(stride=config.stride * LFR_SHIFT, context=CONTEXT)
        self._frontend = frontend
        self._paraformer = paraformer
        self.vocabulary = tuple(tokens)
        self._punctuator = punctuator
        self._slots = SlotTable(slots)
        # Half the memory and half the traffic; less coarse than the weights around it.
        memory_dtype = torch.bfloat16 if dtype == "int8" else getattr(torch, dtype)
        self._state = ParaformerState(
            config, slots, memory_dtype, attention_dtype(dtype), weight.device
        )
        self._vad = VadState(slots)
        self._torch_device = weight.device
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
        os.environ.setdefault(KEPT_SHAPES, "64" if large else "512")
        dtype = best_dtype(device) if options.dtype == "auto" else options.dtype
        load_weights(paraformer, model.weights(), str(path))
        threads = options.threads or CPU_THREADS
        # Small models gain nothing: the interpreter, which only one thread runs, is their limit.
        lanes = options.lanes or (2 if large and device.type == "cpu" and threads > 1 else 1)
        torch.set_num_threads(max(1, threads // lanes))
        set_precision(paraformer.eval().requires_grad_(False).to(device), dtype)
        frontend = Frontend.from_file(path / CMVN).to(device)
        log.info("loaded %s on %s in %s", path.name, device, dtype)
        return cls(
            name=path.name,
            frontend=frontend,
            paraformer=paraformer,
            tokens=model.tokens,
            punctuator=Punctuator.load(punctuation) if punctuation else None,
            # One for the warm-up; a stream that is gone keeps its slot until its last step is done.
            slots=1 + options.slots * lanes,
            dtype=dtype,
            lanes=lanes,
        )

    @torch.inference_mode()
    def step(self, step: Step) -> StepResult:
        """See `Backend.step`."""
        try:
            return self._step(step)
        except torch.OutOfMemoryError as exc:
            raise OutOfMemoryError from exc

    def _step(self, step: Step) -> StepResult:
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

    def warm_up(self) -> None:
        """Run a few silent chunks of each kind through everything."""
        stream = -1
        chunk = np.zeros(self.geometry.stride, dtype=np.float32)
        judge = (JudgeWork(stream, np.zeros(512 * 4, dtype=np.float32)),)
        self.step(Step(opened=(stream,), judge=judge))
        for kind in (Kind.COMMIT, Kind.PREVIEW, Kind.FLUSH):
            self.step(Step(chunks=(ChunkWork(stream, kind, True, chunk, (), True),)))
        self.step(Step(closed=(stream,)))
        prepare(self.vocabulary)

    def _judge(self, works: Sequence[JudgeWork]) -> list[NDArray[np.float32]]:
        return self._vad.judge([self._slots[work.stream] for work in works], [w.pcm for w in works])

    def _hear(self, works: Sequence[ChunkWork]) -> tuple[list[Heard], Progress]:
        device = self._torch_device
        stride = self._paraformer.config.stride
        features = self._frontend([w.pcm for w in works], [w.first for w in works], stride)
        decoded = self._paraformer(
            ChunkBatch(
                slots=torch.tensor([self._slots[work.stream] for work in works], device=device),
                first=torch.tensor([work.first for work in works], device=device),
                features=features.frames,
                lengths=features.lengths,
                whole=torch.tensor([w.kind is not Kind.COMMIT for w in works], device=device),
                tail=torch.tensor([work.kind.final for work in works], device=device),
                commit=torch.tensor([work.kind is Kind.COMMIT for work in works], device=device),
            ),
            self._state,
        )
        counts = decoded.counts.tolist()
        tokens, confidences = decoded.tokens.tolist(), decoded.confidences.tolist()
        fired_at = (decoded.fired_at * LFR_SHIFT + FRAME_CENTRE - LFR_SHIFT / 2).tolist()
        fired = [
            tuple(
                FiredToken(piece, at, confidence)
                for token, at, confidence in zip(
                    tokens[row][:count], fired_at[row], confidences[row], strict=False
                )
                if (piece := self.vocabulary[token]) not in SPECIAL_TOKENS
            )
            for row, count in enumerate(counts)
        ]
        marks = self._punctuate(works, fired)
        evidence = self._evidence(works, decoded, counts, tokens)
        heard = [Heard(*heard) for heard in zip(fired, marks, evidence, strict=True)]
        return heard, decoded.progress

    def _evidence(
        self,
        works: Sequence[ChunkWork],
        decoded: Decoded,
        counts: Sequence[int],
        tokens: Sequence[Sequence[int]],
    ) -> Sequence[Evidence | None]:
        """For the rows with hotwords, of the tokens that are text."""
        if all(work.hotwords is None for work in works):
            return [None] * len(works)
        begins = itertools.accumulate(counts, initial=0)
        scores = [
            decoded.scores[[begin + n for n in self._texts(row[:count])]]
            if work.hotwords and count
            else None
            for work, begin, row, count in zip(works, begins, tokens, counts, strict=False)
        ]
        return self._gather(scores, [work.hotwords for work in works])

    def _texts(self, tokens: Sequence[int]) -> list[int]:
        """Places of the tokens that mean something."""
        return [n for n, token in enumerate(tokens) if self.vocabulary[token] not in SPECIAL_TOKENS]

    def _punctuate(
        self, works: Sequence[ChunkWork], fired: Sequence[tuple[FiredToken, ...]]
    ) -> list[tuple[str, ...]]:
        pieces = [
            (*work.prefix, *(token.piece for token in tokens)) if work.punctuate else ()
            for work, tokens in zip(works, fired, strict=True)
        ]
        if self._punctuator is None:
            return [()] * len(works)
        return self._punctuator.marks(pieces)


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
