"""Define the values that pass between the connection, the engine and the backend."""

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
Slot: TypeAlias = int
"""A row of every state tensor; row 0 is a dummy that belongs to no stream."""

DUMMY_SLOT: Slot = 0
"""`slot * mask` sends the rows that are masked out to this slot."""


# Between the connection and the engine -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Hold what one task asks of the recogniser."""

    endpoint: EndpointingOptions = field(default_factory=EndpointingOptions)
    punctuate: bool = True
    """Predict punctuation marks for the tokens of a sentence."""
    interim: bool = True
    """Deliver hypotheses of a sentence that is still open."""
    previews: bool = True
    """Decode incomplete chunks for early interims."""
    prefix_padding_ms: int = 300
    """Audio before the detected onset that belongs to the sentence: VAD detects soft initials
    late."""
    announce_speech: bool = False
    """Deliver `SpeechStarted` when speech is detected."""
    semantic: bool = False
    """End sentences at punctuation, without waiting for silence (DashScope
    `semantic_punctuation_enabled`)."""
    max_sentence_ms: int = 60_000
    """A longer sentence is closed between two words."""
    second_pass: bool = True
    """Have the offline model, where one is loaded, correct the finals."""
    hotwords: tuple[tuple[str, int], ...] = ()
    """Words to favour, with weights 1 to 5, or 50."""


# Between the engine and the backend --------------------------------------------------------------


class Kind(Enum):
    """Say why a chunk is computed; what happens to the slot's state follows from that."""

    COMMIT = auto()
    """A whole chunk; the state advances past it."""
    FLUSH = auto()
    """The last, shorter chunk of a sentence; the state is not needed again."""
    SPECULATE = auto()
    """Like FLUSH, at a pause, in case the sentence ends there; the state stays."""
    PREVIEW = auto()
    """The audio that has arrived of the next chunk, for early text; the state stays."""

    @property
    def final(self) -> bool:
        """Return whether every frame is decoded, with no look-ahead held back."""
        return self in (Kind.FLUSH, Kind.SPECULATE)


@dataclass(frozen=True, slots=True)
class ChunkGeometry:
    """Hold how the model cuts a sentence into chunks."""

    stride: Samples
    """New samples of a whole chunk."""
    context: Samples
    """Samples before a chunk that its features see."""


@dataclass(frozen=True, slots=True)
class VadWork:
    """Hold the new windows of one stream for the VAD."""

    slot: Slot
    first: bool
    """The windows open the stream: the slot's VAD state counts as empty."""
    pcm: Pcm  # (windows * 512,)


@dataclass(frozen=True, slots=True)
class DecodeWork:
    """Hold one chunk of one stream."""

    slot: Slot
    kind: Kind
    first: bool
    """The chunk opens a sentence: the slot's state counts as empty."""
    pcm: Pcm  # (context + new,); no context when `first`; new < stride unless COMMIT
    prefix: tuple[str, ...] = ()
    """The sentence's tokens before this chunk, for punctuation."""
    punctuate: bool = False
    hotwords: HotwordSet | None = None


@dataclass(frozen=True, slots=True)
class DecodedToken:
    """Hold a token that CIF fired in a chunk."""

    piece: str
    fired_at: float
    """Samples from the chunk's first new one to where CIF's integral crossed; may be negative."""
    confidence: float


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """Hold the tokens of one chunk."""

    tokens: tuple[DecodedToken, ...]
    marks: tuple[str, ...] = ()
    """Punctuation after each token of prefix and chunk; empty when none was asked for."""
    evidence: Evidence | None = None
    """Scores of the hotwords' tokens in place of each token; None without hotwords."""


@dataclass(frozen=True, slots=True)
class SecondPassWork:
    """Hold one whole sentence for the offline model."""

    pcm: Pcm  # (n,), at most 60 s and a little
    punctuate: bool = False
    hotwords: HotwordSet | None = None


@dataclass(frozen=True, slots=True)
class SecondPassToken:
    """Hold a token of the offline model, with its place in the sentence's audio."""

    piece: str
    begin: Samples
    end: Samples
    confidence: float


@dataclass(frozen=True, slots=True)
class SecondPassResult:
    """Hold what the offline model recognised in one sentence."""

    tokens: tuple[SecondPassToken, ...]
    marks: tuple[str, ...] = ()


class OutOfMemoryError(Exception):
    """Report that a step of this size does not fit into device memory; a smaller one may."""


class LoadError(Exception):
    """Report that the recogniser cannot start; the text says why and what the operator can do."""


class DeviceLostError(LoadError):
    """Report that the GPU is missing or broken."""


class Backend(Protocol):
    """Compute steps. Only worker threads call `detect` and `decode`: `detect` runs on one thread,
    `decode` on up to `workers` threads at once, and no slot is in two running steps."""

    name: str
    device: str
    dtype: str
    """Precision of the weights."""
    gpu: str | None
    """UUID of the GPU that computes, if one does."""
    workers: int
    """Decode steps that run side by side."""
    slots: int
    """Rows of state; streams get 1 to `slots - 1`."""
    geometry: ChunkGeometry
    vocabulary: tuple[str, ...]
    second_pass: bool
    """Whether an offline model is loaded, so that `correct` may be called."""
    second_pass_hotwords: bool
    """Whether that model favours hotwords."""

    def detect(self, works: Sequence[VadWork]) -> list[NDArray[np.float32]]:
        """Return the speech probabilities of the works' windows, (windows,) each.

        On an exception no state has changed. Raises `OutOfMemoryError` as `decode` does.
        """
        ...

    def decode(self, works: Sequence[DecodeWork]) -> list[DecodeResult]:
        """Return the tokens of the works' chunks; on an exception no state has changed.

        Raises `OutOfMemoryError` when a smaller step may succeed.
        """
        ...

    def correct(self, works: Sequence[SecondPassWork]) -> list[SecondPassResult]:
        """Return the offline model's tokens of whole sentences; keeps no state. Called on its own
        thread, beside `decode`."""
        ...

    def warm_up(self) -> None:
        """Run each kind of step once, so that nothing is compiled when the first stream comes."""
        ...
