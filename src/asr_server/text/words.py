"""Group characters into words of 1 to n characters, as DashScope does in a final.

Grouping changes which times a client gets, never the text. So a small lexicon of common words is
enough, and other characters stay single, which clients must expect anyway. A general segmenter
(jieba) would cost 0.8 s at the start and 70 MB.

Rewritten numbers and Latin words come as one unit and stay one word.
"""

from collections.abc import Sequence

from asr_server.text.lexicon import WORDS
from asr_server.text.tokens import Unit, merged

LONGEST = max(map(len, WORDS))


def grouped(units: Sequence[Unit]) -> list[Unit]:
    """Return the units with those of a known word merged; a mark ends a word."""
    size = len(units)
    # Fewest words win; among equals the one with the longer words at its end.
    fewest = [0] * (size + 1)
    length = [1] * (size + 1)  # of the last word of the best grouping that ends here
    for end in range(1, size + 1):
        fewest[end], length[end] = fewest[end - 1] + 1, 1
        text = units[end - 1].text
        if len(text) > 1 or text.isascii():
            continue
        for begin in range(end - 2, max(end - LONGEST, 0) - 1, -1):
            unit = units[begin]
            if unit.mark or len(unit.text) > 1:
                break
            text = unit.text + text
            if text in WORDS and fewest[begin] + 1 <= fewest[end]:
                fewest[end], length[end] = fewest[begin] + 1, end - begin
    return _cut(units, length)


def _cut(units: Sequence[Unit], length: list[int]) -> list[Unit]:
    words: list[Unit] = []
    end = len(units)
    while end:
        part = units[end - length[end] : end]
        words.append(part[0] if len(part) == 1 else merged(part, "".join(u.text for u in part)))
        end -= len(part)
    return words[::-1]
