"""Split a text into number tokens, the alphabet of the rules of inverse text normalization.

Each number becomes one character that stands for its kind, so a rule such as `{HOUR}点{MINUTE}` is
a short regular expression. A number that is approximate (七八, 十几), malformed or ambiguous
becomes `VAGUE`, which no rule rewrites. So do fixed phrases (fixed_phrases.txt) and weekdays.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TypeAlias

from asr_server.text.numerals import DIGITS, FEW, NUMERAL, SCALES, WELL_FORMED, value

# Kinds of tokens: characters of Latin-1, because `re` compiles classes of 汉字 ten times slower.
_TENS = 0x80


def tens(first: int, last: int) -> str:
    """Return a character class of numbers from 10 to 99, spoken with 十."""
    return f"{chr(_TENS + first)}-{chr(_TENS + last)}"


_KINDS = iter(map(chr, range(_TENS + 100, 0x100)))
AS_TOKENS = {ord(digit): next(_KINDS) for digit in DIGITS}
"""The kind of a single digit. In the rules, digits are written as 汉字 and translated."""
BIG, PAIR, ZERO_PAIR, NEAR_PAIR, STRING, SCALED, VAGUE, APART, WEEKDAY, FIXED = (
    next(_KINDS) for _ in range(10)
)
"""Kinds of numbers: 100 and more, spoken with scales; digits one by one: two (九五), two with zero
first (零五), two that may be approximate (七八), three and more; digits with a scale behind a
decimal point (三点[二五亿]); a number that stays as it is; a digit that belongs to the next word
(三百[一]盒, [一]起); a weekday; a fixed phrase."""
ANY_NUMBER = f"零〇幺{FEW}两{tens(10, 99)}{BIG}{PAIR}{ZERO_PAIR}{NEAR_PAIR}{STRING}{SCALED}{VAGUE}"
"""A character class of the tokens at which a rule may begin."""

COUNTED = (
    "个只位名人次条件张本台辆艘架间套座栋层场届期章节页组队批份天年月日周岁秒度元块米斤亩吨克升倍折"
    "级种项家句遍楼号口平晚颗根把双头支枝箱瓶杯碗轮步道题部首篇款类集局圈户所处例桌对副趟股档课票"
    "盒桶束顿罐袋包筐篮盆盘碟壶锅筒管片粒朵棵株匹扇幅卷捆串打扎堂宗笔笼屉餐席枚滴针剂听团夜早季册"
    "车船方里码坛罩份滩摊排列具尊员厅幢方环声样拨壶缸勺盅"
)
"""Characters that are or begin a measure word."""
COUNTED_TWO = frozenset("学期 学年 学分 小时 分钟 公里 公斤 公顷 平方 毫升 立方".split())
NOT_COUNTED = frozenset(
    """
    人民 人家 处理 页面 天然 天气 部分 部门 口气 口味 期间 期待 门口 门票 场地
    元旦 月饼 日本 日常 号召 号码 样子 方法 方便 方面 方式 包邮 包括 包含 团购
    只要 只有 只是 只能 对吧 对于 对不 打折 打包 打车 听说 车费 车票 早上 早就
    晚上 夜里 层次 具体 环境 管理 平时 平均 双方 支付 支持 首付 款项 级别 家里
    度过 秒杀 批发 票价 列车
    """.split()
)
"""Words that begin like a measure word."""

_ONLY_WORDS = "起定样般直共些边旦律致切再向概心同"
_ONE_WORDS = _ONLY_WORDS + "下会点面时路行体家手头来"
"""Characters that form a word with 一; the former are no measure words (二十一路 is no 一路)."""

_FIXED_LINES = files(__package__).joinpath("fixed_phrases.txt").read_text("utf-8").splitlines()
FIXED_PHRASES: dict[str, tuple[str, ...]] = {}
"""By their first character, the longest first."""
for _phrase in sorted(
    (p for line in _FIXED_LINES if line[:1] != "#" for p in line.split()), key=len
):
    FIXED_PHRASES[_phrase[0]] = (_phrase, *FIXED_PHRASES.get(_phrase[0], ()))

_NUMERALS, _SCALES, _COUNTED = frozenset(NUMERAL), frozenset(SCALES), frozenset(COUNTED)
_RUN = re.compile(f"[{NUMERAL}]+")
_NEXT = re.compile(f"[{''.join(FIXED_PHRASES)}{NUMERAL}]|(?:周|星期|礼拜)(?=[一二三四五六])")
_FRACTION = re.compile(f"[{''.join(DIGITS).replace('两', '')}]+万?亿?")
_LUNAR_DAY = re.compile("(?<![民刑行年最当])初$")
_ACCIDENT = re.compile("起(?:重大|严重|交通|刑事|民事)?[事案纠火命抢盗]")
_LATIN1 = re.compile("[\x80-\xff]")
_KILO = frozenset("克米瓦卡赫帕焦伏")
"""Units before which 千 may be a part of the unit."""
_ASCENDING = "一二三四五六七八九"
_LISTS = frozenset("三二一 一二一 五四三二一 一三五 二四六 一三五七 二四六八".split())
"""Counting and weekdays."""
_TEN_TO_99 = {
    f"{ten}十{one}": chr(_TENS + value(f"{ten}十{one}")) for ten in ("", *FEW) for one in ("", *FEW)
}

Token: TypeAlias = tuple[str, int]
"""Kind, and length in the text."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Hold the tokens of a text, one character each, and where each begins in the text."""

    kinds: str
    begins: list[int]
    """Of each token, and the length of the text."""


def tokenise(text: str) -> Tokens:
    """Return the tokens of a text; characters outside numbers stand for themselves."""
    text = _LATIN1.sub("?", text)
    kinds: list[str] = []
    begins: list[int] = []
    position = 0
    while found := _NEXT.search(text, position):
        begin = found.start()
        kinds.append(text[position:begin])
        begins += range(position, begin)
        for kind, size in _tokens(text, begin, found[0]):
            kinds.append(kind)
            begins.append(begin)
            begin += size
        position = begin
    kinds.append(text[position:])
    begins += range(position, len(text) + 1)
    return Tokens("".join(kinds).translate(AS_TOKENS), begins)


def _tokens(text: str, begin: int, found: str) -> list[Token]:
    """Return the tokens from a position on, at which `found` was found."""
    phrases = FIXED_PHRASES.get(found, ())
    if text.startswith(phrases, begin):
        phrase = next(phrase for phrase in phrases if text.startswith(phrase, begin))
        after = text[begin + len(phrase) : begin + len(phrase) + 2]
        if _ends(phrase, after) and not _in_fraction(phrase, text[max(begin - 2, 0) : begin]):
            return [(FIXED, len(phrase))]
    run = _RUN.match(text, begin if found in _NUMERALS else begin + len(found))
    if found in _NUMERALS:
        assert run
        end = run.end()
        return _numerals(run[0], text[max(begin - 2, 0) : begin], text[end : end + 6])
    if run and found in {"周", "星期", "礼拜"}:
        if text[begin - 1 : begin] not in _NUMERALS | {"几"}:  # 两周三次
            return _weekday(len(found), run[0], text[run.end() : run.end() + 1])
        return [(found[0], 1)]
    return [(found[0], 1)]


def _ends(phrase: str, after: str) -> bool:
    """Return whether a phrase that is a number or date is not part of a longer one (三月三十)."""
    if phrase[-1] not in _NUMERALS or phrase[0] not in _NUMERALS:
        return True
    if after[:1] == "一":
        return after[1:] == "家" or after[1:] in _ONLY_WORDS
    return after[:1] not in _NUMERALS | {"日", "号"}


def _in_fraction(phrase: str, before: str) -> bool:
    """Return whether a phrase of digits stands behind a decimal point: 零点[二二八]."""
    return before[1:] == "点" and before[0] in _NUMERALS and _NUMERALS.issuperset(phrase)


def _weekday(size: int, run: str, after: str) -> list[Token]:
    """Return a weekday; its day is one digit, and a date or a time may follow: 周五[十七号]."""
    rest = run[1:]
    if not rest or (after and after in "号日月点时" and WELL_FORMED.fullmatch(rest)):
        return [(WEEKDAY, size + 1)]
    if _SCALES.isdisjoint(run):  # 周一三五
        return [(WEEKDAY, size + len(run))]
    return [(VAGUE, size + len(run))]


def _numerals(run: str, before: str, after: str) -> list[Token]:
    """Return the tokens of all numerals in sequence."""
    left, right = before[-1:], after[:1]
    if left.isdecimal() or right.isdecimal() or right == "几":
        return [(VAGUE, len(run))]
    if left in {"几", "数"} and run[0] in _SCALES:
        return [(VAGUE, len(run))]
    if len(run) == 1 and ((left == "第" and run in FEW) or _LUNAR_DAY.search(before)):
        return [(VAGUE, 1)]
    if run == "一" and right and right in _ONLY_WORDS:
        return [(APART, 1)]
    if left == "点" and before[0] in _NUMERALS and run[-1] == "千" and right in _KILO:
        return [*_numerals(run[:-1], before, "千" + after), ("千", 1)] if run[1:] else [("千", 1)]
    if left == "点" and before[0] in _NUMERALS and _FRACTION.fullmatch(run):
        return [(SCALED, len(run))] if run[-1] in _SCALES else _digits(run, left, after)
    if _SCALES.isdisjoint(run):
        return _digits(run, left, after)
    if run[0] == "零" and left and left.isascii():  # F零十五
        return [("零", 1), *_integer(run[1:], after)]
    return _integer(run, after)


def _digits(run: str, left: str, after: str) -> list[Token]:
    """Return the tokens of digits spoken one by one."""
    size, last, right = len(run), run[-1], after[:1]
    if size == 1:
        return [(run, 1)]
    if last == "两":
        word = left in {"块", "斤"} or not (counted(after) or right == "点")
    else:
        word = left in {"块", "毛"} and counted(after)
        word = word or (last == "一" and right != "" and right in _ONLY_WORDS)
    if word:
        return [*_digits(run[:-1], left, last + right), ("两" if last == "两" else APART, 1)]
    if "两" in run:
        return [(VAGUE, size)]
    near = run in _ASCENDING
    if size == 2:
        if "幺" in run:
            return [(STRING, 2)]
        return [(NEAR_PAIR if near or run == "三五" else ZERO_PAIR if run[0] == "零" else PAIR, 2)]
    listed = (near and size <= 5) or run in _LISTS
    certain = left in {*"号码点初终"} or (left and left.isascii()) or (size == 4 and right == "年")
    return [(VAGUE if listed and not certain else STRING, size)]


def counted(after: str) -> bool:
    """Return whether a text begins with a measure word."""
    return (after[:1] in _COUNTED and after[:2] not in NOT_COUNTED) or after[:2] in COUNTED_TWO


def _integer(run: str, after: str) -> list[Token]:
    """Return the tokens of a number with scales, and of what follows it in the same run."""
    if run[-1] == "千" and after[:1] in _KILO and len(run) > 1 and not WELL_FORMED.fullmatch(run):
        return [*_integer(run[:-1], "千" + after), ("千", 1)]  # 十[千米], but 三千米
    if run in _TEN_TO_99 and run[-2:] != "十一":
        return [(_TEN_TO_99[run], len(run))]
    if len(run) == 1:
        return [(run, 1)]  # 百分之, 百货
    found = WELL_FORMED.match(run)
    if not found:
        return [(VAGUE, len(run))]
    number, rest, right = found[0], run[found.end() :], after[:1]
    if rest == "两":
        return [(_kind(number), len(number)), ("两", 1)]
    if rest:
        word = (rest in FEW and counted(after)) or (rest == "一" and right and right in _ONE_WORDS)
        if word and number[-1] + rest not in _ASCENDING:
            return [(_kind(number), len(number)), (APART, 1)]
        return [(VAGUE, len(run))]
    if number[-1] in FEW and number[-2] in "百千万亿":  # short for tens
        one_word = number[-1] == "一" and right and right in _ONE_WORDS
        if number[-1] == "一" and (one_word or counted(after)) and right not in "块元":
            return [(_kind(number[:-1]), len(number) - 1), (APART, 1)]
        return [(VAGUE if counted(after) or run == "二百五" else BIG, len(number))]
    one_word = number[-2:] == "十一" and right and right in _ONLY_WORDS
    if (one_word and not _ACCIDENT.match(after)) or (number[-1] == "百" and right in {"货", "姓"}):
        return [(VAGUE, len(number))]
    return [(_kind(number), len(number))]


def _kind(number: str) -> str:
    return _TEN_TO_99.get(number, number if len(number) == 1 else BIG)
