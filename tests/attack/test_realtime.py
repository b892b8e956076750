"""Whatever a Realtime client sends is answered by events and a close code, and costs nobody else.

`make fuzz` runs 10 000 examples of the property.
"""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import Iterator

import pytest
import websockets
from hypothesis import example, given, note
from hypothesis import strategies as st

from asr_server.protocol.realtime import TYPES
from tests.attack.test_fuzz_wire import Errors, anything, values
from tests.support.attacks.flood import TEXT, frame
from tests.support.serving import LOUD, connected, serving, within

PATHS = ("/api-ws/v1/realtime", "/v1/realtime?intent=transcription")
CODES = {1000, 1007, 1008, 1009}
"""1011 is missing: it reports a fault of the server."""
OPUS = '{"type":"session.update","session":{"input_audio_format":"opus"}}'
END = "end of the test"
"""The id of the last event, whose answer is the last one unless the connection was closed."""
FINISH = '{"type":"session.finish"}'


def append(audio: bytes) -> str:
    text = base64.b64encode(audio).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": text})


SESSION = (
    "type", "model", "audio", "input", "format", "rate", "sample_rate", "input_audio_format",
    "transcription", "input_audio_transcription", "language", "prompt", "keywords", "corpus",
    "turn_detection", "threshold", "silence_duration_ms", "prefix_padding_ms", "vocabulary_id",
)  # fmt: skip
KNOWN = st.sampled_from(
    ["transcription", "server_vad", "pcm16", "opus", "g711_ulaw", "audio/pcm", 8000, 24_000, None]
)
sessions = st.recursive(
    st.one_of(KNOWN, values),
    lambda inner: st.dictionaries(st.sampled_from(SESSION), inner, max_size=5),
    max_leaves=12,
)
events = st.fixed_dictionaries(
    {"type": st.one_of(st.sampled_from(TYPES), anything)},
    optional={"session": sessions, "audio": st.one_of(anything, values), "event_id": values},
).map(json.dumps)
messages = st.one_of(
    events,
    anything.map(lambda text: text.encode(errors="replace").decode()),
    st.binary(max_size=400).map(append),
    st.sampled_from([append(LOUD), '{"type":"input_audio_buffer.commit"}', "[" * 5000]),
    st.binary(max_size=40),
)


@pytest.fixture(scope="module")
def wire() -> Iterator:
    """A server in an event loop of its own, which runs during conversations only."""
    loop = asyncio.new_event_loop()
    running = serving(max_tasks=4, max_tasks_per_key=2)
    served = loop.run_until_complete(running.__aenter__())
    errors = Errors()
    logging.getLogger().addHandler(errors)

    def converse(path: str, sent: list[str | bytes]) -> None:
        errors.found.clear()
        kinds, code = loop.run_until_complete(_converse(served, path, sent))
        note(f"{kinds} {code}")
        assert code in CODES
        assert kinds[0] == "session.created"
        assert errors.found == []
        assert served.engine.open_streams == 0

    yield converse
    logging.getLogger().removeHandler(errors)
    loop.run_until_complete(running.__aexit__(None, None, None))
    loop.close()


async def _converse(served, path, sent) -> tuple[list[str], int]:
    kinds = []
    async with within(20), connected(served, path, max_queue=None) as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            for message in [*sent, FINISH, json.dumps({"type": "ping", "event_id": END})]:
                await client.socket.send(message)
        last = None
        with contextlib.suppress(websockets.ConnectionClosed):
            while last != END:
                answer = json.loads(await client.socket.recv())
                kinds.append(answer["type"])
                last = answer.get("error", {}).get("event_id")
        await client.socket.close()
        code = client.socket.close_code
        assert code is not None
    for _ in range(400):
        if not served.engine.open_streams:
            break
        await asyncio.sleep(0.005)
    return kinds, code


@given(st.sampled_from(PATHS), st.lists(messages, max_size=6))
@example(PATHS[0], [append(b"\0")])
@example(PATHS[0], [append(LOUD), '{"type":"input_audio_buffer.commit"}', append(LOUD)])
@example(PATHS[1], ['{"type":"session.update","session":{"audio":{"input":[]}}}'])
@example(PATHS[1], ['{"type":"session.update","session":{"model":"\\ud800"}}'])
@example(PATHS[1], ['{"type":"session.update","session":{"sample_rate":1e999}}'])
@example(
    PATHS[0], ['{"type":"session.update","session":{"input_audio_format":"opus"}}', append(LOUD)]
)
def test_any_conversation_ends_with_a_close_code_and_leaves_nothing(wire, path, sent):
    wire(path, sent)


async def test_audio_pays_for_its_text_however_fast_and_large_it_comes():
    async with serving(max_messages_per_second=20) as served:
        async with connected(served, PATHS[0]) as client:
            for size in [3_000_000, *[3200] * 600]:
                await client.say(append(bytes(size)))
            await client.say(FINISH)
            assert [(await client.event())["type"] for _ in range(2)] == [
                "session.created", "session.finished"
            ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"input_audio_buffer.append","audio":""}',
        '{"type":"input_audio_buffer.append","audio":"AA=="}',
        '{"type":"session.update","session":{}}',
        json.dumps({"type": "session.update", "session": {"x": "y" * 60_000}}),
    ],
    ids=["no audio", "a byte of audio", "updates", "long updates"],
)
async def test_a_flood_of_text_that_brings_no_audio_is_closed_with_1008(text):
    async with serving(max_messages_per_second=20) as served:
        async with connected(served, PATHS[1], max_queue=None) as client:
            with contextlib.suppress(ConnectionError):
                client.socket.transport.write(frame(TEXT, text.encode()) * 1500)
            assert await client.closed() == 1008
        assert served.engine.open_streams == 0


async def test_an_append_over_the_limit_of_a_message_is_closed_with_1009():
    async with serving(max_message_bytes=1 << 16) as served:
        async with connected(served, PATHS[1]) as client:
            await client.say(append(bytes(1 << 16)))
            assert await client.closed() == 1009


async def test_the_tasks_of_both_doors_share_one_limit(monkeypatch):
    async with serving(max_tasks_per_address=1) as served:
        async with connected(served, PATHS[0]) as first, connected(served, PATHS[1]) as second:
            await first.event()
            await second.event()
            await first.say(append(LOUD))
            assert (await first.event())["type"] == "input_audio_buffer.speech_started"
            await second.say(append(LOUD))
            refused = (await second.event())["error"]
            assert (refused["type"], refused["code"]) == ("rate_limit_error", "rate_limit_exceeded")
            assert await second.closed() == 1000
