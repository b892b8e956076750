"""Place punctuation marks, given the predicted mark after each unit.

A final sentence ends with exactly one of 。？！. An interim text has no mark at its end, because
it would change with every word. No text begins with a mark. Text without 汉字 has Latin marks.
"""

import re
from collections.abc import Sequence

from asr_server.text.numerals import NUMERAL
from asr_server.text.tokens import Token, Unit

MARKS = {mark: mark for mark in "，。？！、；："} | dict(zip(",.?!;:", "，。？！；：", strict=True))
"""The marks a model may predict, and their written form; any other one is dropped."""

_NUMERALS = frozenset(NUMERAL)
ENDS = frozenset("。？！")
LATIN = dict(zip("，。？！、；：", ",.?!,;:", strict=True))

QUESTION_END = re.compile(
    r"(?:吗|(?<![什怎多那这要])么|^.{1,4}(?<![没着在])呢|[对是]吧|(?<!一)[行好对是要去]不|[了过]没"
    r"|过.{1,6}没有)$"
)
"""The end of a question."""

QUESTION_WORD = re.compile(
    r"什么|啥|谁|哪(?![怕知吒])|怎么|怎样|如何|咋|为何|何[时地处人]|凭什么|干嘛|多少|多[久大长远高]"
    r"|真的假的|贵姓"
    # how many; but some: 过几天, 几天前, 没几个人
    r"|(?:星期|周|礼拜|初|第)几|几(?:点|号|岁|次|楼)|[点月号]几$"
    r"|(?<![好十过没这那前后近最了再等么])几(?:年|个|位|块|本|天)(?!月?(?:以?[前后来内]))"
    # yes or no: 知不知道, 有没有
    r"|([^不没])[不没]\1(?<!动不动)(?<!时不时)(?<!人不人)|能否|可否|是否"
    # one or the other: 去还是不去, 是你还是他, 吃米饭还是面条
    r"|(.{1,3})还是[不没]\2|(.)还是.{1,4}\3$|是.+还是."
    r"|[要吃喝买选坐用穿看住走学玩找].{1,4}还是(?![要想会得不没去有])[^吧了]{1,5}$"
)
"""The interrogative of a question."""

NO_QUESTION = re.compile(
    # any, none, some
    r"无论|不管|不论|任何|随便|没.{0,2}(?:什么|啥|几|多[少久大远])|不(?:是什么|怎么)|没怎么"
    r"|什么的|(?:什么|啥|谁|哪[里儿个]?|[怎咋]么?[说做走看想弄写算]?|多少钱?)[都也]"
    r"|多少还|多少有[点些]|什么样的.*[都也]"
    r"|^(?:有|只有|就|还有)?几[个位块本](?!$|[呢啊呀])"
    # the same word twice: 想吃什么就吃什么
    r"|(什么|啥|谁|哪|怎么|多少|几).+\1|([^不没])[不没]\2.*都"
    # indirect
    r"|(?<!知不)知道|告诉|明白|清楚|忘|记得|发现|看看|想想|决定|再看|取决|介绍|了解|说明|怎么说呢"
    r"|(?<![请我想])问[了过]?[我你您他她]|讨论|考虑|研究|判断|确认|检查|关心|纠结"
)
"""With one of these, a question is indirect or no question."""

ENGLISH_QUESTION = re.compile(
    r"(?:what|who|whose|where|when|why|how|which|is|are|am|was|were|do|does|did|can|could|will"
    r"|would|should|shall|may|have|has)\b",
    re.IGNORECASE,
)


MAX_DIGIT_GAP = 3200
"""Samples between two tokens of one spoken number; within it no mark is placed."""


def inside_number(left: Token, right: Token) -> bool:
    """Return whether two tokens are numerals that are spoken without a pause: 一三八，零零."""
    near = right.begin - left.end <= MAX_DIGIT_GAP
    return near and left.piece in _NUMERALS and right.piece in _NUMERALS


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
