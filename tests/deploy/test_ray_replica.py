"""The server inside a replica of Ray Serve, without Ray: sockets, drain, keys."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
import websockets
from uvicorn.lifespan.on import LifespanOn

from asr_server.app import create_app
from asr_server.settings import Settings
from deploy.ray.asr_serve import replica
from tests.support.balancers import polled
from tests.support.decoding import POOL
from tests.support.fake_backend import FakeBackend
from tests.support.serving import (
    LOUD,
    NO_LOAD_LIMIT,
    Client,
    Served,
    connected,
    finish_task,
    run_task,
    within,
)

SETTINGS = Settings(
    _env_file=None, model="fake", max_message_bytes=64 * 1024, idle_timeout_s=60, **NO_LOAD_LIMIT
)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Served, uvicorn.Server, list[dict]]]:
    """Run a replica's server with an application between, as Ray Serve has one."""
    app = create_app(SETTINGS, load=FakeBackend, decoders=POOL)
    app.add_middleware(replica.DirectOnly)
    seen: list[dict] = []

    async def of_ray(scope, receive, send):
        async def forward(message):
            await send(message)

        seen.append(scope)
        await app(scope, receive, forward)

    lifespan = LifespanOn(uvicorn.Config(app, lifespan="on"))
    await lifespan.startup()
    config = uvicorn.Config(of_ray, port=0, lifespan="off", log_config=None)
    server = replica.ReplicaServer(app, SETTINGS, config)
    serving = asyncio.create_task(server.serve(), name="replica")
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(port, app.state.engine), server, seen
    finally:
        server.should_exit = True
        await serving
        await lifespan.shutdown()


async def accepts(port: int) -> bool:
    """Return whether a port accepts connections."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_a_replica_has_the_sockets_of_the_server() -> None:
    headers = {"x-request-timeout-seconds": "1", "X-Request-Disconnect-Disabled": "?0"}
    async with running() as (at, _, seen), within(10):
        async with websockets.connect(at.url, proxy=None, additional_headers=headers) as socket:
            assert socket.protocol.extensions == []
            await socket.send(bytes(SETTINGS.max_message_bytes + 1))
            assert json.loads(await socket.recv())["header"]["event"] == "task-failed"
            assert await Client(socket).closed() == 1009
        assert seen[0]["state"]["budget"] is not None
        sent = [(name, value) for name, value in seen[0]["headers"] if name.startswith(b"x-")]
        assert sent == [(b"x-request-disconnect-disabled", b"?1")]


async def test_a_replica_that_ends_finishes_its_tasks_and_refuses_connections() -> None:
    async with running() as (at, server, _), within(10):
        async with connected(at) as task:
            await task.say(run_task())
            await task.until("task-started")
            server.should_exit = True
            await polled(lambda: accepts(at.port), False)
            await task.stream(LOUD)
            await task.say(finish_task())
            events = await task.until("task-finished")
            assert events[-1]["header"]["event"] == "task-finished"
            assert len(events) > 1


async def test_a_websocket_through_another_proxy_is_refused() -> None:
    answered = []

    async def app(scope, receive, send):
        raise AssertionError

    async def send(message):
        answered.append(message)

    scope = {
        "type": "websocket",
        "path": "/api-ws/v1/inference",
        "headers": [],
        "extensions": {"websocket.http.response": {}},
    }
    await replica.DirectOnly(app)(scope, None, send)
    assert answered[0]["status"] == 503


def test_without_a_key_no_replica_starts(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASR_API_KEYS", raising=False)
    with pytest.raises(ValueError, match=r"no API key is configured.*open: true"):
        replica.application(open_access=False)
