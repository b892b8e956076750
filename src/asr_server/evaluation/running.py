"""Recognise a data set, several recordings at once, and score each of them."""

import time
from collections.abc import Callable
from contextlib import aclosing

from asr_server.evaluation.calibration import predictions
from asr_server.evaluation.data_sets import DataSet
from asr_server.evaluation.scoring import score
from asr_server.evaluation.summary import Scored, Summary, Unrecognised, summarise
from asr_server.recordings.manifest import Utterance
from asr_server.recordings.recognise import Request, ends_run
from asr_server.recordings.transcripts import Transcript, transcribe


async def measure(
    data_set: DataSet,
    request: Request,
    streams: int,
    normalise_numbers: bool,
    on_done: Callable[[], None],
) -> Summary:
    """Recognise and score all recordings, `streams` at once; call `on_done` after each.

    Raises AsrError where every recording would fail; a single failure is in the summary.
    """

    def progress(transcript: Transcript, share: float | None) -> None:
        if share is None:
            on_done()

    began = time.monotonic()
    scored: list[Scored] = []
    failed: list[Unrecognised] = []
    utterances = iter(data_set.utterances)
    paths = [utterance.audio for utterance in data_set.utterances]
    async with aclosing(transcribe(paths, request, streams, progress)) as results:
        async for transcript, sentence in results:
            if sentence is not None:
                continue
            utterance = next(utterances)
            if transcript.error is None:
                scored.append(_score(utterance, transcript, normalise_numbers))
            elif ends_run(transcript.error):
                raise transcript.error
            else:
                failed.append(Unrecognised(utterance, str(transcript.error)))
    return summarise(data_set, scored, failed, time.monotonic() - began)


def _score(utterance: Utterance, transcript: Transcript, normalise_numbers: bool) -> Scored:
    sentences = transcript.sentences
    text = " ".join(sentence.text for sentence in sentences)  # keeps Latin words apart
    plain = score(utterance.text, text)
    return Scored(
        utterance,
        sentences,
        score(utterance.text, text, normalise_numbers=True) if normalise_numbers else plain,
        *predictions(sentences, plain),
        transcript.duration_s or max(((s.end_ms or 0) / 1000 for s in sentences), default=0.0),
        transcript.tail_s,
    )
