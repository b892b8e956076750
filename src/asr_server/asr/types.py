"""The values that travel between the connection, the engine and the device."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asr_server.asr.hotwords import Evidence, HotwordSet
from asr_server.audio.endpointer import EndpointingOptions
from asr_server.audio.units import Pcm, Samples

StreamId: TypeAlias = int


# Between the connection and the engine -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What one task asks of the recogniser."""

    endpoint: EndpointingOptions = field(default_factory=EndpointingOptions)
    punctuate: bool = True
    """Predict punctuation marks for the tokens of a sentence."""
    interim: bool = True
    """Deliver hypotheses of a sentence that is still open."""
    semantic: bool = False
    """End sentences where punctuation says, without waiting for silence (DashScope
    `semantic_punctuation_enabled`)."""
    max_sentence_ms: int = 60_000
    """A sentence that grows longer is closed between two words."""
    hotwords: tuple[tuple[str, int], ...] = ()
    """Words to favour, with weights 1 to 5, or 50."""


# Between the engine and the device ---------------------------------------------------------------


class Kind(Enum):
    """Why a chunk is computed; what happens to the stream's state follows from it."""

    COMMIT = auto()
    """A whole chunk; the stream's state advances past it."""
    FLUSH = auto()
    """The last, shorter chunk of a sentence; its state is not needed again."""
    SPECULATE = auto()
    """As FLUSH, at a pause, in case the sentence ends there; the state stays as it was."""
    PREVIEW = auto()
    """What has arrived of the next chunk, for early text; the state stays as it was."""

    @property
    def final(self) -> bool:
        """Whether every frame is decoded, with nothing held back for context still to come."""
        return self in (Kind.FLUSH, Kind.SPECULATE)


@dataclass(frozen=True, slots=True)
class ChunkGeometry:
    """How the model cuts a sentence."""

    stride: Samples
    """New samples of a whole chunk."""
    context: Samples
    """Samples before a chunk that its features still see."""


@dataclass(frozen=True, slots=True)
class VadWork:
    """One stream's new windows for the VAD."""

    stream: StreamId
    pcm: Pcm  # (windows * 512,)


@dataclass(frozen=True, slots=True)
class DecodeWork:
    """One stream's share of a step: one chunk, never more."""

    stream: StreamId
    kind: Kind
    first: bool
    """The chunk opens a sentence: it starts from an empty state."""
    pcm: Pcm  # (context + new,); no context when `first`; new < stride unless COMMIT
    prefix: tuple[str, ...] = ()
    """The sentence's tokens before this chunk, for punctuation."""
    punctuate: bool = False
    hotwords: HotwordSet | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Everything the device does in one go; births and deaths of streams ride inside."""

    opened: tuple[StreamId, ...] = ()
    closed: tuple[StreamId, ...] = ()
    judge: tuple[VadWork, ...] = ()
    chunks: tuple[DecodeWork, ...] = ()

    @property
    def streams(self) -> frozenset[StreamId]:
        """Whose work rides in the step."""
        return frozenset({w.stream for w in self.judge} | {w.stream for w in self.chunks})

    def singles(self) -> list["Step"]:
        """The same work, one stream's part a step, after the births and deaths."""
        births = [Step(self.opened, self.closed)] if self.opened or self.closed else []
        return [
            *births,
            *(Step(judge=(work,)) for work in self.judge),
            *(Step(chunks=(work,)) for work in self.chunks),
        ]


@dataclass(frozen=True, slots=True)
class DecodedToken:
    """A token the model fired in a chunk."""

    piece: str
    fired_at: float
    """Samples from the chunk's first new one to where CIF's integral crossed; may be negative."""
    confidence: float


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """What one chunk gave."""

    tokens: tuple[DecodedToken, ...]
    marks: tuple[str, ...] = ()
    """Punctuation after each token of prefix and chunk; empty when none was asked for."""
    evidence: Evidence | None = None
    """How likely the hotwords' tokens were in place of each token; None without hotwords."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """Answers in the order of the step's `judge` and `chunks`."""

    probabilities: Sequence[NDArray[np.float32]]  # (windows,) each
    heard: Sequence[DecodeResult]


class OutOfMemoryError(Exception):
    """The device has no memory for a step of this size; a smaller one may fit."""


class LoadError(Exception):
    """The recogniser cannot be started; the text says why and what to do, to whoever runs it."""


class DeviceLostError(LoadError):
    """The GPU is missing or broken."""


class Backend(Protocol):
    """What computes steps. Only the device's threads call `step`, each for one at a time: those of
    its lanes, and one whose steps have no chunks. No stream rides in two of them."""

    name: str
    device: str
    dtype: str
    """Precision of the weights."""
    gpu: str | None
    """UUID of the GPU that computes, if one does."""
    lanes: int
    """Steps with chunks that it computes side by side."""
    geometry: ChunkGeometry
    vocabulary: tuple[str, ...]

    def step(self, step: Step) -> StepResult:
        """Compute one step; on an exception no stream's state has changed.

        Raises `OutOfMemoryError` when a smaller step may succeed.
        """
        ...

    def warm_up(self) -> None:
        """Run once what a step runs, so that the first stream finds everything compiled."""
        ...
