"""The soak run finds what it is there to find; here with a server that needs no weights."""

import json

import pytest

from asr_server.load.recordings import Recording
from asr_server.load.speaker import Target
from benchmarks import soak
from benchmarks.material import material
from tests.support.serving import FRAME, LOUD, QUIET, serving


def sound(audio: bytes, name: str) -> Recording:
    return Recording(name, tuple(audio[n : n + FRAME] for n in range(0, len(audio), FRAME)), ())


RECORDINGS = [
    sound(LOUD + QUIET + LOUD, "two"),
    sound(LOUD * 3, "long"),
    sound(LOUD[:FRAME] + QUIET, "brief"),
]


@pytest.fixture
async def run(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "SAMPLE_S", {True: 0.05})

    async def run(after_learning=lambda it: None, seconds=1.0):
        async with serving() as served:
            it = soak.Soak(
                Target(served.url, pace=0, patience_s=10), RECORDINGS, tmp_path / soak.LOG, True
            )
            it.note("begin", accelerated=True, streams=4, model="fake", dtype="-", machine="-")
            await it.learn()
            after_learning(it)
            await it.run(4, seconds, None)
            await it.settle()
        return [json.loads(line) for line in (tmp_path / soak.LOG).read_text("utf-8").splitlines()]

    return run


def problems(lines) -> list[str]:
    samples = [line for line in lines if line["kind"] == "sample" and line["server"]]
    found = soak._problems(lines, samples[-1]["counts"], list(soak._series(samples, True)))
    return [one for one in found if not one.startswith(("memory", "too short"))]


async def test_a_server_that_does_its_work_has_no_problems(run):
    lines = await run()
    counts = [line for line in lines if line["kind"] == "sample"][-1]["counts"]
    assert counts["finished"] > 10
    assert counts["disconnected"] >= 1
    assert problems(lines) == []


async def test_a_text_that_differs_is_found(run):
    def forget(it):
        it._references["two"] = ("别的话。", *it._references["two"][1:])

    lines = await run(forget)
    assert any("different" in problem for problem in problems(lines))
    assert next(line for line in lines if line["kind"] == "different")["recording"] == "two"


async def test_a_task_that_the_server_does_not_count_is_found(run):
    lines = await run()
    end = next(line for line in lines if line["kind"] == "end")
    end["server"]["finished"] -= 1
    assert any("the server counts" in problem for problem in problems(lines))


async def test_a_run_that_was_broken_off_is_reported_as_far_as_it_went(run, tmp_path, capsys):
    lines = [line for line in await run() if line["kind"] != "end"]
    (tmp_path / soak.LOG).write_text("\n".join(map(json.dumps, lines)), "utf-8")
    assert not soak.report_on(tmp_path)
    assert "the run was broken off" in capsys.readouterr().out
    assert (tmp_path / "soak.png").stat().st_size > 1000


def test_the_material_is_of_all_sorts_and_always_the_same():
    some = material(16)
    assert {one.format for one in some} > {"pcm", "wav", "opus", "aac"}
    assert {one.sample_rate for one in some} == {8000, 16_000}
    assert any(len(one.speech) > 2 for one in some)
    assert any("part" in one.name for one in some)
    assert [one.name for one in some[:4]] == [one.name for one in material(4)]
    pcm = next(one for one in some if one.name.endswith("-pcm"))
    assert {len(frame) for frame in pcm.frames[:-1]} == {FRAME}
