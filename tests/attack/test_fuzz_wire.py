"""Whatever a client sends, in any order: an answer of the protocol and a close code, nothing else.

`make fuzz` runs 10 000 examples of each property.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import websockets
from hypothesis import example, given, note
from hypothesis import strategies as st

from asr_client.protocol import DEFAULT_MODEL
from tests.support.serving import LOUD, Served, connected, finish_task, run_task, serving, within

EVENTS = {"task-started", "result-generated", "task-finished", "task-failed"}
CODES = {1000, 1007, 1008, 1009}
"""1011 is missing: it reports a fault of the server."""
ANSWER_S = 20.0
BROKEN = "{"
"""The last frame of every conversation: in any state it fails the task and closes."""


# What is sent ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """A text frame, of bytes that may be no UTF-8."""

    data: bytes

    @classmethod
    def of(cls, text: str) -> "Text":
        return cls(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Binary:
    """A binary frame."""

    data: bytes


@dataclass(frozen=True)
class Fragments:
    """A text message in several frames."""

    parts: tuple[bytes, ...]


Frame = Text | Binary | Fragments


def asking(**parameters: Any) -> Text:
    """Return a run-task in ASCII, whatever its parameters are."""
    return Text.of(json.dumps(json.loads(run_task(**parameters))))


anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
"""Any characters, lone surrogates and NUL too."""
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 2**63, 2**64, 1e308, -0.0]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, anything),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(anything, inner, max_size=4)
    ),
    max_leaves=12,
)
PARAMETERS = (
    "format sample_rate vocabulary_id vocabulary phrase_id language_hints heartbeat "
    "disfluency_removal_enabled semantic_punctuation_enabled multi_threshold_mode_enabled "
    "punctuation_prediction_enabled inverse_text_normalization_enabled max_sentence_silence "
    "max_end_silence speech_noise_threshold special_word_filter transcription_enabled "
    "translation_enabled word_confidence_enabled"
).split()
fitting = st.sampled_from(
    ["pcm", "wav", "opus", "mp3", 8000, 16_000, 48_000, "zh", ["zh", None], {"热词": 4}, 800, 0.5]
)
parameters = st.dictionaries(
    st.one_of(st.sampled_from(PARAMETERS), anything), st.one_of(values, fitting), max_size=5
)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a message in which parts may be missing, wrong, or added."""
    action = st.sampled_from(["run-task", "finish-task", "continue-task", "RUN-TASK"])
    header: Any = {
        "action": draw(st.one_of(action, values)),
        "task_id": draw(st.one_of(st.just("task"), values)),
        "streaming": draw(st.one_of(st.just("duplex"), values)),
    }
    payload: Any = {
        "model": draw(st.one_of(st.just(DEFAULT_MODEL), values)),
        "task_group": "audio",
        "input": draw(st.one_of(st.just({}), values)),
        "parameters": draw(st.one_of(parameters, values)),
        "resources": draw(st.one_of(st.just([]), values)),
    }
    message = {"header": header, "payload": payload}
    for part in (message, header, payload):
        for key in draw(st.sets(st.sampled_from(sorted(part)), max_size=2)):
            part[key] = draw(values)
        for key in draw(st.sets(st.sampled_from(sorted(part)), max_size=1)):
            del part[key]
    return message


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a message with some of them changed, removed or added."""
    data = bytearray(run_task().encode() if draw(st.booleans()) else finish_task().encode())
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 6))] = draw(st.binary(max_size=6))
    return bytes(data)


def nested(depth: int, opening: str) -> str:
    """Return JSON so deep that a parser may overflow; a run-task around it, so it is looked at."""
    inner = opening * depth
    return run_task().replace('"pcm"', inner)[: len(run_task()) + len(inner)]


deep = st.builds(
    nested, st.sampled_from([10, 300, 900, 5000, 60_000]), st.sampled_from(["[", '{"a":'])
)
closed_deep = st.builds(
    lambda depth: run_task().replace('"pcm"', "[" * depth + "]" * depth),
    st.sampled_from([10, 300, 900, 5000]),
)
one_wrong = st.builds(
    lambda name, value: asking(**{name: value}), st.sampled_from(PARAMETERS), values
)
texts = st.one_of(
    one_wrong,
    messages().map(json.dumps).map(Text.of),
    messages().map(lambda message: json.dumps(message, ensure_ascii=False)).map(Text.of),
    damaged().map(Text),
    st.binary(max_size=40).map(Text),
    anything.map(Text.of),
    st.one_of(deep, closed_deep).map(Text.of),
    damaged().map(lambda data: Fragments((data[:7], b"", data[7:30], data[30:]))),
)
good = st.sampled_from(
    [
        Text.of(run_task()),
        Text.of(run_task("other", heartbeat=True)),
        Text.of(finish_task()),
        Binary(LOUD),
        Binary(b""),
    ]
)
binaries = st.one_of(st.binary(max_size=300), damaged()).map(Binary)
conversations = st.lists(st.one_of(good, texts, binaries), max_size=6)


# What comes back ---------------------------------------------------------------------------------


@dataclass
class Errors(logging.Handler):
    """Collects records at ERROR, and any with a stack."""

    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info or hasattr(record, "stack"):
            self.found.append(f"{record.getMessage()} {getattr(record, 'fault', '')}")


@dataclass
class Wire:
    """A server, and conversations with it one after another."""

    loop: asyncio.AbstractEventLoop
    served: Served
    errors: Errors
    conversations: int = 0

    def converse(self, frames: list[Frame]) -> None:
        """Send frames; every answer has to be of the protocol, and the end has to be orderly."""
        self.errors.found.clear()
        self.conversations += 1
        events, code, reason = self.loop.run_until_complete(self._converse(frames))
        note(f"{events} {code} {reason!r}")
        assert set(events) <= EVENTS
        assert code in CODES
        assert self.errors.found == []
        assert self.served.engine.open_streams == 0

    async def _converse(self, frames: list[Frame]) -> tuple[list[str], int, str]:
        events: list[str] = []
        async with within(ANSWER_S), connected(self.served) as client:
            socket = client.socket
            try:
                for frame in [*frames, Text.of(BROKEN)]:
                    match frame:
                        case Text(data):
                            await socket.send(data, text=True)
                        case Fragments(parts):
                            await socket.send(list(parts), text=True)
                        case Binary(data):
                            await socket.send(data)
                while True:
                    events.append(json.loads(await socket.recv())["header"]["event"])
            except websockets.ConnectionClosed:
                while not (unread := socket.recv_messages).closed and unread.frames.queue:
                    events.append(json.loads(await socket.recv())["header"]["event"])
            await socket.wait_closed()
            assert socket.close_code is not None
            assert socket.close_reason is not None
            for _ in range(400):
                if not self.served.engine.open_streams:
                    break
                await asyncio.sleep(0.005)
            return events, socket.close_code, socket.close_reason


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """A server in an event loop of its own, which runs during conversations only."""
    loop = asyncio.new_event_loop()
    server = serving(max_tasks=4, max_tasks_per_key=2)
    errors = Errors()
    served = loop.run_until_complete(server.__aenter__())
    logging.getLogger().addHandler(errors)
    wire = Wire(loop, served, errors)
    yield wire
    logging.getLogger().removeHandler(errors)
    loop.run_until_complete(server.__aexit__(None, None, None))
    loop.close()
    print(f"{wire.conversations} conversations")


@given(conversations)
@example([Text.of(run_task()), Binary(LOUD), Text.of(finish_task()), Text.of(run_task("next"))])
def test_any_conversation_ends_with_a_task_failed_or_a_close_code(wire, frames):
    wire.converse(frames)


@given(texts)
@example(Text.of(run_task().replace('"task"', '"\\ud800"')))
@example(asking(vocabulary_id="\ud800"))
@example(asking(phrase_id="\udfff"))
@example(Text.of(run_task().replace('"input"', '"resources":[{"resource_id":"\\udfff"}],"input"')))
@example(Text.of(run_task().replace('"run-task"', "[]")))
@example(Text.of(run_task().replace('"run-task"', "{}")))
@example(asking(max_sentence_silence=1e30))
@example(Text.of(run_task().replace("16000", "1e999")))
@example(Text.of(run_task().replace("16000", "9" * 5000)))
@example(Text.of(run_task().replace("16000", "NaN")))
@example(asking(special_word_filter="\ud800"))
@example(asking(special_word_filter={"filter_with_signed": {"word_list": ["\ud800"]}}))
@example(Text(b"\xff\xfe"))
@example(Text(b'{"header": "\xc3'))
def test_a_broken_text_frame_before_a_task_ends_with_a_task_failed_or_a_close_code(wire, frame):
    wire.converse([frame])


@given(texts)
def test_a_broken_text_frame_within_a_task_frees_its_slot(wire, frame):
    wire.converse([Text.of(run_task()), Binary(LOUD[:3200]), frame])


def test_the_server_serves_as_before_afterwards(wire):
    async def recognise() -> list[str]:
        async with connected(wire.served) as client:
            await client.say(run_task())
            await client.stream(LOUD)
            await client.say(finish_task())
            events = await client.until("task-finished")
            return [event["header"]["event"] for event in events]

    names = wire.loop.run_until_complete(recognise())
    assert names[0] == "task-started"
    assert names[-1] == "task-finished"
