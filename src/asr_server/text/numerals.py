"""Define the grammar of spoken Mandarin numbers as regular expressions, and their values.

The expressions match well-formed numbers only and never part of a longer one, so that approximate
numbers (三四十, 十几, 一百二三十) match nothing and stay.
"""

import re

DIGITS = dict(zip("零〇幺一二两三四五六七八九", "0011223456789", strict=True))
SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000}

NUMERAL = "零〇幺一二两三四五六七八九十百千万亿"
"""Every character that can be part of a number."""

FEW = "一二三四五六七八九"
"""1 to 9 inside a number."""

COUNTED = (
    "个只位名人次条件张本台辆艘架间套座栋层场届期章节页组队批份天年月日周岁秒度元块米斤亩吨克升倍折"
    "级种项家句遍楼号口平晚颗根把双头支枝箱瓶杯碗轮步道题部首篇款类集局圈户所处例桌对副趟股档课票"
)
"""First characters of measure words."""

ONE_WORDS = "下起定样般直共会些点边面旦律致切时再向概路行心体家手头同来"
"""Characters that form a word with 一: 一起 and 一定 are no numbers."""

DIGIT = f"[零〇幺{FEW}]"
"""One digit of a string spoken digit by digit."""

LAST_DIGIT = f"(?:(?!一[{ONE_WORDS}])[{FEW}](?![{COUNTED}]))"
"""A digit that closes a short form: 一百二 is 120, but 一百二个 is 一百 and 二个."""

END = (
    f"(?:(?![{NUMERAL}几0-9])|(?<=[百千万亿])(?=[{FEW}两][{COUNTED}{ONE_WORDS}]|零$)"
    f"|(?<=[百千万亿][{FEW}])(?=一(?:[{COUNTED}{ONE_WORDS}]|$)))"
)
"""The end of a number: no numeral follows, or only one that belongs to another word (三千一个月).

At the end of a text the next character is unknown, so a number there matches early.
"""

_ONES = f"[{FEW}两]"
_TENS = f"[{FEW}]?十[{FEW}]?"
_HUNDREDS = f"{_ONES}百(?:零[{FEW}]|{_TENS})?"
_THOUSANDS = f"{_ONES}千(?:零(?:{_TENS}|[{FEW}])|{_HUNDREDS})?"
_BELOW_WAN = f"(?:{_THOUSANDS}|{_HUNDREDS}|{_TENS}|{_ONES})"
_AFTER_WAN = f"(?:零(?:{_THOUSANDS}|{_HUNDREDS}|{_TENS}|[{FEW}])|{_THOUSANDS}|{_HUNDREDS}|{_TENS})"
_BELOW_YI = f"{_BELOW_WAN}(?:万{_AFTER_WAN}?)?"
_WELL_FORMED = re.compile(f"{_BELOW_YI}(?:亿(?:零?{_BELOW_YI})?)?(?:(?<=[百千万亿])[{FEW}])?")

# The rules hold this many times, so it is the short form of the one above: digits and scales in
# any order. Eight parts are enough for any number, and bound the work on a stuttered one.
_PART = f"(?:[{FEW}两][百千万亿]|[{FEW}]?十[{FEW}]?)万?亿?"
_PARTS = f"{_PART}(?:零?{_PART}){{0,7}}(?:零[{FEW}])?"

INTEGER = f"(?:(?:{_PARTS}(?:(?<=[百千万亿]){LAST_DIGIT})?|{_ONES}){END})"
# One way to match each number, so that a rule that repeats them cannot be slow.
STRING = f"(?:(?:{DIGIT}{{2,}}|[零〇幺]){END})"
# 三点五个人 may be "at three, five people"; 三点五个小时 may not.
DECIMAL = (
    f"(?:(?:{_PARTS}|[{''.join(DIGITS)}]+)点(?:(?!一[{ONE_WORDS}]){DIGIT})+[万亿]?{END}"
    "(?!点(?!$)|[位名]|个(?!小时|小?$|百分点|亿|点|月|球)))"
)
NUMBER = f"(?:{DECIMAL}|{INTEGER}|{STRING})"


def written(spoken: str) -> str:
    """Return a spoken number in digits: 三点一四 -> 3.14, 一千三百五十万 -> 1350万, 零零七 -> 007.

    Raises ValueError if the parts form no number (三十二百).
    """
    whole, _, fraction = spoken.partition("点")
    if fraction:
        scale = fraction[-1] if fraction[-1] in SCALES else ""
        return f"{written(whole)}.{written(fraction.removesuffix(scale))}{scale}"
    if SCALES.keys().isdisjoint(whole):
        return "".join(DIGITS[char] for char in whole)
    if not _WELL_FORMED.fullmatch(whole):
        raise ValueError(f"not a number: {whole}")
    return _printed(whole)


def _printed(whole: str) -> str:
    """万 and 亿 stay where they end a number, and 亿 within it: 1350万, 53200, 14亿4349万7378."""
    high, yi, low = whole.rpartition("亿")
    if yi and len(low) > 1 and low[0] != "零":
        wan, scale, rest = low.partition("万")
        if len(rest) > 1 and rest[0] != "零":
            return f"{_printed(high)}亿{value(wan)}{scale}{value(rest)}"
        return f"{_printed(high)}亿{_printed(low)}"
    number = value(whole)
    if number % 10**4:
        return str(number)
    if number % 10**12 == 0:
        return f"{number // 10**12}万亿"
    yis, wans = divmod(number // 10**4, 10**4)
    return (f"{yis}亿" if yis else "") + (f"{wans}万" if wans else "")


def value(spoken: str) -> int:
    """Return the value of a spoken integer with scales: 一百二 -> 120, 一万零五 -> 10005."""
    total = section = digit = 0
    scale, after_zero = 1, False  # of the last scale said, for the short form
    for char in spoken:
        if char in DIGITS:
            digit = int(DIGITS[char])
            after_zero = after_zero or digit == 0
            continue
        scale, after_zero = SCALES[char], False
        if scale < 10_000:
            section += (digit or 1) * scale
        elif scale == 10_000:
            total, section = total + (section + digit) * scale, 0
        else:
            total, section = (total + section + digit) * scale, 0
        digit = 0
    short = scale // 10 if scale > 10 and not after_zero else 1
    return total + section + digit * short
