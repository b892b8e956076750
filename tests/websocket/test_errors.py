"""Every error of the protocol, provoked over a real socket."""

import json

import pytest
import websockets

from asr_server import errors
from asr_server.asr.stream import Stream
from asr_server.audio.decode import DEMUXERS, UNCOMPRESSED
from tests.support.serving import (
    LOUD,
    QUIET,
    connected,
    error,
    finish_task,
    run_task,
    serving,
)

INVALID = "InvalidParameter"
PROTOCOL = "Please follow the protocol!"
NO_JSON = "Invalid payload data: a text frame has a JSON object"
NO_INPUT = '{"header":{"action":"run-task","task_id":"t"},"payload":{"model":"m"}}'
KEY = "sk-0123456789abcdef"
FORMATS = ", ".join((*UNCOMPRESSED, *DEMUXERS))
GARBAGE = b"garbage" * 10

TASK_ERRORS = {
    # name: (settings, messages of the client, code, message, close code)
    "not JSON": ({}, ["{not json"], INVALID, NO_JSON + "; this one is wrong at character 2.", 1007),
    "not an object": ({}, ["[]"], INVALID, NO_JSON + ", no other JSON value.", 1007),
    "no input": (
        {},
        [NO_INPUT],
        INVALID,
        "Missing required parameter 'payload.input'. " + PROTOCOL,
    ),
    "no model": (
        {},
        [run_task(model="")],
        INVALID,
        "Missing required parameter 'payload.model'! " + PROTOCOL,
    ),
    "a value of the wrong type": (
        {},
        [run_task(sample_rate="often")],
        INVALID,
        "Invalid value of parameter 'payload.parameters.sample_rate': \"often\". Input should be a"
        " valid integer, unable to parse string as an integer.",
    ),
    "an unsupported sample rate": (
        {},
        [run_task(sample_rate=4000)],
        INVALID,
        "Sample rate 4000 is not supported; the parameter 'sample_rate' is 8000 to 192000 Hz.",
    ),
    "more than a minute for gummy-chat": (
        {},
        [run_task(model="gummy-chat-v1"), *[QUIET * 4] * 16],
        INVALID,
        "The audio is longer than 60 seconds.",
    ),
    "two tasks at once": (
        {},
        [run_task(), run_task("second")],
        INVALID,
        "Invalid action('run-task')! " + PROTOCOL,
    ),
    "finish before start": (
        {},
        [finish_task()],
        INVALID,
        "Invalid action('finish-task')! " + PROTOCOL,
    ),
    "audio of another kind": (
        {},
        [run_task(format="opus"), GARBAGE, finish_task()],
        INVALID,
        "Failed to decode audio: it is text (base64?) and not audio; accepted are WAV, MP3, AAC,"
        " M4A/MP4/MOV/3GP, Ogg, Opus, FLAC, WebM/MKV, AMR,"
        " AIFF, AU, CAF, WMA, FLV, AVI and MPEG-TS",
    ),
    "an unknown model": ({}, [run_task(model="m")], "ModelNotFound", "Model not found (m)!"),
    "an unknown format": (
        {},
        [run_task(format="midi")],
        "UNSUPPORTED_FORMAT",
        f"Audio format 'midi' is not supported; the parameter 'format' is one of {FORMATS}.",
    ),
    "no audio": (
        {},
        [run_task(), finish_task()],
        "NO_VALID_AUDIO_ERROR",
        "NO_VALID_AUDIO_ERROR",
    ),
    "no message": (
        {"input_timeout_s": 0.1},
        [run_task()],
        "CLIENT_ERROR",
        "request timeout after 0.1 seconds.",
    ),
    "no speech": (
        {"response_timeout_s": 0.1},
        [run_task(), QUIET],
        "ResponseTimeout",
        "Response timeout!",
    ),
    "one task too many": (
        {"max_tasks_per_key": 1},
        [run_task()],
        "Throttling.RateQuota",
        "Requests rate limit exceeded, please try again later.",
    ),
}


@pytest.mark.parametrize("name", TASK_ERRORS)
async def test_a_task_fails_with_its_code_and_the_connection_is_closed(name):
    settings, messages, code, text, *close = TASK_ERRORS[name]
    async with serving(**settings) as served, connected(served) as other:
        if name == "one task too many":
            await other.say(run_task("first"))
            await other.event()
        async with connected(served) as client:
            await client.say(*messages)
            assert error(await client.until()) == (code, text)
            assert await client.closed() == (close or [1000])[0]


async def test_a_failure_of_the_engine_fails_the_task_and_closes_with_1011(monkeypatch):
    async def fail(_):
        raise errors.EngineError("a tensor of shape (3, 7)")

    async with serving() as served, connected(served) as client:
        monkeypatch.setattr(Stream, "next", fail)
        await client.say(run_task(), LOUD)
        assert error(await client.until()) == ("InternalError", errors.InternalError.message)
        assert await client.closed() == 1011


@pytest.mark.parametrize(
    ("settings", "headers", "status", "code"),
    [
        ({"api_keys": (KEY,)}, {"Authorization": "sk-2"}, 401, "InvalidApiKey"),
        ({"allowed_origins": ("https://a",)}, {"Origin": "https://b"}, 403, "AccessDenied"),
        ({"max_connections": 1}, {}, 503, "ServiceUnavailable"),
    ],
)
async def test_a_handshake_is_refused_with_its_status(settings, headers, status, code):
    async with serving(**settings) as served:
        async with connected(served, additional_headers={"Authorization": KEY}):
            with pytest.raises(websockets.InvalidStatus) as refusal:
                async with connected(served, additional_headers=headers):
                    pass
        assert refusal.value.response.status_code == status
        assert json.loads(refusal.value.response.body)["code"] == code


def test_every_code_is_provoked():
    provoked = {case[2] for case in TASK_ERRORS.values()}
    provoked |= {"InternalError", "InvalidApiKey", "AccessDenied", "ServiceUnavailable"}
    provoked |= {"BadRequest.ResourceNotExist"}  # in tests/api
    provoked |= {"NotFound", "MethodNotAllowed", "RequestTimeOut"}  # in tests/attack
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {kind.code for kind in kinds if hasattr(kind, "code")} == provoked
