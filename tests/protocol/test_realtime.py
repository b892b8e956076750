"""Events of Realtime clients are understood; the server's events are, byte for byte, golden."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from asr_server.errors import DecodeError, Throttled
from asr_server.protocol.commands import LONGEST_COMMAND
from asr_server.protocol.realtime import (
    Append,
    Clear,
    Commit,
    Finish,
    Refused,
    SessionUpdate,
    parse,
)
from asr_server.protocol.realtime_events import Item, RealtimeEvents
from asr_server.protocol.realtime_session import (
    BETA,
    OPENAI,
    QWEN,
    InvalidEvent,
    ServerVad,
    default_config,
    updated,
)

GOLDEN = Path(__file__).parent / "golden" / "realtime"
DIALECTS = {"qwen": QWEN, "openai": OPENAI, "beta": BETA}
ITEM = Item("item_0a1b_1", None)
NEXT = Item("item_0a1b_2", "item_0a1b_1")
FAULT = InvalidEvent("'audio' is not base64.", "audio")


def frames(name: str) -> dict[str, str]:
    """Return an event of each kind that a dialect has."""

    def write() -> RealtimeEvents:
        return RealtimeEvents("sess_0a1b", DIALECTS[name])

    config = replace(default_config(DIALECTS[name], None), language="zh", prompt="达摩院")
    shared = {
        "session.created": write().session("created", config),
        "speech_started": write().speech_started(ITEM, 640),
        "speech_stopped": write().speech_stopped(ITEM, 1640),
        "committed": "\n".join(write().committed(NEXT)),
        "completed": write().completed(ITEM, "你好啊。", 1.0),
        "error": write().error(FAULT, "event_9"),
        "error.task": write().error(DecodeError("it is damaged")),
        "cleared": write().cleared(),
    }
    if name == "qwen":
        shared["text"] = write().text(ITEM, "你好", "啊")
        shared["session.finished"] = write().finished()
    else:
        shared["delta"] = write().delta(ITEM, "你好")
    return {f"{name}.{kind}": frame for kind, frame in shared.items()}


FRAMES = {**frames("qwen"), **frames("openai"), **frames("beta")}


@pytest.mark.parametrize("name", FRAMES)
def test_an_event_equals_its_golden_file(name):
    assert FRAMES[name] + "\n" == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


def test_every_golden_file_is_made_by_a_function():
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(FRAMES)


def test_no_two_events_of_a_session_have_one_id():
    events = RealtimeEvents("sess_0a1b", OPENAI)
    ids = [json.loads(f)["event_id"] for f in (events.cleared(), events.cleared())]
    assert len(set(ids)) == 2


def test_only_qwen_clients_get_the_codes_of_dashscope():
    def code(dialect):
        return json.loads(RealtimeEvents("sess_0", dialect).error(Throttled()))["error"]["code"]

    assert code(QWEN) == "Throttling.RateQuota"
    assert code(OPENAI) == code(BETA) == "rate_limit_exceeded"


# Commands -----------------------------------------------------------------------------------------


def event(kind: str, **body: object) -> str:
    return json.dumps({"type": kind, "event_id": "event_1", **body})


def append(audio: str) -> str:
    return event("input_audio_buffer.append", audio=audio)


AUDIO = bytes(range(256)) * 4
BASE64 = base64.b64encode(AUDIO).decode()


def test_each_event_has_its_command():
    assert parse(append(BASE64)) == Append("event_1", AUDIO)
    assert parse(event("input_audio_buffer.commit")) == Commit("event_1")
    assert parse(event("input_audio_buffer.clear")) == Clear("event_1")
    assert parse(event("session.finish")) == Finish("event_1")
    assert parse(event("session.update", session={})) == SessionUpdate("event_1", {})
    beta = parse(event("transcription_session.update", session={}))
    assert beta == SessionUpdate("event_1", {}, beta=True)


@pytest.mark.parametrize(
    "audio",
    [BASE64, base64.encodebytes(AUDIO).decode(), BASE64.rstrip("=")],
    ids=["plain", "in lines", "without padding"],
)
def test_base64_is_read_as_encoders_write_it(audio):
    assert parse(append(audio)) == Append("event_1", AUDIO)


def test_a_long_append_is_read_wherever_its_audio_stands():
    audio = base64.b64encode(bytes(3 * LONGEST_COMMAND)).decode()
    first = f'{{"audio": "{audio}", "type": "input_audio_buffer.append"}}'
    assert parse(first) == Append(None, bytes(3 * LONGEST_COMMAND))
    slashes = append(audio.replace("A", "/")).replace("/", "\\/")  # as PHP writes it
    assert parse(slashes) == Append("event_1", b"\xff" * 3 * LONGEST_COMMAND)


@pytest.mark.parametrize(
    ("text", "param", "message"),
    [
        ("no JSON", None, "The message is not JSON."),
        ("[" * 100_000, None, "The message is not JSON."),
        ("[1]", None, "The message is not a JSON object."),
        (
            "[" + "1," * LONGEST_COMMAND + "1]",
            None,
            "An event has at most 262144 char",
        ),
        ("{}", "type", "Invalid value: of another kind. Supported values are: 'session.update', "),
        (event("foo"), "type", "Invalid value: 'foo'. Supported values are: 'session.update', "),
        (event("response.create"), "type", "This server transcribes only: it has no 'response.c"),
        (append("%%%"), "audio", "'audio' is not base64."),
        (event("input_audio_buffer.append"), "audio", "'audio' must be a string of base64."),
        (event("session.update"), "session", "'session' must be an object."),
    ],
)
def test_an_event_that_cannot_be_served_says_why(text, param, message):
    refused = parse(text)
    assert isinstance(refused, Refused)
    assert refused.error.param == param
    assert str(refused.error).startswith(message)


# The session's configuration ----------------------------------------------------------------------


def configured(dialect, **session):
    return updated(default_config(dialect, None), session, dialect)


def test_the_flat_and_the_nested_session_mean_the_same():
    flat = configured(
        OPENAI,
        input_audio_format="g711_ulaw",
        input_audio_transcription={"model": "whisper-1", "language": "zh", "prompt": "达摩院"},
        turn_detection={"type": "server_vad", "threshold": 0.7, "silence_duration_ms": 300},
    )
    nested = configured(
        OPENAI,
        type="transcription",
        audio={
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "whisper-1", "language": "zh", "prompt": "达摩院"},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.7,
                    "silence_duration_ms": 300,
                },
            }
        },
    )
    assert replace(flat, format_name="audio/pcmu") == nested
    assert (nested.format, nested.sample_rate, nested.vad) == ("mulaw", 8000, ServerVad(0.7, 300))


def test_what_an_update_omits_stays():
    config = configured(QWEN, sample_rate=8000, input_audio_transcription={"language": "zh"})
    assert updated(config, {"turn_detection": None}, QWEN) == replace(config, vad=None)
    assert updated(config, {"input_audio_transcription": {"model": None}}, QWEN) == config
    assert updated(config, {"input_audio_format": "pcm"}, QWEN) == config


def test_an_empty_text_clears_a_field():
    given = {"language": "zh", "prompt": "达摩院", "keywords": ["通义"]}
    config = configured(OPENAI, input_audio_transcription=given)
    assert (config.prompt, config.keywords) == ("达摩院", ("通义",))
    cleared = {"prompt": "", "keywords": []}
    config = updated(config, {"input_audio_transcription": cleared}, OPENAI)
    assert (config.language, config.prompt, config.keywords) == ("zh", None, ())


def test_names_without_effect_are_noted_for_the_log():
    reduction = {"noise_reduction": {"type": "near_field"}, "format": None}
    config = configured(OPENAI, include=["logprobs"], audio={"input": reduction})
    assert config.ignored == ("include", "noise_reduction")
    assert configured(QWEN, modalities=["text"], voice=None).ignored == ()


def test_defaults_differ_as_the_services_do():
    assert default_config(OPENAI, None).sample_rate == 24_000
    assert default_config(QWEN, None).sample_rate == 16_000
    assert default_config(OPENAI, None).vad == ServerVad(0.5, 500)
    assert default_config(QWEN, None).vad == ServerVad(0.2, 800)


@pytest.mark.parametrize(
    ("session", "param", "accepted"),
    [
        ({"type": "realtime"}, "session.type", "'transcription'"),
        ({"input_audio_format": "midi"}, "session.input_audio_format", "'pcm16'"),
        ({"sample_rate": 4000}, "session.sample_rate", "8000 to 192000 Hz"),
        ({"turn_detection": 5}, "session.turn_detection", "must be an object"),
        (
            {"turn_detection": {"silence_duration_ms": 10}},
            "session.turn_detection.silence_duration_ms",
            "from 200 to 6000",
        ),
        (
            {"audio": {"input": {"turn_detection": {"threshold": "high"}}}},
            "session.audio.input.turn_detection.threshold",
            "from 0 to 1",
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 1}}}},
            "session.audio.input.format.rate",
            "8000 to 192000 Hz",
        ),
        (
            {"input_audio_transcription": {"language": ["zh"]}},
            "session.input_audio_transcription.language",
            "text of at most 256",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_accepted(session, param, accepted):
    with pytest.raises(InvalidEvent) as refused:
        configured(OPENAI, **session)
    assert refused.value.param == param
    assert accepted in str(refused.value)
