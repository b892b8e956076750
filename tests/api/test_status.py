"""The status page: over a real server, without JavaScript, and in Chromium."""

import asyncio
import re

import httpx2
import pytest

from asr_server.api.status import BUILD, FILES, STATIC
from asr_server.observability.history import FIGURES
from tests.clients.nodejs import install_packages, needs_chromium, needs_node, node
from tests.support.serving import (
    LOUD,
    QUIET,
    SMALL_DEMO,
    connected,
    finish_task,
    http_client,
    run_task,
    serving,
)

PAGE = (STATIC / "index.html").read_text("utf-8")
SCRIPTS = {file.name: file.read_text("utf-8") for file in STATIC.glob("*.js")}


@pytest.fixture
async def served(monkeypatch):
    monkeypatch.setattr("asr_server.observability.history.PERIOD_S", 0.05)
    async with serving(max_tasks=3) as server:
        yield server


async def get(served, path: str) -> httpx2.Response:
    async with http_client() as client:
        return await client.get(served.http + path)


async def data_with(served, figure: str):
    """Return the page's data once the last point has a figure other than 0."""
    for _ in range(500):
        data = (await get(served, "/status/data")).json()
        if data["points"][figure][-1]:
            return data
        await asyncio.sleep(0.02)
    raise AssertionError(f"no {figure}")


async def speak(client) -> None:
    await client.say(run_task())
    await client.until("task-started")
    await client.stream(LOUD + QUIET)
    await client.say(finish_task())
    await client.until("task-finished")


async def test_the_data_is_the_recent_history_of_the_metrics(served):
    async with connected(served) as client:
        await speak(client)
        data = await data_with(served, "tail_p95_s")
    assert data["server"]["state"] == "ready"
    assert (data["server"]["model"], data["server"]["device"]) == ("fake", "cpu")
    assert data["totals"]["tasks_finished"] == 1
    assert data["totals"]["audio_s"] == 2
    points = data["points"]
    assert {len(values) for values in points.values()} == {len(data["ages_s"])}
    assert data["ages_s"] == sorted(data["ages_s"], reverse=True)
    assert points["connections"][0] == 0
    assert points["connections"][-1] == 1
    assert points["slots"][-1] == 3
    assert points["busy"][0] is None
    assert 0 < max(filter(None, points["tail_p95_s"])) < 5
    assert 0 < max(filter(None, points["real_time_factor"])) < 10


async def test_without_javascript_the_page_is_a_table(served):
    async with connected(served) as client:
        await client.say(run_task())
        await client.until("task-started")
        await data_with(served, "tasks")
        page = (await get(served, "/status")).text
    cells = dict(re.findall(r'data-figure="(\w+)">(.*?)<', page))
    assert (cells["state"], cells["model"], cells["tasks"], cells["slots"]) == (
        "ready",
        "fake",
        "1",
        "3",
    )
    assert re.fullmatch(r"\d+%", cells["busy"])
    assert cells["first_text_p95_s"] == "–"
    assert "$" not in page


async def test_the_page_needs_no_key_and_shows_none():
    async with serving(api_keys=("a-secret-of-16-letters",)) as server:
        for path in ("/status", "/status/data", "/metrics"):
            answer = await get(server, path)
            assert answer.status_code == 200
            assert "secret" not in answer.text


async def test_only_the_files_of_the_page_are_served(served):
    for name in FILES:
        assert (await get(served, f"/status/{name}")).status_code == 200
    for name in ("index.html", "..%2f..%2fpage.py", "status.py", "%2e%2e"):
        assert (await get(served, f"/status/{name}")).status_code == 404
    assert {file.name for file in STATIC.iterdir()} == {*FILES, "index.html"}


async def test_nothing_is_fetched_from_other_origins(served):
    policy = (await get(served, "/status")).headers["content-security-policy"]
    assert policy == "default-src 'self'; img-src data:"
    for text in (PAGE, *SCRIPTS.values(), (STATIC / "status.css").read_text("utf-8")):
        assert not re.search(r"https?://", text.replace("http://www.w3.org/2000/svg", ""))


def test_the_server_has_every_figure_of_the_page():
    figures = set(FIGURES) | {"state", "uptime_s", *BUILD}
    totals = {"tasks_finished", "tasks_failed", "tasks_disconnected", "errors", "device_restarts"}
    asked = set(re.findall(r'data-figure="(\w+)"', PAGE))
    drawn = set(
        re.findall(r"'(\w+_(?:s|min|bytes)|busy|tasks|real_time_factor)'", SCRIPTS["status.js"])
    )
    assert asked | drawn <= figures | totals | {"audio_s", "first_text_s", "tail_s"}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_text_exists_in_both_languages(language):
    block = re.search(rf"const {language} = {{(.*?)^}};", SCRIPTS["words.js"], re.S | re.M)
    assert block
    keys = set(re.findall(r"^  '?([\w.-]+)'?:", block[1], re.M))
    code = SCRIPTS["status.js"] + SCRIPTS["plot.js"]
    used = set(re.findall(r'data-i18n="([\w.-]+)"', PAGE))
    used |= set(re.findall(r"\bt\('([\w.-]+)'", code))
    used |= {f"plot.{plot}" for plot in re.findall(r"id: '([\w-]+)'", code)}
    used |= {f"state.{s}" for s in ("loading", "ready", "restarting", "draining", "failed", "away")}
    for figures in re.findall(r"figures: \[(.*?)\]", code, re.S):
        used |= set(re.findall(r"'(\w+)'", figures))
    assert used <= keys, used - keys


@needs_node
@needs_chromium
@pytest.mark.timeout(300)
async def test_the_page_in_chromium(monkeypatch):
    await asyncio.to_thread(install_packages)
    monkeypatch.setattr("asr_server.observability.history.PERIOD_S", 0.1)
    monkeypatch.setattr("asr_server.api.status.PERIOD_S", 0.1)
    async with serving(**SMALL_DEMO) as server, connected(server) as client:
        await speak(client)
        await asyncio.to_thread(node, "--test", "test/status.test.js", ASR_TEST_SERVER=server.http)
