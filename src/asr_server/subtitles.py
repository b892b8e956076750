"""Sentences as subtitles: pieces short enough to read, and the two file formats players know.

A long sentence is cut between words, by preference behind a mark or at a pause, into pieces of
like length. No piece is shown for less than a second where there is room behind it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from unicodedata import east_asian_width

from asr_server.protocol.events import Sentence, Word

MAX_WIDTH = 24
"""汉字 in one line; two Latin letters are as wide as one."""
SHORTEST_MS = 1000
PAUSE_MS = 300
"""A gap between words that is heard as one."""

MARKS = "，。！？；：、,.!?;:"
COST_ANYWHERE, COST_AT_PAUSE, COST_BEHIND_MARK = 1.0, 0.4, 0.1
"""What a cut costs; an empty line costs 1, a full one nothing."""


@dataclass(frozen=True, slots=True)
class Caption:
    """What is on the screen at a time."""

    begin_ms: int
    end_ms: int
    text: str


def captions(sentences: Iterable[Sentence], max_width: int = MAX_WIDTH) -> list[Caption]:
    """One after the other, never two at once, none without a duration."""
    cut = [caption for sentence in sentences for caption in _pieces(sentence, max_width)]
    return [_lasting(one, after) for one, after in zip_longest(cut, cut[1:])]


def _lasting(caption: Caption, after: Caption | None) -> Caption:
    end = max(caption.end_ms, caption.begin_ms + SHORTEST_MS)
    if after is not None:
        end = max(min(end, after.begin_ms), caption.end_ms)
    return replace(caption, end_ms=end)


def _pieces(sentence: Sentence, max_width: int) -> Iterator[Caption]:
    end = sentence.begin_time if sentence.end_time is None else sentence.end_time
    text = sentence.text.strip()
    if not text:
        return
    if width(text) <= max_width or not sentence.words:
        yield Caption(sentence.begin_time, max(end, sentence.begin_time + 1), text)
        return
    edges = _cuts(sentence.words, max_width)
    for first, last in pairwise(edges):
        part = sentence.words[first:last]
        yield Caption(
            sentence.begin_time if first == 0 else part[0].begin_time,
            end if last == len(sentence.words) else part[-1].end_time,
            "".join(word.text + word.punctuation for word in part).strip(),
        )


def _cuts(words: Sequence[Word], max_width: int) -> list[int]:
    """Where pieces begin, and the end: the cheapest way to cut all words."""
    widths = [width(word.text + word.punctuation) for word in words]
    cheapest = [0.0] + [float("inf")] * len(words)
    before = [0] * (len(words) + 1)
    for end in range(1, len(words) + 1):
        cut = _cut_cost(words, end)
        filled = 0.0
        for begin in range(end - 1, -1, -1):
            filled += widths[begin]
            if filled > max_width and begin < end - 1:  # one word may be too wide, and stands alone
                break
            slack = max(0.0, 1 - filled / max_width)
            cost = cheapest[begin] + slack * slack + cut
            if cost < cheapest[end]:
                cheapest[end], before[end] = cost, begin
    edges = [len(words)]
    while edges[-1]:
        edges.append(before[edges[-1]])
    return edges[::-1]


def _cut_cost(words: Sequence[Word], end: int) -> float:
    """Of ending a piece before the word at `end`."""
    if end == len(words):
        return 0.0
    if words[end - 1].punctuation[-1:] in tuple(MARKS):
        return COST_BEHIND_MARK
    gap = words[end].begin_time - words[end - 1].end_time
    return COST_AT_PAUSE if gap >= PAUSE_MS else COST_ANYWHERE


def width(text: str) -> float:
    """How wide a text is, in 汉字."""
    return sum(1.0 if east_asian_width(char) in "WF" else 0.5 for char in text)


def to_srt(sentences: Iterable[Sentence]) -> str:
    """SubRip."""
    return "\n".join(
        f"{number}\n{clock(c.begin_ms, ',')} --> {clock(c.end_ms, ',')}\n{c.text}\n"
        for number, c in enumerate(captions(sentences), 1)
    )


def to_vtt(sentences: Iterable[Sentence]) -> str:
    """WebVTT, as a browser's <track> wants it."""
    return "\n".join(
        [
            "WEBVTT\n",
            *(
                f"{clock(c.begin_ms, '.')} --> {clock(c.end_ms, '.')}\n{_escaped(c.text)}\n"
                for c in captions(sentences)
            ),
        ]
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def clock(ms: int, mark: str = ".") -> str:
    """00:00:00.000"""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{ms:03}"
