"""Check where an open sentence is closed between two tokens."""

import pytest

from asr_server.asr.splitting import forced_cut, semantic_cut
from asr_server.text.tokens import Token


def tokens(text: str, ends: list[int] | None = None) -> list[Token]:
    """Return characters of 1000 samples each; a mark belongs to the character before it."""
    made: list[Token] = []
    for character in text:
        if character in "，。？！":
            last = made.pop()
            made.append(Token(last.piece, last.begin, last.end, 1.0, character))
        else:
            place = len(made)
            end = ends[place] if ends else (place + 1) * 1_000
            made.append(Token(character, end - 1_000, end, 1.0))
    return made


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("今天天气好", None),
        ("今天天气好。", None),
        ("今天天气好。我们去", None),  # the mark may still change
        ("今天天气好。我们去公园", 5),
        ("好吗？好的。我们去公园吧", 2),
        ("今天，我们去公园吧", None),
    ],
)
def test_a_sentence_is_complete_when_its_end_mark_has_settled(text: str, count: int | None) -> None:
    assert semantic_cut(tokens(text)) == count


def test_a_sentence_that_is_not_too_long_is_not_cut() -> None:
    assert forced_cut(tokens("一二三四五"), 0, 5_001) is None


def test_a_long_sentence_is_cut_where_the_gap_to_the_next_word_is_longest() -> None:
    ends = [1_000, 2_000, 3_000, 7_000, 8_000]
    assert forced_cut(tokens("一二三四五", ends), 0, 8_000) == 3


def test_a_long_sentence_is_preferably_cut_behind_a_mark() -> None:
    ends = [1_000, 2_000, 3_000, 7_000, 8_000]
    assert forced_cut(tokens("一二，三四五", ends), 0, 8_000) == 2


def test_a_sentence_of_one_token_is_never_cut() -> None:
    assert forced_cut(tokens("一"), 0, 10) is None
