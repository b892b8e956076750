"""Write transcripts of recordings as OpenAI's `/v1/audio/transcriptions` does."""

import json
import zlib
from collections.abc import Iterable, Sequence
from functools import reduce
from math import ceil, exp, log
from typing import Any

from asr_client.subtitles import MIN_CAPTION_MS, to_srt, to_vtt
from asr_client.types import Sentence as Caption
from asr_client.types import Word as CaptionWord
from asr_server.protocol.events import Sentence
from asr_server.text.tokens import joined

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
GRANULARITIES = ("segment", "word")
LANGUAGE = "chinese"


def text(sentences: Iterable[Sentence]) -> str:
    """Return the whole transcript."""
    return reduce(joined, (sentence.text for sentence in sentences), "")


def written(
    sentences: Sequence[Sentence], format: str, granularities: Sequence[str], duration_s: float
) -> tuple[str, str]:
    """Return a transcript in one of `FORMATS`, and its media type."""
    match format:
        case "text":
            return text(sentences) + "\n", "text/plain"
        case "srt":
            return to_srt(_captions(sentences), min_ms=MIN_CAPTION_MS), "application/x-subrip"
        case "vtt":
            return to_vtt(_captions(sentences), min_ms=MIN_CAPTION_MS), "text/vtt"
        case "verbose_json":
            return _json(_verbose(sentences, granularities, duration_s)), "application/json"
        case _:
            body = {"text": text(sentences), "usage": _usage(duration_s)}
            return _json(body), "application/json"


def delta(added: str) -> str:
    """Return a server-sent event with further text."""
    return _sse({"type": "transcript.text.delta", "delta": added})


def done(whole: str, duration_s: float) -> str:
    """Return the last server-sent event."""
    return _sse({"type": "transcript.text.done", "text": whole, "usage": _usage(duration_s)})


def failed(error: dict[str, Any]) -> str:
    """Return the server-sent event that ends a stream with an error."""
    return _sse({"error": error})


def _verbose(
    sentences: Sequence[Sentence], granularities: Sequence[str], duration_s: float
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": LANGUAGE,
        "duration": round(duration_s, 3),
        "text": text(sentences),
        "usage": _usage(duration_s),
    }
    if "word" in granularities:
        body["words"] = [
            {
                "word": word.text.strip(),
                "start": word.begin_time / 1000,
                "end": word.end_time / 1000,
            }
            for sentence in sentences
            for word in sentence.words
        ]
    if "segment" in granularities or not granularities:
        body["segments"] = [_segment(number, one) for number, one in enumerate(sentences)]
    return body


def _segment(number: int, sentence: Sentence) -> dict[str, Any]:
    confidences = [max(word.confidence or 0.0, exp(-10)) for word in sentence.words]
    encoded = sentence.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": sentence.begin_time / 1000,
        "end": (sentence.end_time or 0) / 1000,
        "text": sentence.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(sum(map(log, confidences)) / max(1, len(confidences)), 4),
        "compression_ratio": round(len(encoded) / len(zlib.compress(encoded)), 4),
        "no_speech_prob": 0.0,
    }


def _captions(sentences: Iterable[Sentence]) -> list[Caption]:
    captions = []
    for index, one in enumerate(sentences):
        words = tuple(
            CaptionWord(word.begin_time, word.end_time, word.text, word.punctuation)
            for word in one.words
        )
        captions.append(Caption(index, one.begin_time, one.end_time, one.text, words, True))
    return captions


def _usage(duration_s: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": ceil(duration_s)}


def _sse(body: dict[str, Any]) -> str:
    return f"data: {_json(body)}\n\n"


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
