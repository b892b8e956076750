"""Hostile requests: broken values on the wire and over HTTP, guessed keys, pages of other sites.

The builders return one piece each; the coroutines attack a server, `ws://HOST:PORT`, until they are
cancelled.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import websockets

from asr_client.protocol import PATH
from tests.support.serving import run_task

CUSTOMIZATION = "/api/v1/services/audio/asr/customization"
FOREIGN = "https://evil.example"
REBOUND = "evil.example:8000"
"""A `Host` whose name an attacker lets resolve to the server's address."""

SURROGATE = "\ud800"
"""JSON can spell half of a surrogate pair; UTF-8 cannot."""

GBK = '{"header":{"action":"run-task","task_id":"任务"}}'.encode("gbk")
MANY_WORDS = 50_000


def invalid_runs() -> dict[str, str]:
    """Return run-task frames by the parameter that their error must name."""
    words = [chr(0x20000 + number) for number in range(MANY_WORDS)]
    filters = {"filter_with_signed": {"word_list": words}}
    return {
        "payload.parameters.vocabulary_id": escaped(run_task(vocabulary_id=SURROGATE)),
        "payload.parameters.phrase_id": escaped(run_task(phrase_id=SURROGATE)),
        "payload.resources.resource_id": with_resource(SURROGATE),
        "payload.parameters.vocabulary": escaped(run_task(vocabulary={SURROGATE: 4})),
        "payload.parameters.sample_rate": run_task(sample_rate=float("nan")),
        "payload.parameters.special_word_filter": run_task(special_word_filter=filters),
        "header.action": json.dumps({"header": {"action": [], "task_id": "t"}}),
        "header.task_id": json.dumps({"header": {"action": "run-task", "task_id": SURROGATE}}),
    }


def large_context() -> str:
    """Return a continue-task frame with as many names as a text frame can hold."""
    names = "、".join(chr(0x4E00 + n) + chr(0x5000 + n) for n in range(20_000))
    header = {"action": "continue-task", "task_id": "task"}
    context = [
        {"role": "user", "content": names[begin : begin + 400]} for begin in range(0, 60_000, 400)
    ]
    message = {"header": header, "payload": {"input": {"context": context}}}
    return json.dumps(message, ensure_ascii=False)


def escaped(frame: str) -> str:
    """Return a frame in ASCII, which can hold what UTF-8 cannot."""
    return json.dumps(json.loads(frame))


def with_resource(resource_id: Any) -> str:
    """Return a run-task frame that names a hotword list in the old place."""
    message = json.loads(run_task())
    message["payload"]["resources"] = [{"resource_id": resource_id}]
    return json.dumps(message)


def nested(depth: int) -> Any:
    """Return lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def customization(action: Any, **given: Any) -> dict[str, Any]:
    """Return the body of a request about hotword lists."""
    return {"model": "speech-biasing", "input": {"action": action, **given}}


def create(**word: Any) -> dict[str, Any]:
    """Return the body of a request that creates a list of one word."""
    words = [{"text": "天地玄黄", "weight": 4, **word}]
    return customization(
        "create_vocabulary", target_model="paraformer-realtime-v2", prefix="a", vocabulary=words
    )


def invalid_bodies() -> dict[str, dict[str, Any]]:
    """Return bodies by the parameter that their error must name."""
    return {
        "input.action": customization([]),
        "input.page_index": customization("list_vocabulary", page_index=1e30),
        "input.prefix": customization("list_vocabulary", prefix=SURROGATE),
        "input.vocabulary_id": customization("query_vocabulary", vocabulary_id=SURROGATE),
        "input.vocabulary.0.text": create(text=SURROGATE),
        "input.vocabulary.0.lang": create(lang=SURROGATE),
        "input.vocabulary.0.translation": create(translation=nested(900)),
        "input.vocabulary.0.score": create(score=float("nan")),
        "input.vocabulary.0": create(**{SURROGATE: "zh"}),
        "input.vocabulary.0.weight": create(weight=1e30),
        "'model'": {**customization("list_vocabulary"), "model": [SURROGATE]},
    }


def cut_post(length: int = 1000) -> bytes:
    """Return a request whose body ends in the middle, to be followed by the end of the stream."""
    return (
        f"POST {CUSTOMIZATION} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n{{"
    ).encode()


def invalid_text_frame(payload: bytes = GBK) -> bytes:
    """Return a masked text frame whose payload need not be UTF-8."""
    mask = b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload)]) + mask + masked


# Attacks ------------------------------------------------------------------------------------------


async def broken_parameters(url: str) -> None:
    """Start tasks with values that no parameter may have."""
    for frame in itertools.cycle(invalid_runs().values()):
        async with _connection(url) as socket:
            await socket.send(frame)
            await _until_closed(socket)


async def broken_text(url: str) -> None:
    """Send text frames that are not UTF-8."""
    while True:
        async with _connection(url) as socket:
            socket.transport.write(invalid_text_frame())
            await _until_closed(socket)


async def broken_bodies(url: str) -> None:
    """Send hotword lists with values that no parameter may have, and bodies that are cut off."""
    address = urlsplit(url)
    async with httpx2.AsyncClient(base_url=_http(url), trust_env=False, verify=False) as client:
        for body in itertools.cycle(invalid_bodies().values()):
            await client.post(CUSTOMIZATION, content=json.dumps(body), headers=JSON)
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(cut_post())
            await writer.drain()
            writer.close()


async def guessed_keys(url: str) -> None:
    """Try keys, many at once."""

    async def guess(number: int) -> None:
        with contextlib.suppress(websockets.InvalidHandshake, OSError):
            async with _connection(url, {"Authorization": f"Bearer guess-{number:08}"}):
                pass

    for number in itertools.count(step=50):
        await asyncio.gather(*(guess(number + index) for index in range(50)))


async def foreign_pages(url: str) -> None:
    """Connect and send requests as a browser does for the pages of another site."""
    async with httpx2.AsyncClient(base_url=_http(url), trust_env=False, verify=False) as client:
        body = json.dumps(customization("list_vocabulary"))
        while True:
            with contextlib.suppress(websockets.InvalidHandshake, OSError):
                async with _connection(url, {"Origin": FOREIGN}) as socket:
                    await socket.send(run_task())
            await client.post(CUSTOMIZATION, content=body, headers={"Origin": FOREIGN})
            await client.get("/status/data", headers={"Host": REBOUND})


JSON = {"Content-Type": "application/json"}


def _http(url: str) -> str:
    return url.replace("ws", "http", 1)


@contextlib.asynccontextmanager
async def _connection(
    url: str, headers: dict[str, str] | None = None
) -> AsyncIterator[websockets.ClientConnection]:
    options: Any = {"compression": None, "proxy": None, "additional_headers": headers or {}}
    async with websockets.connect(url + PATH, **options) as socket:
        yield socket


async def _until_closed(socket: websockets.ClientConnection) -> None:
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await socket.recv()
