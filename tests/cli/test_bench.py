"""`asr-server bench` as a user runs it, against a server in this process and against none."""

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from tests.support.background import serving_on_a_thread
from tests.support.command_line import asr_server
from tests.support.serving import FRAME, LOUD, QUIET, RATE

LENIENT = ("--goal-first-text-ms", "9000", "--goal-final-ms", "9000", "--goal-tail-ms", "9000")
"""Goals that any machine keeps, however busy."""


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "loud.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(QUIET[: 4 * FRAME] + LOUD)
    return str(path)


def bench(url: str, *options: str, cwd: Path) -> tuple[int, str]:
    """Return exit status and output."""
    lenient = ("--quiet", "0.9", "--seconds", "2.5", "--most-late-ms", "2000")
    done = asr_server("bench", url, *lenient, *options, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


def test_a_ramp_ends_at_the_first_broken_goal_and_is_written_and_plotted(tmp_path, recording):
    written, plotted = tmp_path / "run.json", tmp_path / "run.html"
    with serving_on_a_thread(max_tasks=2) as served:
        status, output = bench(
            served.url, "--recordings", recording, "--ramp", "linear", "--streams", "2",
            "--step", "1", "--require", "3", *LENIENT, "--json", str(written),
            "--plot", str(plotted), cwd=tmp_path,
        )  # fmt: skip
    assert status == 3, output
    assert "2 streams held" in output
    assert "refused" in output
    run = json.loads(written.read_text("utf-8"))
    assert [(level["streams"], level["held"]) for level in run["levels"]] == [
        (2, True),
        (3, False),
    ]
    assert run["streams_held"] == 2
    first = run["levels"][0]
    assert first["clients"]["finished"] >= 1
    assert first["clients"]["first_text"]["p95"] > 0
    assert first["server"]["rss_mb"] > 10
    page = plotted.read_text("utf-8")
    assert "<svg" in page
    assert "first text" in page


def test_broken_goals_are_named_and_give_exit_status_3(tmp_path, recording):
    with serving_on_a_thread() as served:
        options = ("--recordings", recording, "--streams", "1", "--goal-first-text-ms", "1")
        status, output = bench(served.url, *options, cwd=tmp_path)
    assert status == 3, output
    assert "first text p95" in output


def test_without_a_server_nothing_is_measured(tmp_path):
    done = asr_server("bench", "ws://127.0.0.1:9", "--streams", "1", "--seconds", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert "ConnectionRefusedError" in done.stderr


@pytest.mark.parametrize(
    ("options", "output"),
    [
        (("--require", "5"), "needs --ramp"),
        (("--plot", "a.pdf"), ".png, .svg or .html"),
        (("--recordings", "absent.wav"), "no such file"),
        (("--streams", "0"), "--streams"),
    ],
)
def test_an_invalid_command_is_refused_before_anything_is_measured(tmp_path, options, output):
    done = asr_server("bench", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert output in done.stderr


def test_bench_needs_no_torch():
    code = "import sys, asr_server.cli.bench, asr_server.load.plot, asr_server.load.load_generator"
    check = f"{code}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
