"""`asr-server evaluate` on the demo's recordings, as users run it."""

import json
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr_server.models.registry import DEMO, resolve
from asr_server.settings import Settings
from tests.support.background import serving_on_a_thread
from tests.support.command_line import asr_server
from tests.support.fake_backend import FakeBackend
from tests.support.processes import environment
from tests.support.serving import LOUD, QUIET

DATA = Path(__file__).parents[1] / "data"
RECORDINGS = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))

needs_demo = pytest.mark.skipif(resolve(DEMO, Settings()) is None, reason="no demo model")


def noise(path: Path) -> None:
    with wave.open(str(path), "wb") as recording:
        recording.setparams((1, 2, 16_000, 0, "NONE", ""))
        recording.writeframes(LOUD + QUIET)


@pytest.fixture
def manifest(tmp_path) -> Path:
    """The demo's recordings, and one whose transcript is of another."""
    entries = [{**entry, "file": str(DATA / entry["file"])} for entry in RECORDINGS]
    entries.append({**entries[0], "id": "mismatched", "text": RECORDINGS[1]["text"]})
    path = tmp_path / "demo.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
    return path


@needs_demo
def test_one_run_writes_rates_a_page_json_and_a_diagram(tmp_path, manifest):
    files = ("--report", "out/page.html", "--json", "out/all.json", "--reliability", "out/r.png")
    options = ("--model", DEMO, "--streams", "4", "--dtype", "auto", *files)
    done = asr_server("evaluate", str(manifest), *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out/all.json").read_text("utf-8"))
    assert results["configuration"]["device"] in {"cpu", "cuda"}
    assert results["configuration"]["dtype"] in {"float32", "bfloat16", "float16", "int8"}
    [data_set] = results["sets"]
    assert data_set["recordings"] == len(RECORDINGS) + 1
    errors = {result["id"]: result["errors"] for result in data_set["results"]}
    assert errors.pop("mismatched") > 5
    right = sum(r["characters"] for r in data_set["results"] if r["id"] != "mismatched")
    assert sum(errors.values()) <= 0.1 * right  # ITN is off, so digits are no errors
    assert data_set["word_ece"] < 0.3
    assert data_set["word_times_ms"]["median"] < 100
    assert data_set["audio_s"] == pytest.approx(
        sum(entry["duration_ms"] for entry in [*RECORDINGS, RECORDINGS[0]]) / 1000, abs=0.5
    )
    assert f"{data_set['cer']:.2%}" in done.stdout
    assert "mismatched" in done.stdout
    assert "DEMO MODEL" in done.stderr

    page = (tmp_path / "out/page.html").read_text("utf-8")
    assert f"{100 * data_set['cer']:.2f} %" in page
    assert "mismatched" in page
    assert "data:image/png;base64," in page
    assert "http" not in page  # nothing is fetched
    assert (tmp_path / "out/r.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def fake_server() -> Iterator[str]:
    """A server that recognises one of 天地玄黄 in every 600 ms of noise."""
    with serving_on_a_thread() as served:
        yield f"127.0.0.1:{served.port}"


def test_in_ci_a_rate_above_the_bound_has_a_status_of_its_own(tmp_path, fake_server):
    noise(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("天", "utf-8")
    command = (".", "--url", fake_server, "--max-cer")
    done = asr_server("evaluate", *command, "200", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = asr_server("evaluate", *command, "1", cwd=tmp_path)
    assert done.returncode == 3
    assert "is above 1 %" in done.stderr


def test_what_the_second_pass_changes_is_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(FakeBackend, "second_pass", True)
    noise(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("甲乙丙", "utf-8")
    (tmp_path / "words.txt").write_text("乙丙 5\n", "utf-8")
    options = ("--compare", "--hotwords", "words.txt", "--json", "all.json")
    with serving_on_a_thread() as served:
        url = f"127.0.0.1:{served.port}"
        done = asr_server("evaluate", ".", "--url", url, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "100.00% → 0.00%" in done.stdout
    [found] = json.loads((tmp_path / "all.json").read_text("utf-8"))["second_pass"]
    assert (found["sentences"], found["changed_sentences"]) == (1, 1)
    assert found["hotwords"] == [
        {"spoken": 1, "recognised": 0},
        {"spoken": 1, "recognised": 1},
    ]


def test_a_comparison_needs_a_second_pass(tmp_path, tiny_model):
    noise(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("天", "utf-8")
    options = ("--model", str(tiny_model), "--streams", "1", "--compare")
    done = asr_server("evaluate", ".", *options, cwd=tmp_path, ASR_SECOND_PASS="auto")
    assert done.returncode == 2
    assert "There is no second pass to compare: the model paraformer-zh is not" in done.stderr


def test_an_unreadable_recording_is_named_and_not_counted(tmp_path, fake_server):
    noise(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_bytes(b"not a sound at all")
    for name in ("good", "bad"):
        (tmp_path / f"{name}.txt").write_text("天地", "utf-8")
    done = asr_server("evaluate", ".", "--url", fake_server, "--json", "all.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "bad.wav: it cannot be read as sound" in done.stderr
    [data_set] = json.loads((tmp_path / "all.json").read_text("utf-8"))["sets"]
    assert [failed["id"] for failed in data_set["failed"]] == ["bad.wav"]
    assert (data_set["recordings"], data_set["characters"]) == (1, 2)


def test_an_unreachable_server_is_reported_at_once(tmp_path, manifest):
    done = asr_server("evaluate", str(manifest), "--url", "ws://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 1
    assert "Not measured: cannot reach ws://127.0.0.1:9/" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_data_is_reported_before_a_model_is_looked_for(tmp_path, offline):
    done = asr_server("evaluate", "absent.jsonl", cwd=tmp_path, **offline)
    assert done.returncode == 2
    assert "absent.jsonl: there is no such file or folder." in done.stderr


def test_options_of_a_model_are_refused_with_another_server(tmp_path, manifest):
    done = asr_server(
        "evaluate", str(manifest), "--url", "127.0.0.1:9", "--dtype", "int8", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "--dtype" in done.stderr


def test_missing_libraries_are_named_with_the_command_that_installs_them(tmp_path, manifest):
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'jiwer' else find(name, *a)\n"
        "from asr_server.cli.main import app; sys.argv[1:] = ['evaluate', 'x.jsonl']; app()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 2
    assert "-m pip install jiwer\n" in done.stderr
