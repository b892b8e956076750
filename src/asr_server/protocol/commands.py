"""Parse the text frames of clients into commands.

Clients in nine languages send nulls, empty strings, numbers as text, unknown keys and values of the
wrong type; the parser accepts what has a plain meaning, or none that a task depends on. Audio has
no envelope: it comes as binary frames, as do the commands of some clients.
"""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeGuard

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from asr_server.errors import ClientError, InvalidParameter, MalformedMessage
from asr_server.protocol import context
from asr_server.protocol.context import Context
from asr_server.protocol.refusals import (
    LONGEST_NAME,
    invalid,
    invalid_action,
    invalid_field,
    missing,
)

MOST_INSTANT_HOTWORDS = 2000
MOST_IGNORED = 20
"""Names of ignored parameters that are logged."""
LONGEST_COMMAND = 256 * 1024
"""Characters of a text frame; one with the most hotwords has a third of that."""

Text = Annotated[str, StringConstraints(max_length=LONGEST_NAME), Field(coerce_numbers_to_str=True)]
"""A limit makes pydantic refuse lone surrogates too, which no database and no frame can hold."""


_COMMAND = re.compile(rb'[\s\xef\xbb\xbf]*\{\s*"(?:header|payload)"\s*:')
_PADDING = "\ufeff\0 \t\r\n"
"""What C and ESP clients leave around the JSON: a byte order mark, a terminating zero."""


def _languages(value: Any) -> Any:
    values = [] if value == {} else [value] if isinstance(value, str) else value
    return [one for one in values if one is not None] if isinstance(values, list) else values


def _truth(value: Any) -> Any:
    return value != 0 if isinstance(value, int | float) else value


Flag = Annotated[bool, BeforeValidator(_truth)]


class Parameters(BaseModel):
    """Hold `payload.parameters` of run-task; a key that is absent, null or "" has its default."""

    model_config = ConfigDict(frozen=True)

    format: str | None = Field(default=None, pattern=r"^[!-~]{1,32}$")
    sample_rate: int | None = None
    """Hz."""
    vocabulary_id: Text | None = None
    vocabulary: dict[Text, int] = Field(default={}, max_length=MOST_INSTANT_HOTWORDS)
    """Hotwords of this task and their weights."""
    language_hints: Annotated[list[str], BeforeValidator(_languages)] = []
    """Without effect: the model determines the language."""
    intermediate_result_enabled: Flag | None = None
    """Whether interim results are sent; by default the model decides."""
    disfluency_removal_enabled: Flag = False
    semantic_punctuation_enabled: Flag = False
    multi_threshold_mode_enabled: Flag = False
    punctuation_prediction_enabled: Flag = True
    inverse_text_normalization_enabled: Flag = True
    heartbeat: Flag = False
    max_sentence_silence: int | None = None
    """Milliseconds, 200 to 6000."""
    max_end_silence: int | None = None
    """Milliseconds; Gummy's name of `max_sentence_silence`."""
    speech_noise_threshold: float | None = Field(default=None, allow_inf_nan=False)
    """-1 (more counts as speech) to 1 (less does)."""
    special_word_filter: Any = None
    """Words to mask or to remove, as an object or as its JSON."""
    transcription_enabled: Flag = True
    translation_enabled: Flag = False
    second_pass_enabled: Flag | None = None
    """An extension: whether the offline model, where there is one, corrects finals."""
    word_confidence_enabled: Flag = False
    """An extension of DashScope's protocol: adds `confidence` to every word."""

    @model_validator(mode="before")
    @classmethod
    def _drop_unset(cls, value: Any) -> Any:
        if value is None or value == []:  # PHP writes an empty object as []
            return {}
        if isinstance(value, dict):
            return {k: v for k, v in value.items() if v is not None and v != ""}
        return value


NEEDED = frozenset({"format", "sample_rate", "vocabulary_id", "vocabulary", "special_word_filter"})
"""Parameters without which a task would yield another text: a wrong value fails the task."""


UNNAMED = frozenset({"phrase_id", "stream", "pre_task_id"})
"""Further parameters: an old one, and two that the official SDKs send with every task in vain."""


@dataclass(frozen=True, slots=True)
class RunTask:
    """Start a task on the connection."""

    action: ClassVar[str] = "run-task"
    task_id: str
    model: str
    parameters: Parameters
    phrase_id: str | None = None
    """Id of a hotword list in the old place: `payload.resources` or `parameters.phrase_id`."""
    ignored: tuple[str, ...] = ()
    """Parameters that are unknown, or whose value has no meaning; the task runs without them."""
    context: Context = ()


@dataclass(frozen=True, slots=True)
class ContinueTask:
    """Replace the task's context."""

    action: ClassVar[str] = "continue-task"
    context: Context | None = None
    """None if the message has no context: the one before stays."""
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FinishTask:
    """End the audio. Its task id is ignored: official samples send a different one."""

    action: ClassVar[str] = "finish-task"


@dataclass(frozen=True, slots=True)
class Rejected:
    """Hold why a text frame is no command."""

    task_id: str
    """The frame's task id if it has a valid one, else ""."""
    error: ClientError


Command = RunTask | ContinueTask | FinishTask


def is_command(data: bytes) -> bool:
    """Return whether a binary frame holds a command: no audio begins like one."""
    return _COMMAND.match(data) is not None


def parse(text: str) -> Command | Rejected:
    """Return the command in a text frame."""
    if len(text) > LONGEST_COMMAND:
        return _malformed(f"at most {LONGEST_COMMAND} characters, not {len(text)}")
    text = text.strip(_PADDING)
    try:
        message = json.loads(text)
    except json.JSONDecodeError as error:
        return _malformed(f"a JSON object; this one is wrong at character {error.pos + 1}")
    except (ValueError, RecursionError):
        return _malformed("a JSON object, with less nesting and shorter numbers")
    if not isinstance(message, dict):
        return _malformed("a JSON object, no other JSON value")
    header = _object(message.get("header"))
    task_id = header.get("task_id")
    if isinstance(task_id, int):
        task_id = str(task_id)
    try:
        return _command(header, _object(message.get("payload")), _name(task_id, "header.task_id"))
    except ClientError as error:
        return Rejected(task_id if _presentable(task_id) else "", error)


def _malformed(accepted: str) -> Rejected:
    return Rejected(
        "", MalformedMessage(f"{MalformedMessage.message}: a text frame has {accepted}.")
    )


def _command(header: dict[str, Any], payload: dict[str, Any], task_id: str) -> Command:
    match header.get("action"):
        case RunTask.action:
            return _run_task(payload, task_id)
        case ContinueTask.action:
            texts, ignored = _context(payload.get("input"))
            return ContinueTask(texts, ignored)
        case FinishTask.action:
            return FinishTask()
        case action:
            accepted = ", ".join((RunTask.action, ContinueTask.action, FinishTask.action))
            name = _name(action, "header.action")
            raise invalid_action(name, f" The actions are {accepted}.")


def _run_task(payload: dict[str, Any], task_id: str) -> RunTask:
    model = _name(payload.get("model"), "payload.model")
    if payload.get("input") is None:
        raise InvalidParameter(
            "Missing required parameter 'payload.input'. Please follow the protocol!"
        )
    given = payload.get("parameters")
    unknown = _object(given).keys() - Parameters.model_fields - UNNAMED
    ignored = tuple(sorted(name for name in unknown if _presentable(name) and len(name) < 64))
    try:
        parameters = Parameters.model_validate(given)
    except ValidationError as error:
        wrong = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
        if not wrong or wrong & NEEDED:
            raise invalid_field("payload.parameters", error) from error
        given = {name: value for name, value in _object(given).items() if name not in wrong}
        parameters = Parameters.model_validate(given)
        ignored += tuple(sorted(wrong))
    phrase_id = _phrase_id(payload.get("resources"), given)
    texts, ignored_context = _context(payload["input"])
    ignored = (*ignored_context, *ignored)[:MOST_IGNORED]
    return RunTask(task_id, model, parameters, phrase_id, ignored, texts or ())


def _context(given: Any) -> tuple[Context | None, tuple[str, ...]]:
    """Return the texts of `payload.input`, None if it has none, and what of it is ignored."""
    if _object(given).get("context") is None:
        return None, ()
    texts, complete = context.read(given["context"])
    return texts, () if complete else ("input.context",)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _presentable(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable()


def _name(value: Any, where: str) -> str:
    if value is None or value == "":
        raise missing(where)
    if not _presentable(value):
        raise invalid(where, value, f"It is a text of 1 to {LONGEST_NAME} printable characters")
    return value


def _phrase_id(resources: Any, parameters: Any) -> str | None:
    """Return the first id. Raises InvalidParameter if it is no text or number."""
    given = [("parameters.phrase_id", _object(parameters).get("phrase_id"))]
    if isinstance(resources, list):
        given += [("resources.resource_id", _object(item).get("resource_id")) for item in resources]
    for where, value in given:
        if value:
            return _name(str(value) if isinstance(value, int) else value, f"payload.{where}")
    return None
