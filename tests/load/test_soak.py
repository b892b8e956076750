"""The soak run reports lost tasks, different texts and interruptions; with the fake backend."""

import json

import pytest

from asr_server.load.client_run import Target
from asr_server.load.recordings import Recording
from benchmarks import soak
from benchmarks.mixed_recordings import mixed_recordings
from benchmarks.soak_report import LOG, problems_of, report_on, samples_of, series_of
from tests.support.serving import FRAME, LOUD, QUIET, serving


def recording(audio: bytes, name: str) -> Recording:
    return Recording(name, tuple(audio[n : n + FRAME] for n in range(0, len(audio), FRAME)), ())


RECORDINGS = [
    recording(LOUD + QUIET + LOUD, "two"),
    recording(LOUD * 3, "long"),
    recording(LOUD[:FRAME] + QUIET, "brief"),
]


@pytest.fixture
async def run(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "SAMPLE_S", {True: 0.05})

    async def run(before_running=lambda it: None, seconds=1.0):
        async with serving() as served:
            it = soak.Soak(
                Target(served.url, pace=0, timeout_s=10), RECORDINGS, tmp_path / LOG, True
            )
            it.note("begin", accelerated=True, streams=4, model="fake", dtype="-", machine="-")
            await it.make_references()
            before_running(it)
            await it.run(4, seconds, None)
            await it.settle()
        return [json.loads(line) for line in (tmp_path / LOG).read_text("utf-8").splitlines()]

    return run


def problems(lines) -> list[str]:
    """Return the problems but those of the trend of memory, for which the run is too short."""
    samples = samples_of(lines)
    found = problems_of(lines, samples[-1]["counts"], list(series_of(samples, True)))
    return [one for one in found if "memory" not in one]


async def test_a_run_without_faults_has_no_problems(run):
    lines = await run()
    counts = samples_of(lines)[-1]["counts"]
    assert counts["finished"] > 10
    assert counts["disconnected"] >= 1
    assert problems(lines) == []


async def test_a_different_text_is_a_problem(run):
    def change_reference(it):
        it._references["two"] = ("别的话。", *it._references["two"][1:])

    lines = await run(change_reference)
    assert any("different" in problem for problem in problems(lines))
    assert next(line for line in lines if line["kind"] == "different")["recording"] == "two"


async def test_a_task_that_the_server_does_not_count_is_a_problem(run):
    lines = await run()
    end = next(line for line in lines if line["kind"] == "end")
    end["server"]["finished"] -= 1
    assert any("the server counts" in problem for problem in problems(lines))


async def test_an_interrupted_run_is_reported_up_to_its_last_line(run, tmp_path, capsys):
    lines = [line for line in await run() if line["kind"] != "end"]
    (tmp_path / LOG).write_text("\n".join(map(json.dumps, lines)), "utf-8")
    assert not report_on(tmp_path)
    assert "the run was interrupted" in capsys.readouterr().out
    assert (tmp_path / "soak.png").stat().st_size > 1000


def test_mixed_recordings_have_all_formats_and_depend_on_the_seed_only():
    some = mixed_recordings(16)
    assert {one.format for one in some} > {"pcm", "wav", "opus", "aac"}
    assert {one.sample_rate for one in some} == {8000, 16_000}
    assert any(len(one.speech) > 2 for one in some)
    assert any("part" in one.name for one in some)
    assert [one.name for one in some[:4]] == [one.name for one in mixed_recordings(4)]
    pcm = next(one for one in some if one.name.endswith("-pcm"))
    assert {len(frame) for frame in pcm.frames[:-1]} == {FRAME}
