"""Data sets that can be evaluated, and the errors of those that cannot."""

import json
from pathlib import Path

import pytest

from asr_server.evaluation.data_sets import DataSet, read_data_set
from asr_server.load.recordings import bundled_manifest, read_recordings
from asr_server.recordings.files import RecordingError
from asr_server.recordings.manifest import Utterance


def recording(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def manifest(folder: Path, *entries: dict) -> Path:
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
    return path


def shown(data_set: DataSet) -> list[tuple[str, str, str | None]]:
    return [(u.id, u.text, u.speaker) for u in data_set.utterances]


def test_a_manifest_names_recordings_beside_it(tmp_path):
    recording(tmp_path / "wav" / "a.wav")
    entry = {"file": "wav/a.wav", "text": "你好", "voice": "m1"}
    characters = [{"char": "你", "begin_ms": 1, "end_ms": 2}, {"begin_ms": 2, "end_ms": 3}]
    found = read_data_set(manifest(tmp_path, {**entry, "characters": characters}))
    assert shown(found) == [("wav/a.wav", "你好", "m1")]
    assert found.name == "set"
    assert found.utterances[0].audio == tmp_path / "wav" / "a.wav"
    assert [c.end_ms for c in found.utterances[0].characters] == [2, 3]


def test_a_manifest_may_be_a_list(tmp_path):
    recording(tmp_path / "a.wav")
    path = tmp_path / "set.json"
    path.write_text('[\n  {"file": "a.wav",\n   "text": "你好"}\n]\n', "utf-8")
    assert shown(read_data_set(path)) == [("a.wav", "你好", None)]


@pytest.mark.parametrize(
    "entry",
    [
        {"key": "1", "source": "a.wav", "target": "你好"},  # FunASR
        {"id": "1", "audio_filepath": "a.wav", "text": "你好", "duration": 1.5},  # NeMo
    ],
)
def test_manifests_of_other_toolkits_are_understood(tmp_path, entry):
    recording(tmp_path / "a.wav")
    assert shown(read_data_set(manifest(tmp_path, entry))) == [("1", "你好", None)]


def test_a_kaldi_directory(tmp_path):
    audio = recording(tmp_path / "elsewhere" / "a.wav")
    recording(tmp_path / "data" / "b.wav")
    (tmp_path / "data" / "wav.scp").write_text(f"u1 {audio}\nu2 b.wav\n")
    (tmp_path / "data" / "text").write_text("u2 再 见\nu1 你好 朋友\n", "utf-8")
    (tmp_path / "data" / "utt2spk").write_text("u1 s1\nu2 s2\n")
    found = read_data_set(tmp_path / "data")
    assert shown(found) == [("u1", "你好 朋友", "s1"), ("u2", "再 见", "s2")]


def test_a_folder_as_aishell_comes_and_a_part_of_it(tmp_path):
    for path in ("wav/train/S1/a.wav", "wav/test/S2/b.wav", "wav/test/S2/unknown.wav"):
        recording(tmp_path / path)
    (tmp_path / "transcript").mkdir()
    (tmp_path / "transcript" / "all.txt").write_text("a 你 好\nb 再 见\nlost 丢\n", "utf-8")
    assert shown(read_data_set(tmp_path)) == [("b", "再 见", "S2"), ("a", "你 好", "S1")]
    part = read_data_set(tmp_path / "wav" / "test")
    assert shown(part) == [("b", "再 见", "S2")]
    assert part.left_out == 1


def test_recordings_with_a_text_file_beside_each(tmp_path):
    for name in ("1/a.flac", "b.mp4", "none.wav"):
        recording(tmp_path / name)
    (tmp_path / "1" / "a.txt").write_text("你好，\n朋友。\n", "utf-8")
    (tmp_path / "b.txt").write_text("﻿再见", "utf-8")
    found = read_data_set(tmp_path)
    assert shown(found) == [("1/a.flac", "你好， 朋友。", None), ("b.mp4", "再见", None)]
    assert found.left_out == 1


def refusal(source: Path) -> str:
    with pytest.raises(RecordingError) as refused:
        read_data_set(source)
    return str(refused.value)


def test_a_command_in_wav_scp_is_refused_not_run(tmp_path):
    (tmp_path / "wav.scp").write_text(f"u1 touch {tmp_path}/ran |\n")
    (tmp_path / "text").write_text("u1 a\n")
    assert "is a command" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_segments_are_refused(tmp_path):
    for name in ("wav.scp", "text", "segments"):
        (tmp_path / name).write_text("u1 a\n")
    assert "parts of longer recordings" in refusal(tmp_path)


def test_all_problems_of_a_set_are_reported_at_once(tmp_path):
    recording(tmp_path / "a.wav")
    reason = refusal(
        manifest(
            tmp_path,
            {"id": "twice", "file": "a.wav", "text": "你好"},
            {"id": "twice", "file": "a.wav", "text": "再见"},
            {"id": "gone", "file": "b.wav", "text": "你好"},
            {"id": "empty", "file": "a.wav", "text": "，。"},
        )
    )
    assert "1 occur more than once: twice" in reason
    assert "1 have no audio file: gone (" in reason
    assert "1 have an empty transcript: empty" in reason


def test_a_long_list_of_problems_is_cut(tmp_path):
    reason = refusal(manifest(tmp_path, *({"file": f"{n}.wav", "text": "好"} for n in range(30))))
    assert "30 have no audio file: 0.wav" in reason
    assert "and 25 more" in reason


def test_an_entry_without_a_transcript_is_named(tmp_path):
    entries = ({"file": "a.wav", "text": "好"}, {"file": "b.wav"})
    assert "set.jsonl, line 2: lacks the transcript" in refusal(manifest(tmp_path, *entries))


def test_a_recording_itself_is_no_data_set(tmp_path):
    assert "without its transcript" in refusal(recording(tmp_path / "a.wav"))


def test_a_folder_without_transcripts_and_no_folder_at_all(tmp_path):
    recording(tmp_path / "a.wav")
    assert "Expected one of" in refusal(tmp_path)
    assert "no such file or folder" in refusal(tmp_path / "absent")


def test_a_sample_is_always_the_same_and_in_order():
    everything = DataSet("all", tuple(Utterance(f"{n:03}", Path(), "好") for n in range(100)))
    ids = [u.id for u in everything.sample(10).utterances]
    assert len(ids) == 10
    assert ids == sorted(ids) == [u.id for u in everything.sample(10).utterances]
    assert everything.sample(1000) is everything


def test_the_manifest_that_bench_takes_is_taken_too():
    manifest = bundled_manifest()
    utterances = read_data_set(manifest).utterances
    assert len(utterances) == len(read_recordings([manifest], quiet_s=0, pause_s=0.8)) > 0
