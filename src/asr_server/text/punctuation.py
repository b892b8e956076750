"""Place punctuation marks, given the predicted mark after each unit.

A final sentence ends with exactly one of 。？！. An interim text has no mark at its end, because
it would change with every word. No text begins with a mark. Text without 汉字 has Latin marks.
"""

import re
from collections.abc import Sequence

from asr_server.text.tokens import Unit

MARKS = {mark: mark for mark in "，。？！、；："} | dict(zip(",.?!;:", "，。？！；：", strict=True))
"""The marks a model may predict, and their written form; any other one is dropped."""

ENDS = frozenset("。？！")
LATIN = dict(zip("，。？！、；：", ",.?!,;:", strict=True))

QUESTION_END = re.compile(
    r"(?:吗|(?<![什怎多那这要])么|^.{1,4}(?<![没着在])呢|[对是]吧|对不对|是不是|好不好|行不行)$"
)
"""The end of a question."""

QUESTION_WORD = re.compile(
    r"什么|谁|哪[里儿个些位年天边种家]|在哪|怎么|怎样|如何|为何|干嘛|多少|多久|多大|多长|多远|多高"
    r"|(?<![好十])几(?:点|个|号|岁|次|天|年|月|位|块|本|楼)|([是能会有要好行对可该想去])[不没]\1"
)
"""The interrogative of a question."""

NO_QUESTION = re.compile(
    r"无论|不管|不论|任何|没什么|没有什么|没怎么|不怎么|什么的|什么[都也]|谁[都也]|哪[里儿个][都也]|怎么[都也]"
    r"|多少[都也]|知道|告诉|明白|清楚|忘|记得|发现|看看|想想|决定|取决|介绍|了解|说明|怎么说呢"
)
"""With one of these, a question is indirect or no question."""

ENGLISH_QUESTION = re.compile(
    r"(?:what|who|whose|where|when|why|how|which|is|are|am|was|were|do|does|did|can|could|will"
    r"|would|should|shall|may|have|has)\b",
    re.IGNORECASE,
)


def punctuated(units: Sequence[Unit], *, final: bool) -> list[Unit]:
    """Return the units with the marks of a final or interim text."""
    if not units:
        return []
    marks = [MARKS.get(unit.mark, "") for unit in units]
    if not final:
        marks[-1] = ""
    elif marks[-1] not in ENDS:
        marks[-1] = end_mark(units)
    if all(unit.text.isascii() for unit in units):
        marks = [LATIN.get(mark, "") for mark in marks]
    return [
        unit if unit.mark == mark else unit._replace(mark=mark)
        for unit, mark in zip(units, marks, strict=True)
    ]


def unpunctuated(units: Sequence[Unit]) -> list[Unit]:
    """Return the units without marks."""
    return [unit._replace(mark="") if unit.mark else unit for unit in units]


def end_mark(units: Sequence[Unit]) -> str:
    """Return the end mark of a sentence without a predicted one: ？ for a question, else 。."""
    clause: list[str] = []  # the text since the last end mark
    for unit in reversed(units):
        if clause and MARKS.get(unit.mark, "") in ENDS:
            break
        clause.append(unit.text)
    text = "".join(reversed(clause))
    if text.isascii():
        return "？" if ENGLISH_QUESTION.match(" ".join(reversed(clause))) else "。"
    if QUESTION_END.search(text):
        return "？"
    return "？" if QUESTION_WORD.search(text) and not NO_QUESTION.search(text) else "。"
