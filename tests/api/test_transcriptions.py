"""`/v1/audio/transcriptions` and `/v1/models`: the forms they write, what they refuse, and when."""

import asyncio
import json
import wave
from io import BytesIO

import pytest

from tests.support.serving import LOUD, QUIET, http_client, serving, within

PATH = "/v1/audio/transcriptions"
KEY = "sk-0123456789abcdef"


def recording(audio: bytes = LOUD + QUIET + LOUD) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(audio)
    return file.getvalue()


WAV = recording()


async def post(server, name="a.wav", content=WAV, key=None, **fields):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with http_client(base_url=server.http, timeout=20) as client:
        files = {"other" if content is None else "file": (name, content or b"")}
        return await client.post(PATH, files=files, data=fields, headers=headers)


async def test_each_form_holds_the_transcript():
    async with serving() as server:
        plain = await post(server)
        assert plain.json() == {
            "text": "天地玄。天地玄。", "usage": {"type": "duration", "seconds": 3}
        }  # fmt: skip
        text = await post(server, response_format="text")
        assert text.text == "天地玄。天地玄。\n"
        assert text.headers["content-type"].startswith("text/plain")
        srt = await post(server, response_format="srt")
        assert srt.text.startswith("1\n00:00:00,000 --> 00:00:0")
        vtt = await post(server, response_format="vtt")
        assert vtt.text.startswith("WEBVTT\n\n00:00:00.000 --> ")
        assert vtt.text.count("天地玄。") == srt.text.count("天地玄。") == 2

        verbose = await post(server, response_format="verbose_json")
        assert "words" not in verbose.json()
        assert [s["text"] for s in verbose.json()["segments"]] == ["天地玄。", "天地玄。"]
        assert verbose.json()["duration"] == 3.0
        words = await post(
            server, response_format="verbose_json", **{"timestamp_granularities[]": ["word"]}
        )
        assert "segments" not in words.json()
        assert "".join(w["word"] for w in words.json()["words"]) == "天地玄天地玄"
        times = [t for w in words.json()["words"] for t in (w["start"], w["end"])]
        assert times == sorted(times)

        streamed = await post(server, stream="true")
        events = [
            json.loads(part.removeprefix("data: ")) for part in streamed.text.split("\n\n") if part
        ]
        assert [e["type"].rpartition(".")[2] for e in events] == ["delta", "delta", "done"]
        assert "".join(e["delta"] for e in events[:2]) == events[2]["text"] == plain.json()["text"]
        assert server.engine.open_streams == 0


async def test_silence_is_an_empty_transcript():
    async with serving() as server:
        assert (await post(server, content=recording(QUIET))).json()["text"] == ""


@pytest.mark.parametrize(
    ("changes", "status", "param", "words"),
    [
        ({"content": None, "model": "whisper-1"}, 400, "file", "'file' is missing"),
        ({"content": b""}, 400, "file", "'file' has 0 bytes"),
        ({"name": "README.md", "content": b"# A text, and no audio"}, 400, "file", "no recording"),
        ({"name": "a.flac", "content": b"fLaC" + bytes(100)}, 400, None, "Failed to decode audio"),
        ({"content": recording(b"")}, 400, None, "There is no audio in it."),
        ({"model": "parakeet"}, 404, "model", "Model not found (parakeet)"),
        ({"response_format": "docx"}, 400, "response_format", "json, text, srt, vtt, verbose_json"),
        ({"timestamp_granularities": "phone"}, 400, "timestamp_granularities", "segment, word"),
        ({"stream": "true", "response_format": "srt"}, 400, "response_format", "'json' or 'text'"),
        ({"stream": "maybe"}, 400, "stream", "true, false"),
        ({"hotwords": "x" * 100}, 400, "hotwords", ""),
        ({"content": WAV + bytes(1 << 20)}, 413, "file", "longer than 1048576 bytes"),
    ],
)
async def test_a_refusal_names_what_is_wrong_in_the_form_of_openai(changes, status, param, words):
    async with serving(max_upload_bytes=1 << 20) as server:
        refused = await post(server, **changes)
        assert refused.status_code == status
        error = refused.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["param"] == param
        assert words in error["message"]
        assert server.engine.open_streams == 0


async def test_keys_limits_and_paths_are_those_of_the_other_doors():
    async with serving(api_keys=[KEY], max_tasks_per_key=1) as server:
        assert (await post(server)).status_code == 401
        assert (await post(server)).json()["error"]["code"] == "invalid_api_key"
        assert (await post(server, key=KEY)).status_code == 200
        both = await asyncio.gather(
            *(post(server, content=recording(300 * QUIET), key=KEY) for _ in "ab")
        )
        assert sorted(one.status_code for one in both) == [200, 429]
        async with http_client(base_url=server.http, headers={"Authorization": KEY}) as client:
            token = (await client.post("/api/v1/tokens")).json()["token"]
            assert (await post(server, key=token)).status_code == 200
            unknown = await client.get("/v1/chat/completions")
            assert unknown.status_code == 404
            assert unknown.json()["error"]["code"] == "invalid_value"
            translated = await client.post("/v1/audio/translations")
            assert translated.status_code == 400
            assert "does not translate" in translated.json()["error"]["message"]


async def test_models_are_listed_and_described():
    async with serving(model_aliases={"my-asr": "paraformer-realtime-v2"}) as server:
        async with http_client(base_url=server.http) as client:
            listed = (await client.get("/v1/models")).json()["data"]
            names = {model["id"] for model in listed}
            assert {"my-asr", "whisper-1", "qwen3-asr-flash-realtime"} <= names
            assert (await client.get("/v1/models/my-asr")).json() in listed
            unknown = await client.get("/v1/models/parakeet")
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (
                404,
                "model_not_found",
            )


async def has_streams(server, count: int) -> None:
    async with within(10):
        while server.engine.open_streams != count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_a_client_that_leaves_ends_its_task(stream):
    async with serving() as server:
        long = recording(300 * LOUD)
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {{}}\r\n"
            'Content-Type: multipart/form-data; boundary="b"\r\n\r\n'
        )
        body = (
            b'--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\n%s\r\n' % stream.encode()
            + b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            + long
            + b"\r\n--b--\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.format(len(body)).encode() + body)
        await writer.drain()
        await has_streams(server, 1)
        writer.transport.abort()
        await has_streams(server, 0)


async def test_the_docs_page_shows_every_route_and_needs_nothing_else():
    async with serving() as server, http_client(base_url=server.http) as client:
        page = await client.get("/docs")
        schema = (await client.get("/openapi.json")).json()
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                assert f"{method.upper()} {path}" in page.text
                assert operation.get("description"), path
        assert "{prefix}" not in page.text
        assert "http://" not in page.text
        assert "https://" not in page.text
        assert "<script" not in page.text
        assert (await client.get("/docs/docs.css")).status_code == 200
        assert schema["components"]["securitySchemes"]["API key"]["scheme"] == "bearer"
