"""Manifests of recordings, as lines and as lists, and what is said about those that are neither."""

from pathlib import Path

import pytest

from asr_server.recordings.files import RecordingError
from asr_server.recordings.manifest import Span, Utterance, read_manifest

LINES = """
{"file": "a.wav", "text": "你好", "characters": [{"begin_ms": 1, "end_ms": 2.0}]}

{"audio_filepath": "wav/b.wav", "id": 7, "spk": "s1", "sentences": [{"begin_ms": 3, "end_ms": 4}]}
"""
LIST = "[" + LINES.replace("}]}\n\n", "}]},\n\n") + "]"
SPREAD = LIST.replace('", "', '",\n "')


def written(folder: Path, content: str) -> Path:
    (folder / "wav").mkdir()
    for name in ("a.wav", "wav/b.wav"):
        (folder / name).touch()
    path = folder / "set.json"
    path.write_text(content, "utf-8")
    return path


@pytest.mark.parametrize("content", [LINES, LIST, SPREAD])
def test_lines_and_lists_mean_the_same(tmp_path, content):
    a, b = (Span(1, 2),), (Span(3, 4),)
    assert list(read_manifest(written(tmp_path, content), transcribed=False)) == [
        Utterance("a.wav", tmp_path / "a.wav", "你好", characters=a),
        Utterance("7", tmp_path / "wav" / "b.wav", speaker="s1", sentences=b),
    ]


@pytest.mark.parametrize("content", [LINES, LIST])
def test_a_missing_transcript_is_an_error_only_where_one_is_needed(tmp_path, content):
    path = written(tmp_path, content)
    with pytest.raises(RecordingError, match=r"line 4: lacks the transcript \(`text`\)"):
        list(read_manifest(path, transcribed=True))


def test_a_missing_recording_is_named_with_its_line(tmp_path):
    path = written(tmp_path, LIST)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(RecordingError, match=r"line 2: there is no file .*a\.wav"):
        list(read_manifest(path, transcribed=False))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a.wav 你好", "line 1: not JSON"),
        ('{"file": "a.wav"}\n{"file": b.wav}', "line 2: not JSON"),
        ('[\n{"file": "a.wav"},\n{"file"', "line 3: not JSON"),
        ('[{"file": "a.wav"},\n{"file": "b.wav"}', "line 2: the list has no end"),
        ('["a.wav"]', "line 1: not a JSON object"),
        ("[" * 100_000, "the list has no end"),
        ('{"text": "你好"}', r"line 1: lacks the recording \(`file`\)"),
        ('{"file": "a.wav"}\n{"file": null}', "line 2: lacks the recording"),
        ('{"file": "a.wav", "characters": [1]}', "line 1: `characters` must have begin_ms"),
        ('{"file": "a.wav", "sentences": {"begin_ms": 1}}', "line 1: `sentences` must"),
        ('{"file": "a.wav", "sentences": [{"begin_ms": 1, "end_ms": NaN}]}', "must have"),
        ('{"file": "a.wav", "sentences": [{"begin_ms": 1, "end_ms": Infinity}]}', "must have"),
    ],
)
def test_the_line_at_fault_is_named(tmp_path, content, reason):
    with pytest.raises(RecordingError, match=reason) as refused:
        list(read_manifest(written(tmp_path, content), transcribed=False))
    assert str(tmp_path / "set.json") in str(refused.value)


def test_a_text_in_another_encoding_is_an_error_with_the_conversion(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_bytes('{"file": "a.wav", "text": "你好"}\n'.encode("gb18030"))
    with pytest.raises(RecordingError, match="iconv -f gb18030"):
        list(read_manifest(path, transcribed=True))


def test_a_manifest_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecordingError, match="absent.json: No such file"):
        list(read_manifest(tmp_path / "absent.json", transcribed=True))
