"""`asr-server bench` as a user runs it, against a server in this process and against none."""

import asyncio
import json
import subprocess
import sys
import wave

import pytest

from tests.support.processes import COMMAND, asr_server, environment
from tests.support.serving import FRAME, LOUD, QUIET, RATE, serving

LENIENT = ("--goal-first-text-ms", "9000", "--goal-final-ms", "9000", "--goal-tail-ms", "9000")
"""What any machine keeps, however busy."""


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "loud.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(QUIET[: 4 * FRAME] + LOUD)
    return str(path)


async def bench(url: str, *options: str) -> tuple[int, str]:
    """Exit status and what was said, while this process's server answers."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "bench", url, "--quiet", "0.9", "--seconds", "2.5", "--most-late-ms", "2000",
        *options,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_ramp_ends_where_the_server_does_and_is_written_and_drawn(tmp_path, recording):
    written, drawn = tmp_path / "run.json", tmp_path / "run.html"
    async with serving(max_tasks=2) as served:
        status, said = await bench(
            served.url, "--recordings", recording, "--ramp", "linear", "--streams", "2",
            "--step", "1", "--require", "3", *LENIENT, "--json", str(written),
            "--plot", str(drawn),
        )  # fmt: skip
    assert status == 3, said
    assert "2 streams held" in said
    assert "refused" in said
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
    page = drawn.read_text("utf-8")
    assert "<svg" in page
    assert "first text" in page


async def test_goals_that_are_broken_are_said_and_end_with_3(recording):
    async with serving() as served:
        options = ("--recordings", recording, "--streams", "1", "--goal-first-text-ms", "1")
        status, said = await bench(served.url, *options)
    assert status == 3, said
    assert "first text p95" in said


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
    code = "import sys, asr_server.cli.bench, asr_server.load.plot, asr_server.load.crowd"
    check = f"{code}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
