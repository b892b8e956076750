"""Where punctuation marks stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.text.punctuation import ENDS, MARKS, inside_number, punctuated, unpunctuated
from asr_server.text.tokens import Token, Unit
from tests.text.cases import said_and_shown, wrong


def units(text: str, marks: dict[int, str] | None = None) -> list[Unit]:
    pieces = text.split() if text.isascii() else text
    return [Unit(p, i, i + 1, 1.0, (marks or {}).get(i, "")) for i, p in enumerate(pieces)]


def text(shown: list[Unit]) -> str:
    return "".join(unit.text + unit.mark for unit in shown)


def test_the_predicted_end_mark_stays():
    assert text(punctuated(units("你好", {1: "！"}), final=True)) == "你好！"


def test_a_comma_at_the_end_becomes_an_end():
    assert text(punctuated(units("你好", {0: "，", 1: "，"}), final=True)) == "你，好。"


def test_an_interim_shows_inner_marks_but_none_at_its_end():
    assert text(punctuated(units("你好", {0: "，", 1: "。"}), final=False)) == "你，好"


def test_latin_marks_become_chinese_and_unknown_marks_are_dropped():
    assert text(punctuated(units("你好吧", {0: ",", 1: "_", 2: "?"}), final=True)) == "你，好吧？"


def test_a_latin_sentence_has_latin_marks():
    assert text(punctuated(units("yes it is", {0: "，"}), final=True)) == "yes,itis."


def test_without_punctuation_there_is_no_mark():
    assert text(unpunctuated(units("你好", {0: "，", 1: "。"}))) == "你好"


def test_no_units_stay_no_units():
    assert punctuated([], final=True) == []


@pytest.mark.parametrize(
    "said",
    [
        "你吃饭了吗",
        "你叫什么名字",
        "他是谁",
        "现在几点",
        "你去哪里",
        "怎么走",
        "为什么不行",
        "这个多少钱",
        "你是不是累了",
        "有没有问题",
        "你呢",
        "然后呢",
        "你是学生对吧",
        "好不好",
        "what is this",
    ],
)
def test_without_a_model_a_question_is_recognised_by_its_words(said: str):
    assert punctuated(units(said), final=True)[-1].mark in {"？", "?"}


@pytest.mark.parametrize(
    "said",
    [
        "今天天气不错",
        "我不知道他是谁",
        "没什么",
        "什么都行",
        "谁也没来",
        "无论什么时候都可以",
        "我还没有吃饭呢",
        "还没呢",
        "我在呢",
        "好几个人",
        "几乎没有",
        "告诉我怎么走",
        "就这么办",
        "this is a book",
    ],
)
def test_without_a_model_a_statement_ends_with_a_full_stop(said: str):
    assert punctuated(units(said), final=True)[-1].mark in {"。", "."}


def test_without_a_model_the_meaning_decides_the_end():
    def mark(said: str) -> str:
        return punctuated(units(said), final=True)[-1].mark

    assert wrong(mark, said_and_shown("end mark")) == []


@pytest.mark.parametrize(
    ("left", "right", "pause", "inside"),
    [
        ("八", "零", 0, True),
        ("八", "零", 3200, True),
        ("八", "零", 3201, False),
        ("八", "号", 0, False),
        ("号", "八", 0, False),
    ],
)
def test_two_digits_without_a_pause_are_inside_a_number(
    left: str, right: str, pause: int, inside: bool
):
    tokens = Token(left, 0, 1600, 0.9), Token(right, 1600 + pause, 3200 + pause, 0.9)
    assert inside_number(*tokens) == inside


def test_only_the_last_clause_decides_the_end():
    assert text(punctuated(units("他是谁我不去", {2: "？"}), final=True)) == "他是谁？我不去。"


MARKED = st.lists(st.tuples(st.sampled_from("你好吗谁"), st.sampled_from(["", *MARKS, "_"])))


@given(MARKED)
def test_a_final_ends_with_exactly_one_end_mark(said: list[tuple[str, str]]):
    given_units = [Unit(c, i, i + 1, 1.0, mark) for i, (c, mark) in enumerate(said)]
    shown = text(punctuated(given_units, final=True))
    if said:
        assert shown[-1] in ENDS
        assert shown[-2] not in MARKS
        assert shown[0] not in MARKS


@given(MARKED, st.booleans())
def test_marks_change_no_text(said: list[tuple[str, str]], final: bool):
    given_units = [Unit(c, i, i + 1, 1.0, mark) for i, (c, mark) in enumerate(said)]
    shown = punctuated(given_units, final=final)
    assert [u._replace(mark="") for u in shown] == [u._replace(mark="") for u in given_units]
