"""The Realtime session over a session of tasks: what goes in, what comes out; time is a number."""

import json

import pytest

from asr_server.audio.units import from_ms
from asr_server.errors import DecodeError
from asr_server.protocol.realtime import Append, Clear, Commit, Finish, Refused, SessionUpdate
from asr_server.protocol.realtime_events import RealtimeEvents
from asr_server.protocol.realtime_session import (
    BETA,
    OPENAI,
    QWEN,
    Dialect,
    InvalidEvent,
    default_config,
)
from asr_server.recognition import EndOfStream, Hypothesis, SpeechStarted
from asr_server.settings import Settings
from asr_server.state.messages import (
    CloseSocket,
    CloseStream,
    Failed,
    FinishStream,
    Opened,
    OpenStream,
    Postpone,
    PushAudio,
    Send,
)
from asr_server.state.realtime import MOST_REFUSED, RealtimeSession
from asr_server.text.tokens import Token

SETTINGS = Settings(result_interval_ms=0)
SECOND = bytes(32_000)
AUDIO = 2 * [Append(None, SECOND)]
"""A result is sent against each message of audio; that of a sentence takes two."""
MANUAL = SessionUpdate(None, {"turn_detection": None})
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def hypothesis(text: str, end_ms: int | None = None, begin_ms: int = 0) -> Hypothesis:
    tokens = tuple(
        Token(piece, from_ms(begin_ms + 200 * i), from_ms(begin_ms + 200 * i + 200), 0.9)
        for i, piece in enumerate(text)
    )
    return Hypothesis(from_ms(begin_ms), None if end_ms is None else from_ms(end_ms), tokens)


class Conversation:
    """A session, and the outputs of its last input."""

    def __init__(self, dialect: Dialect = QWEN, model: str | None = None) -> None:
        config = default_config(dialect, model)
        self.session = RealtimeSession(SETTINGS, 0, RealtimeEvents("sess_1", dialect), config)
        self.outputs = self.session.open()

    def give(self, *events) -> list[str]:
        """Return the types of the events that the last input causes."""
        for event in events:
            self.outputs = self.session.receive(event, 1.0)
        return [event["type"].removeprefix(f"{TRANSCRIPTION}.") for event in self.events]

    @property
    def events(self) -> list[dict]:
        return [json.loads(one.frame) for one in self.outputs if isinstance(one, Send)]

    def did(self, kind: type) -> list:
        return [output for output in self.outputs if isinstance(output, kind)]

    def stream(self, *first) -> None:
        """Begin a task."""
        self.give(*first, Append(None, SECOND), Opened())


SPOKEN = ["input_audio_buffer.committed", "conversation.item.created"]
SENTENCE = ["input_audio_buffer.speech_stopped", *SPOKEN, "completed"]


def test_the_first_audio_starts_a_task_and_is_pushed_once_the_stream_is_open():
    conversation = Conversation()
    assert conversation.events[0]["type"] == "session.created"
    conversation.give(Append("e", SECOND))
    (opening,) = conversation.did(OpenStream)
    assert opening.task.door == "qwen-realtime"
    assert opening.task.prefix_padding_ms == 300
    assert conversation.give(Opened()) == []
    assert conversation.did(PushAudio) == [PushAudio(SECOND)]


def test_a_sentence_is_one_item_of_the_conversation():
    conversation = Conversation()
    conversation.stream()
    assert conversation.give(hypothesis("你", begin_ms=300)) == [
        "input_audio_buffer.speech_started", "text",
    ]  # fmt: skip
    assert conversation.events[0]["audio_start_ms"] == 300
    assert conversation.give(hypothesis("你好", 900, begin_ms=300)) == SENTENCE
    assert conversation.events[-1]["transcript"] == "你好。"
    assert {event["item_id"] for event in conversation.events if "item_id" in event} == {"item_1_1"}
    conversation.give(*AUDIO, hypothesis("好", begin_ms=2000))
    assert conversation.events[0]["item_id"] == "item_1_2"


def test_speech_is_reported_before_its_text_and_noise_is_an_item_without_text():
    conversation = Conversation()
    conversation.stream()
    assert conversation.give(SpeechStarted(from_ms(300))) == ["input_audio_buffer.speech_started"]
    assert conversation.events[0]["audio_start_ms"] == 300
    assert conversation.give(hypothesis("", 900, begin_ms=300)) == SENTENCE
    assert conversation.events[-1]["transcript"] == ""
    conversation.give(SpeechStarted(from_ms(2000)))
    assert conversation.give(hypothesis("你好", 2900, begin_ms=2000)) == SENTENCE
    assert conversation.events[-1]["item_id"] == "item_1_2"


def test_results_belong_to_the_speech_that_they_are_of_while_the_recogniser_is_behind():
    conversation = Conversation()
    conversation.stream()
    conversation.give(SpeechStarted(from_ms(300)), SpeechStarted(from_ms(2000)))
    texts = {}
    for text, begin_ms in (("你好", 300), ("再见", 1100), ("好", 2000)):  # the first one is cut
        conversation.give(hypothesis(text, begin_ms + 700, begin_ms))
        texts[conversation.events[-1]["item_id"]] = conversation.events[-1]["transcript"]
    assert texts == {"item_1_1": "你好。", "item_1_3": "再见。", "item_1_2": "好。"}


def test_the_text_that_two_results_agree_on_is_fixed_and_the_rest_is_stash():
    conversation = Conversation()
    conversation.stream()
    shown = []
    for text in ("你", "你好", "你好吗", "你号"):
        conversation.give(Append(None, SECOND), hypothesis(text))
        shown.append((conversation.events[-1]["text"], conversation.events[-1]["stash"]))
    assert shown == [("", "你"), ("你", "好"), ("你好", "吗"), ("你", "号")]


def test_deltas_only_append_and_together_are_the_transcript():
    conversation = Conversation(OPENAI)
    conversation.stream()
    deltas = []
    for text, end_ms in (("你", None), ("你好", None), ("你好吗", None), ("你好吗", 900)):
        conversation.give(Append(None, SECOND), hypothesis(text, end_ms))
        deltas += [e["delta"] for e in conversation.events if e["type"].endswith("delta")]
    assert "".join(deltas) == conversation.events[-1]["transcript"] == "你好吗？"
    assert deltas[:2] == ["你", "好"]


def test_a_transcript_that_contradicts_its_deltas_comes_without_a_further_delta():
    conversation = Conversation(OPENAI)
    conversation.stream()
    for text in ("你好", "你好"):
        conversation.give(Append(None, SECOND), hypothesis(text))
    assert "delta" not in conversation.give(hypothesis("泥号", 900))
    assert conversation.events[-1]["transcript"] == "泥号。"


def test_without_server_vad_all_sentences_up_to_the_commit_are_one_item():
    conversation = Conversation()
    conversation.stream(MANUAL)
    assert conversation.give(hypothesis("你好", 900)) == ["text"]
    assert conversation.give(*AUDIO, hypothesis("再见", begin_ms=8000)) == ["text"]
    assert conversation.give(Commit(None)) == SPOKEN
    assert len(conversation.did(FinishStream)) == 1
    assert conversation.give(hypothesis("再见", 8900, begin_ms=8000)) == ["text"]
    assert conversation.give(EndOfStream()) == ["completed"]
    assert conversation.events[0]["transcript"] == "你好。再见。"


def test_a_commit_with_server_vad_ends_the_sentence_at_once():
    conversation = Conversation(OPENAI)
    conversation.stream()
    conversation.give(hypothesis("你"))
    added = ["conversation.item.added", "conversation.item.done"]
    assert conversation.give(Commit(None)) == [SPOKEN[0], *added]
    assert conversation.give(hypothesis("你好", 900)) == ["delta", "completed"]
    assert conversation.give(EndOfStream()) == []


def test_a_commit_of_silence_completes_an_item_without_text():
    conversation = Conversation(OPENAI)
    conversation.stream(MANUAL)
    conversation.give(Commit(None))
    assert conversation.give(EndOfStream()) == ["completed"]
    assert conversation.events[0]["transcript"] == ""


@pytest.mark.parametrize("before", [[], [Append(None, b"")], [MANUAL]])
def test_a_commit_of_nothing_is_refused_and_the_session_goes_on(before):
    conversation = Conversation(OPENAI)
    assert conversation.give(*before, Commit("event_7")) == ["error"]
    error = conversation.events[0]["error"]
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "event_7")
    assert not conversation.did(CloseSocket)
    conversation.stream()
    assert conversation.did(PushAudio)


def test_times_count_from_the_start_of_the_session_across_commits():
    conversation = Conversation(QWEN)
    conversation.stream()
    conversation.give(Commit(None), EndOfStream())
    conversation.stream()
    conversation.give(hypothesis("你", begin_ms=100))
    assert conversation.events[0]["audio_start_ms"] == 1100


def test_an_item_names_the_one_before():
    conversation = Conversation()
    conversation.stream()
    conversation.give(hypothesis("你好", 900), hypothesis("再见", 1900, begin_ms=1200))
    committed = next(e for e in conversation.events if e["type"] == SPOKEN[0])
    assert (committed["previous_item_id"], committed["item_id"]) == ("item_1_1", "item_1_2")


def test_what_comes_while_a_task_finishes_waits_for_its_end():
    conversation = Conversation()
    conversation.stream()
    conversation.give(Commit(None))
    for command in (Append(None, SECOND), Commit(None), MANUAL, Finish(None), Clear(None)):
        conversation.give(command)
        assert conversation.outputs == [Postpone(command)]


def test_an_update_within_a_task_ends_the_task_only_if_it_changes_something():
    conversation = Conversation()
    conversation.stream()
    assert conversation.give(SessionUpdate(None, {"sample_rate": 16_000})) == ["session.updated"]
    conversation.give(MANUAL)
    assert [type(output) for output in conversation.outputs] == [FinishStream, Postpone]


def test_a_clear_drops_the_audio_and_what_was_recognised_of_it():
    conversation = Conversation(OPENAI)
    conversation.stream()
    conversation.give(hypothesis("你"))
    assert conversation.give(Clear(None)) == ["input_audio_buffer.cleared"]
    assert len(conversation.did(CloseStream)) == 1
    assert conversation.give(Commit(None)) == ["error"]


def test_a_finish_ends_the_session_after_the_last_result():
    conversation = Conversation()
    conversation.stream()
    assert conversation.give(Finish(None)) == []
    assert conversation.give(hypothesis("你好", 900))[-1] == "completed"
    assert conversation.give(EndOfStream()) == ["session.finished"]
    assert not conversation.did(CloseSocket)  # the client does, or the idle timeout
    assert conversation.give(Append(None, SECOND)) == ["error"]


def test_a_finish_without_audio_ends_the_session_at_once():
    conversation = Conversation()
    assert conversation.give(Finish(None)) == ["session.finished"]


def test_a_task_that_fails_ends_the_session_with_an_error_of_the_dialect():
    conversation = Conversation(BETA)
    conversation.stream()
    assert conversation.give(Failed(DecodeError())) == ["error"]
    assert conversation.events[0]["error"]["type"] == "invalid_request_error"
    assert conversation.did(CloseSocket)
    assert conversation.give(Append(None, SECOND)) == []


def test_an_unknown_model_is_refused_at_the_start_and_in_an_update():
    conversation = Conversation(QWEN, "whisper")
    assert [event["type"] for event in conversation.events] == ["error"]
    assert conversation.did(CloseSocket)
    conversation = Conversation(OPENAI)
    update = {"input_audio_transcription": {"model": "whisper"}}
    assert conversation.give(SessionUpdate("e", update)) == ["error"]
    assert conversation.events[0]["error"]["code"] == "model_not_found"
    assert not conversation.did(CloseSocket)


def test_a_session_without_end_of_faults_is_closed():
    conversation = Conversation()
    fault = Refused(None, InvalidEvent("no"))
    conversation.give(*[fault] * MOST_REFUSED)
    assert not conversation.did(CloseSocket)
    conversation.give(fault)
    assert conversation.did(CloseSocket) == [CloseSocket(1008, "too many invalid events")]


def test_the_threshold_of_each_dialect_moves_the_same_scale():
    def noise(dialect, threshold):
        conversation = Conversation(dialect)
        conversation.give(SessionUpdate(None, {"turn_detection": {"threshold": threshold}}))
        conversation.give(Append(None, SECOND))
        return conversation.did(OpenStream)[0].task.parameters.speech_noise_threshold

    assert [noise(OPENAI, t) for t in (0.0, 0.5, 1.0)] == [-1.0, 0.0, 1.0]
    assert [noise(QWEN, t) for t in (-1.0, 0.2, 1.0)] == [-1.0, 0.0, 1.0]
