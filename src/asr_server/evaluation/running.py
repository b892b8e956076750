"""Recognises a data set, several recordings at once, and scores every one of them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asr_server.evaluation.calibration import Judged, judge
from asr_server.evaluation.data_sets import DataSet, Utterance
from asr_server.evaluation.scoring import Score, score
from asr_server.protocol.events import Sentence
from asr_server.recordings.client import Connect, RecognitionError, Request, Unreachable, recognise
from asr_server.recordings.files import RecordingError, open_recording


@dataclass(frozen=True, slots=True)
class Scored:
    """A recording that was recognised."""

    utterance: Utterance
    sentences: tuple[Sentence, ...]
    score: Score
    words: tuple[Judged, ...]
    whole: tuple[Judged, ...]
    """Its sentences' confidences."""
    duration_s: float

    @property
    def heard(self) -> str:
        """The text, sentences without anything between them."""
        return "".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """A recording that was not, and why."""

    utterance: Utterance
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a data set."""

    name: str
    scored: tuple[Scored, ...]
    failed: tuple[Unrecognised, ...]
    left_out: int
    took_s: float
    """From the first recording to the last."""


async def run(
    data_set: DataSet,
    connect: Connect,
    request: Request,
    streams: int,
    *,
    normalise_numbers: bool,
    done: Callable[[], None] = lambda: None,
) -> Outcome:
    """Recognise everything, `streams` recordings at once; `done` is called after each.

    Raises Unreachable; what goes wrong with a single recording is in the outcome.
    """
    places = asyncio.Semaphore(streams)

    async def one(utterance: Utterance) -> Scored | Unrecognised:
        async with places:
            try:
                return await _recognised(utterance, connect, request, normalise_numbers)
            except Unreachable:
                raise
            except (RecognitionError, RecordingError) as exc:
                return Unrecognised(utterance, str(exc))
            finally:
                done()

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


async def _recognised(
    utterance: Utterance, connect: Connect, request: Request, normalise_numbers: bool
) -> Scored:
    recording = await asyncio.to_thread(open_recording, utterance.audio)
    sentences = [sentence async for sentence in recognise(connect, recording, request)]
    scored = score(utterance.text, _text(sentences), normalise_numbers=normalise_numbers)
    as_heard = scored if not normalise_numbers else score(utterance.text, _text(sentences))
    words, whole = judge(sentences, as_heard)
    return Scored(
        utterance,
        tuple(sentences),
        scored,
        tuple(words),
        tuple(whole),
        recording.duration_s or max(((s.end_time or 0) / 1000 for s in sentences), default=0.0),
    )


def _text(sentences: Sequence[Sentence]) -> str:
    """One after the other; a space keeps Latin words of two sentences apart."""
    return " ".join(sentence.text for sentence in sentences)
