"""Define the rules of inverse text normalization over the tokens of number_tokens.py.

The order of the rules matters: at a position of the text the first rule that matches applies.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from asr_server.text.number_tokens import (
    BIG,
    COUNTED,
    FIXED,
    NEAR_PAIR,
    NOT_COUNTED,
    PAIR,
    SCALED,
    STRING,
    VAGUE,
    WEEKDAY,
    ZERO_PAIR,
    tens,
)
from asr_server.text.numerals import FEW, written

MEASURES = """
    公里 千米 分米 厘米 毫米 微米 纳米 英里 海里 英尺 英寸 米 光年
    平方米 平方公里 平方厘米 平米 平方 立方米 立方厘米 立方 公顷 亩
    公分 公斤 千克 毫克 微克 克 斤 吨 克拉 盎司 毫升 升 加仑
    小时 分钟 秒钟 秒 毫秒 岁 摄氏度 华氏度
    千瓦时 千瓦 瓦 伏特 毫安 安培 赫兹 千赫 兆赫 分贝 像素 字节 比特 马力 大卡 千卡 焦耳 牛顿
    元 美元 欧元 日元 港元 港币 英镑 韩元 卢布 块钱 毛钱 角钱 分钱
    倍 折 号 楼 单元 个百分点
"""
"""Units with a symbol or a price: before them even a single number is written as a digit."""


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


MEASURE = f"(?:{_any_of(MEASURES.split())})"
COUNTS = f"(?:(?!{_any_of(NOT_COUNTED)})[{COUNTED}]|{MEASURE})"

# Character classes (in brackets where used), then forms of numbers.
TEN_TO_99 = tens(10, 99)
NUMBERS = f"零〇幺{FEW}两{TEN_TO_99}{BIG}{PAIR}{ZERO_PAIR}{STRING}"
ANY = f"[{NUMBERS}{NEAR_PAIR}{SCALED}{VAGUE}]"
ONE = f"[{FEW}两]"
TWO_TO_NINE = f"[{FEW[1:]}]"
LARGE = f"[{TEN_TO_99}{BIG}]"
"""10 and more."""
INTEGER = f"[{FEW}两{TEN_TO_99}{BIG}]"
DIGIT = f"[零〇幺{FEW}]"
DIGITS = f"[{PAIR}{ZERO_PAIR}{STRING}]"
"""Two digits and more, one by one."""
LAST = f"(?:[{FEW}](?!{COUNTS}))"
"""A digit of the next smaller unit, which is not named: 三块[五]."""
LAST_TWO = f"(?:[{FEW}{PAIR}{ZERO_PAIR}{NEAR_PAIR}](?!{COUNTS}))"
# 三点五个人 may be "at three, five people"; 三点五个小时 may not.
DECIMAL = (
    f"(?:[零〇{FEW}两{TEN_TO_99}{BIG}{PAIR}{STRING}]"
    f"点[零〇幺{FEW}{PAIR}{ZERO_PAIR}{NEAR_PAIR}{STRING}{SCALED}]"
    "(?!点(?!$)|[位名]|个(?!小时|小?$|百分点|亿|点|月|球)))"
)
NUMBER = f"(?:{DECIMAL}|[{NUMBERS}](?!点{VAGUE}))"
NOT_ALONE = f"(?![{tens(10, 11)}](?!{COUNTS}|[多余]))"
"""十 and 十一 have other meanings too (十分, 十一 the holiday), so a measure word must follow."""
HOUR = f"[零{FEW}两{tens(10, 24)}]"
MINUTE = f"[{tens(10, 59)}]"
MONTH = f"[{FEW}{tens(10, 12)}]"
DAY = f"[{FEW}{tens(10, 31)}]"
NO_MORE = f"(?!{ANY}|几)"

LINK = "(?:点|[百千万]?分之|比|[到至]|又|块|毛)"
"""What joins two parts of one number, or two numbers: neither is rewritten alone."""
BEFORE_NUMBER = "(?:[百千]分之|零下|负)?"

IN_THE_DAY = (
    f"(?:(?<=[午晨夜号日{WEEKDAY}])|(?<=晚上)|(?!一)(?:(?<=[早晚])|(?<=早上)|(?<=[今明后昨每]天)))"
)
"""A part of the day precedes, so an hour is likely; 今天一点 needs further evidence."""
NOT_AT_ALL = "(?![都也儿些没不点])"
"""一点都不 is not an hour."""
NOT_POINTS = "(?<![有说讲提下这那谈调意分第出])(?<![说讲提谈]了)"
NOT_OF_POINTS = (
    "(?!几|建议|意见|要求|原因|理由|问题|内容|体会|看法|说明|启示|感受|感想|共识|声明|希望|好处|不足"
    "|区别|变化|式|水|一线|论)"
)
"""三点 before or after these words is three points, not an hour."""
_AMOUNTS, _ARE = "率值数价比分本额涨跌升降A-Za-z", "是为到至达约于了在"
A_RATE = f"(?:(?<=[{_AMOUNTS}])|(?<=[{_AMOUNTS}][{_ARE}])|(?<=[{_AMOUNTS}][{_ARE}][{_ARE}]))"
"""汇率七点零五 is a decimal; 七点零五 alone is a time."""

Span: TypeAlias = tuple[int, int, str]
"""Begin and end in the spoken text, and the written form."""

ARITHMETIC = {"加": "+", "减": "-", "乘": "×", "乘以": "×", "除以": "÷", "等于": "="}
KEPT = "{kept}"


@dataclass(frozen=True, slots=True)
class Rule:
    """Describe one spoken form of numbers and its written form."""

    name: str
    pattern: str
    form: str | dict[str, str] = ""
    """Of the whole match: a form filled with its numbers, the signs that replace the words between
    them, or `KEPT`. Without one every number is rewritten in place; the text between stays."""

    def spans(self, whole: tuple[int, int, str], numbers: list[tuple[int, int, str]]) -> list[Span]:
        """Return the rewrites of a match with its numbers; raises as `written` does."""
        begin, end, text = whole
        if self.form == KEPT:
            return []
        if isinstance(self.form, dict):
            parts = re.split(f"({_any_of(self.form)})", text)
            return [(begin, end, "".join(self.form.get(p) or written(p) for p in parts))]
        if self.form:
            return [(begin, end, self.form.format(*(written(spoken) for *_, spoken in numbers)))]
        return [(first, last, written(spoken)) for first, last, spoken in numbers]


RULES = (
    # never half of a number: a part that is vague keeps the whole
    Rule("vague_first", f"{BEFORE_NUMBER}[{VAGUE}{NEAR_PAIR}](?:{LINK}{ANY})+", KEPT),
    Rule(
        "vague_last",
        f"{BEFORE_NUMBER}(?:{ANY}{LINK})+(?:{VAGUE}|(?<=[之到至比]){NEAR_PAIR}(?!年))",
        KEPT,
    ),
    Rule("vague_decimal", f"{BEFORE_NUMBER}{INTEGER}点几", KEPT),
    Rule(
        "vague_pair",
        f"[百千]分之{ONE}两|{VAGUE}几{ANY}|[{tens(10, 10)}](?P<unit>[{COUNTED}])(?:八(?P=unit)|半)",
        KEPT,
    ),
    Rule("vague_part", f"千分之{NUMBER}(?={MEASURE})|{NUMBER}块{ZERO_PAIR}毛|百分{LARGE}", KEPT),
    Rule("percent_twice", f"[百千]分之(?:[百千]分之{NUMBER}|{ANY}分之{ANY})", KEPT),
    Rule("fraction_of_decimal", f"{INTEGER}分之{DECIMAL}", KEPT),
    Rule("vague_minutes", f"{HOUR}点[{NEAR_PAIR}](?=分)", KEPT),
    Rule("short_thousand", f"{BIG}{ONE}块{ONE}", KEPT),
    # parts of a whole
    Rule("percent_range", f"百分之({NUMBER})[到至]({NUMBER})(?!{COUNTS})", "{}%到{}%"),
    Rule("percent_below", f"(?:负百分之|百分之负)({NUMBER})", "-{}%"),
    Rule("percent", f"百分之({NUMBER})", "{}%"),
    Rule("percent_all", f"百分之百{NO_MORE}", "100%"),
    Rule("permille", f"千分之({NUMBER})", "{}‰"),
    Rule("mixed_fraction", f"({INTEGER})又({INTEGER})分之({INTEGER})", "{0}又{2}/{1}"),
    Rule("fraction_below", f"负({INTEGER})分之({INTEGER})", "-{1}/{0}"),
    Rule("fraction", f"({INTEGER})分之({INTEGER})", "{1}/{0}"),
    # numbers with signs and points
    Rule(
        "equation",
        f"{NUMBER}(?:(?:加|减|乘以?|除以){NUMBER}){{1,4}}等于{NUMBER}",
        ARITHMETIC,
    ),
    Rule("times_percent", f"({NUMBER})乘以百分之({NUMBER})", "{}乘以{}%"),
    Rule("product", f"{NUMBER}(?:乘以?{NUMBER}){{1,4}}", ARITHMETIC),
    Rule("ratio", f"{NUMBER}(?:比{NUMBER}){{1,4}}(?![大小多少高低好强])", {"比": ":"}),
    Rule(
        "dotted", f"(?:{DIGIT}|{DIGITS})(?:点(?:{DIGIT}|{DIGITS})){{2,3}}(?!点(?!$))", {"点": "."}
    ),
    Rule("below_zero", f"零下({NUMBER})(?![到至]{LARGE})", "-{}"),
    Rule(
        "negative",
        f"(?<![正胜抱背身担自欺肩辜{NUMBERS}])负({DECIMAL}|{LARGE}|{ONE}(?=[楼层度]|摄氏度))",
        "-{}",
    ),
    Rule("latin_version", f"(?<=[A-Za-z])({ONE})点([{TEN_TO_99}])(?!分)", "{}.{}"),
    # clock and calendar
    Rule("clock_range", f"({HOUR})点({MINUTE})?[到至]({HOUR})点(?!{DIGIT}|{MEASURE})"),
    Rule("clock_before", f"(?<=差)([{FEW}{tens(10, 59)}])分({HOUR})点"),
    Rule(
        "clock_minutes",
        f"({HOUR})[点时]({MINUTE}|{ZERO_PAIR}(?=分))(?=分(?!钟|之)|(?![几多]|{ANY}|{COUNTS}))",
    ),
    Rule(
        "clock_in_the_day",
        f"{IN_THE_DAY}({HOUR})点{NOT_AT_ALL}"
        f"(?:([{PAIR}{ZERO_PAIR}{NEAR_PAIR}]|[{FEW}](?=分)))?(?!{DIGIT}|{MEASURE})",
    ),
    Rule(
        "clock_minutes_below_ten",
        f"(?!{A_RATE}|(?<=[至达约于报为])|零)({HOUR})点({ZERO_PAIR})(?!版|[A-Za-z]|{COUNTS})",
    ),
    Rule("rate_or_clock", f"(?!{A_RATE})(?<=[至达约于报为]){HOUR}点{ZERO_PAIR}(?!{COUNTS})", KEPT),
    Rule("clock_half", f"({HOUR})点(?=半|[一三]刻|钟|整)"),
    Rule("year_of_two_digits", f"([{PAIR}{ZERO_PAIR}])年(?!级)"),
    Rule("year_before_month", f"([{PAIR}{ZERO_PAIR}{NEAR_PAIR}])年(?={MONTH}月)"),
    Rule("born_after", f"([{PAIR}{ZERO_PAIR}])后"),
    Rule(
        "month_and_day",
        f"(?<![个几数半每])({MONTH})月(?!初?[{VAGUE}{FIXED}])"
        f"(?:份|({DAY})(?:[日号]|(?!{COUNTS})))?",
    ),
    Rule("within", f"(?<![这那头])([{FEW[1:]}两])(?=(?:天|日|年|周|个月|个工作日)[之以]?内)"),
    # money and measures that go on after their unit
    Rule("yuan", f"({NUMBER})元([{FEW}])[角毛](?:([{FEW}])分)?"),
    Rule("kuai_mao", f"({NUMBER})块({ONE})毛(?:({LAST})分?)?"),
    Rule("kuai", f"({NUMBER})块({LAST})(?!折)"),
    Rule("kuai_half", f"({TWO_TO_NINE}|两|{LARGE})块(?=半)"),
    Rule("mao", f"({ONE})毛({LAST})|({ONE})角([{FEW}])(?=分)"),
    Rule("jin_liang", f"({NUMBER})斤({ONE})两"),
    Rule("metres", f"({NUMBER})米({LAST_TWO})"),
    Rule("degrees", f"({NUMBER})度({LAST})"),
    Rule("minutes_seconds", f"({INTEGER})分([{FEW}{TEN_TO_99}{ZERO_PAIR}])秒({LAST_TWO})?"),
    Rule("seconds", f"({INTEGER})秒({LAST_TWO})"),
    Rule("hours_minutes", f"({NUMBER})小时([{FEW}{TEN_TO_99}{ZERO_PAIR}])分"),
    Rule("discount", f"({PAIR})折"),
    # beside Latin letters: model names, units, plates
    Rule("latin_zero", f"(?<=[A-Za-z])(零)(?:([{TEN_TO_99}])|(?=[A-Z]))"),
    Rule("latin_teens", f"(?<=[A-Za-z])([{tens(11, 99)}])(?!点{DIGIT})"),
    Rule("latin_code", f"(?<=[A-Z][{FEW}][A-Z])({ONE})"),
    Rule("after_latin", f"(?<=[A-Za-z])({DIGITS}|{NEAR_PAIR}(?=[A-Z]))"),
    Rule("latin_floor", f"(?<![A-Za-z][A-Z])(?<=[A-Z])({ONE})(?=[层座栋区口楼馆门号])"),
    Rule(
        "after_latin_one",
        "(?<=[A-Za-z])(一)(?=[A-Z]|出口|停车|车库|航站|驾照|赛车|芯片|处理|高速|车型|签证|展厅|通道)",
    ),
    Rule("after_latin_one_digit", f"(?<=[A-Za-z])({TWO_TO_NINE})(?![点分到至比]|{COUNTS})"),
    Rule("before_latin", f"({DECIMAL}|{LARGE}|{DIGITS}|{TWO_TO_NINE})(?=[A-Za-z])"),
    Rule("before_latin_one", "([一两])(?=[A-Z](?![A-Za-z]))"),
    # ranges
    Rule("range_of_decimals", f"({DECIMAL})[到至]({NUMBER})|({NUMBER})[到至]({DECIMAL})"),
    Rule("range", f"({NUMBER})[到至](?!两)({NUMBER})(?={COUNTS}|点|月)"),
    Rule("range_to_large", f"({INTEGER})[到至]([{tens(11, 99)}{BIG}])"),
    # plain numbers
    Rule("decimal", f"({DECIMAL})"),
    Rule("clock_tens", f"([{tens(10, 24)}])点(?!{DIGIT}|[0-9])"),
    Rule("clock", f"{NOT_POINTS}({TWO_TO_NINE}|两)点{NOT_OF_POINTS}"),
    Rule("digits", f"({STRING})"),
    Rule("room", f"({ZERO_PAIR})(?=[号路班室])|([{PAIR}])(?=号)"),
    Rule("grade", f"(零)(?=号[柴楼线])|([{PAIR}])(?=汽油|加满)"),
    Rule(
        "case_number",
        f"(?<=[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤川青藏琼宁])({ZERO_PAIR})(?=[民刑行执知破])",
    ),
    Rule("court_number", f"(?<=[民刑行][初终申])([{FEW}])(?=号)"),
    Rule("large", f"{NOT_ALONE}({LARGE})(?!好几|[啷郎]当)"),
    Rule(
        "measured",
        f"(?!(?<=[钱块元])一)({ONE}|零(?=元|岁|摄氏度|公里))(?={MEASURE})",
    ),
    Rule("one_degree", "(一)度(?=电)"),
    Rule("few_degrees", f"([零{FEW[1:]}两])度(?![夺获入出当访参登被成蝉拿捧])"),
)
