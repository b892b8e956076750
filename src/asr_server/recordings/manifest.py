"""Read manifests of recordings: JSON objects, one a line or in one list.

An object has `file` and, where known, `text`, `id`, `speaker`, and the times of `sentences` or
`characters`; the names that NeMo and FunASR use work, too. Paths start at the manifest's folder.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_server.recordings.files import RecordingError

AUDIO_KEYS = ("file", "audio", "audio_filepath", "source", "wav")
TEXT_KEYS = ("text", "target", "transcript")
ID_KEYS = ("id", "key", "utt")
SPEAKER_KEYS = ("speaker", "spk", "voice")
BETWEEN_OBJECTS = re.compile(r"[\s,\[\]]*")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a recording, in ms from its start."""

    begin_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A recording as a manifest describes it."""

    where: str
    """The manifest and the line, for errors."""
    id: str
    audio: Path
    text: str | None
    speaker: str | None
    sentences: tuple[Span, ...]
    characters: tuple[Span, ...]


def read_manifest(path: Path) -> Iterator[Entry]:
    """Yield the entries of a manifest. Raises RecordingError with the line at fault."""
    for number, entry in _objects(path):
        where = f"{path}, line {number}"
        if not isinstance(entry, dict):
            raise RecordingError(f'{where}: not a JSON object, as {{"file": "a.wav"}} would be.')
        if (audio := _first(entry, AUDIO_KEYS)) is None:
            raise RecordingError(f"{where}: lacks the recording (`file`).")
        yield Entry(
            where,
            _first(entry, ID_KEYS) or audio,
            path.parent / audio,
            _first(entry, TEXT_KEYS),
            _first(entry, SPEAKER_KEYS),
            _spans(entry, "sentences", where),
            _spans(entry, "characters", where),
        )


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 file. Raises RecordingError with the remedy."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise RecordingError(
            f"{path}: not UTF-8. Convert it first: iconv -f gb18030 -t utf-8 OLD > NEW"
        ) from exc
    except OSError as exc:
        raise RecordingError(f"{path}: {exc.strerror}.") from exc


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield each JSON value with the number of its line."""
    text = read_text(path)
    decoder = json.JSONDecoder()
    at = _next_object(text, 0)
    line = 1 + text.count("\n", 0, at)
    while at < len(text):
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as exc:
            number = getattr(exc, "lineno", line)
            raise RecordingError(f"{path}, line {number}: not JSON ({exc}).") from exc
        yield line, value
        following = _next_object(text, end)
        line += text.count("\n", at, following)
        at = following
    if text.lstrip().startswith("[") and not text.rstrip().endswith("]"):
        raise RecordingError(f"{path}, line {line}: the list has no end: `]` is missing.")


def _next_object(text: str, at: int) -> int:
    match = BETWEEN_OBJECTS.match(text, at)
    return match.end() if match else at


def _first(entry: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((str(entry[key]) for key in keys if entry.get(key) is not None), None)


def _spans(entry: dict[str, Any], name: str, where: str) -> tuple[Span, ...]:
    try:
        return tuple(
            Span(int(each["begin_ms"]), int(each["end_ms"])) for each in entry.get(name) or ()
        )
    except (TypeError, KeyError, ValueError, OverflowError) as exc:
        raise RecordingError(f"{where}: `{name}` must have begin_ms and end_ms each.") from exc
