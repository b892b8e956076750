"""Recognise a data set, several recordings at once, and score each of them."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from asr_client.errors import AsrError
from asr_client.types import Sentence
from asr_server.evaluation.calibration import Prediction, predictions
from asr_server.evaluation.data_sets import DataSet, Utterance
from asr_server.evaluation.scoring import Score, score
from asr_server.recordings.files import RecordingError, open_recording
from asr_server.recordings.recognise import Request, ends_run, recognise


@dataclass(frozen=True, slots=True)
class Scored:
    """A recognised recording."""

    utterance: Utterance
    sentences: tuple[Sentence, ...]
    score: Score
    word_predictions: tuple[Prediction, ...]
    sentence_predictions: tuple[Prediction, ...]
    duration_s: float

    @property
    def hypothesis(self) -> str:
        """Return the text, sentences joined without a space."""
        return "".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """A recording that could not be recognised, and why."""

    utterance: Utterance
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a data set."""

    name: str
    scored: tuple[Scored, ...]
    failed: tuple[Unrecognised, ...]
    left_out: int
    took_s: float
    """From the first recording to the last."""


async def run(
    data_set: DataSet,
    request: Request,
    streams: int,
    *,
    normalise_numbers: bool,
    on_done: Callable[[], None] = lambda: None,
) -> Outcome:
    """Recognise all recordings, `streams` at once; call `on_done` after each.

    Raises AsrError where every recording would fail; a single failure is in the outcome.
    """
    slots = asyncio.Semaphore(streams)

    async def one(utterance: Utterance) -> Scored | Unrecognised:
        async with slots:
            try:
                return await _score(utterance, request, normalise_numbers)
            except (AsrError, RecordingError) as exc:
                if isinstance(exc, AsrError) and ends_run(exc):
                    raise
                return Unrecognised(utterance, str(exc))
            finally:
                on_done()

    began = time.monotonic()
    running = [asyncio.create_task(one(utterance)) for utterance in data_set.utterances]
    try:
        results = await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return Outcome(
        data_set.name,
        tuple(result for result in results if isinstance(result, Scored)),
        tuple(result for result in results if isinstance(result, Unrecognised)),
        data_set.left_out,
        time.monotonic() - began,
    )


async def _score(utterance: Utterance, request: Request, normalise_numbers: bool) -> Scored:
    recording = await asyncio.to_thread(open_recording, utterance.audio)
    sentences = [sentence async for sentence in recognise(recording, request)]
    text = " ".join(sentence.text for sentence in sentences)  # keeps Latin words apart
    scored = score(utterance.text, text, normalise_numbers=normalise_numbers)
    plain = score(utterance.text, text) if normalise_numbers else scored
    words, whole = predictions(sentences, plain)
    return Scored(
        utterance,
        tuple(sentences),
        scored,
        tuple(words),
        tuple(whole),
        recording.duration_s or max(((s.end_ms or 0) / 1000 for s in sentences), default=0.0),
    )
