"""Mask or remove words: the `special_word_filter` of a request.

The form is that of DashScope's Fun-ASR and Paraformer, a JSON object or its text:
`{"filter_with_signed": {"word_list": ["测试"]}, "filter_with_empty": {"word_list": ["开始"]},
"system_reserved_filter": true}`. This server has no reserved list and ignores the last key.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from asr_server.text.tokens import Unit

MASK = "*"


@dataclass(frozen=True, slots=True)
class SpecialWords:
    """Hold the words to mask, by one `*` per character, and the words to remove."""

    masked: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    _any: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the pattern, longest words first: the longest word at a position applies."""
        words = sorted(self.masked | self.removed, key=lambda word: (-len(word), word))
        pattern = re.compile("|".join(map(re.escape, words)))
        object.__setattr__(self, "_any", pattern)

    @classmethod
    def parse(cls, given: object) -> "SpecialWords":
        """Return the words of the request's parameter. Raises ValueError with a reason."""
        if given is None or given == "":
            return cls()
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except RecursionError as exc:
                raise ValueError("special_word_filter is nested too deeply") from exc
        if not isinstance(given, dict):
            raise ValueError("special_word_filter is not a JSON object")
        return cls(_word_list(given, "filter_with_signed"), _word_list(given, "filter_with_empty"))

    def __bool__(self) -> bool:
        """Return whether there is any word."""
        return bool(self.masked or self.removed)

    def apply(self, units: Sequence[Unit]) -> list[Unit]:
        """Return the units with the words masked or removed."""
        if not self:
            return list(units)
        text = "".join(unit.text for unit in units)
        shown = list(text)
        for found in self._any.finditer(text):
            new = "" if found[0] in self.removed else MASK
            shown[found.start() : found.end()] = [new] * len(found[0])
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


def _word_list(given: dict[str, object], key: str) -> frozenset[str]:
    part = given.get(key) or {}
    words = part.get("word_list") or [] if isinstance(part, dict) else None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"special_word_filter.{key}.word_list is not a list of strings")
    return frozenset(word for word in words if word)
