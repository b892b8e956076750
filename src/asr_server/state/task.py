"""Turn a run-task into a task: every default filled in, every rule checked."""

from dataclasses import dataclass

from asr_server.errors import InvalidParameter
from asr_server.protocol import models
from asr_server.protocol.commands import Parameters, RunTask
from asr_server.protocol.context import Context
from asr_server.protocol.models import Family
from asr_server.protocol.refusals import invalid
from asr_server.settings import Settings
from asr_server.text.hotwords import SUPER, Hotwords, check
from asr_server.text.special_words import SpecialWords

PARAMETERS = "payload.parameters"
MOST_SUPER_HOTWORDS = 50
"""Words of weight 50 in one run-task."""
SHORTEST_SILENCE_MS, LONGEST_SILENCE_MS = 200, 6000


@dataclass(frozen=True, slots=True)
class Task:
    """Hold what the rest of the server needs of a run-task."""

    task_id: str
    model: str
    """The name in the request."""
    family: Family
    format: str
    sample_rate: int
    """Hz, as declared; a container's own header overrides it."""
    max_sentence_silence_ms: int
    second_pass: bool
    """An offline model, where there is one, corrects finals."""
    parameters: Parameters
    vocabulary_id: str | None
    hotwords: Hotwords
    """Words and weights that came with the task itself."""
    special_words: SpecialWords
    context: Context
    """What was said before the task."""
    ignored: tuple[str, ...]
    """Parameters without effect, for the log."""
    door: str = "dashscope"
    """The protocol that the task came by, for logs and metrics."""
    prefix_padding_ms: int = 300
    """Audio before the detected onset of speech that belongs to a sentence."""
    announces_speech: bool = False
    """Whether the beginning of speech is reported before there is text."""

    @property
    def interim(self) -> bool:
        """Return whether interim results are sent."""
        asked = self.parameters.intermediate_result_enabled
        return self.family.interim if asked is None else asked


def accept(command: RunTask, settings: Settings) -> Task:
    """Return the task that a run-task asks for. Raises ModelNotFound, InvalidParameter."""
    family = models.find(command.model, settings.model_aliases)
    lacking = tuple(sorted(family.lacks & command.parameters.model_fields_set))
    defaults = Parameters()
    unset = {name: getattr(defaults, name) for name in lacking}
    asked = command.parameters.model_copy(update=unset)
    if family.transcribes and not asked.transcription_enabled:
        accepted = "This server transcribes: true is accepted"
        raise invalid(f"{PARAMETERS}.transcription_enabled", False, accepted)
    try:
        special_words = SpecialWords.parse(asked.special_word_filter)
    except ValueError as error:
        raise InvalidParameter(str(error)) from error
    _check(asked.vocabulary)
    silence = asked.max_sentence_silence or asked.max_end_silence or family.max_sentence_silence_ms
    second_pass = asked.second_pass_enabled
    return Task(
        task_id=command.task_id,
        model=command.model,
        family=family,
        format=(asked.format or settings.default_format).lower(),
        sample_rate=asked.sample_rate or settings.default_sample_rate,
        max_sentence_silence_ms=min(max(silence, SHORTEST_SILENCE_MS), LONGEST_SILENCE_MS),
        second_pass=family.second_pass if second_pass is None else second_pass,
        parameters=asked,
        vocabulary_id=asked.vocabulary_id or command.phrase_id,
        hotwords=tuple(asked.vocabulary.items()),
        special_words=special_words,
        context=command.context,
        ignored=lacking + command.ignored,
    )


def _check(vocabulary: dict[str, int]) -> None:
    """Raise InvalidParameter for hotwords that DashScope would refuse."""
    path = f"{PARAMETERS}.vocabulary"
    for word, weight in vocabulary.items():
        try:
            check(word, weight)
        except ValueError as error:
            shown = word if word.isprintable() else "?"
            raise InvalidParameter(
                f"Invalid value of parameter '{path}.{shown}': {error}"
            ) from error
    if (count := list(vocabulary.values()).count(SUPER)) > MOST_SUPER_HOTWORDS:
        raise InvalidParameter(
            f"Invalid value of parameter '{path}': {count} words have the weight {SUPER};"
            f" at most {MOST_SUPER_HOTWORDS} are accepted."
        )
