"""Turn a run-task into a task: every default filled in, every rule checked."""

from dataclasses import dataclass

from asr_server.errors import InvalidParameter
from asr_server.protocol import models
from asr_server.protocol.commands import Parameters, RunTask
from asr_server.protocol.models import Family
from asr_server.settings import Settings
from asr_server.text.hotwords import check
from asr_server.text.special_words import SpecialWords

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
    hotwords: tuple[tuple[str, int], ...]
    """Words and weights that came with the task itself."""
    special_words: SpecialWords


def accept(command: RunTask, settings: Settings) -> Task:
    """Return the task that a run-task asks for. Raises ModelNotFound, InvalidParameter."""
    family = models.find(command.model, settings.model_aliases)
    asked = command.parameters
    if family.transcribes and not asked.transcription_enabled:
        raise InvalidParameter("This server transcribes; transcription_enabled cannot be false.")
    try:
        special_words = SpecialWords.parse(asked.special_word_filter)
        for word, weight in asked.vocabulary.items():
            check(word, weight)
    except ValueError as error:
        raise InvalidParameter(str(error)) from error
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
    )
