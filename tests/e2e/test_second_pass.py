"""What clients see of the second pass, over the wire."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asr_server.models.registry import EMBEDDED
from tests.support.fake_backend import FakeBackend
from tests.support.serving import (
    LOUD,
    QUIET,
    SMALL_DEMO,
    Served,
    connected,
    finish_task,
    http_client,
    run_task,
    serving,
    texts,
)
from tests.support.texts import bare, error_rate

SHOWN = Path(__file__).parents[1] / "data" / "second_pass" / "manifest.json"
"""Recordings of the demo's voices that its streaming model gets wrong."""


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(FakeBackend, "second_pass", True)
    async with serving() as server:
        yield server


async def finals(served: Served, audio: bytes = LOUD + QUIET + LOUD, **asked: Any) -> list[str]:
    async with connected(served) as client:
        await client.say(run_task(**asked), audio, finish_task())
        return texts(await client.until("task-finished"))


async def test_an_interim_is_corrected_by_its_final(served: Served) -> None:
    async with connected(served) as client:
        await client.say(run_task())
        await client.stream(LOUD)
        await client.say(QUIET, finish_task())
        results = [
            event["payload"]["output"]["sentence"]
            for event in await client.until("task-finished")
            if event["header"]["event"] == "result-generated"
        ]
    *interims, final = [result for result in results if result["text"]]
    assert {interim["text"][0] for interim in interims} == {"天"}
    assert final["text"] == "甲乙丙。"
    assert {result["sentence_id"] for result in results} == {1}
    assert {result["begin_time"] for result in results} == {final["begin_time"]}
    assert final["begin_time"] <= final["words"][0]["begin_time"]
    assert final["words"][-1]["end_time"] <= final["end_time"]


async def test_a_task_chooses_by_parameter_or_by_model(served: Served) -> None:
    corrected, streaming = ["甲乙丙。", "甲乙丙。"], ["天地玄。", "天地玄。"]
    online = "paraformer-realtime-v2-online"
    assert await finals(served) == corrected
    assert await finals(served, second_pass_enabled=False) == streaming
    assert await finals(served, model=online) == streaming
    assert await finals(served, model=online, second_pass_enabled=True) == corrected
    assert await finals(served, second_pass_enabled=None) == corrected
    assert await finals(served, second_pass_enabled="nonsense") == corrected


async def test_operators_see_whether_finals_are_corrected(served: Served) -> None:
    await finals(served)
    async with http_client() as client:
        health = (await client.get(served.http + "/healthz")).json()
        assert (health["second_pass"], health["second_pass_reason"]) == ("on", None)
        metrics = (await client.get(served.http + "/metrics")).text
        assert 'asr_second_pass_total{outcome="corrected"} 2.0' in metrics
        assert "asr_second_pass_latency_seconds_count 2.0" in metrics
        assert "asr_second_pass_changed_characters_total 6.0" in metrics
        assert 'second_pass="on"' in metrics  # of asr_build, which /status shows


async def test_without_an_offline_model_a_task_that_asks_for_it_runs_all_the_same() -> None:
    async with serving() as served:
        assert await finals(served, second_pass_enabled=True) == ["天地玄。", "天地玄。"]
        async with http_client() as client:
            health = (await client.get(served.http + "/healthz")).json()
            assert health["second_pass"] == "off"
            assert health["second_pass_reason"] == "there is no offline model"


needs_demo = pytest.mark.skipif(
    not (SHOWN.exists() and (EMBEDDED / "second_pass" / "config.yaml").exists()),
    reason="the demo's offline model is not here",
)


def shown() -> list[tuple[dict[str, Any], bytes, dict[str, Any]]]:
    """Return each recording's entry and samples, and the parameters that ask for its text."""
    return [
        (
            one,
            (SHOWN.parent / one["file"]).read_bytes()[44:] + QUIET,
            {
                "vocabulary": {word: 4 for word in one["hotwords"]},
                "inverse_text_normalization_enabled": False,
            },
        )
        for one in json.loads(SHOWN.read_text(encoding="utf-8"))
    ]


@needs_demo
async def test_the_demo_is_more_often_right_with_its_second_pass() -> None:
    streamed, corrected = [], []
    async with serving(**{**SMALL_DEMO, "second_pass": "on"}) as served:
        for recording, audio, asked in shown():
            for second_pass, pairs in ((False, streamed), (True, corrected)):
                said = await finals(served, audio, **asked, second_pass_enabled=second_pass)
                pairs.append((recording["text"], "".join(bare(said))))
    assert error_rate(corrected) < error_rate(streamed), (streamed, corrected)


@needs_demo
async def test_the_demo_spells_a_name_of_a_tasks_list_and_of_no_other_tasks() -> None:
    named = [one for one in shown() if one[0]["hotwords"]]
    assert named
    async with serving(**{**SMALL_DEMO, "second_pass": "on"}) as served:
        for recording, audio, asked in named:
            without = asked | {"vocabulary": {}}
            both = await asyncio.gather(
                *(finals(served, audio, **each) for each in (asked, without))
            )
            with_list, without_list = ("".join(bare(said)) for said in both)
            assert with_list == recording["text"] != without_list
