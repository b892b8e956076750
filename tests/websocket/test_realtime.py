"""The Realtime door of a real server: paths, keys, log, metrics, and the end of the server."""

import base64
import json

import pytest
import websockets

from tests.support.serving import LOUD, QUIET, connected, http_client, serving

PATHS = ["/api-ws/v1/realtime?model=qwen3-asr-flash-realtime", "/v1/realtime?intent=transcription"]
KEY = "sk-0123456789abcdef"


def append(audio: bytes) -> str:
    text = base64.b64encode(audio).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": text})


def event(kind: str, **body: object) -> str:
    return json.dumps({"type": kind, **body})


async def until(client, kind: str) -> dict:
    while (received := await client.event())["type"] != kind:
        assert received["type"] != "error", received
    return received


@pytest.mark.parametrize(
    "path", [*PATHS, "/v1/realtime/", "/some/prefix/v1/realtime", "/dashscope/api-ws/v1/realtime"]
)
async def test_the_door_is_found_under_every_url_clients_use(path):
    async with serving() as served, connected(served, path) as client:
        assert (await client.event())["type"] == "session.created"


async def test_the_beta_of_openai_has_its_own_names():
    headers = {"OpenAI-Beta": "realtime=v1"}
    async with serving() as served:
        async with connected(served, PATHS[1], additional_headers=headers) as client:
            created = await client.event()
            assert created["type"] == "transcription_session.created"
            session = {"input_audio_format": "pcm16", "turn_detection": None}
            await client.say(event("transcription_session.update", session=session))
            updated = await client.event()
            assert updated["type"] == "transcription_session.updated"
            assert updated["session"]["turn_detection"] is None


async def test_a_browser_sends_its_key_as_a_subprotocol():
    offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
    async with serving(api_keys=[KEY]) as served:
        async with connected(served, PATHS[1], subprotocols=offered) as client:
            assert client.socket.subprotocol == "realtime"
            assert (await client.event())["type"] == "session.created"
        for wrong in (["realtime"], ["realtime", "openai-insecure-api-key.sk-wrong"]):
            with pytest.raises(websockets.InvalidStatus) as refusal:
                async with connected(served, PATHS[1], subprotocols=wrong):
                    pass
            assert refusal.value.response.status_code == 401
            assert b'"invalid_api_key"' in refusal.value.response.body


async def test_both_doors_give_one_text_and_name_themselves_in_metrics():
    async with serving() as served:
        texts = []
        for path in PATHS:
            async with connected(served, path) as client:
                rate = {"input_audio_format": "pcm", "sample_rate": 16_000}
                await client.say(event("session.update", session=rate))
                await client.say(append(LOUD + QUIET), event("session.finish"))
                completed = "conversation.item.input_audio_transcription.completed"
                texts.append((await until(client, completed))["transcript"])
                await until(client, "session.finished")
        assert texts == ["天地玄。"] * 2
        async with http_client(base_url=served.http) as client:
            metrics = (await client.get("/metrics")).text
        for door in ("qwen-realtime", "openai-realtime"):
            assert f'asr_opened_tasks_total{{door="{door}"}} 1.0' in metrics


async def test_speech_is_reported_before_there_is_text():
    async with serving() as served, connected(served, PATHS[0]) as client:
        await client.say(append(QUIET), append(LOUD[:9600]))
        await client.event()
        started = await client.event()
        assert started["type"] == "input_audio_buffer.speech_started"
        assert 900 <= started["audio_start_ms"] <= 1000


async def test_audio_is_recognised_whole_however_fast_utterances_follow():
    async with serving() as served, connected(served, PATHS[0]) as client:
        await client.say(event("session.update", session={"turn_detection": None}))
        for _ in range(5):
            await client.say(append(LOUD[:16_000]), append(LOUD[16_000:]))
            await client.say(event("input_audio_buffer.commit"))
        await client.say(event("session.finish"))
        completed = "conversation.item.input_audio_transcription.completed"
        texts = [(await until(client, completed))["transcript"] for _ in range(5)]
        assert texts == ["天地。"] * 5
        await until(client, "session.finished")


async def test_opus_is_decoded_like_at_the_other_door():
    import numpy as np

    from tests.support.encoding import encode

    async with serving() as served, connected(served, PATHS[0]) as client:
        await client.say(event("session.update", session={"input_audio_format": "opus"}))
        audio = encode(np.frombuffer(LOUD + QUIET, "<i2"), "opus")
        for begin in range(0, len(audio), 1000):
            await client.say(append(audio[begin : begin + 1000]))
        await client.say(event("session.finish"))
        completed = "conversation.item.input_audio_transcription.completed"
        assert (await until(client, completed))["transcript"]
