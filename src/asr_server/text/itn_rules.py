"""Define the grammar of inverse text normalization: words to keep, units of measure, rules.

The order of the rules matters: at a position of the text the first rule that matches applies.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from asr_server.text.numerals import (
    COUNTED,
    DECIMAL,
    DIGIT,
    END,
    FEW,
    INTEGER,
    LAST_DIGIT,
    NUMBER,
    NUMERAL,
    written,
)

KEPT_WORDS = """
    一点点 万分之一 三十而立 四十不惑 三十六计 七十二变 七十二行 三十六行 三百六十行
    二十四节气 二十八宿 二十四孝 二十四史 十二生肖 十二星座 十三陵 十八罗汉 十八般武艺 十八层地狱
    十八线 十八大 十九大 二十大 十万八千里 十万火急 十年寒窗 十年磨一剑 十年树木 十月怀胎
    五十步笑百步 八十万禁军 三十年河东 三十年河西 四十年河西 三千弟子 三千世界 三千宠爱
    一千零一夜 一百零八将 百二十回 双十一 双十二 十一国庆 十一黄金周 十一长假 十一假期
    九一八 一二九 一二八事变 二二八 三一八惨案 初一十五 千儿八百
    八月十五 七月十五 正月十五 大年三十 年三十 二月二 三月三 六月六 七月七 九月九
    五月天 五月花 七月流火 七月半 六月飞雪 六月雪 二月红
    一元复始 一元一次 一元二次 二元一次 二元二次 三元一次 一元论 二元论 一元化 二元化 二元对立
    三元桥 三元里 三元色 三元锂 三元正极 三元催化 三元牛奶 一米阳光 三克油 一亩三分地
    七零八落 十年如一日 一波三折 二折叠 三折叠 三度空间 四度空间 五度空间 三兆 七号信令
"""
"""Idioms, festivals and names with a number that the rules would otherwise write with digits."""

MEASURES = """
    公里 千米 分米 厘米 毫米 微米 纳米 英里 海里 英尺 英寸 米 光年
    平方米 平方公里 平方厘米 平米 平方 立方米 立方厘米 立方 公顷 亩
    公分 公斤 千克 毫克 微克 克 斤 吨 克拉 盎司 毫升 升 加仑
    小时 分钟 秒钟 秒 毫秒 岁 摄氏度 华氏度
    千瓦时 千瓦 瓦 伏特 毫安 安培 赫兹 千赫 兆赫 分贝 像素 字节 比特 马力 大卡 千卡 焦耳 牛顿
    元 美元 欧元 日元 港元 港币 英镑 韩元 卢布 块钱 毛钱 分钱
    倍 折 号 楼 单元 个百分点
"""
"""Units with a symbol or a price: before them even a single number is written as a digit."""


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


MEASURE = f"(?:{_any_of(MEASURES.split())})"
COUNTS = f"(?:[{COUNTED}]|{MEASURE})"
ONE = f"[{FEW}两]"
TWO_TO_NINE = f"[{FEW[1:]}]"
TEENS = f"(?:[{FEW}]?十[{FEW}]?)"
LARGE = f"(?:(?!{ONE}(?![十百千万亿])){INTEGER})"
"""10 and more."""
NOT_ALONE = f"(?!十一?(?!{COUNTS}|[多余{NUMERAL}]))"
"""十 and 十一 have other meanings too (十分, 十一 the holiday), so a measure word must follow."""
HOUR = f"(?:二十[一二三四]?|十[{FEW}]?|[零{FEW}两])"
MINUTE = f"(?:[二三四五]?十[{FEW}]?)"
MONTH = f"(?:十[一二]?|[{FEW}])"
DAY = f"(?:三十一?|二十[{FEW}]?|十[{FEW}]?|[{FEW}])"
NO_MORE = f"(?![{NUMERAL}几0-9])"
EXACT_PAIR = f"(?:(?!一二|二三|三四|四五|五六|六七|七八|八九|三五)[{FEW}]{{2}}|{DIGIT}零|零{DIGIT})"
"""Two digits that are no approximation such as 两三, 七八, 三五."""
COUNTING = f"(?:一二三四?五?|三二一|一二一)(?!{DIGIT})"

IN_THE_DAY = (
    "(?:(?<=[午晨夜])|(?<=晚上)|(?!一)(?:(?<=[早晚])|(?<=早上)|(?<=[今明后昨每]天)|(?<=[号日])"
    "|(?<=周[一二三四五六日天])|(?<=[期拜][一二三四五六日天])))"
)
"""A part of the day precedes, so an hour is likely; 今天一点 needs further evidence."""
NOT_AT_ALL = "(?![都也儿些没不点])"
"""一点都不 is not an hour."""
NOT_POINTS = "(?<![有说讲提下这那谈调意分第出])(?<![说讲提谈]了)"
NOT_OF_POINTS = (
    "(?!建议|意见|要求|原因|理由|问题|内容|体会|看法|说明|启示|感受|感想|共识|声明|希望|好处|不足"
    "|区别|变化|式|水|一线|论)"
)
"""三点 before or after these words is three points, not an hour."""

KEPT = "|".join(
    [
        rf"(?<![{NUMERAL}])(?:周|星期|礼拜)[{FEW}](?={HOUR}点)",  # 周五十点, but 一周五十块
        rf"(?<![{NUMERAL}])(?:周|星期|礼拜)[{FEW}]+(?![{NUMERAL}])",
        rf"第[{FEW}](?![{NUMERAL}])",
        rf"初(?:十|[{FEW}])(?![{NUMERAL}])",
        rf"二百五(?![{NUMERAL}{COUNTED}])",
        rf"(?:{_any_of(KEPT_WORDS.split())})(?![{NUMERAL}日号])",
    ]
)
"""Text that no rule rewrites."""

Span: TypeAlias = tuple[int, int, str]
"""Begin and end in the spoken text, and the written form."""

ARITHMETIC = {"加": "+", "减": "-", "乘": "×", "乘以": "×", "除以": "÷", "等于": "="}


@dataclass(frozen=True, slots=True)
class Rule:
    """Describe one spoken form of numbers and its written form."""

    name: str
    pattern: str
    form: str | dict[str, str] = ""
    """Of the whole match: a form filled with its numbers, or the signs that replace the words
    between them. Without one every number is rewritten in place; the text between stays."""

    def spans(self, match: re.Match[str], groups: list[int]) -> list[Span]:
        """Return the rewrites of a match, whose numbers are `groups`; raises as `written` does."""
        if isinstance(self.form, dict):
            parts = re.split(f"({_any_of(self.form)})", match[0])
            return [(*match.span(), "".join(self.form.get(p) or written(p) for p in parts))]
        numbers = [written(match[group]) for group in groups]
        if self.form:
            return [(*match.span(), self.form.format(*numbers))]
        return [(*match.span(g), number) for g, number in zip(groups, numbers, strict=True)]


RULES = (
    # parts of a whole
    Rule("percent_range", f"百分之({NUMBER})到({NUMBER})(?!{COUNTS})", "{}%到{}%"),
    Rule("percent_below", f"负百分之({NUMBER})", "-{}%"),
    Rule("percent", f"百分之({NUMBER})", "{}%"),
    Rule("percent_all", f"百分之百{NO_MORE}", "100%"),
    Rule("permille", f"千分之({NUMBER})", "{}‰"),
    Rule("mixed_fraction", f"({INTEGER})又({INTEGER})分之({INTEGER})", "{0}又{2}/{1}"),
    Rule("fraction", f"({INTEGER})分之({INTEGER})", "{1}/{0}"),
    # numbers with signs and points
    Rule(
        "equation",
        f"{NUMBER}(?:(?:加|减|乘以?|除以){NUMBER}){{1,4}}等于{NUMBER}",
        ARITHMETIC,
    ),
    Rule("product", f"{NUMBER}(?:乘以?{NUMBER}){{1,4}}{NO_MORE}", ARITHMETIC),
    Rule("ratio", f"{NUMBER}(?:比{NUMBER}){{1,4}}(?![大小多少高低好强])", {"比": ":"}),
    Rule("dotted", f"{DIGIT}+(?:点{DIGIT}+){{2,3}}{NO_MORE}(?!点(?!$))", {"点": "."}),
    Rule("below_zero", f"零下({NUMBER})(?![到至][十{FEW}])", "-{}"),
    Rule(
        "negative",
        f"(?<![正胜抱背身担自欺肩辜{NUMERAL}])负"
        f"({DECIMAL}|{LARGE}|{ONE}(?=[楼层度]|摄氏度)){NO_MORE}",
        "-{}",
    ),
    Rule("latin_version", f"(?<=[A-Za-z])({ONE})点({TEENS})(?!分){NO_MORE}", "{}.{}"),
    # clock and calendar
    Rule(
        "clock_minutes",
        f"({HOUR})点({MINUTE}|零[{FEW}](?=分))(?=分(?!钟|之)|(?![{NUMERAL}几多]|{COUNTS}))",
    ),
    Rule(
        "clock_in_the_day",
        f"{IN_THE_DAY}({HOUR})点{NOT_AT_ALL}(?:({DIGIT}{{2}}|[{FEW}](?=分)){NO_MORE})?"
        f"(?!{DIGIT}|{MEASURE})",
    ),
    Rule("clock_half", f"({HOUR})点(?=半|[一三]刻|钟|整)"),
    Rule("year_of_two_digits", f"({EXACT_PAIR})年(?!级)"),
    Rule("year_before_month", f"({DIGIT}{{2}})年(?={MONTH}月)"),
    Rule("born_after", "([零五六七八九][零五])后"),
    Rule(
        "month_and_day",
        f"(?<![个几数半每])({MONTH})月(?:份|({DAY})(?:[日号]|{NO_MORE}(?!{COUNTS})))?",
    ),
    # money and measures that go on after their unit
    Rule("yuan", f"({NUMBER})元([{FEW}])角(?:([{FEW}])分)?"),
    Rule("kuai_mao", f"({NUMBER})块({ONE})毛(?:({LAST_DIGIT}){NO_MORE}分?)?"),
    Rule("kuai", f"({NUMBER})块({LAST_DIGIT}){NO_MORE}(?!折)"),
    Rule("jin_liang", f"({NUMBER})斤({ONE})两"),
    Rule("metres", f"({NUMBER})米([{FEW}]?{LAST_DIGIT}){NO_MORE}"),
    Rule("degrees", f"({NUMBER})度({LAST_DIGIT}){NO_MORE}"),
    Rule("minutes_seconds", f"({INTEGER})分({INTEGER})秒"),
    Rule("hours_minutes", f"({NUMBER})小时({INTEGER})分"),
    Rule("discount", f"({EXACT_PAIR})折"),
    # beside Latin letters: model names, units, plates
    Rule("latin_zero", f"(?<=[A-Za-z])(零)({TEENS}){NO_MORE}"),
    Rule("latin_teens", f"(?<=[A-Za-z])([{FEW}]十[{FEW}]?|十[{FEW}]){NO_MORE}"),
    Rule("after_latin", f"(?<=[A-Za-z])({DIGIT}{{2,}}){END}"),
    Rule(
        "after_latin_one_digit",
        f"(?<=[A-Za-z])({TWO_TO_NINE}|一(?=[区栋座口A-Z])){NO_MORE}(?![点分到至比]|{COUNTS})",
    ),
    Rule("before_latin", f"({DECIMAL}|{LARGE}|{DIGIT}{{2,}}|{TWO_TO_NINE})(?=[A-Za-z])"),
    Rule("before_latin_one", "(一)(?=[A-Z](?![A-Za-z]))"),
    # ranges
    Rule("range", f"({NUMBER})[到至](?!两)({NUMBER})(?={COUNTS}|点|月)"),
    # plain numbers
    Rule("decimal", f"({DECIMAL})"),
    Rule("clock_tens", f"(二十[一二三四]?|十[{FEW}]?)点(?!{DIGIT}|[0-9])"),
    Rule("clock", f"{NOT_POINTS}({TWO_TO_NINE}|两)点{NOT_OF_POINTS}"),
    Rule("digits_with_yao", f"(?={DIGIT}*幺)({DIGIT}{{2,}}){END}"),
    Rule("digits", f"(?!{COUNTING})({DIGIT}{{3,}}){END}"),
    Rule("zero_first", f"(零{DIGIT})(?=[号路班室])"),
    Rule("large", f"(?!(?<=[几数])十){NOT_ALONE}({LARGE})(?!好几|啷当)"),
    Rule("measured", f"(?!(?<=[钱块元])一)({ONE}|零(?=元|岁|摄氏度|公里)){END}(?={MEASURE})"),
    Rule("one_degree", "(一)度(?=电)"),
    Rule("few_degrees", f"([零{FEW[1:]}两])度(?![夺获入出当访参登被成蝉拿捧])"),
)
