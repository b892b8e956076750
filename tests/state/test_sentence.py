"""The text and the words of a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.audio.units import to_ms
from asr_server.state.sentence import Rendered, render
from asr_server.text.special_words import SpecialWords
from asr_server.text.tokens import Token

SECOND = 16_000


def heard(said: str, marks: dict[int, str] | None = None) -> list[Token]:
    """Tokens one after another, 100 ms each: characters, or what stands between spaces."""
    pieces = said.split() if " " in said else said
    return [
        Token(piece, i * 1600, (i + 1) * 1600, 0.9 - i / 100, (marks or {}).get(i, ""))
        for i, piece in enumerate(pieces)
    ]


def shown(said: str, marks: dict[int, str] | None = None, **wanted: object) -> Rendered:
    tokens = heard(said, marks)
    options: dict[str, object] = {"final": True, "itn": True, "punctuation": True} | wanted
    end = 1600 * len(tokens) if options["final"] else None
    return render(tokens, begin=0, end=end, **options)  # type: ignore[arg-type]


def words(rendered: Rendered) -> list[str]:
    return [word.text + word.punctuation for word in rendered.words]


def test_a_final_is_grouped_into_words_and_ends_with_a_mark():
    assert words(shown("你好啊")) == ["你好", "啊。"]


def test_an_interim_shows_single_characters_and_no_end_mark():
    assert words(shown("你好啊", {0: "，", 2: "。"}, final=False)) == ["你，", "好", "啊"]


def test_without_punctuation_there_is_none():
    assert shown("你好啊", {1: "，"}, punctuation=False).text == "你好啊"


def test_a_rewritten_number_is_one_word_with_the_times_of_what_was_said():
    (number,) = shown("百分之七十三点八").words
    assert (number.text, number.begin, number.end) == ("73.8%", 0, 8 * 1600)
    assert number.confidence == pytest.approx(0.83)


def test_a_number_half_said_is_shown_once_speech_pauses():
    assert shown("湿度百分之五十", final=False).text == "湿度"
    assert shown("湿度百分之五十", final=False, paused=True).text == "湿度50%"
    assert shown("湿度百分之五十", final=False, itn=False).text == "湿度百分之五十"


def test_without_itn_numbers_stay_as_said():
    assert shown("百分之八十", itn=False).text == "百分之八十。"


def test_latin_words_carry_the_space_before_them():
    rendered = shown("this is 好 hel@@ lo world")
    assert words(rendered) == ["this", " is", "好", "hello", " world。"]


def test_a_latin_sentence_has_spaces_after_its_marks():
    assert shown("yes it is", {0: "，"}).text == "yes, it is."


def test_numbers_beside_letters_have_no_space():
    assert shown("五 g 手 机").text == "5G手机。"


def test_disfluencies_go_from_the_text_but_not_from_the_times():
    rendered = shown("嗯我要去", disfluency_removal=True)
    assert (rendered.text, rendered.words[0].begin) == ("我要去。", 1600)


def test_special_words_are_masked():
    special = SpecialWords(masked=frozenset({"北京"}))
    assert shown("我在北京", special_words=special).text == "我在**。"


def test_a_sentence_without_text_has_no_words_and_no_mark():
    assert shown("<blank> </s>") == Rendered("", ())


def test_words_are_pushed_inside_a_sentence_that_ends_before_them():
    tokens = heard("你我他")
    rendered = render(tokens, begin=0, end=1600, final=True, itn=True, punctuation=False)
    assert [(w.begin, w.end) for w in rendered.words] == [
        (0, 1568),
        (1568, 1584),
        (1584, 1600),
    ]


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
    st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_whatever_is_heard_the_words_are_the_text_and_follow_one_another(
    tokens: list[Token], begin: int, end: int | None, wanted: tuple[bool, bool, bool, bool]
):
    final, itn, punctuation, removal = wanted
    rendered = render(
        tokens,
        begin=begin,
        end=end,
        final=final,
        itn=itn,
        punctuation=punctuation,
        disfluency_removal=removal,
    )
    assert rendered.text == "".join(words(rendered))
    position = begin
    for word in rendered.words:
        assert word.text
        assert position <= word.begin < word.end
        assert to_ms(word.begin) < to_ms(word.end)
        assert word.confidence in {token.confidence for token in tokens}
        position = word.end
    assert end is None or position <= end
