"""Client frames are read leniently, and refused with DashScope's own words."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr_server.errors import InvalidParameter, MalformedMessage, ModelNotFound
from asr_server.protocol import models
from asr_server.protocol.commands import (
    ContinueTask,
    FinishTask,
    Parameters,
    Rejected,
    RunTask,
    is_command,
    parse,
)

GOLDEN = Path(__file__).parent / "golden"
TASK = "9c3c6dff7f5746308312141c7c4671ad"


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


def run_task(header=(), payload=(), parameters=()) -> str:
    message = json.loads(golden("run-task"))
    message["header"].update(header)
    message["payload"].update(payload)
    message["payload"]["parameters"].update(parameters)
    return json.dumps(message)


def rejection(text: str) -> str:
    rejected = parse(text)
    assert isinstance(rejected, Rejected)
    return str(rejected.error)


def test_the_official_sdks_run_task_is_read():
    command = parse(golden("run-task"))
    assert command == RunTask(
        TASK,
        "paraformer-realtime-v2",
        Parameters(format="pcm", sample_rate=16000, language_hints=["zh"]),
    )


def test_every_parameter_is_read():
    command = parse(golden("run-task.every-parameter"))
    assert isinstance(command, RunTask)
    assert command.phrase_id == "phrase-1"
    assert command.parameters == Parameters(
        format="wav",
        sample_rate=8000,
        vocabulary_id="vocab-demo-0123456789abcdef0123456789abcdef",
        disfluency_removal_enabled=True,
        language_hints=["zh", "en"],
        semantic_punctuation_enabled=True,
        max_sentence_silence=1200,
        multi_threshold_mode_enabled=True,
        punctuation_prediction_enabled=False,
        heartbeat=True,
        inverse_text_normalization_enabled=False,
        speech_noise_threshold=-0.5,
    )


def test_a_gummy_task_is_read():
    command = parse(golden("run-task.gummy"))
    assert isinstance(command, RunTask)
    assert command.model == "gummy-realtime-v1"


def test_finish_and_continue_are_read():
    assert parse(golden("finish-task")) == FinishTask()
    assert parse(golden("continue-task")) == ContinueTask(("达摩院",))


@pytest.mark.parametrize("payload", [{}, {"input": []}, {"input": {"end_of_stream": True}}, None])
def test_finish_task_may_carry_anything(payload):
    header = {"action": "finish-task", "task_id": "another", "streaming": "duplex"}
    assert parse(json.dumps({"header": header, "payload": payload})) == FinishTask()


@pytest.mark.parametrize("task_id", [TASK, "9c3c6dff-7f57-4630-8312-141c7c4671ad", "asr_4Kq9xYz2"])
def test_any_task_id_is_accepted(task_id):
    command = parse(run_task(header={"task_id": task_id}))
    assert isinstance(command, RunTask)
    assert command.task_id == task_id


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"sample_rate": "8000"}, {"sample_rate": 8000}),
        ({"sample_rate": 8000.0}, {"sample_rate": 8000}),
        ({"heartbeat": "true"}, {"heartbeat": True}),
        ({"heartbeat": 1}, {"heartbeat": True}),
        ({"heartbeat": 2}, {"heartbeat": True}),
        ({"language_hints": [None]}, {"language_hints": []}),
        ({"language_hints": {}}, {"language_hints": []}),
        ({"vocabulary_id": 12}, {"vocabulary_id": "12"}),
        ({"language_hints": "zh"}, {"language_hints": ["zh"]}),
        ({"language_hints": None}, {"language_hints": []}),
        ({"vocabulary_id": ""}, {"vocabulary_id": None}),
        ({"max_sentence_silence": None}, {"max_sentence_silence": None}),
        ({"punctuation_prediction_enabled": None}, {"punctuation_prediction_enabled": True}),
        ({"stream": True, "pre_task_id": "x", "volume": 50}, {}),
    ],
)
def test_types_are_read_leniently(given, read):
    command = parse(run_task(parameters=given))
    assert isinstance(command, RunTask)
    for name, value in read.items():
        assert getattr(command.parameters, name) == value


@pytest.mark.parametrize(
    ("given", "ignored"),
    [
        ({"max_sentence_silence": 0.8}, ("max_sentence_silence",)),
        ({"heartbeat": "often", "vad_model": "near"}, ("vad_model", "heartbeat")),
        ({"language_hints": 7}, ("language_hints",)),
        ({"speech_noise_threshold": "quiet"}, ("speech_noise_threshold",)),
        ({"\x1b[2J": 1, "n" * 64: 1}, ()),
    ],
)
def test_a_task_runs_without_parameters_that_are_unknown_or_have_no_meaning(given, ignored):
    plain = {"format": "wav", "language_hints": None}
    command = parse(run_task(parameters={**plain, **given}))
    assert isinstance(command, RunTask)
    assert command.ignored == ignored
    assert command.parameters == parse(run_task(parameters=plain)).parameters


@pytest.mark.parametrize("padded", ["\ufeff{}", "{}\0", " {}\r\n\0"])
def test_what_clients_leave_around_the_json_is_dropped(padded):
    text = run_task()
    assert parse(padded.replace("{}", text)) == parse(text)


def test_a_numeric_task_id_is_read_as_text():
    assert parse(run_task(header={"task_id": 7})).task_id == "7"


@pytest.mark.parametrize(
    ("frame", "command"),
    [
        (run_task().encode(), True),
        (b'\xef\xbb\xbf {"payload": {}}', True),
        (b'{"head', False),
        (b'{"text": 1}', False),
        (bytes(3200), False),
        (b"RIFF", False),
    ],
)
def test_a_binary_frame_is_a_command_only_if_it_begins_like_one(frame, command):
    assert is_command(frame) is command


@pytest.mark.parametrize("empty", [None, {}, []])
def test_parameters_may_be_empty(empty):
    message = json.loads(golden("run-task"))
    message["payload"]["parameters"] = empty
    command = parse(json.dumps(message))
    assert isinstance(command, RunTask)
    assert command.parameters == Parameters()


def test_the_v1_phrase_id_is_found_among_the_parameters_too():
    command = parse(run_task(parameters={"phrase_id": "p"}))
    assert isinstance(command, RunTask)
    assert command.phrase_id == "p"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"run-task"',
        "1",
        "[" * 100_000,
        "9" * 10_000,
        run_task() + " " * 300_000,
    ],
)
def test_what_is_not_a_json_object_is_an_invalid_payload(text):
    rejected = parse(text)
    assert isinstance(rejected, Rejected)
    assert isinstance(rejected.error, MalformedMessage)
    assert str(rejected.error).startswith("Invalid payload data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "Missing required parameter 'header.task_id'! Please follow the protocol!"),
        (
            '{"header":[]}',
            "Missing required parameter 'header.task_id'! Please follow the protocol!",
        ),
        (
            '{"header":{"task_id":"t"}}',
            "Missing required parameter 'header.action'! Please follow the protocol!",
        ),
        (
            '{"header":{"task_id":"t","action":"pause-task"}}',
            "Invalid action('pause-task')! Please follow the protocol! The actions are run-task,"
            " continue-task, finish-task.",
        ),
        (
            '{"header":{"task_id":"t","action":"run-task"}}',
            "Missing required parameter 'payload.model'! Please follow the protocol!",
        ),
        (
            '{"header":{"task_id":"t","action":"run-task"},"payload":{"model":"m"}}',
            "Missing required parameter 'payload.input'. Please follow the protocol!",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong(text, message):
    assert rejection(text) == message


def parameters(**given) -> str:
    return run_task(parameters=given)


PRINTABLE = "It is a text of 1 to 256 printable characters"


@pytest.mark.parametrize(
    ("text", "name", "found", "accepted"),
    [
        (run_task(header={"task_id": "a\nb"}), "header.task_id", r'"a\nb"', PRINTABLE),
        (run_task(header={"task_id": "\ud800"}), "header.task_id", r'"\ud800"', PRINTABLE),
        (run_task(header={"task_id": "t" * 257}), "header.task_id", "257 characters", PRINTABLE),
        (run_task(header={"task_id": {}}), "header.task_id", "an object of 0", PRINTABLE),
        (run_task(payload={"model": "\x1b[2J"}), "payload.model", r'"\u001b[2J"', PRINTABLE),
        (run_task(payload={"model": ["a"]}), "payload.model", "an array of 1", PRINTABLE),
        (run_task(payload={"model": 1.5}), "payload.model", "1.5", PRINTABLE),
        (
            run_task(payload={"resources": [{"resource_id": [1]}]}),
            "payload.resources.resource_id",
            "an array of 1",
            PRINTABLE,
        ),
        (parameters(sample_rate="fast"), "sample_rate", '"fast"', "a valid integer"),
        (parameters(sample_rate=16000.5), "sample_rate", "16000.5", "a valid integer"),
        (parameters(sample_rate=[1, 2]), "sample_rate", "an array of 2", "a valid integer"),
        (parameters(format="p c m"), "format", '"p c m"', "match pattern '^[!-~]{1,32}$'"),
        (parameters(format={}), "format", "an object of 0", "a valid string"),
        (parameters(vocabulary_id=[1]), "vocabulary_id", "an array of 1", "a valid string"),
        (parameters(vocabulary_id="v" * 300), "vocabulary_id", "300 characters", "at most 256"),
        (parameters(vocabulary="words"), "vocabulary", '"words"', "It must be an object"),
        (parameters(vocabulary={"好": "x"}), "vocabulary.好", '"x"', "a valid integer"),
        (
            parameters(vocabulary={str(number): 1 for number in range(2001)}),
            "vocabulary",
            "an object of 2001",
            "at most 2000 items",
        ),
    ],
)
def test_a_refusal_names_the_parameter_what_was_found_and_what_is_accepted(
    text, name, found, accepted
):
    path = name if name.startswith(("header", "payload")) else f"payload.parameters.{name}"
    message = rejection(text)
    assert message.startswith(f"Invalid value of parameter '{path}': {found}. ")
    assert accepted in message


def test_a_refusal_of_all_parameters_says_that_they_are_no_object():
    message = json.loads(golden("run-task"))
    message["payload"]["parameters"] = "none"
    refused = rejection(json.dumps(message))
    assert refused == (
        "Invalid value of parameter 'payload.parameters': \"none\". It must be an object."
    )


def message(role: str, *texts: object) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


@pytest.mark.parametrize(
    ("context", "texts", "ignored"),
    [
        ([message("user", "达摩院"), message("assistant", "好的")], ("达摩院", "好的"), ()),
        ([message("user", "达摩", "院")], ("达摩 院",), ()),
        ([{"role": "user", "content": "达摩院"}], ("达摩院",), ()),
        ("达摩院", ("达摩院",), ()),
        ([], (), ()),
        (None, (), ()),
        ([message("user", "一" * 401)], ("一" * 400,), ("input.context",)),
        ([message("user", str(n)) for n in range(6)], tuple("12345"), ("input.context",)),
        ([message("user", 7), None, 5], (), ("input.context",)),
        ({"role": "user"}, (), ("input.context",)),
    ],
)
def test_a_context_is_read_as_far_as_it_has_a_meaning(context, texts, ignored):
    command = parse(run_task(payload={"input": {"context": context}}))
    assert isinstance(command, RunTask)
    assert (command.context, command.ignored) == (texts, ignored)


def test_each_role_of_a_context_has_five_messages():
    turns = [message(role, f"{role}{n}") for n in range(6) for role in ("user", "assistant")]
    command = parse(run_task(payload={"input": {"context": turns}}))
    assert len(command.context) == 10
    assert command.context[0] == "user1"


def test_continue_task_without_a_context_keeps_the_one_before():
    header = {"action": "continue-task", "task_id": "t"}
    assert parse(json.dumps({"header": header})) == ContinueTask(None)
    payload = {"input": {"context": []}}
    assert parse(json.dumps({"header": header, "payload": payload})) == ContinueTask(())


def test_a_refusal_carries_the_task_id_it_could_read():
    rejected = parse('{"header":{"task_id":"t","action":"run-task"}}')
    assert isinstance(rejected, Rejected)
    assert rejected.task_id == "t"
    assert isinstance(rejected.error, InvalidParameter)


PARAMETER_NAMES = st.sampled_from(sorted(Parameters.model_fields))

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "header": json_values
            | st.fixed_dictionaries(
                {"action": st.sampled_from(["run-task", "finish-task", "continue-task"])},
                optional={"task_id": json_values | st.just("t")},
            ),
            "payload": json_values
            | st.fixed_dictionaries(
                {"model": json_values | st.just("m"), "input": json_values},
                optional={
                    "resources": json_values,
                    "parameters": json_values | st.dictionaries(PARAMETER_NAMES, json_values),
                },
            ),
        },
    )
)
def test_no_json_brings_the_parser_down(message):
    parse(json.dumps(message))


@settings(deadline=None)
@given(st.text())
def test_no_text_brings_the_parser_down(text):
    parse(text)


def test_an_alias_names_a_known_model():
    assert models.find("my-asr", {"my-asr": "gummy-chat-v1"}) is models.GUMMY_CHAT


@pytest.mark.parametrize("name", ["Paraformer-Realtime-V2", " paraformer-realtime-v2 "])
def test_a_model_is_found_whatever_the_case_of_its_name(name):
    assert models.find(name, {}) is models.PARAFORMER


def test_an_unknown_model_is_not_found():
    with pytest.raises(ModelNotFound, match=r"^Model not found \(whisper\)!$"):
        models.find("whisper", {})
