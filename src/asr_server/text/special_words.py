"""Mask or remove words: the `special_word_filter` of a request.

The form is that of DashScope's Fun-ASR and Paraformer, a JSON object or its text:
`{"filter_with_signed": {"word_list": ["测试"]}, "filter_with_empty": {"word_list": ["开始"]},
"system_reserved_filter": true}`. This server has no reserved list and ignores the last key.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from asr_server.text.tokens import Unit

MASK = "*"
MOST_WORDS = 1000
LONGEST_WORD = 100
"""Characters of a word; a sentence of n characters takes at most n times as many look-ups."""
LONGEST_SHOWN = 40
"""Characters of a refused value that the refusal repeats."""

PARAMETER = "payload.parameters.special_word_filter"
FORM = '{"filter_with_signed":{"word_list":["..."]},"filter_with_empty":{"word_list":["..."]}}'


@dataclass(frozen=True, slots=True)
class SpecialWords:
    """Hold the words to mask, by one `*` per character, and the words to remove."""

    masked: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    _lengths: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Lengths of the words, longest first: the longest word at a position applies."""

    def __post_init__(self) -> None:
        """Collect the lengths."""
        lengths = {len(word) for word in self.masked | self.removed}
        object.__setattr__(self, "_lengths", tuple(sorted(lengths, reverse=True)))

    @classmethod
    def parse(cls, given: object) -> "SpecialWords":
        """Return the words of the request's parameter. Raises ValueError with a reason."""
        if given is None or given == "":
            return cls()
        found = repr(given)[:LONGEST_SHOWN]
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except (ValueError, RecursionError):
                given = None
        if not isinstance(given, dict):
            raise ValueError(f"The parameter '{PARAMETER}' is no JSON object like {FORM}: {found}.")
        masked = _word_list(given, "filter_with_signed")
        removed = _word_list(given, "filter_with_empty")
        if (count := len(masked) + len(removed)) > MOST_WORDS:
            raise ValueError(f"'{PARAMETER}' has {count} words; at most {MOST_WORDS} are accepted.")
        return cls(frozenset(masked), frozenset(removed))

    def __bool__(self) -> bool:
        """Return whether there is any word."""
        return bool(self.masked or self.removed)

    def apply(self, units: Sequence[Unit]) -> list[Unit]:
        """Return the units with the words masked or removed."""
        if not self:
            return list(units)
        text = "".join(unit.text for unit in units)
        shown = list(text)
        for begin, word in self._find(text):
            new = "" if word in self.removed else MASK
            shown[begin : begin + len(word)] = [new] * len(word)
        result: list[Unit] = []
        position = 0
        for unit in units:
            start, position = position, position + len(unit.text)
            new = "".join(shown[start:position])
            if new:
                result.append(unit if new == unit.text else unit._replace(text=new))
            elif result and unit.mark and not result[-1].mark:
                result[-1] = result[-1]._replace(mark=unit.mark)
        return result

    def _find(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the words in a text, from left to right, and where each begins."""
        begin = 0
        while begin < len(text):
            for length in self._lengths:
                word = text[begin : begin + length]
                if word in self.masked or word in self.removed:
                    yield begin, word
                    begin += len(word)
                    break
            else:
                begin += 1


def _word_list(given: dict[str, object], key: str) -> list[str]:
    part = given.get(key) or {}
    words = part.get("word_list") or [] if isinstance(part, dict) else None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"'{PARAMETER}.{key}.word_list' is no list of strings.")
    if (longest := max(map(len, words), default=0)) > LONGEST_WORD:
        raise ValueError(
            f"A word of '{PARAMETER}.{key}' has {longest} characters; at most {LONGEST_WORD} are"
            " accepted."
        )
    return [word for word in words if word]
