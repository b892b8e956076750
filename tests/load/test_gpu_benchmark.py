"""The benchmark of a GPU keeps what it has, records what fails, and runs in all its parts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import SHARES, kept, missing, problems, run_part, unusable
from benchmarks.gpu_parity import GPU_TESTS, agrees
from benchmarks.gpu_parts import PARTS
from benchmarks.gpu_report import draw, parts
from benchmarks.report import table

SAME = {"commit": "abc", "device": "H200", "reduced": False}


def row(model: str, dtype: str, differing: int) -> dict[str, object]:
    return {"model": model, "dtype": dtype, "tokens": 1000, "differing": differing}


def test_every_part_has_a_share_of_the_time():
    assert list(PARTS) == list(SHARES)


def test_all_tests_for_a_gpu_are_where_the_benchmark_runs_them():
    marked = [
        path
        for path in Path("tests").rglob("*.py")
        if "mark.gpu" in path.read_text("utf-8") and path.name != Path(__file__).name
    ]
    assert marked
    assert all(path.is_relative_to(GPU_TESTS) for path in marked)


def test_a_second_start_runs_what_is_missing_or_failed_for_the_same_commit_and_device(tmp_path):
    path = tmp_path / "gpu.json"
    have = {"weights": {}, "tests": {"ok": True}, "steps": {"rows": [], "error": "no memory"}}
    path.write_text(json.dumps({**SAME, "parts": have}))
    assert missing(kept(path, SAME)) == ["parity", "steps", "memory", "second_pass", "streams"]
    assert missing(kept(path, {**SAME, "commit": "abd"})) == list(SHARES)
    assert missing(kept(tmp_path / "none.json", SAME)) == list(SHARES)


def test_float32_must_give_every_token_of_the_demo_model_and_other_precisions_nearly_all():
    assert agrees(row("demo", "float32", 0))
    assert not agrees(row("demo, second pass", "float32", 1))
    assert agrees(row("demo", "bfloat16", 5))
    assert not agrees(row("demo", "bfloat16", 6))
    assert not agrees(row("random weights", "float32", 6))
    assert agrees(row("random weights", "float16", 100))


def test_failed_parts_tests_and_parity_are_problems():
    good = {"tests": {"ok": True, "summary": "9 passed"}, "steps": {"rows": []}}
    assert problems({"parts": good}) == []
    bad = {
        "tests": {"ok": False, "summary": "1 failed"},
        "parity": {"ok": False},
        "steps": {"error": "no memory"},
    }
    assert len(problems({"parts": bad})) == 3


def test_unknown_devices_parts_and_precisions_are_named():
    assert "tpu" in unusable("tpu", "")
    assert "step;" in unusable("cpu", "step,tests")
    assert "float16" in unusable("cpu", "", "float16")
    assert unusable("cpu", "steps,tests", "int8") == ""


def test_a_report_of_failed_parts_names_their_errors(tmp_path):
    figures = {**SAME, "parts": {"steps": {"error": "no memory"}}}
    assert "steps failed: no memory" in parts(figures, table, "gpu.png")
    draw(figures, tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").exists()


def run(to: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--reduced"]
    return subprocess.run(
        [*command, "--to", str(to), *options], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_part_runs_on_a_cpu_and_only_once(tmp_path):
    path = tmp_path / "gpu.json"
    done = run(path, "--minutes", "5")
    assert done.returncode == 0, done.stdout
    figures = json.loads(path.read_text("utf-8"))
    assert figures["parts"].keys() == SHARES.keys()
    assert figures["parts"]["parity"]["ok"]
    assert figures["parts"]["streams"]["held"] == 2
    assert path.with_suffix(".png").exists()
    assert run(path).returncode == 0
    assert json.loads(path.read_text("utf-8")) == figures


@pytest.mark.slow
def test_a_part_that_fails_is_recorded_with_its_error():
    options = {"device": "cpu", "reduced": True, "seconds": 60}
    assert run_part("nonsense", options)["error"].startswith("KeyError: 'nonsense'")


@pytest.mark.slow
def test_a_part_ends_with_its_share_of_the_time(tmp_path):
    path = tmp_path / "gpu.json"
    assert run(path, "--only", "parity", "--minutes", "0.1").returncode == 1
    assert (
        "its share of the time" in json.loads(path.read_text("utf-8"))["parts"]["parity"]["error"]
    )
