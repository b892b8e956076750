"""The number of live streams that a machine holds: saved, read, estimated, enforced."""

import pytest
from websockets.exceptions import InvalidStatus

from asr_server import capacity
from asr_server.asr.capacity_estimate import estimate
from asr_server.capacity import Setup
from asr_server.load.server_metrics import scrape, setup
from tests.support.command_line import asr_server
from tests.support.fake_backend import FakeBackend
from tests.support.serving import connected, error, run_task, serving

DEMO = Setup.here("demo", "cpu", "int8")


def test_a_measurement_replaces_the_older_one_of_its_setup_only(tmp_path):
    file = tmp_path / "data" / "capacity.json"
    other = Setup("demo", "cpu", "int8", "another machine")
    capacity.save(file, DEMO, 10)
    capacity.save(file, other, 99)
    capacity.save(file, DEMO, 12)
    assert capacity.measured(file, DEMO) == 12
    assert capacity.measured(file, other) == 99
    assert capacity.measured(file, Setup.here("demo", "cpu", "float32")) is None


@pytest.mark.parametrize("content", ["", "[1]", "{}x", '[{"streams": "many"}]'])
def test_a_damaged_file_is_named(tmp_path, content):
    file = tmp_path / "capacity.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"capacity.json holds no measured capacity"):
        capacity.measured(file, DEMO)


@pytest.mark.parametrize(("step_s", "streams"), [(0.4, 7), (0.04, 75), (40.0, 1)])
def test_the_estimate_follows_from_the_quickest_step(step_s, streams):
    times = iter([0.0, 9 * step_s, 0.0, step_s, 0.0, 3 * step_s])
    assert estimate(FakeBackend(), clock=lambda: next(times)) == streams


async def test_a_capacity_that_was_set_limits_tasks_and_is_exported():
    async with serving(capacity=1, refuse_when_full=True) as server, connected(server) as client:
        assert (await scrape(server.url))["asr_utilization_ratio"] == 0
        await client.say(run_task())
        await client.until("task-started")
        samples = await scrape(server.url)
        assert samples["asr_capacity_streams"] == samples["asr_utilization_ratio"] == 1
        with pytest.raises(InvalidStatus) as refused:
            await connected(server).__aenter__()
        assert refused.value.response.status_code == 503


async def test_a_full_server_that_refuses_no_handshake_fails_the_task():
    async with (
        serving(capacity=1) as server,
        connected(server) as client,
        connected(server) as late,
    ):
        await client.say(run_task())
        await client.until("task-started")
        await late.say(run_task())
        assert error(await late.until("task-failed"))[0] == "Throttling.RateQuota"


async def test_an_estimate_refuses_nothing():
    async with serving(max_tasks=8) as server, connected(server) as client:
        assert server.engine.capacity.source == "estimated"
        server.engine.capacity = capacity.Capacity(1, "estimated")
        async with connected(server) as second:
            for one in (client, second):
                await one.say(run_task())
                await one.until("task-started")
        assert not server.engine.full


async def test_a_server_reads_what_bench_saved_for_it(tmp_path):
    file = tmp_path / "capacity.json"
    async with serving() as server:
        found = await setup(server.url)
    assert found is not None
    capacity.save(file, found, 3)
    async with serving(capacity_file=str(file)) as server:
        assert server.engine.capacity == capacity.Capacity(3, "measured")


def test_only_a_ramp_can_be_saved(tmp_path):
    done = asr_server("bench", "--save", cwd=tmp_path)
    assert done.returncode == 2
    assert "needs --ramp" in done.stderr
