"""Spoken Mandarin numbers: which characters form one, and its value."""

import re

DIGITS = dict(zip("零〇幺一二两三四五六七八九", "0011223456789", strict=True))
SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000}

NUMERAL = "零〇幺一二两三四五六七八九十百千万亿"
"""Every character that can be part of a number."""

FEW = "一二三四五六七八九"
"""1 to 9 inside a number."""

_ONES = f"[{FEW}两]"
_TENS = f"[{FEW}]?十[{FEW}]?"
_HUNDREDS = f"{_ONES}百(?:零[{FEW}]|{_TENS})?"
_THOUSANDS = f"{_ONES}千(?:零(?:{_TENS}|[{FEW}])|{_HUNDREDS})?"
_BELOW_WAN = f"(?:{_THOUSANDS}|{_HUNDREDS}|{_TENS}|{_ONES})"
_AFTER_WAN = f"(?:零(?:{_THOUSANDS}|{_HUNDREDS}|{_TENS}|[{FEW}])|{_THOUSANDS}|{_HUNDREDS}|{_TENS})"
_BELOW_YI = f"{_BELOW_WAN}(?:万{_AFTER_WAN}?)?"
WELL_FORMED = re.compile(f"{_BELOW_YI}(?:亿(?:零?{_BELOW_YI})?)?(?:(?<=[百千万亿])[{FEW}])?")
"""An integer with scales or of one digit; the last digit may be short for tens (一百二)."""


def written(spoken: str) -> str:
    """Return a spoken number in digits: 三点一四 -> 3.14, 一千三百五十万 -> 1350万, 零零七 -> 007.

    Raises ValueError if the parts form no number (三十二百).
    """
    whole, _, fraction = spoken.partition("点")
    if fraction:
        digits = fraction.rstrip("万亿")
        return f"{written(whole)}.{written(digits)}{fraction[len(digits) :]}"
    if SCALES.keys().isdisjoint(whole):
        return "".join(DIGITS[char] for char in whole)
    if not WELL_FORMED.fullmatch(whole):
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
