"""The load generator's recordings, and the times of speech in them."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from asr_server.load.recordings import FRAME_S, bundled_manifest, find_speech, read_recordings
from asr_server.recordings.files import RecordingError

DATA = Path(__file__).parents[1] / "data"
MANIFEST = json.loads((DATA / "manifest.json").read_text("utf-8"))


def test_the_recordings_that_come_with_the_package_are_found():
    recordings = read_recordings([], 2.0, 0.8)
    assert [one.name for one in recordings] == [entry["file"] for entry in MANIFEST]
    for one, entry in zip(recordings, MANIFEST, strict=True):
        assert one.duration_s == pytest.approx(entry["duration_ms"] / 1000 + 2, abs=FRAME_S)
        assert len(one.speech) == len(entry["sentences"])
        assert {len(frame) for frame in one.frames[:-1]} == {3200}


def test_without_a_manifest_speech_is_found_to_a_tenth_of_a_second():
    from_manifest = read_recordings([bundled_manifest()], 2.0, 0.8)
    measured = read_recordings([DATA / one.name for one in from_manifest], 2.0, 0.8)
    for a, b in zip(from_manifest, measured, strict=True):
        assert len(a.speech) == len(b.speech), a.name
        for one, other in zip(a.speech, b.speech, strict=True):
            assert one.begin_s == pytest.approx(other.begin_s, abs=0.1), a.name
            assert one.end_s == pytest.approx(other.end_s, abs=0.1), a.name


def test_silence_and_a_click_are_no_speech():
    audio = np.zeros(32_000, np.int16)
    assert find_speech(audio, 0.8) == ()
    audio[8000:8100] = 20_000
    assert find_speech(audio, 0.8) == ()
    assert find_speech(audio[:10], 0.8) == ()


def test_a_folder_may_hold_any_format_and_rate(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(4 * 8000))
    (tmp_path / "notes.txt").write_text("not a recording")
    [one] = read_recordings([tmp_path], 0.5, 0.8)
    assert (one.name, one.sample_rate) == ("a.wav", 16_000)
    assert one.duration_s == pytest.approx(1.5, abs=FRAME_S)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent.wav", None, "there is no such file"),
        ("a.wav", "RIFF", "cannot be read as sound"),
        ("a.jsonl", '{"file": "b.wav"}\n{"text": "你好"}', "line 1: there is no file .*b.wav"),
        (
            "a.json",
            '[{"file": "a.json"}]',
            "a.json: there is no sound in it|a.json: it cannot be read as sound",
        ),
        ("empty", "/", "there is no recording"),
    ],
)
def test_an_unreadable_recording_is_refused_at_once(tmp_path, name, content, reason):
    path = tmp_path / name
    if content == "/":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(RecordingError, match=reason):
        read_recordings([path], 0, 0.8)
