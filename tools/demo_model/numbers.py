"""Generate spoken forms of numbers: dates, times, money, percentages, telephone numbers."""

from random import Random

DIGITS = "零一二三四五六七八九"
# In strings of digits a one is usually read yao, which is the other character.
SPOKEN_DIGITS = "零幺二三四五六七八九"


def cardinal(value: int) -> str:
    """Read an integer below 100 000 000 the way it is counted: 10 203 is 一万零二百零三."""
    if value >= 10_000:
        high, low = divmod(value, 10_000)
        if low == 0:
            return cardinal(high) + "万"
        return cardinal(high) + "万" + ("零" if low < 1000 else "") + _below_ten_thousand(low)
    return _below_ten_thousand(value)


def _below_ten_thousand(value: int) -> str:
    if value < 10:
        return DIGITS[value]
    if value < 20:
        return "十" + (DIGITS[value % 10] if value % 10 else "")
    for size, name in ((1000, "千"), (100, "百"), (10, "十")):
        if value >= size:
            head, rest = divmod(value, size)
            text = DIGITS[head] + name
            if rest == 0:
                return text
            if rest < size // 10:
                return text + "零" + _below_ten_thousand(rest)
            # Inside a longer number a ten keeps its one: 三百一十五.
            return text + ("一" if 10 <= rest < 20 else "") + _below_ten_thousand(rest)
    raise AssertionError(value)


def digits(text: str, yao: bool = True) -> str:
    """Read a string of digits one by one."""
    names = SPOKEN_DIGITS if yao else DIGITS
    return "".join(names[int(character)] for character in text)


def counted(value: int) -> str:
    """Read an integer that stands before a measure word, where two is 两."""
    return "两" if value == 2 else cardinal(value)


def year(rng: Random) -> str:
    return digits(str(rng.randint(1949, 2049)), yao=False) + "年"


def month(rng: Random) -> str:
    return cardinal(rng.randint(1, 12)) + "月"


def day(rng: Random) -> str:
    return cardinal(rng.randint(1, 31)) + rng.choice("号日")


def date(rng: Random) -> str:
    shape = rng.random()
    if shape < 0.5:
        return month(rng) + day(rng)
    if shape < 0.8:
        return year(rng) + month(rng) + day(rng)
    return year(rng) + month(rng)


def clock(rng: Random) -> str:
    hour = counted(rng.randint(1, 12)) + "点"
    shape = rng.random()
    if shape < 0.25:
        return hour + rng.choice(["", "整", "钟"])
    if shape < 0.45:
        return hour + "半"
    if shape < 0.55:
        return hour + rng.choice(["一刻", "三刻"])
    minute = rng.randint(1, 59)
    return hour + ("零" if minute < 10 else "") + cardinal(minute) + "分"


def daytime(rng: Random) -> str:
    return rng.choice(["早上", "上午", "中午", "下午", "傍晚", "晚上", "凌晨", ""]) + clock(rng)


def amount(rng: Random) -> int:
    """Draw an amount, small ones oftener: every order of magnitude is equally likely."""
    high = 10 ** rng.randint(1, 7)
    return rng.randint(1, high)


def money(rng: Random) -> str:
    shape = rng.random()
    if shape < 0.55:
        return counted(amount(rng)) + rng.choice(["元", "块", "块钱"])
    if shape < 0.7:
        return counted(rng.randint(1, 99)) + "块" + DIGITS[rng.randint(1, 9)]
    if shape < 0.85:
        jiao, fen = rng.randint(1, 9), rng.randint(1, 9)
        return counted(rng.randint(1, 999)) + "元" + DIGITS[jiao] + "角" + DIGITS[fen] + "分"
    return cardinal(rng.randint(2, 900)) + rng.choice(["万元", "亿元", "万美元"])


def percent(rng: Random) -> str:
    text = "百分之" + cardinal(rng.randint(1, 100))
    if rng.random() < 0.5:
        text += "点" + digits(str(rng.randint(1, 99)), yao=False)
    return text


def decimal(rng: Random) -> str:
    whole = cardinal(rng.randint(0, 300))
    return whole + "点" + digits(str(rng.randint(1, 999)), yao=False)


def phone(rng: Random) -> str:
    prefix = rng.choice(["13", "15", "17", "18", "19"])
    return digits(prefix + "".join(str(rng.randint(0, 9)) for _ in range(9)))


def landline(rng: Random) -> str:
    area = rng.choice(["010", "021", "020", "0755", "0571", "028", "029", "0512"])
    return digits(area + "".join(str(rng.randint(0, 9)) for _ in range(8)))


def code(rng: Random) -> str:
    return digits("".join(str(rng.randint(0, 9)) for _ in range(rng.randint(3, 8))))


def fraction(rng: Random) -> str:
    lower = rng.randint(2, 12)
    return cardinal(lower) + "分之" + cardinal(rng.randint(1, lower - 1))


def temperature(rng: Random) -> str:
    return rng.choice(["", "", "零下"]) + cardinal(rng.randint(1, 40)) + "度"


def small(rng: Random) -> str:
    """A count before a measure word."""
    return counted(rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 24, 30, 50, 100]))


def ordinal(rng: Random) -> str:
    return "第" + cardinal(rng.randint(1, 60))


def length(rng: Random) -> str:
    unit = rng.choice("米 公里 厘米 公斤 克 吨 升 毫升 平方米 亩 英寸 斤 千瓦 兆".split())
    value = counted(rng.randint(1, 999)) if rng.random() < 0.7 else decimal(rng)
    return value + unit


def duration(rng: Random) -> str:
    unit = rng.choice("分钟 小时 天 个月 年 秒 个星期 个世纪 个半小时".split())
    return counted(rng.randint(1, 60)) + unit
