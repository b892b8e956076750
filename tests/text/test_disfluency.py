"""Fillers and false starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.text.disfluency import fluent
from asr_server.text.tokens import Unit
from tests.text.cases import said_and_shown, wrong

MARKS = "，。？"


def units(text: str) -> list[Unit]:
    """One unit a character (or a Latin word set off by spaces); marks go to the one before."""
    made: list[Unit] = []
    for part in text.split(" "):
        for piece in [part] if part.isascii() else part:
            if piece in MARKS:
                made[-1] = made[-1]._replace(mark=piece)
            elif piece:
                made.append(Unit(piece, len(made) * 100, len(made) * 100 + 100, 0.9))
    return made


def text(kept: list[Unit]) -> str:
    return "".join(unit.text + unit.mark for unit in kept)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("嗯我觉得可以", "我觉得可以"),
        ("嗯，我觉得可以。", "我觉得可以。"),
        ("我嗯觉得呃可以", "我觉得可以"),
        ("啊我知道", "我知道"),
        ("好，额我想想", "好，我想想"),
        ("我不去嗯。", "我不去。"),
        ("我我要去", "我要去"),
        ("我我我要去", "我要去"),
        ("我要我要去北京", "我要去北京"),
        ("我，我要去", "我要去"),
        ("这个这个问题", "这个问题"),
        ("因为因为他没来", "因为他没来"),
        ("嗯我嗯我要去", "我要去"),
        ("um 你好", "你好"),
    ],
)
def test_fillers_and_false_starts_are_removed(said: str, shown: str):
    assert text(fluent(units(said))) == shown


@pytest.mark.parametrize(
    "said",
    [
        "好啊",
        "是啊，我也是",
        "额外的金额",
        "额度不够",
        "哎呀忘了",
        "妈妈谢谢你",
        "看看再说",
        "对对对",
        "你好你好请坐",
        "我知道我知道",
        "慢慢来",
        "等等我",
        "好好学习天天向上",
        "的的确确是这样",
        "讨论讨论这个问题",
        "高高兴兴",
        "他是他，我是我",
        "一一三三五五",
        "然然来了",
    ],
)
def test_intended_repetitions_are_kept(said: str):
    assert text(fluent(units(said))) == said


def test_a_repetition_is_removed_unless_its_second_copy_begins_a_word():
    assert wrong(lambda said: text(fluent(units(said))), said_and_shown("disfluency")) == []


def test_a_sentence_of_fillers_alone_is_kept():
    assert text(fluent(units("嗯嗯。"))) == "嗯嗯。"


def test_of_several_starts_the_last_stays():
    assert fluent(units("我我要去"))[0].begin == 100


@given(st.text(st.sampled_from("我这个嗯啊额要去谢，。")).filter(lambda t: t[:1] not in MARKS))
def test_the_remaining_units_keep_order_and_times(said: str):
    given_units = units(said)
    left = {(unit.text, unit.begin, unit.end) for unit in given_units}
    kept = fluent(given_units)
    assert {(unit.text, unit.begin, unit.end) for unit in kept} <= left
    assert [unit.begin for unit in kept] == sorted(unit.begin for unit in kept)
    assert bool(kept) == bool(given_units)
