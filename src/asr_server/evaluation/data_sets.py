"""Recordings with transcripts, in four formats.

A JSON manifest, a Kaldi data directory, AISHELL's layout, or recordings with a text file beside
each. Problems of a data set are reported before any recording is recognised.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from asr_server.evaluation.normalise import units
from asr_server.recordings.files import AUDIO_SUFFIXES, RecordingError, audio_files
from asr_server.recordings.manifest import Utterance, read_manifest, read_text

SHOWN_PROBLEMS = 5
SHAPES = """Expected one of:
  a manifest, JSON objects one a line or in a list: {"file": "a.wav", "text": "..."}
  a Kaldi data directory: wav.scp and text
  a folder as AISHELL comes: wav/**/*.wav and transcript/*.txt
  a folder of recordings with a text file beside each: a.wav and a.txt"""


@dataclass(frozen=True, slots=True)
class DataSet:
    """The recordings of one SOURCE."""

    name: str
    utterances: tuple[Utterance, ...]
    left_out: int = 0
    """Recordings without a transcript."""

    def sample(self, size: int) -> "DataSet":
        """Return at most `size` of the utterances, drawn at random with a fixed seed."""
        if size >= len(self.utterances):
            return self
        chosen = sorted(random.Random(0).sample(range(len(self.utterances)), size))
        return replace(self, utterances=tuple(self.utterances[index] for index in chosen))


def read_data_set(source: Path) -> DataSet:
    """Return the utterances of a SOURCE. Raises RecordingError."""
    audio: list[Path] = []
    if source.suffix.lower() in AUDIO_SUFFIXES:
        raise RecordingError(f"{source}: a recording without its transcript.\n{SHAPES}")
    if source.is_file():
        utterances = list(read_manifest(source, transcribed=True))
    elif (source / "wav.scp").is_file():
        utterances = list(_kaldi(source))
    elif source.is_dir():
        transcripts = _transcript_files(source)
        root = source / "wav" if transcripts and (source / "wav").is_dir() else source
        audio = audio_files(root)
        utterances = list(_aishell(audio, transcripts) if transcripts else _pairs(audio, source))
    else:
        raise RecordingError(f"{source}: there is no such file or folder.")
    if not utterances:
        raise RecordingError(f"{source}: no recording with a transcript.\n{SHAPES}")
    _check(source, utterances)
    name = source.stem if source.is_file() else source.resolve().name
    return DataSet(name, tuple(utterances), max(0, len(audio) - len(utterances)))


def _check(source: Path, utterances: list[Utterance]) -> None:
    counted = Counter(u.id for u in utterances)
    absent = [f"{u.id} ({u.audio})" for u in utterances if not u.audio.is_file()]
    problems = []
    for what, names in (
        ("occur more than once", [id for id, count in counted.items() if count > 1]),
        ("have no audio file", absent),
        ("have an empty transcript", [u.id for u in utterances if not units(u.text)]),
    ):
        if names:
            more = len(names) - SHOWN_PROBLEMS
            some = ", ".join(names[:SHOWN_PROBLEMS]) + (f" and {more} more" if more > 0 else "")
            problems.append(f"{len(names)} {what}: {some}")
    if problems:
        raise RecordingError("\n".join([f"{source}: of {len(utterances)} recordings", *problems]))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines that are not blank. Raises RecordingError."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _kaldi(folder: Path) -> Iterator[Utterance]:
    if (folder / "segments").exists():
        raise RecordingError(
            f"{folder}: has `segments`, parts of longer recordings. Cut them out first, with "
            "Kaldi's utils/data/extract_wav_segments_data_dir.sh."
        )
    if not (folder / "text").is_file():
        raise RecordingError(f"{folder}: has wav.scp but no `text`.")
    texts = _table(folder / "text")
    speakers = _table(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
    for id, audio in _table(folder / "wav.scp").items():
        if audio.endswith("|"):
            raise RecordingError(
                f"{folder / 'wav.scp'}: {id} is a command ({audio}), and commands are not run. "
                "Write the recordings to files first, and their paths into wav.scp:\n"
                '  while read -r id cmd; do sh -c "${cmd%|}" > wav/$id.wav; done < wav.scp'
            )
        if id not in texts:
            raise RecordingError(f"{folder / 'text'}: has no line for {id}.")
        path = Path(audio)
        yield Utterance(id, path if path.is_file() else folder / path, texts[id], speakers.get(id))


def _table(path: Path) -> dict[str, str]:
    """Return a Kaldi table: a key, white space, the rest. Raises RecordingError."""
    table: dict[str, str] = {}
    for number, line in _lines(path):
        key, *rest = line.split(maxsplit=1)
        if key in table:
            raise RecordingError(f"{path}, line {number}: {key} occurs a second time.")
        table[key] = rest[0] if rest else ""
    return table


def _transcript_files(folder: Path) -> list[Path]:
    """Return those of the folder, or of the corpus that holds it (data_aishell/wav/test)."""
    for place in (folder, *folder.resolve().parents[:3]):
        if files := sorted((place / "transcript").glob("*.txt")):
            return files
    return []


def _aishell(audio: Iterable[Path], transcripts: Iterable[Path]) -> Iterator[Utterance]:
    texts = {id: text for path in transcripts for id, text in _table(path).items()}
    for path in audio:
        if path.stem in texts:
            yield Utterance(path.stem, path, texts[path.stem], path.parent.name)


def _pairs(audio: Iterable[Path], folder: Path) -> Iterator[Utterance]:
    for path in audio:
        if (beside := path.with_suffix(".txt")).is_file():
            text = " ".join(line for _, line in _lines(beside))
            yield Utterance(str(path.relative_to(folder)), path, text)
