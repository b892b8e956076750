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
class Utterance:
    """A recording and what is known of its speech."""

    id: str
    audio: Path
    text: str = ""
    speaker: str | None = None
    sentences: tuple[Span, ...] = ()
    characters: tuple[Span, ...] = ()
    """One for each character of `text`, or none."""


def read_manifest(path: Path, *, transcribed: bool) -> Iterator[Utterance]:
    """Yield the recordings, each with a text if `transcribed`, else each with its file.

    Raises RecordingError with the line at fault.
    """
    for number, entry in _objects(path):
        where = f"{path}, line {number}"
        if not isinstance(entry, dict):
            raise RecordingError(f'{where}: not a JSON object, as {{"file": "a.wav"}} would be.')
        audio, text = _first(entry, AUDIO_KEYS), _first(entry, TEXT_KEYS)
        if audio is None or (text is None and transcribed):
            missing = "the recording (`file`)" if audio is None else "the transcript (`text`)"
            raise RecordingError(f"{where}: lacks {missing}.")
        if not transcribed and not (path.parent / audio).is_file():
            raise RecordingError(f"{where}: there is no file {path.parent / audio}.")
        id, speaker = _first(entry, ID_KEYS) or audio, _first(entry, SPEAKER_KEYS)
        spans = [_spans(entry, name, where) for name in ("sentences", "characters")]
        yield Utterance(id, path.parent / audio, text or "", speaker, *spans)


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 file. Raises RecordingError with the remedy."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as exc:
        remedy = "Convert it first: iconv -f gb18030 -t utf-8 OLD > NEW"
        raise RecordingError(f"{path}: not UTF-8. {remedy}") from exc
    except OSError as exc:
        raise RecordingError(f"{path}: {exc.strerror}.") from exc


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield each JSON value with the number of its line."""
    text, decoder = read_text(path), json.JSONDecoder()
    end, line = 0, 1
    while (at := BETWEEN_OBJECTS.match(text, end).end()) < len(text):  # type: ignore[union-attr]
        line += text.count("\n", end, at)
        try:
            value, following = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as exc:
            number = getattr(exc, "lineno", line)
            raise RecordingError(f"{path}, line {number}: not JSON ({exc}).") from exc
        yield line, value
        line += text.count("\n", at, following)
        end = following
    if text.lstrip().startswith("[") and not text.rstrip().endswith("]"):
        raise RecordingError(f"{path}, line {line}: the list has no end: `]` is missing.")


def _first(entry: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((str(entry[key]) for key in keys if entry.get(key) is not None), None)


def _spans(entry: dict[str, Any], name: str, where: str) -> tuple[Span, ...]:
    try:
        given = entry.get(name) or ()
        return tuple(Span(int(each["begin_ms"]), int(each["end_ms"])) for each in given)
    except (TypeError, KeyError, ValueError, OverflowError) as exc:
        raise RecordingError(f"{where}: `{name}` must have begin_ms and end_ms each.") from exc
