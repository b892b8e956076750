"""Sentences as subtitles, text and JSON.

A long sentence is cut between words, by preference after a mark or at a pause, into pieces of
similar length: the cheapest cut of all words, by dynamic programming.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from html import escape
from itertools import pairwise, zip_longest
from unicodedata import east_asian_width

from asr_client.types import Caption, Sentence, Word

MAX_CHARS = 24
"""汉字 in one subtitle; two Latin letters count as one."""
MIN_CAPTION_MS = 1000
"""The shortest time a subtitle should be shown; `min_ms` takes it."""
PAUSE_MS = 300
"""A gap between words that is audible as a pause."""
PAUSE_MARKS = frozenset("，。！？；：、,.!?;:")
CUT_COST, CUT_COST_AT_PAUSE, CUT_COST_AFTER_MARK = 1.0, 0.4, 0.1
"""An empty line costs 1, a full one nothing."""


def captions(
    sentences: Iterable[Sentence], max_chars: int = MAX_CHARS, min_ms: int = 0
) -> Iterator[Caption]:
    """Yield captions no longer than `max_chars`, never two at once, none without a duration.

    A caption shorter than `min_ms` is extended up to `min_ms` or to the next caption.
    """
    pieces = [caption for sentence in sentences for caption in _pieces(sentence, max_chars)]
    for caption, following in zip_longest(pieces, pieces[1:]):
        end = max(caption.end_ms, caption.begin_ms + min_ms)
        if following is not None:
            end = max(min(end, following.begin_ms), caption.end_ms)
        yield replace(caption, end_ms=end)


def _pieces(sentence: Sentence, max_chars: int) -> Iterator[Caption]:
    begin, words = sentence.begin_ms, sentence.words
    end = max(begin + 1, sentence.end_ms or 0)
    text = sentence.text.strip()
    if not text:
        return
    if text_width(text) <= max_chars or not words:
        yield Caption(begin, end, text)
        return
    for first, last in pairwise(_cuts(words, max_chars)):
        part = words[first:last]
        yield Caption(
            begin if first == 0 else part[0].begin_ms,
            end if last == len(words) else part[-1].end_ms,
            "".join(word.text + word.punctuation for word in part).strip(),
        )


def _cuts(words: Sequence[Word], max_chars: int) -> list[int]:
    """Return the indices where pieces begin, and the end."""
    widths = [text_width(word.text + word.punctuation) for word in words]
    cheapest = [0.0] + [float("inf")] * len(words)
    previous = [0] * (len(words) + 1)
    for end in range(1, len(words) + 1):
        cut = _cut_cost(words, end)
        filled = 0.0
        for begin in range(end - 1, -1, -1):
            filled += widths[begin]
            if filled > max_chars and begin < end - 1:  # a word that is too wide stands alone
                break
            slack = max(0.0, 1 - filled / max_chars)
            cost = cheapest[begin] + slack * slack + cut
            if cost < cheapest[end]:
                cheapest[end], previous[end] = cost, begin
    edges = [len(words)]
    while edges[-1]:
        edges.append(previous[edges[-1]])
    return edges[::-1]


def _cut_cost(words: Sequence[Word], end: int) -> float:
    """Return the cost of ending a piece before the word at `end`."""
    if end == len(words):
        return 0.0
    if words[end - 1].punctuation[-1:] in PAUSE_MARKS:
        return CUT_COST_AFTER_MARK
    gap = words[end].begin_ms - words[end - 1].end_ms
    return CUT_COST_AT_PAUSE if gap >= PAUSE_MS else CUT_COST


def text_width(text: str) -> float:
    """Return the width of a text in 汉字."""
    return sum(1.0 if east_asian_width(char) in "WF" else 0.5 for char in text)


def to_txt(sentences: Iterable[Sentence]) -> str:
    """Return one sentence a line."""
    return "".join(f"{sentence.text}\n" for sentence in sentences)


def to_srt(sentences: Iterable[Sentence], max_chars: int = MAX_CHARS, min_ms: int = 0) -> str:
    """Return SubRip subtitles."""
    blocks = (
        f"{number}\n{clock(c.begin_ms, ',')} --> {clock(c.end_ms, ',')}\n{c.text}\n"
        for number, c in enumerate(captions(sentences, max_chars, min_ms), 1)
    )
    return "\n".join(blocks)


def to_vtt(sentences: Iterable[Sentence], max_chars: int = MAX_CHARS, min_ms: int = 0) -> str:
    """Return WebVTT subtitles, the format of a browser's <track>."""
    blocks = (
        f"{clock(c.begin_ms)} --> {clock(c.end_ms)}\n{escape(c.text, quote=False)}\n"
        for c in captions(sentences, max_chars, min_ms)
    )
    return "WEBVTT\n\n" + "\n".join(blocks)


def to_json(sentences: Iterable[Sentence]) -> str:
    """Return all fields of the sentences, words and times included."""
    return json.dumps([asdict(s) for s in sentences], ensure_ascii=False, indent=2) + "\n"


def clock(ms: int, mark: str = ".") -> str:
    """Return a time as 00:00:00.000."""
    seconds, ms = divmod(max(0, ms), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{ms:03}"
