"""Subtitles that players accept and that are readable."""

import random
import re

import pytest

from asr_client.subtitles import MAX_CHARS, captions, text_width, to_srt, to_vtt
from asr_client.types import Sentence, Word

MIN_MS = 1000


def sentence(text: str, begin: int = 0, word_ms: int = 300) -> Sentence:
    """One word for each character or Latin word, marks behind them."""
    words = []
    for piece in re.findall(r" ?[A-Za-z]+|[^，。？]", text):
        mark = text[len("".join(w.text + w.punctuation for w in words)) + len(piece) :][:1]
        mark = mark if mark and mark in "，。？" else ""
        at = begin + word_ms * len(words)
        words.append(Word(at, at + word_ms, piece, mark))
    return Sentence(0, begin, begin + word_ms * len(words), text, tuple(words))


LONG = sentence("我们先把上个月的销售情况说一下，然后再讨论下半年的计划，最后请大家提问题。")


def test_a_short_sentence_is_one_caption_with_its_own_times():
    [caption] = captions([sentence("今天天气怎么样？", 1500)])
    assert (caption.begin_ms, caption.end_ms, caption.text) == (1500, 3600, "今天天气怎么样？")


def test_a_long_sentence_is_cut_behind_its_marks():
    assert [caption.text for caption in captions([LONG])] == [
        "我们先把上个月的销售情况说一下，",
        "然后再讨论下半年的计划，最后请大家提问题。",
    ]


def test_without_marks_the_pieces_are_of_similar_length():
    pieces = list(captions([sentence("天" * 26)]))
    assert [len(piece.text) for piece in pieces] == [13, 13]


def test_a_pause_is_a_better_place_than_none():
    early, late = sentence("天" * 15), sentence("地" * 11, 15 * 300 + 800)
    together = Sentence(0, 0, late.end_ms, early.text + late.text, early.words + late.words)
    assert [caption.text for caption in captions([together])] == ["天" * 15, "地" * 11]


def test_latin_words_stay_whole():
    [first, *_] = captions([sentence("请打开" + " international" * 6)])
    assert first.text.endswith("international")
    assert text_width(first.text) <= MAX_CHARS


@pytest.mark.parametrize("seed", range(20))
def test_captions_hold_the_text_fit_the_line_and_never_overlap(seed):
    rng = random.Random(seed)
    sentences, begin = [], 0
    for _ in range(30):
        text = "".join(rng.choice("天地玄黄，") for _ in range(rng.randint(1, 90))).strip("，")
        text = re.sub("，+", "，", text) or "天"
        sentences.append(sentence(text + "。", begin, rng.randint(1, 400)))
        begin = sentences[-1].end_ms + rng.choice((0, 200, 3000))
    made = list(captions(sentences, min_ms=MIN_MS))
    assert "".join(c.text for c in made) == "".join(s.text for s in sentences)
    assert all(text_width(c.text) <= MAX_CHARS for c in made)
    assert all(c.begin_ms < c.end_ms for c in made)
    assert all(a.end_ms <= b.begin_ms for a, b in zip(made, made[1:], strict=False))
    assert all(
        c.end_ms - c.begin_ms >= MIN_MS or c.end_ms == after.begin_ms
        for c, after in zip(made, made[1:], strict=False)
    )


def test_a_sentence_without_text_is_not_shown():
    assert list(captions([Sentence(0, 0, 500, "", ())])) == []


def test_srt_and_vtt_have_their_formats():
    sentences = [sentence("你好。", 61_001, 700), sentence("a<b>&c", 3_600_000)]
    assert to_srt(sentences) == (
        "1\n00:01:01,001 --> 00:01:02,401\n你好。\n\n2\n01:00:00,000 --> 01:00:01,800\na<b>&c\n"
    )
    assert to_vtt(sentences).startswith("WEBVTT\n\n00:01:01.001 --> 00:01:02.401\n你好。\n\n")
    assert "a&lt;b&gt;&amp;c" in to_vtt(sentences)
