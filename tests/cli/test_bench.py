"""`asr-server bench` as a user runs it, against a server in this process and against none."""

import asyncio
import json
import subprocess
import sys

import pytest

from tests.support.processes import COMMAND, ROOT, asr_server, environment
from tests.support.serving import serving

QUESTION = str(ROOT / "tests" / "data" / "question.wav")
LENIENT = ("--goal-first-text-ms", "9000", "--goal-final-ms", "9000", "--goal-tail-ms", "9000")


async def bench(url: str, *options: str) -> tuple[int, str]:
    """Exit status and what was said, while this process's server answers."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "bench", url, "--recordings", QUESTION, "--quiet", "1", *options,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_run_tells_its_figures_writes_them_and_draws_them(tmp_path):
    written, drawn = tmp_path / "run.json", tmp_path / "run.html"
    async with serving() as served:
        status, said = await bench(
            served.url, "--streams", "2", "--seconds", "6", *LENIENT,
            "--json", str(written), "--plot", str(drawn),
        )  # fmt: skip
    assert status == 0, said
    assert "held" in said
    run = json.loads(written.read_text("utf-8"))
    [level] = run["levels"]
    assert (level["streams"], level["held"], run["streams_held"]) == (2, True, None)
    assert level["clients"]["finished"] >= 1
    assert level["clients"]["first_text"]["p95"] > 0
    assert level["server"]["rss_mb"] > 10
    page = drawn.read_text("utf-8")
    assert "<svg" in page
    assert "first text" in page


async def test_goals_that_are_broken_are_said_and_end_with_3():
    async with serving() as served:
        status, said = await bench(
            served.url, "--streams", "1", "--seconds", "6", "--goal-first-text-ms", "1"
        )
    assert status == 3, said
    assert "first text p95" in said


async def test_refusals_break_a_run_and_are_not_called_failures():
    async with serving(max_tasks=1) as served:
        status, said = await bench(served.url, "--streams", "2", "--seconds", "4", *LENIENT)
    assert status == 3, said
    assert "refused" in said


async def test_a_ramp_ends_where_the_server_does():
    async with serving(max_tasks=2) as served:
        status, said = await bench(
            served.url, "--ramp", "binary", "--streams", "2", "--seconds", "6", "--most", "4",
            "--require", "3", *LENIENT,
        )  # fmt: skip
    assert "2 streams held" in said
    assert status == 3, said


def test_no_server_is_not_measured(tmp_path):
    done = asr_server("bench", "ws://127.0.0.1:9", "--streams", "1", "--seconds", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert "ConnectionRefusedError" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--require", "5"), "is for --ramp"),
        (("--plot", "a.pdf"), ".png, .svg or .html"),
        (("--recordings", "absent.wav"), "no such file"),
        (("--streams", "0"), "--streams"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_measured(tmp_path, options, said):
    done = asr_server("bench", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_it_needs_no_torch():
    code = "import sys, asr_server.cli_bench, asr_server.load.plot, asr_server.load.crowd"
    check = f"{code}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
