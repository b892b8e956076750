"""Find candidate names in a conversation, to favour them as hotwords of a low weight.

Text is split at everything that is no letter, digit or 汉字, and at numbers. A Latin part is a
candidate if it has a capital or a digit. 汉字 are segmented with the lexicon of common words. Of
what neither the lexicon nor the list of function words covers, these are candidates:

- all of it, if it has two to six characters;
- a surname in it with the one or two characters that follow;
- what stands between function words, if it is short and no row of common words (白云山, of which
  the lexicon knows 白云).

There is no model of names: common words that the lexicon lacks become candidates as well. They
do little harm, because the weight is low (measured with `benchmarks.context_names`).
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from asr_server.text.hotwords import MAX_ASCII, Hotwords
from asr_server.text.words import LONGEST, WORDS

WEIGHT = 2
MOST_NAMES = 200
"""Candidates of one context; the last ones count."""
LONGEST_NAME = 6
"""Characters of a candidate in 汉字."""
LONGEST_TITLE = 3
"""Letters of a Latin word that is no candidate for its first capital alone (The, But)."""
LONGEST_WHOLE = 4
"""Characters of a candidate that has a common word in it."""

FUNCTION_WORDS = frozenset(
    "的了是在和与跟把被给为吗呢吧啊我你您他她它们这那就都也还很不没有说请对去来要会"
)
SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏"
    "吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱"
    "严覃武戴莫孔向汤庞柳梅苗安褚穆"
)
_NUMERALS = frozenset("零一二三四五六七八九十两几第")
_PERSON = re.compile(f"(?=((?:欧阳|司马|诸葛|上官|皇甫|令狐|慕容|尉迟|[{SURNAMES}])(.)(.?)))")
_NUMBER = re.compile(
    "(?:[百千万]分之)?[零〇幺一二两三四五六七八九十百千万亿]{2,}(?:点[零〇幺一二三四五六七八九]+)?"
)
_PARTS = re.compile(r"[A-Za-z][A-Za-z0-9'-]+|[\u3400-\u9fff]{2,}")


def context_hotwords(texts: Sequence[str]) -> Hotwords:
    """Return the candidate names of a context with their weight, the last ones first."""
    found = [name for text in texts for name in _candidates(text)]
    last_first = list(dict.fromkeys(reversed(found)))
    return tuple((name, WEIGHT) for name in last_first[:MOST_NAMES])


def _candidates(text: str) -> Iterator[str]:
    for part in _PARTS.findall(_NUMBER.sub(" ", text)):
        if part.isascii():
            named = not part.islower() and (len(part) > LONGEST_TITLE or not part.istitle())
            if named and len(part) <= MAX_ASCII:
                yield part
            continue
        words = list(_segmented(part))
        for function, section in groupby(words, FUNCTION_WORDS.__contains__):
            if not function:
                for name in _names(list(section)):
                    if 2 <= len(name) <= LONGEST_NAME and name[0] not in _NUMERALS:
                        yield name


def _segmented(text: str) -> Iterator[str]:
    """Yield the longest word of the lexicon at each position, or else the character there."""
    begin = 0
    while begin < len(text):
        end = begin + LONGEST
        while end > begin + 1 and text[begin:end] not in WORDS:
            end -= 1
        yield text[begin:end]
        begin = end


def _names(words: list[str]) -> Iterator[str]:
    """Yield the candidates, of any length, in words without a function word between them."""
    whole = "".join(words)
    if len(whole) <= LONGEST_WHOLE and min(map(len, words)) == 1:
        yield whole
    for single, characters in groupby(words, lambda word: len(word) == 1):
        if single:
            unknown = "".join(characters)
            yield unknown
            for person in _PERSON.finditer(unknown):
                name, _, last = person.groups()
                yield name
                if last:
                    yield name[:-1]
