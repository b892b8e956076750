"""The probes of liveness and readiness."""

from pathlib import Path

import httpx2
import pytest

from asr_server import app
from asr_server.models.registry import Choice
from asr_server.settings import Settings
from tests.support.engines import engine_with
from tests.support.serving import http_client, serving


@pytest.fixture
async def served():
    async with serving() as server:
        yield server


async def get(served, path, **options):
    async with http_client() as client:
        return await client.get(served.http + path, **options)


async def test_healthz_names_the_model_and_the_device(served):
    answer = await get(served, "/healthz")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["model"], body["device"]) == ("ok", "fake", "cpu")
    assert body["notice"] is None


async def test_readyz_is_200_while_the_engine_is_ready_and_503_after(served):
    assert (await get(served, "/readyz")).status_code == 200
    await served.engine.stop()
    assert (await get(served, "/readyz")).status_code == 503


async def test_pages_of_other_origins_may_read_healthz(served):
    answer = await get(served, "/healthz", headers={"Origin": "http://localhost:5173"})
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_the_demo_page_and_its_recordings_are_served(served):
    page = await get(served, "/")
    assert page.headers["content-type"].startswith("text/html")
    assert (await get(served, "/samples/manifest.json")).status_code == 200


async def test_healthz_warns_about_the_demo_model(monkeypatch):
    demo = Choice("demo", Path("/demo/asr"), None)
    monkeypatch.setattr(app, "choose", lambda settings: demo)
    monkeypatch.setattr(app, "build_engine", lambda *_: engine_with())
    transport = httpx2.ASGITransport(app.create_app(Settings(model="demo")))
    async with http_client(transport=transport, base_url="http://x") as client:
        assert (await client.get("/healthz")).json()["notice"] == demo.notice
