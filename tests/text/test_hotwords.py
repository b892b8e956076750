"""Which hotwords are allowed, and how a vocabulary spells them."""

import pytest

from asr_server.text.hotwords import check, spellings

VOCABULARY = {*"一个词儿", "hel@@", "hell@@", "he@@", "o", "lo", "llo", "ok", *"nbd", "n@@", "b@@"}


@pytest.mark.parametrize(
    ("word", "weight"),
    [("词", 1), ("一" * 15, 50), ("a b c d e f g", 5), ("一 word", 3), ("w" * 60, 4)],
)
def test_a_hotword_within_dashscopes_limits_is_accepted(word: str, weight: int) -> None:
    check(word, weight)


@pytest.mark.parametrize(
    ("word", "weight", "why"),
    [
        ("词", 0, "weight"),
        ("词", 6, "weight"),
        ("词", -1, "weight"),
        ("词", 4.5, "weight"),
        ("词", True, "weight"),
        (" ", 4, "empty"),
        ("一" * 16, 4, "15 characters"),
        ("一" + "a" * 15, 4, "15 characters"),
        ("a b c d e f g h", 4, "7 parts"),
        ("w" * 61, 4, "60 characters"),
    ],
)
def test_a_hotword_beyond_dashscopes_limits_is_refused_with_a_reason(
    word: str, weight: int, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        check(word, weight)


@pytest.mark.parametrize(
    ("word", "spelled"),
    [
        ("一个词", ["一 个 词"]),
        ("Hello", ["hell@@ o"]),
        ("ok个词", ["ok 个 词"]),
        ("hello ok", ["hell@@ o ok"]),
        ("nbd", ["n@@ b@@ d"]),
        ("NBD", ["n@@ b@@ d", "n b d"]),
        ("一个字", []),
        ("help", []),
        ("一。", []),
        ("", []),
    ],
)
def test_a_word_is_spelled_in_the_models_tokens(word: str, spelled: list[str]) -> None:
    assert [" ".join(pieces) for pieces in spellings(word, VOCABULARY)] == spelled


def test_a_word_without_a_spelling_is_rejected_quickly() -> None:
    assert spellings("a" * 60, {"a@@", "aa@@", "aaa@@"}) == []
