"""The load generator's recordings: audio in frames, and the time spans of speech in it.

Without times in a manifest, speech is where the audio is loud: every 10 ms within 25 dB of the
recording's loud parts. That is right to a few hundredths of a second for a clean recording; noisy
ones need a manifest.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_server.audio.units import SAMPLE_RATE
from asr_server.recordings.files import RAW, RecordingError, audio_files, decode_file
from asr_server.recordings.manifest import Span, read_manifest

FRAME_S = 0.1
"""Audio in one message, as in the official SDK's examples."""
FRAME_BYTES = 2 * int(FRAME_S * SAMPLE_RATE)
GRAIN = SAMPLE_RATE // 100
LOUD_PERCENTILE = 95
RANGE_DB = 25
"""Speech may be this much softer than the loud parts."""
SHORTEST_GRAINS = 5
"""Shorter than 50 ms is a click."""


@dataclass(frozen=True, slots=True)
class Speech:
    """A stretch of speech, in seconds from the start of the recording."""

    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Recording:
    """One task's audio, cut into messages."""

    name: str
    frames: tuple[bytes, ...]
    """100 ms each."""
    speech: tuple[Speech, ...]
    """One for each sentence to be expected."""
    format: str = "pcm"
    sample_rate: int = SAMPLE_RATE

    @property
    def duration_s(self) -> float:
        """Return the seconds, silence included."""
        return len(self.frames) * FRAME_S

    @property
    def speech_s(self) -> float:
        """Return the seconds of speech."""
        return sum(one.end_s - one.begin_s for one in self.speech)


def read_recordings(paths: Sequence[Path], quiet_s: float, pause_s: float) -> tuple[Recording, ...]:
    """Return the recordings of files, folders and manifests, each followed by `quiet_s` of silence.

    Without times in a manifest, sentences are `pause_s` or more apart. Raises RecordingError.
    """
    found = []
    for path, spans in _listed(paths or [bundled_manifest()]):
        try:
            pcm = np.frombuffer(b"".join(decode_file(path)), "<i2")
        except RecordingError as exc:
            raise RecordingError(f"{path}: {exc}") from exc
        audio = pcm.tobytes() + bytes(2 * int(quiet_s * SAMPLE_RATE))
        frames = tuple(audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES))
        found.append(Recording(path.name, frames, spans or find_speech(pcm, pause_s)))
    if not found:
        raise RecordingError("there is no recording")
    return tuple(found)


def bundled_manifest() -> Path:
    """Return the manifest of the recordings that come with the package."""
    package, checkout = Path(__file__).parents[1], Path(__file__).parents[3]
    for place in (package / "api" / "static" / "samples", checkout / "tests" / "data"):
        if (place / "manifest.json").is_file():
            return place / "manifest.json"
    raise RecordingError("the package came without recordings: name some with --recordings")


def find_speech(pcm: NDArray[np.int16], pause_s: float) -> tuple[Speech, ...]:
    """Return where (n,) samples at 16 kHz are loud, merged over pauses shorter than `pause_s`."""
    grains = pcm[: len(pcm) // GRAIN * GRAIN].astype(np.float64).reshape(-1, GRAIN)
    if not len(grains):
        return ()
    level_db = 10 * np.log10(np.mean(grains**2, axis=1) + 1e-3)
    loud = level_db > max(np.percentile(level_db, LOUD_PERCENTILE) - RANGE_DB, 0.0)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.astype(np.int8), [0]))))
    stretches: list[list[int]] = []
    for begin, end in edges.reshape(-1, 2):
        if stretches and begin - stretches[-1][1] < 100 * pause_s:
            stretches[-1][1] = end
        elif end - begin >= SHORTEST_GRAINS:
            stretches.append([begin, end])
    return tuple(Speech(float(begin) / 100, float(end) / 100) for begin, end in stretches)


def _listed(paths: Iterable[Path]) -> Iterator[tuple[Path, tuple[Speech, ...]]]:
    for path in paths:
        if path.is_dir():
            yield from ((file, ()) for file in audio_files(path) if file.suffix.lower() not in RAW)
        elif path.suffix in (".json", ".jsonl"):
            for entry in read_manifest(path, transcribed=False):
                characters = entry.characters
                ends = [Span(characters[0].begin_ms, characters[-1].end_ms)] if characters else ()
                spans = entry.sentences or ends
                yield entry.audio, tuple(Speech(s.begin_ms / 1000, s.end_ms / 1000) for s in spans)
        elif path.is_file():
            yield path, ()
        else:
            raise RecordingError(f"{path}: there is no such file or folder")
