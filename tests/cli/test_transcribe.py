"""`asr-server transcribe` as users run it."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from asr_server.models.registry import DEMO, resolve
from asr_server.settings import Settings
from tests.support.command_line import asr_server
from tests.support.encoding import encode
from tests.support.texts import bare, error_rate

DATA = Path(__file__).parents[1] / "data"
RECORDINGS = {
    entry["file"]: entry
    for entry in json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
}
TWO = DATA / "two_sentences.wav"
QUICK = ("--model", DEMO, "--streams", "2")
"""The demo model, warmed up for small batches only."""

needs_demo = pytest.mark.skipif(resolve(DEMO, Settings()) is None, reason="no demo model")


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@needs_demo
def test_several_recordings_are_printed_in_their_order_and_a_bad_one_does_not_stop_them(tmp_path):
    (tmp_path / "film.m4a").write_bytes(encode(samples(TWO), "m4a"))
    (tmp_path / "notes.wav").write_text("no audio", "utf-8")
    with wave.open(str(tmp_path / "silence.wav"), "wb") as silence:
        silence.setparams((1, 2, 16_000, 0, "NONE", ""))
        silence.writeframes(bytes(32_000))
    files = (str(TWO), "absent.wav", "notes.wav", "silence.wav", "film.m4a")
    done = asr_server("transcribe", *QUICK, "--no-itn", *files, cwd=tmp_path)
    assert done.returncode == 1
    assert "absent.wav: there is no such file" in done.stderr
    assert "silence" not in done.stderr + done.stdout
    assert "notes.wav: it cannot be read as sound" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{TWO}:"
    assert lines[3] == "film.m4a:"
    spoken = bare(sentence["text"] for sentence in RECORDINGS[TWO.name]["sentences"])
    for texts in (lines[1:3], lines[4:]):
        assert error_rate(zip(spoken, bare(texts), strict=True)) <= 0.25


@needs_demo
def test_subtitles_are_written_beside_each_other(tmp_path):
    names = ("two_sentences", "greeting")
    files = [str(DATA / f"{name}.wav") for name in names]
    options = ("--format", "srt", "--output-dir", "out")
    done = asr_server("transcribe", *QUICK, *options, *files, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for name in names:
        blocks = (tmp_path / "out" / f"{name}.srt").read_text("utf-8").strip().split("\n\n")
        sentences = RECORDINGS[f"{name}.wav"]["sentences"]
        assert [block.split("\n")[0] for block in blocks] == [
            str(n) for n in range(1, len(sentences) + 1)
        ]
        for block, sentence in zip(blocks, sentences, strict=True):
            begin, end = map(milliseconds, block.split("\n")[1].split(" --> "))
            assert begin == pytest.approx(sentence["begin_ms"], abs=300)
            assert end == pytest.approx(sentence["end_ms"], abs=300)


def milliseconds(clock: str) -> int:
    hours, minutes, seconds = clock.replace(",", ".").split(":")
    return round(1000 * (3600 * int(hours) + 60 * int(minutes) + float(seconds)))


@needs_demo
def test_stdin_becomes_json_with_confidences(tmp_path):
    options = (*QUICK, "--format", "json", "--confidence")
    done = asr_server("transcribe", *options, "-", cwd=tmp_path, stdin=TWO.read_bytes())
    assert done.returncode == 0, done.stderr
    [transcript] = map(json.loads, done.stdout.splitlines())
    assert transcript["file"] == "stdin"
    assert len(transcript["sentences"]) == 2
    for sentence in transcript["sentences"]:
        words = sentence["words"]
        assert sentence["text"] == "".join(w["text"] + w["punctuation"] for w in words)
        assert all(0 < word["confidence"] <= 1 for word in words)
        assert sentence["begin_ms"] <= words[0]["begin_ms"] < words[-1]["end_ms"]
        assert words[-1]["end_ms"] <= sentence["end_ms"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("a.wav", "b.wav", "--format", "srt"), "needs --output-dir"),
        (("1/a.wav", "2/a.mp3", "--output-dir", "out"), "2 recordings would be written to out"),
        (("a.wav", "--format", "docx"), "docx"),
    ],
)
def test_a_command_that_would_mix_recordings_up_is_refused(tmp_path, arguments, reason):
    done = asr_server("transcribe", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr


def test_nothing_to_transcribe_is_named_before_a_model_is_loaded(tmp_path):
    (tmp_path / "calls").mkdir()
    (tmp_path / "notes.wav").write_bytes(b"not a sound at all")
    arguments = ("calls", "absent.wav", "notes.wav", "--model", "no-such-model")
    done = asr_server("transcribe", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "calls: it is a folder; name the files in it" in done.stderr
    assert "absent.wav: there is no such file" in done.stderr
    assert "notes.wav: " in done.stderr
    assert "no-such-model" not in done.stderr
