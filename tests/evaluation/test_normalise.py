"""Which differences count."""

import pytest

from asr_server.evaluation.normalise import joined, same_digit, units, written_numbers

SAME = [
    ("今天，天气很好！", "今天天气很好"),
    ("今天 天气\t很好", "今天天气很好"),
    ("ＡＰＰ和app", "app和APP"),
    ("“你好”……（笑）《书》", "你好笑书"),
    ("打开 Wi-Fi", "打开wi fi"),
    ("don’t stop", "don't stop"),
    ("１２３", "123"),
    ("5 %", "５％"),
]
DIFFERENT = [
    ("3.5", "35"),
    ("50%", "50"),
    ("三", "3"),
    ("一二", "二一"),
    ("now here", "nowhere"),
    ("國家", "国家"),
    ("啊你好", "你好"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_how_a_text_is_written_down_does_not_count(one, other):
    assert units(one) == units(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_spoken_differences_count(one, other):
    assert units(one) != units(other)


def test_latin_words_are_one_unit_and_digits_are_not():
    assert units("我有2026个 Wi-Fi 热点, v3.5 100%") == [
        *"我有2026个",
        "wi",
        "fi",
        *"热点",
        "v",
        *"3.5100%",
    ]


def test_marks_alone_are_nothing():
    assert units(" ，。… — ") == []


def test_joined_units_come_apart_again():
    parts = units("打开 smart home 的 5G 热点 don't 3.5%")
    assert units(joined(parts)) == parts


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("设定二十九度", "设定29度"),
        ("百分之七十三点八", "73.8%"),
        ("二零二六年三月五号", "2026年3月5号"),
        ("电话幺三八零零幺三八零零零", "电话13800138000"),
        ("等了三个人", "等了3个人"),
        ("一千三百五十万", "1350万"),
    ],
)
def test_numbers_can_be_compared_across_their_forms(spoken, written):
    spoken_units, written_units = (
        [same_digit(unit) for unit in written_numbers(units(text))] for text in (spoken, written)
    )
    assert spoken_units == written_units
