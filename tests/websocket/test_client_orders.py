"""The message orders of clients that this suite cannot install, replayed as they send them."""

import json
from typing import Any

import pytest

from tests.support.background import serving_on_a_thread
from tests.support.serving import LOUD, QUIET, connected, names, texts

SPEECH = LOUD + QUIET + QUIET
FRAMES = [SPEECH[begin : begin + 3200] for begin in range(0, len(SPEECH), 3200)]
ID = "2bf83b9abaeb4fda8d9a8b0d0d3a6a3c"
AUDIO = {"sample_rate": 16000, "format": "pcm"}


def run(model: str = "paraformer-realtime-v2", header=(), payload=(), **parameters: Any) -> str:
    task = {"task_group": "audio", "task": "asr", "function": "recognition", "model": model}
    task |= {"parameters": {**AUDIO, **parameters}, "input": {}, **dict(payload)}
    about = {"action": "run-task", "task_id": ID, "streaming": "duplex", **dict(header)}
    return json.dumps({"header": about, "payload": task})


def finish(task_id: str = ID, **payload: Any) -> str:
    header = {"action": "finish-task", "task_id": task_id, "streaming": "duplex"}
    return json.dumps({"header": header, "payload": payload or {"input": {}}})


ORDERS: dict[str, list[str | bytes]] = {
    "Java SDK: audio at once, disfluency_removal_enabled and pre_task_id always": [
        run(disfluency_removal_enabled=False, pre_task_id="p"),
        *FRAMES,
        finish(),
    ],
    "C++ SDK: every boolean, context-free input": [
        run(
            semantic_punctuation_enabled=False,
            multi_threshold_mode_enabled=False,
            punctuation_prediction_enabled=True,
            inverse_text_normalization_enabled=True,
            heartbeat=False,
            max_sentence_silence=800,
        ),
        *FRAMES,
        finish(),
    ],
    "Go sample: its whole struct, empty and null": [
        run(
            header={"event": "", "attributes": None, "error_code": "", "error_message": ""},
            payload={"output": {"sentence": {"begin_time": 0, "end_time": None, "text": ""}}},
            vocabulary_id="",
            language_hints=None,
            source_language=None,
        ),
        *[SPEECH[begin : begin + 1024] for begin in range(0, len(SPEECH), 1024)],
        finish(),
    ],
    "PHP sample: arrays for objects, finish-task with another id": [
        run(payload={"input": []}),
        *FRAMES,
        finish("another", input=[]),
    ],
    "Rust crate: nulls of other tasks": [
        run(
            payload={"resources": []}, voice=None, volume=None, language_hints=None, phrase_id=None
        ),
        *FRAMES,
        finish("a third"),
    ],
    "LiveKit plugin: a short id, heartbeats, diarization, wav without a header": [
        run(
            header={"task_id": "Dk3jd83kd02s"}, format="wav", heartbeat=True, diarization_enabled=1
        ),
        *FRAMES,
        finish("Dk3jd83kd02s"),
    ],
    "xiaozhi: a numeric id, binary commands with a terminating zero": [
        run(header={"task_id": 1234567890}).encode() + b"\0",
        *FRAMES,
        finish().encode() + b"\0",
    ],
    "spring-ai: finish-task twice, and late audio": [
        run(),
        *FRAMES,
        finish(),
        *FRAMES[:3],
        finish(),
    ],
    "voice input: Qwen-Audio, context, hotwords, the whole of a recording at once": [
        run(
            "qwen-audio-3.1-asr-flash-message",
            payload={
                "input": {
                    "context": [
                        {"role": "user", "content": [{"type": "input_text", "text": "天地玄黄"}]},
                        {"role": "assistant", "content": [{"type": "text", "text": "好的"}]},
                    ]
                }
            },
            vad_model="far_field_meeting_16k",
            keep_dialect=True,
            disfluency_removal_enabled=True,
            intermediate_result_enabled=True,
            vocabulary={"天地玄黄": 50},
        ),
        SPEECH,
        finish(),
    ],
}


@pytest.fixture(scope="module")
def server():
    with serving_on_a_thread() as served:
        yield served


@pytest.mark.parametrize("client", ORDERS)
async def test_a_clients_order_of_messages_gets_its_sentence(server, client):
    async with connected(server) as socket:
        await socket.say(*ORDERS[client])
        events = await socket.until("task-finished")
    assert (names(events)[0], names(events)[-1]) == ("task-started", "task-finished")
    assert len(texts(events)) == 1


async def test_the_java_sdks_one_sentence_sample_can_stop_after_its_sentence(server):
    """Its `stop()` throws unless task-finished comes after the finish-task that it sends."""
    async with connected(server) as socket:
        await socket.say(run("gummy-chat-v1", max_end_silence=300), *FRAMES)
        events = await socket.until("result-generated")
        while events[-1]["payload"]["output"]["transcription"]["end_time"] is None:
            events += await socket.until("result-generated")
        await socket.say(*FRAMES, finish())
        assert names(await socket.until("task-finished")) == ["task-finished"]
