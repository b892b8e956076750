"""Characters grouped into words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.text.lexicon import WORDS
from asr_server.text.tokens import Unit
from asr_server.text.words import grouped


def units(*pieces: str) -> list[Unit]:
    return [Unit(p, i * 10, i * 10 + 10, 1 - i / 100) for i, p in enumerate(pieces)]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("你好啊", "你好 啊"),
        ("今天天气很好", "今天 天气 很 好"),
        ("我们研究生命科学", "我们 研究 生命 科学"),
        ("中华人民", "中 华 人民"),
        ("乌鲁木齐", "乌鲁木齐"),
    ],
)
def test_known_words_are_one_word(said: str, words: str):
    assert [unit.text for unit in grouped(units(*said))] == words.split()


def test_a_rewritten_number_and_a_latin_word_stay_single():
    assert [u.text for u in grouped(units("今", "天", "23.5", "度", "ok"))] == [
        "今天",
        "23.5",
        "度",
        "ok",
    ]


def test_a_mark_ends_a_word():
    today, day = units("今", "天")
    assert len(grouped([today._replace(mark="，"), day])) == 2


def test_a_word_has_the_times_and_the_lowest_confidence_of_its_characters():
    (word,) = grouped(units("今", "天"))
    assert (word.begin, word.end, word.confidence) == (0, 20, 0.99)


def test_the_lexicon_holds_words_of_two_to_six_characters():
    assert all(2 <= len(word) <= 6 for word in WORDS)


@given(st.lists(st.sampled_from(["今", "天", "我", "们", "生", "日", "ok", "2026", "人", "工"])))
def test_grouping_changes_no_text(pieces: list[str]):
    assert "".join(unit.text for unit in grouped(units(*pieces))) == "".join(pieces)
