"""The session, cell by cell and rule by rule; time is a number."""

import json
from dataclasses import replace

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asr_server.audio.units import from_ms
from asr_server.errors import (
    EngineError,
    InvalidParameter,
    MalformedMessage,
    MessageTooLong,
    NoValidAudio,
    TooManyMessages,
)
from asr_server.protocol.commands import ContinueTask, FinishTask, Parameters, Rejected, RunTask
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.settings import Settings
from asr_server.state.messages import (
    FROM_ENGINE,
    Audio,
    CloseSocket,
    CloseStream,
    Disconnected,
    Failed,
    FinishStream,
    Input,
    Opened,
    OpenStream,
    Postpone,
    PushAudio,
    ReplaceContext,
    Send,
    Tick,
)
from asr_server.state.session import COMPLETE_S, TRANSITIONS, Session, State
from asr_server.text.tokens import Token

SETTINGS = Settings()


def run_task(task_id="t", model="paraformer-realtime-v2", **parameters) -> RunTask:
    return RunTask(task_id, model, Parameters(**parameters))


def hypothesis(text: str, end_ms: int | None = None, begin_ms: int = 0) -> Hypothesis:
    tokens = tuple(
        Token(piece, from_ms(begin_ms + 200 * i), from_ms(begin_ms + 200 * i + 200), 0.9)
        for i, piece in enumerate(text)
    )
    return Hypothesis(from_ms(begin_ms), None if end_ms is None else from_ms(end_ms), tokens)


EXAMPLES: dict[type[Input], Input] = {
    type(event): event
    for event in (
        run_task("another"),
        ContinueTask(),
        FinishTask(),
        Rejected("", MalformedMessage()),
        Audio(b"\0\0"),
        Disconnected(),
        Opened(),
        hypothesis("好"),
        EndOfStream(),
        Failed(EngineError("the device caught fire")),
        Tick(),
    )
}
INPUTS_TO: dict[State, list[Input]] = {
    State.IDLE: [],
    State.STARTING: [run_task()],
    State.STREAMING: [run_task(), Opened()],
    State.FINISHING: [run_task(), Opened(), FinishTask()],
    State.COMPLETE: [run_task(), Opened(), hypothesis("好", end_ms=300)],
    State.CLOSED: [Disconnected()],
}


def session_in(state: State, settings: Settings = SETTINGS, **parameters) -> Session:
    session = Session(settings, now=0)
    if state is State.COMPLETE:
        parameters = {"model": "gummy-chat-v1", **parameters}
    for event in INPUTS_TO[state]:
        session.receive(run_task(**parameters) if isinstance(event, RunTask) else event, 0)
    assert session.state is state
    return session


def frames(outputs) -> list[dict]:
    return [json.loads(output.frame) for output in outputs if isinstance(output, Send)]


def names(outputs) -> list[str]:
    return [frame["header"]["event"] for frame in frames(outputs)]


def sentences(outputs) -> list[dict]:
    return [
        frame["payload"]["output"]["sentence"]
        for frame in frames(outputs)
        if frame["header"]["event"] == "result-generated"
    ]


def failure(outputs) -> tuple[str, str]:
    (header,) = [f["header"] for f in frames(outputs) if f["header"]["event"] == "task-failed"]
    return header["error_code"], header["error_message"]


# Every cell ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_every_cell_leads_where_the_table_says(state, kind):
    session = session_in(state)
    following = TRANSITIONS[state].get(kind)
    if state is State.STREAMING and kind is RunTask:
        session.receive(Audio(b"ab"), 0)
    if state is State.CLOSED:
        assert session.receive(EXAMPLES[kind], 0) == []
    elif following is not None and not (state is State.IDLE and kind is FinishTask):
        session.receive(EXAMPLES[kind], 0)
        assert session.state is following
    elif kind in FROM_ENGINE:
        with pytest.raises(AssertionError):
            session.receive(EXAMPLES[kind], 0)
    else:
        outputs = session.receive(EXAMPLES[kind], 0)
        assert names(outputs) == ["task-failed"]
        assert isinstance(outputs[-1], CloseSocket)
        assert session.state is State.CLOSED


def test_the_table_names_only_inputs_that_exist():
    assert {kind for row in TRANSITIONS.values() for kind in row} <= set(EXAMPLES)


# A task from beginning to end ---------------------------------------------------------------------


def test_a_task_runs_from_start_to_finish():
    session = Session(SETTINGS, now=0)
    (opening,) = session.receive(run_task(sample_rate=8000, format="WAV"), 0)
    assert isinstance(opening, OpenStream)
    assert (opening.task.sample_rate, opening.task.format) == (8000, "wav")
    assert names(session.receive(Opened(), 0)) == ["task-started"]
    assert session.receive(Audio(b"ab"), 0) == [PushAudio(b"ab")]
    assert [s["text"] for s in sentences(session.receive(hypothesis("你好"), 1))] == ["你好"]
    (final,) = sentences(session.receive(hypothesis("你好啊", end_ms=900), 2))
    assert (final["text"], final["end_time"], final["sentence_end"]) == ("你好啊。", 900, True)
    assert session.receive(FinishTask(), 3) == [FinishStream()]
    outputs = session.receive(EndOfStream(), 4)
    assert outputs[0] == CloseStream("t")
    assert names(outputs) == ["task-finished"]
    assert session.state is State.IDLE


def test_a_second_task_counts_from_one_again():
    session = session_in(State.STREAMING)
    session.receive(hypothesis("一", end_ms=500), 0)
    session.receive(FinishTask(), 0)
    session.receive(EndOfStream(), 0)
    session.receive(run_task("second"), 1)
    session.receive(Opened(), 1)
    (final,) = frames(session.receive(hypothesis("二", end_ms=500), 1))[-1:]
    assert final["header"]["task_id"] == "second"
    assert final["payload"]["output"]["sentence"]["sentence_id"] == 1


def test_unset_parameters_come_from_the_settings():
    session = Session(Settings(default_sample_rate=8000, default_format="opus"), now=0)
    (opening,) = session.receive(run_task(), 0)
    assert (opening.task.sample_rate, opening.task.format) == (8000, "opus")


@pytest.mark.parametrize(
    ("model", "parameters", "silence"),
    [
        ("paraformer-realtime-v2", {}, 800),
        ("fun-asr-realtime", {}, 1300),
        ("gummy-chat-v1", {}, 700),
        ("gummy-chat-v1", {"max_end_silence": 300}, 300),
        ("paraformer-realtime-v2", {"max_sentence_silence": 2000}, 2000),
        ("paraformer-realtime-v2", {"max_sentence_silence": 1}, 200),
        ("paraformer-realtime-v2", {"max_sentence_silence": 60_000}, 6000),
    ],
)
def test_sentence_silence_is_the_tasks_or_else_its_models(model, parameters, silence):
    (opening,) = Session(SETTINGS, now=0).receive(run_task(model=model, **parameters), 0)
    assert opening.task.max_sentence_silence_ms == silence


def test_hotwords_are_found_in_the_new_and_in_the_old_place():
    session = Session(SETTINGS, now=0)
    (opening,) = session.receive(RunTask("t", "fun-asr-realtime", Parameters(), "phrase"), 0)
    assert opening.task.vocabulary_id == "phrase"


# Results ------------------------------------------------------------------------------------------


def test_only_the_first_result_of_a_sentence_begins_it():
    session = session_in(State.STREAMING)
    (first,) = sentences(session.receive(hypothesis("你"), 0))
    session.receive(Audio(b""), 1)
    (second,) = sentences(session.receive(hypothesis("你好"), 1))
    assert first["sentence_begin"] is True
    assert "sentence_begin" not in second


def test_a_final_without_interims_is_still_preceded_by_a_beginning():
    session = session_in(State.STREAMING)
    begin, final = sentences(session.receive(hypothesis("好", end_ms=300), 0))
    assert (begin["sentence_begin"], begin["text"], begin["end_time"]) == (True, "", None)
    assert (final["text"], final["end_time"]) == ("好。", 300)


def test_a_sentence_without_text_is_never_sent():
    session = session_in(State.STREAMING)
    assert session.receive(hypothesis(""), 0) == []
    assert session.receive(hypothesis("", end_ms=400), 1) == []
    (_, final) = sentences(session.receive(hypothesis("好", end_ms=900), 2))
    assert final["sentence_id"] == 1


def test_interims_are_cumulative_and_numbered_by_sentence():
    session = session_in(State.STREAMING)
    session.receive(hypothesis("一二", end_ms=900), 0)
    session.receive(Audio(b""), 1)
    session.receive(Audio(b""), 1)
    session.receive(Audio(b""), 1)
    (interim,) = sentences(session.receive(hypothesis("三", begin_ms=1500), 1))
    assert (interim["sentence_id"], interim["text"], interim["begin_time"]) == (2, "三", 1500)


def test_an_incomplete_number_is_shown_once_speech_pauses():
    session = session_in(State.STREAMING)
    (speaking,) = sentences(session.receive(hypothesis("一共三百"), 0))
    session.receive(Audio(b""), 1)
    (paused,) = sentences(session.receive(replace(hypothesis("一共三百"), paused=True), 1))
    assert (speaking["text"], paused["text"]) == ("一共", "一共300")


def test_one_audio_frame_allows_one_interim():
    session = session_in(State.STREAMING)
    session.receive(hypothesis("一"), 0)
    assert session.receive(hypothesis("一二"), 10) == []
    session.receive(Audio(b""), 11)
    assert session.deadline == pytest.approx(0.1)
    assert [s["text"] for s in sentences(session.receive(Tick(), 11))] == ["一二"]


def test_many_small_frames_do_not_allow_more_than_ten_interims_a_second():
    session = session_in(State.STREAMING)
    sent = 0
    for i in range(1000):
        session.receive(Audio(b""), i / 1000)
        sent += len(session.receive(hypothesis("字"), i / 1000))
        sent += len(session.receive(Tick(), i / 1000))
    assert sent == 10


def test_a_held_interim_is_replaced_by_a_newer_one():
    session = session_in(State.STREAMING)
    session.receive(hypothesis("一"), 0)
    session.receive(Audio(b""), 0.01)
    session.receive(hypothesis("一二"), 0.02)
    session.receive(hypothesis("一二三"), 0.03)
    assert [s["text"] for s in sentences(session.receive(Tick(), 0.1))] == ["一二三"]


def test_a_final_is_sent_at_once_and_replaces_the_held_interim():
    session = session_in(State.STREAMING)
    session.receive(hypothesis("一"), 0)
    session.receive(hypothesis("一二"), 0)
    assert [s["text"] for s in sentences(session.receive(hypothesis("一二三", 900), 0))] == [
        "一二三。"
    ]
    assert session.receive(Tick(), 1) == []


def test_after_finish_task_interims_need_no_further_frames():
    session = session_in(State.FINISHING)
    session.receive(hypothesis("一"), 0)
    assert [s["text"] for s in sentences(session.receive(hypothesis("一二"), 1))] == ["一二"]


def test_words_have_a_confidence_only_if_the_task_asked_for_it():
    without = session_in(State.STREAMING)
    asking = session_in(State.STREAMING, word_confidence_enabled=True)
    (plain,) = sentences(without.receive(hypothesis("好"), 0))
    (confident,) = sentences(asking.receive(hypothesis("好"), 0))
    assert "confidence" not in plain["words"][0]
    assert confident["words"][0]["confidence"] == 0.9


def test_special_words_are_masked_or_removed():
    words = {
        "filter_with_signed": {"word_list": ["你"]},
        "filter_with_empty": {"word_list": ["啊"]},
    }
    session = session_in(State.STREAMING, special_word_filter=json.dumps(words))
    (interim,) = sentences(session.receive(hypothesis("你好啊"), 0))
    assert interim["text"] == "*好"


@pytest.mark.parametrize(
    "parameters", [{"special_word_filter": "["}, {"vocabulary": {"好": 7}}, {"vocabulary": {"": 1}}]
)
def test_invalid_special_words_and_hotwords_are_refused(parameters):
    outputs = Session(SETTINGS, now=0).receive(run_task(**parameters), 0)
    assert failure(outputs)[0] == "InvalidParameter"


def test_hotwords_may_come_with_the_task():
    (opening,) = Session(SETTINGS, now=0).receive(run_task(vocabulary={"达摩院": 5}), 0)
    assert opening.task.hotwords == (("达摩院", 5),)


# Qwen-Audio ---------------------------------------------------------------------------------------

MESSAGE = "qwen-audio-3.1-asr-flash-message"


def test_a_message_model_sends_finals_only_unless_interims_are_asked_for():
    session = session_in(State.STREAMING, model=MESSAGE)
    assert session.receive(hypothesis("你"), 0) == []
    (final,) = sentences(session.receive(hypothesis("你好", end_ms=900), 1))
    assert final["text"] == "你好。"
    asking = session_in(State.STREAMING, model=MESSAGE, intermediate_result_enabled=True)
    assert [s["text"] for s in sentences(asking.receive(hypothesis("你"), 0))] == ["你"]


def test_any_model_sends_finals_only_if_asked():
    session = session_in(State.STREAMING, intermediate_result_enabled=False)
    assert session.receive(hypothesis("你"), 0) == []
    assert len(sentences(session.receive(hypothesis("你好", end_ms=900), 1))) == 1


def test_parameters_that_a_model_lacks_have_no_effect_and_are_named_as_ignored():
    asked = RunTask(
        "t",
        MESSAGE,
        Parameters(
            language_hints=["zh"],
            semantic_punctuation_enabled=True,
            multi_threshold_mode_enabled=True,
            special_word_filter={"filter_with_empty": {"word_list": ["好"]}},
            max_sentence_silence=500,
        ),
        ignored=("vad_model",),
    )
    (opening,) = Session(SETTINGS, now=0).receive(asked, 0)
    assert opening.task.ignored == (
        "language_hints",
        "multi_threshold_mode_enabled",
        "semantic_punctuation_enabled",
        "special_word_filter",
        "vad_model",
    )
    assert opening.task.parameters == Parameters(max_sentence_silence=500)
    assert not opening.task.special_words


def test_usage_counts_the_tasks_tokens_for_models_that_are_billed_by_them():
    session = session_in(State.STREAMING, model="qwen-audio-3.1-asr-flash-streaming")
    finals = [
        frames(session.receive(hypothesis(text, end_ms=end), 0))[-1]
        for text, end in (("你好", 900), ("啊", 2000))
    ]
    assert [final["payload"]["usage"] for final in finals] == [
        {"duration": 1, "input_tokens": 12, "output_tokens": 2, "total_tokens": 14},
        {"duration": 2, "input_tokens": 25, "output_tokens": 3, "total_tokens": 28},
    ]
    session.receive(FinishTask(), 0)
    (finished,) = frames(session.receive(EndOfStream(), 0))
    assert finished["payload"] == {"output": {}, "usage": finals[-1]["payload"]["usage"]}


# Context ------------------------------------------------------------------------------------------


def test_a_context_may_come_with_the_task():
    asked = RunTask("t", "fun-asr-realtime", Parameters(), context=("达摩院在哪里",))
    (opening,) = Session(SETTINGS, now=0).receive(asked, 0)
    assert opening.task.context == ("达摩院在哪里",)


def test_continue_task_replaces_the_context_while_audio_may_come():
    session = session_in(State.STREAMING)
    assert session.receive(ContinueTask(("达摩院",)), 0) == [ReplaceContext(("达摩院",))]
    assert session.receive(ContinueTask(()), 0) == [ReplaceContext(())]
    assert session.receive(ContinueTask(), 0) == []
    assert session_in(State.FINISHING).receive(ContinueTask(("达摩院",)), 0) == []


# Gummy --------------------------------------------------------------------------------------------


def test_gummy_results_are_transcriptions_counted_from_zero():
    session = session_in(State.STREAMING, model="gummy-realtime-v1")
    (final,) = frames(session.receive(hypothesis("好", end_ms=300), 0))
    assert final["payload"]["output"]["transcription"]["sentence_id"] == 0


def test_gummy_chat_ignores_audio_after_its_sentence_and_finishes_on_finish_task():
    session = session_in(State.STREAMING, model="gummy-chat-v1")
    outputs = session.receive(hypothesis("好", end_ms=300), 0)
    assert names(outputs) == ["result-generated"]
    assert outputs[-1] == CloseStream("t")
    assert session.receive(Audio(b"ab"), 1) == []
    assert names(session.receive(FinishTask(), 2)) == ["task-finished"]
    assert session.receive(FinishTask(), 2) == []


def test_gummy_chat_finishes_by_itself_some_seconds_after_its_sentence():
    session = session_in(State.COMPLETE)
    assert session.deadline == COMPLETE_S
    session.receive(Audio(b"ab"), COMPLETE_S - 1)
    assert session.receive(Tick(), COMPLETE_S - 0.1) == []
    assert names(session.receive(Tick(), COMPLETE_S)) == ["task-finished"]
    assert session.state is State.IDLE
    assert session.receive(FinishTask(), COMPLETE_S) == []


def test_gummy_chat_finishes_with_its_sentence_if_finish_task_came_before():
    session = session_in(State.FINISHING, model="gummy-chat-v1")
    outputs = session.receive(hypothesis("好", end_ms=300), 0)
    assert names(outputs) == ["result-generated", "task-finished"]


def test_gummy_without_transcription_is_refused():
    session = Session(SETTINGS, now=0)
    outputs = session.receive(run_task(model="gummy-realtime-v1", transcription_enabled=False), 0)
    assert failure(outputs)[0] == "InvalidParameter"


# Failures -----------------------------------------------------------------------------------------


def test_an_unknown_model_fails_under_its_own_task_id():
    outputs = Session(SETTINGS, now=0).receive(run_task("mine", model="whisper"), 0)
    assert failure(outputs) == ("ModelNotFound", "Model not found (whisper)!")
    assert frames(outputs)[0]["header"]["task_id"] == "mine"
    assert outputs[-1] == CloseSocket(1000, "ModelNotFound")


def test_a_run_task_while_one_runs_ends_its_audio_and_waits_for_its_end():
    session = session_in(State.STREAMING)
    session.receive(Audio(b"ab"), 0)
    following = run_task("second")
    assert session.receive(following, 0) == [FinishStream(), Postpone(following)]
    assert names(session.receive(hypothesis("好", end_ms=300), 1))[-1] == "result-generated"
    assert names(session.receive(EndOfStream(), 1)) == ["task-finished"]
    (opening,) = session.receive(following, 1)
    assert opening.task.task_id == "second"


def test_a_run_task_after_finish_task_waits_for_the_end_of_the_task():
    following = run_task("second")
    assert session_in(State.FINISHING).receive(following, 0) == [Postpone(following)]
    session = session_in(State.COMPLETE)
    *outputs, postponed = session.receive(following, 0)
    assert (names(outputs), postponed) == (["task-finished"], Postpone(following))


def test_a_second_run_task_before_any_audio_is_refused_in_dashscopes_words():
    outputs = session_in(State.STREAMING).receive(run_task("second"), 0)
    message = "Invalid action('run-task')! Please follow the protocol!"
    assert failure(outputs) == ("InvalidParameter", message)
    assert outputs[0] == CloseStream("t", outputs[0].error)
    assert isinstance(outputs[0].error, InvalidParameter)


def test_finish_task_before_any_task_is_refused_and_after_one_ignored():
    assert failure(Session(SETTINGS, now=0).receive(FinishTask(), 0))[0] == "InvalidParameter"
    session = session_in(State.FINISHING)
    session.receive(EndOfStream(), 0)
    assert session.receive(FinishTask(), 0) == []


def test_unreadable_text_closes_with_1007():
    outputs = session_in(State.STREAMING).receive(Rejected("", MalformedMessage()), 0)
    assert failure(outputs) == ("InvalidParameter", "Invalid payload data")
    assert outputs[-1] == CloseSocket(1007, "InvalidParameter")


def test_a_refused_first_message_fails_under_the_id_it_carried():
    outputs = Session(SETTINGS, now=0).receive(Rejected("x", InvalidParameter()), 0)
    assert frames(outputs)[0]["header"]["task_id"] == "x"


@pytest.mark.parametrize("state", [State.STARTING, State.STREAMING, State.FINISHING])
def test_a_failure_of_the_engine_fails_the_task(state):
    error = NoValidAudio()
    outputs = session_in(state).receive(Failed(error), 0)
    assert failure(outputs) == ("NO_VALID_AUDIO_ERROR", "NO_VALID_AUDIO_ERROR")
    assert outputs[0] == CloseStream("t", error)


def test_a_disconnect_closes_the_stream():
    assert session_in(State.STREAMING).receive(Disconnected(), 0) == [CloseStream("t")]
    assert session_in(State.IDLE).receive(Disconnected(), 0) == []


# Time ---------------------------------------------------------------------------------------------


def test_23_seconds_without_audio_fail_the_task_with_the_exact_text():
    session = session_in(State.STREAMING)
    assert session.receive(Tick(), 22.9) == []
    outputs = session.receive(Tick(), 23)
    assert failure(outputs) == ("CLIENT_ERROR", "request timeout after 23 seconds.")
    assert outputs[-1] == CloseSocket(1000, "CLIENT_ERROR")


def test_audio_restarts_the_23_seconds():
    session = session_in(State.STREAMING)
    session.receive(Audio(b"ab"), 20)
    assert session.receive(Tick(), 42.9) == []
    assert failure(session.receive(Tick(), 43))[0] == "CLIENT_ERROR"


@pytest.mark.parametrize("message", [Audio(b""), ContinueTask()])
@pytest.mark.parametrize("heartbeat", [False, True])
def test_a_message_without_audio_keeps_no_task(message, heartbeat):
    session = session_in(State.STREAMING, heartbeat=heartbeat)
    session.receive(message, 20)
    assert failure(session.receive(Tick(), 23))[0] == "CLIENT_ERROR"


def test_a_task_with_audio_lasts_as_long_as_the_setting_allows():
    session = session_in(State.STREAMING, Settings(max_task_s=600), heartbeat=True)
    for second in range(600):
        session.receive(Audio(b"ab"), second)
        session.receive(Tick(), second)
    assert failure(session.receive(Tick(), 600)) == (
        "InvalidParameter",
        "The task is longer than 600 seconds.",
    )
    unlimited = session_in(State.STREAMING, heartbeat=True)
    for second in range(0, 100_000, 20):
        unlimited.receive(Audio(b"ab"), second)
        unlimited.receive(Tick(), second)
    assert unlimited.state is State.STREAMING


def test_a_broken_limit_ends_the_conversation_with_a_reason_in_the_close_frame():
    for state in (State.IDLE, State.STREAMING, State.FINISHING):
        outputs = session_in(state).receive(Rejected("", TooManyMessages(200)), 0)
        assert failure(outputs)[0] == "Throttling.RateQuota"
        assert outputs[-1] == CloseSocket(
            1008, "More than 200 messages a second that bring little audio."
        )


def test_the_input_timeout_stands_still_while_the_server_does_not_read():
    session = session_in(State.STREAMING)
    assert session.receive(Tick(reading=False), 23) == []
    assert session.deadline == 46
    assert session.receive(Tick(reading=False), 61) == []
    assert session.deadline == 84


def test_after_finish_task_the_client_may_be_silent():
    session = session_in(State.FINISHING)
    assert session.deadline is None
    assert session.receive(Tick(), 1000) == []


def test_a_minute_of_audio_without_speech_fails_the_task():
    session = session_in(State.STREAMING)
    for second in range(60):
        session.receive(Audio(b"ab"), second)
    assert session.deadline == 60
    assert failure(session.receive(Tick(), 60)) == ("ResponseTimeout", "Response timeout!")


def test_speech_restarts_the_minute():
    session = session_in(State.STREAMING)
    session.receive(hypothesis("好", end_ms=300), 50)
    session.receive(Audio(b"ab"), 100)
    assert session.receive(Tick(), 109) == []
    assert failure(session.receive(Tick(), 110))[0] == "ResponseTimeout"


def test_with_heartbeat_silence_may_last_and_is_filled_every_few_seconds():
    session = session_in(State.STREAMING, heartbeat=True)
    heartbeats = []
    for second in range(300):
        session.receive(Audio(b"ab"), second)
        heartbeats += [(second, s) for s in sentences(session.receive(Tick(), second))]
    assert [second for second, _ in heartbeats] == list(range(5, 300, 5))
    assert heartbeats[0][1] == {
        "sentence_id": 0,
        "begin_time": 0,
        "end_time": None,
        "text": "",
        "heartbeat": True,
        "sentence_end": False,
        "words": [],
    }


def test_without_heartbeat_nothing_fills_the_silence():
    session = session_in(State.STREAMING)
    outputs = []
    for second in range(59):
        session.receive(Audio(b"ab"), second)
        outputs += session.receive(Tick(), second)
    assert outputs == []


def test_a_connection_without_a_task_is_closed_without_a_frame():
    session = Session(Settings(connection_timeout_s=7), now=100)
    assert session.deadline == 107
    assert session.receive(Tick(), 106) == []
    assert session.receive(Tick(), 107) == [CloseSocket(1000, "idle")]


def test_a_connection_is_kept_a_minute_for_its_next_task():
    session = session_in(State.FINISHING)
    session.receive(EndOfStream(), 500)
    assert session.deadline == 560
    assert session.receive(Tick(), 559) == []
    assert session.receive(Tick(), 560) == [CloseSocket(1000, "idle")]


# Random clients -----------------------------------------------------------------------------------


class RandomClient(RuleBasedStateMachine):
    """Any client, an engine that keeps its contract, and time."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.session = Session(SETTINGS, now=0)
        self.audio_at = 0.0
        """The last time at which the client sent audio, or was not read."""
        self.open = False
        self.finishing = False
        self.started = self.ended = 0
        self.unfinished_sentence = False
        self.postponed = None

    def feed(self, event):
        for output in self.session.receive(event, self.now):
            match output:
                case OpenStream():
                    assert not self.open
                    self.open, self.finishing = True, False
                case PushAudio():
                    assert self.open
                    assert not self.finishing
                case FinishStream():
                    assert self.open
                    self.finishing = True
                case Postpone(command):
                    self.postponed = command
                case CloseStream(error=error):
                    complete = self.session.state in (State.COMPLETE, State.CLOSED)
                    assert self.open or error is not None or complete
                    self.open = False
                case CloseSocket():
                    assert self.session.state is State.CLOSED
                case Send(frame):
                    self.check(json.loads(frame))

    def check(self, message):
        header = message["header"]
        assert header["attributes"] == {}
        match header["event"]:
            case "task-started":
                self.started += 1
            case "task-finished":
                assert message["payload"] == {"output": {}, "usage": None}
                self.ended += 1
            case "task-failed":
                assert message["payload"] == {}
                assert header["error_code"]
                assert header["error_message"]
            case "result-generated":
                assert self.started == self.ended + 1
                output = message["payload"]["output"]
                if "transcription" in output:
                    return
                sentence = output["sentence"]
                assert sentence["sentence_end"] is (sentence["end_time"] is not None)
                assert sentence.get("sentence_begin", False) is not self.unfinished_sentence
                self.unfinished_sentence = not sentence["sentence_end"]

    @property
    def reading(self):
        closed = self.session.state in (State.STARTING, State.CLOSED)
        return not closed and self.postponed is None

    @precondition(lambda self: self.postponed and not self.open)
    @rule()
    def the_postponed_command_comes_again(self):
        command, self.postponed = self.postponed, None
        self.feed(command)

    @precondition(lambda self: self.reading)
    @rule(
        event=st.sampled_from(
            [
                Audio(b"ab"),
                Audio(b""),
                run_task(),
                run_task(model="gummy-chat-v1"),
                FinishTask(),
                ContinueTask(("达摩院",)),
                Rejected("", MalformedMessage()),
                Rejected("", MessageTooLong(1000)),
                Rejected("", TooManyMessages(200)),
            ]
        )
        | st.just(Audio(b"ab"))
    )
    def client_sends(self, event):
        if isinstance(event, Audio) and event.data:
            self.audio_at = self.now
        self.feed(event)

    @precondition(lambda self: self.session.state is State.STARTING)
    @rule(event=st.just(Opened()) | st.just(Opened()) | st.just(Failed(EngineError())))
    def engine_opens(self, event):
        self.unfinished_sentence = False
        self.audio_at = self.now
        self.feed(event)

    @precondition(lambda self: self.session.state in (State.STREAMING, State.FINISHING))
    @rule(text=st.sampled_from(["", "一", "一二"]), end=st.none() | st.integers(500, 60_000))
    def engine_decodes(self, text, end):
        self.feed(hypothesis(text, end))

    @precondition(lambda self: self.session.state is State.FINISHING)
    @rule()
    def engine_ends_the_stream(self):
        self.feed(EndOfStream())

    @rule(seconds=st.floats(0, 30), reading=st.booleans())
    def time_passes(self, seconds, reading):
        self.now += seconds
        if not reading:
            self.audio_at = self.now
        self.feed(Tick(reading))

    @rule()
    def client_disconnects(self):
        self.feed(Disconnected())

    @invariant()
    def a_stream_is_open_only_while_a_task_runs(self):
        running = (State.STARTING, State.STREAMING, State.FINISHING)
        assert self.open == (self.session.state in running)

    @invariant()
    def no_task_streams_long_without_audio(self):
        self.feed(Tick())
        if self.session.state is State.STREAMING:
            assert self.now - self.audio_at < SETTINGS.input_timeout_s

    @invariant()
    def a_tick_moves_the_deadline_into_the_future(self):
        self.feed(Tick())
        if self.session.deadline is not None:
            assert self.session.deadline > self.now


RandomClient.TestCase.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=30, deadline=None
)
TestRandomClients = RandomClient.TestCase
