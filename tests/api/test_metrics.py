"""The metrics that Prometheus scrapes from a real server."""

import asyncio
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from asr_server import __version__
from asr_server.observability.metrics import Metrics
from tests.support.fake_backend import FakeBackend
from tests.support.serving import (
    FRAME,
    LOUD,
    QUIET,
    connected,
    finish_task,
    http_client,
    run_task,
    serving,
)

UNITS = (
    *("seconds", "bytes", "ratio", "connections", "tasks", "slots", "streams", "chunks"),
    *("previews", "characters"),
)
COUNTED = ("errors", "restarts", "pass")
NO_UNIT = {"asr_server_state", "asr_build", "asr_database_up"}


async def scrape(served) -> dict[str, float]:
    """Return every sample on /metrics, as `name` or `name{label}`."""
    async with http_client() as client:
        answer = await client.get(served.http + "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def scrape_until(served, name: str, value: float) -> dict[str, float]:
    """Return all samples once one of them has a value."""
    for _ in range(100):
        now = await scrape(served)
        if now.get(name) == pytest.approx(value):
            return now
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} is {now.get(name)}, not {value}")


def errors(now: dict[str, float]) -> dict[str, float]:
    """Return the count of errors by code."""
    found = {re.fullmatch(r"asr_errors_total\{(.*)\}", name): n for name, n in now.items() if n}
    return {match[1]: n for match, n in found.items() if match}


@pytest.fixture
async def served():
    async with serving(max_tasks=3) as server:
        yield server


async def speak(client, audio: bytes = LOUD + QUIET) -> None:
    await client.say(run_task())
    await client.until("task-started")
    await client.stream(audio)
    await client.say(finish_task())
    await client.until("task-finished")


async def test_a_finished_task_is_counted_with_its_audio_and_its_latencies(served):
    async with connected(served) as client:
        await speak(client)
        now = await scrape_until(served, "asr_open_tasks", 0)
    assert now["asr_tasks_total{finished}"] == 1
    assert now["asr_audio_seconds_total{finished}"] == 2
    assert now["asr_received_audio_seconds_total"] == pytest.approx(2)
    for latency in ("first_text", "final", "tail"):
        assert now[f"asr_{latency}_latency_seconds_count"] == 1
        assert 0 < now[f"asr_{latency}_latency_seconds_sum"] < 5
    assert now["asr_step_duration_seconds_count"] == now["asr_step_chunks_count"] > 0
    assert now["asr_queue_age_seconds_count"] == now["asr_step_chunks_count"]
    assert now["asr_vad_seconds_total"] > 0
    assert errors(now) == {}


async def test_open_connections_and_tasks_are_counted(served):
    async with connected(served) as client:
        await client.say(run_task())
        await client.until("task-started")
        now = await scrape(served)
        assert (now["asr_open_connections"], now["asr_open_tasks"]) == (1, 1)
        assert (now["asr_used_slots"], now["asr_slots"]) == (1, 3)
    now = await scrape_until(served, "asr_open_connections", 0)
    assert (now["asr_open_tasks"], now["asr_used_slots"]) == (0, 0)


async def test_a_client_that_leaves_is_counted_as_disconnected(served):
    async with connected(served) as client:
        await client.say(run_task())
        await client.until("task-started")
        await client.say(LOUD)
    now = await scrape_until(served, "asr_tasks_total{disconnected}", 1)
    assert now["asr_audio_seconds_total{disconnected}"] == 1
    assert now["asr_tasks_total{failed}"] == 0


async def test_a_failed_task_is_counted_with_the_code_of_its_error(served):
    async with connected(served) as client:
        await client.say(run_task(), finish_task())
        await client.until("task-failed")
        now = await scrape_until(served, "asr_tasks_total{failed}", 1)
    assert errors(now) == {"NO_VALID_AUDIO_ERROR": 1}


async def test_a_refusal_before_any_task_counts_as_an_error_only(served):
    async with connected(served) as client:
        await client.say("nonsense")
        await client.until("task-failed")
    now = await scrape_until(served, "asr_errors_total{InvalidParameter}", 1)
    assert sum(value for name, value in now.items() if name.startswith("asr_tasks_total")) == 0


async def test_the_final_latency_counts_from_the_end_of_speech(served):
    async with connected(served) as client:
        await client.say(run_task(max_sentence_silence=200))
        await client.until("task-started")
        await client.stream(LOUD)
        await asyncio.sleep(0.3)  # the final waits for this client, not for the server
        await client.stream(QUIET[: 8 * FRAME])
        await client.say(finish_task())
        await client.until("task-finished")
        now = await scrape_until(served, "asr_open_tasks", 0)
    final, tail = (now[f"asr_{name}_latency_seconds_sum"] for name in ("final", "tail"))
    assert 0.29 < final < 5
    assert final - tail > 0.2


async def test_the_lag_of_the_event_loop_is_sampled(monkeypatch):
    monkeypatch.setattr("asr_server.observability.metrics.LAG_PERIOD_S", 0.01)
    async with serving() as server:
        for _ in range(500):
            if (await scrape(server))["asr_event_loop_lag_seconds_count"] > 1:
                return
    raise AssertionError("no samples")


async def test_two_servers_in_one_process_share_no_metrics(served):
    async with serving() as other, connected(other) as client:
        await speak(client)
        await scrape_until(other, "asr_tasks_total{finished}", 1)
    assert (await scrape(served))["asr_tasks_total{finished}"] == 0


async def test_audio_is_counted_while_its_task_is_open(served):
    async with connected(served) as client:
        await client.say(run_task())
        await client.until("task-started")
        await client.stream(LOUD)
        now = await scrape_until(served, "asr_received_audio_seconds_total", 1)
        assert now["asr_open_tasks"] == 1
        assert now["asr_audio_seconds_total{finished}"] == 0


async def test_the_series_of_alerts_exist_before_the_first_event(served):
    now = await scrape(served)
    for code in ("InternalError", "Throttling.RateQuota", "ServiceUnavailable"):
        assert now[f"asr_errors_total{{{code}}}"] == 0
    for outcome in ("finished", "failed", "disconnected"):
        assert now[f"asr_tasks_total{{{outcome}}}"] == 0
    assert now["asr_device_restarts_total"] == 0


async def test_build_and_state_are_exported(served):
    now = await scrape(served)
    states = {name: value for name, value in now.items() if name.startswith("asr_server_state")}
    assert len(states) == 5
    assert [name for name, value in states.items() if value] == ["asr_server_state{ready}"]
    [build] = (name for name in now if name.startswith("asr_build_info"))
    assert sorted(re.findall(r"\{(.*?)\}", build)) == sorted(
        [__version__, "fake", "cpu", "none", "off"]
    )


async def test_a_restart_of_the_device_is_counted(monkeypatch):
    def die(self, works):
        raise SystemExit

    async with serving(model="fake") as server:
        monkeypatch.setattr(FakeBackend, "decode", die)
        async with connected(server) as client:
            await client.say(run_task())
            await client.until("task-started")
            await client.stream(LOUD)
            await client.until("task-failed")
        now = await scrape_until(server, "asr_device_restarts_total", 1)
        assert errors(now) == {"InternalError": 1}
        now = await scrape_until(server, "asr_server_state{ready}", 1)


async def test_every_metric_is_exported(served):
    async with http_client() as client:
        shown = (await client.get(served.http + "/metrics")).text
    families = [*Metrics().families()]
    assert len(families) > 15
    for family in families:
        assert re.search(rf"^# HELP {family.name}(_total|_info)? ", shown, re.MULTILINE), (
            family.name
        )


def test_names_of_metrics_end_in_their_unit_and_help_is_a_sentence():
    for family in Metrics().families():
        if family.name.startswith("asr_"):
            assert family.name in NO_UNIT or family.name.endswith(UNITS + COUNTED), family.name
            assert family.documentation.endswith("."), family.name
