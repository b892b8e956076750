"""The Python demo: a recording goes in, subtitles come out."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.nodejs import needs_chromium, needs_node, node
from tests.clients.scripted_server import ScriptedServer, pcm_of, text_of
from tests.clients.test_python_client import PAUSE, wav

pytest.importorskip("av")

DEMO = Path(__file__).resolve().parents[2] / "clients" / "python" / "demo"


class Service:
    """The running demo, over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def request(self, path: str, data: bytes | None = None, method: str = "") -> bytes:
        return await asyncio.to_thread(self._request, path, data, method)

    def _request(self, path: str, data: bytes | None, method: str) -> bytes:
        method = method or ("GET" if data is None else "POST")
        request = urllib.request.Request(self.url + path, data, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    async def upload(self, name: str, data: bytes) -> str:
        return json.loads(await self.request(f"/api/jobs?name={name}", data))["id"]

    async def events(self, job: str) -> list[tuple[str, dict]]:
        text = (await self.request(f"/api/jobs/{job}/events")).decode()
        blocks = [block.split("\n") for block in text.strip().split("\n\n")]
        return [(name[7:], json.loads(data[6:])) for name, data in blocks]


@pytest.fixture
async def service(server: ScriptedServer) -> AsyncIterator[Service]:
    sys.path.insert(0, str(DEMO))
    try:
        import app as demo
    finally:
        sys.path.remove(str(DEMO))
        sys.modules.pop("app", None)
    import uvicorn

    config = uvicorn.Config(
        demo.create_app(server.url), host="127.0.0.1", port=0, log_level="warning", ws="none"
    )
    runner = uvicorn.Server(config)
    running = asyncio.create_task(runner.serve(), name="subtitles")
    while not runner.started:  # noqa: ASYNC110 - uvicorn offers no event to wait for
        await asyncio.sleep(0.01)
    yield Service(f"http://127.0.0.1:{runner.servers[0].sockets[0].getsockname()[1]}")
    runner.should_exit = True
    await running


async def test_a_recording_becomes_subtitles(service):
    texts = [text_of("abc"), text_of("de")]
    job = await service.upload("a.wav", wav(pcm_of(PAUSE.join(texts))))
    events = await service.events(job)
    sentences = [data["text"] for name, data in events if name == "sentence"]
    assert sentences == [f"{s}。" for s in texts]
    assert events[-1][1] | {"id": ""} == {
        "id": "",
        "name": "a.wav",
        "state": "done",
        "error": "",
        "reason": "",
        "duration_ms": 1300,
        "done_ms": 1300,
        "count": 2,
    }
    srt = (await service.request(f"/api/jobs/{job}/subtitles.srt")).decode()
    assert srt.startswith(f"1\n00:00:00,000 --> 00:00:00,300\n{texts[0]}。\n")
    vtt = (await service.request(f"/api/jobs/{job}/subtitles.vtt")).decode()
    assert vtt.startswith("WEBVTT\n")
    assert (await service.request(f"/api/jobs/{job}/media")).startswith(b"RIFF")


async def test_a_file_that_is_no_recording_fails(service):
    job = await service.upload("notes.txt", b"not a sound at all")
    (_, status), *_ = reversed(await service.events(job))
    assert status["state"] == "failed"
    assert "cannot be read" in status["error"]
    assert status["reason"] == "unreadable"


async def test_an_unreachable_server_is_reported(service, server):
    await server.stop()
    job = await service.upload("a.wav", wav(pcm_of(text_of("a"))))
    (_, status), *_ = reversed(await service.events(job))
    assert status["state"] == "failed"
    assert "cannot reach" in status["error"]
    assert status["reason"] == "away"


async def test_a_job_can_be_removed(service):
    job = await service.upload("a.wav", wav(pcm_of(text_of("a"))))
    await service.events(job)
    await service.request(f"/api/jobs/{job}", method="DELETE")
    assert json.loads(await service.request("/api/jobs")) == []
    with pytest.raises(urllib.error.HTTPError, match="404"):
        await service.request(f"/api/jobs/{job}/media")


async def test_the_page_is_there(service):
    assert b"page.js" in await service.request("/")
    assert await service.request("/page.js")


@needs_node
@needs_chromium
async def test_the_page_in_chromium(service, packages):
    await asyncio.to_thread(node, "--test", "test/subtitles.test.js", SUBTITLES_URL=service.url)
