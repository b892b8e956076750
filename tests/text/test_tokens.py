"""Detokenisation of a whole sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.text.tokens import Token, detokenise, needs_space
from tests.text.cases import said_and_shown, wrong


def tokens(*pieces: str) -> list[Token]:
    """Tokens one after another, 100 ms each, less certain each time."""
    return [Token(p, i * 1600, (i + 1) * 1600, 0.9 - i / 100) for i, p in enumerate(pieces)]


def written(*pieces: str) -> str:
    text = ""
    for unit in detokenise(tokens(*pieces)):
        text += " " + unit.text if needs_space(text, unit.text) else unit.text
    return text


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ("你 好", "你好"),
        ("hel@@ lo", "hello"),
        ("你 好 hel@@ lo 世 界", "你好hello世界"),
        ("fa@@ ce to fa@@ ce", "face to face"),
        ("听 because of you", "听because of you"),
        ("<s> 好 <blank> <unk> </s>", "好"),
        ("hel@@ <blank> lo", "hello"),
        ("hel@@", "hel"),
        ("hel@@ 你", "hel你"),
        ("n b d 报 道", "NBD报道"),
        ("三 d 打 印", "三D打印"),
        ("小 s 过 生 日", "小S过生日"),
        ("this is a book", "this is a book"),
        ("i am here", "I am here"),
        ("don't go", "don't go"),
        ("1 3 8 号", "138号"),
        ("", ""),
    ],
)
def test_pieces_become_text(pieces: str, text: str):
    assert written(*pieces.split()) == text


def test_letters_and_names_are_written_as_usual():
    assert wrong(lambda pieces: written(*pieces.split()), said_and_shown("english")) == []


def test_a_word_has_the_times_of_its_pieces_and_their_lowest_confidence():
    (word,) = detokenise(tokens("hel@@", "lo"))
    assert (word.begin, word.end, word.confidence) == (0, 3200, 0.89)


def test_a_word_keeps_the_mark_of_its_last_piece():
    tokens = [Token("hel@@", 0, 1, 1.0, "，"), Token("lo", 1, 2, 1.0, "。")]
    assert [u.mark for u in detokenise(tokens)] == ["。"]


def test_letters_with_a_mark_between_them_are_no_acronym():
    tokens = [Token("a", 0, 1, 1.0, "、"), Token("b", 1, 2, 1.0)]
    assert [u.text for u in detokenise(tokens)] == ["A", "B"]


def test_the_characters_of_one_token_divide_its_time():
    units = detokenise([Token("你好", 0, 3200, 0.5, "，")])
    assert [(u.text, u.begin, u.end, u.mark) for u in units] == [
        ("你", 0, 1600, ""),
        ("好", 1600, 3200, "，"),
    ]


PIECES = st.lists(
    st.sampled_from(["你", "a", "b", "hel@@", "lo", "@@", "<unk>", "九十", "5", "'s"])
)


@given(PIECES)
def test_no_character_is_lost_or_added(pieces: list[str]):
    said = "".join(p.replace("@@", "") for p in pieces if p != "<unk>")
    assert "".join(u.text for u in detokenise(tokens(*pieces))).lower() == said


@given(PIECES)
def test_units_are_in_order_of_time(pieces: list[str]):
    units = detokenise(tokens(*pieces))
    assert all(a.end <= b.begin for a, b in zip(units, units[1:], strict=False))
