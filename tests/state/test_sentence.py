"""The words of a rendered hypothesis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.audio.units import to_ms
from asr_server.protocol.commands import Parameters
from asr_server.protocol.events import Word
from asr_server.recognition import Hypothesis
from asr_server.state.sentence import render
from asr_server.text.special_words import SpecialWords
from asr_server.text.tokens import Token

SECOND = 16_000


def tokens_of(text: str, marks: dict[int, str] | None = None) -> tuple[Token, ...]:
    """Return tokens one after another, 100 ms each: characters, or the pieces between spaces."""
    pieces = text.split() if " " in text else text
    return tuple(
        Token(piece, i * 1600, (i + 1) * 1600, 0.9 - i / 100, (marks or {}).get(i, ""))
        for i, piece in enumerate(pieces)
    )


def parameters(itn: bool = True, punctuation: bool = True, disfluency_removal: bool = False):
    return Parameters(
        inverse_text_normalization_enabled=itn,
        punctuation_prediction_enabled=punctuation,
        disfluency_removal_enabled=disfluency_removal,
        word_confidence_enabled=True,
    )


def shown(
    text: str,
    marks: dict[int, str] | None = None,
    *,
    final: bool = True,
    paused: bool = False,
    special_words: SpecialWords | None = None,
    **wanted: bool,
) -> tuple[Word, ...]:
    tokens = tokens_of(text, marks)
    hypothesis = Hypothesis(0, 1600 * len(tokens) if final else None, tokens, paused)
    return render(hypothesis, parameters(**wanted), special_words or SpecialWords())


def parts(words: tuple[Word, ...]) -> list[str]:
    return [word.text + word.punctuation for word in words]


def text(words: tuple[Word, ...]) -> str:
    return "".join(parts(words))


def test_a_final_is_grouped_into_words_and_ends_with_a_mark():
    assert parts(shown("你好啊")) == ["你好", "啊。"]


def test_an_interim_shows_single_characters_and_no_end_mark():
    assert parts(shown("你好啊", {0: "，", 2: "。"}, final=False)) == ["你，", "好", "啊"]


def test_without_punctuation_there_is_none():
    assert text(shown("你好啊", {1: "，"}, punctuation=False)) == "你好啊"


def test_a_rewritten_number_is_one_word_with_the_times_of_what_was_said():
    (number,) = shown("百分之七十三点八")
    assert (number.text, number.begin_time, number.end_time) == ("73.8%", 0, 800)
    assert number.confidence == pytest.approx(0.83)


def test_an_incomplete_number_is_shown_once_speech_pauses():
    assert text(shown("湿度百分之五十", final=False)) == "湿度"
    assert text(shown("湿度百分之五十", final=False, paused=True)) == "湿度50%"
    assert text(shown("湿度百分之五十", final=False, itn=False)) == "湿度百分之五十"


def test_without_itn_numbers_stay_as_spoken():
    assert text(shown("百分之八十", itn=False)) == "百分之八十。"


def test_latin_words_carry_the_space_before_them():
    words = shown("this is 好 hel@@ lo world")
    assert parts(words) == ["this", " is", "好", "hello", " world。"]


def test_a_latin_sentence_has_spaces_after_its_marks():
    assert text(shown("yes it is", {0: "，"})) == "yes, it is."


def test_numbers_beside_letters_have_no_space():
    assert text(shown("五 g 手 机")) == "5G手机。"


def test_disfluencies_go_from_the_text_but_not_from_the_times():
    words = shown("嗯我要去", disfluency_removal=True)
    assert (text(words), words[0].begin_time) == ("我要去。", 100)


def test_special_words_are_masked():
    special = SpecialWords(masked=frozenset({"北京"}))
    assert text(shown("我在北京", special_words=special)) == "我在**。"


def test_a_sentence_without_text_has_no_words_and_no_mark():
    assert shown("<blank> </s>") == ()


def test_words_are_pushed_inside_a_sentence_that_ends_before_them():
    words = render(Hypothesis(0, 1600, tokens_of("你我他")), parameters(punctuation=False))
    assert [(w.begin_time, w.end_time) for w in words] == [(0, 98), (98, 99), (99, 100)]


TOKEN = st.builds(
    Token,
    piece=st.sampled_from([*"我们好嗯啊一二十百万点零年月日分之个", "hel@@", "lo", "a", "<unk>"]),
    begin=st.integers(0, 20 * SECOND),
    end=st.integers(0, 20 * SECOND),
    confidence=st.floats(0, 1),
    mark=st.sampled_from(["", "", "", "，", "。", "？", "_"]),
)


@given(
    st.lists(TOKEN, max_size=30),
    st.integers(0, 5 * SECOND),
    st.none() | st.integers(6 * SECOND, 30 * SECOND),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_words_follow_one_another_inside_their_sentence_whatever_the_tokens(
    tokens: list[Token], begin: int, end: int | None, wanted: tuple[bool, bool, bool]
):
    words = render(Hypothesis(begin, end, tuple(tokens)), parameters(*wanted))
    position = to_ms(begin)
    for word in words:
        assert word.text
        assert position <= word.begin_time < word.end_time
        assert word.confidence in {token.confidence for token in tokens}
        position = word.end_time
    assert end is None or position <= to_ms(end)
