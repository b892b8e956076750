"""Hotwords: the search itself, and what the streams of a step see of each other's."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_server.asr.engine import Engine
from asr_server.asr.fake import FakeBackend
from asr_server.asr.hotwords import (
    SAME_BUT_TONE,
    SAME_SOUND,
    UNHEARD,
    Evidence,
    HotwordSearch,
    HotwordSet,
    best_path,
    compiled,
)
from asr_server.asr.run.backend import SPECIAL_TOKENS, PyTorchBackend
from asr_server.asr.run.evidence import EvidenceGatherer
from asr_server.asr.types import DecodeResult, DecodeWork, Kind, Pcm, Step, StreamOptions
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.text.tokens import Token
from tests.support.chunks import chunks_of, speechlike

Listed = tuple[tuple[str, int], ...]

LETTERS = "甲乙丙丁戊"
VOCABULARY = ("<blank>", *LETTERS, *"张章掌长常安街方放", "hel@@", "lo", "ok")

word = st.text(LETTERS, min_size=2, max_size=4)
word_lists = st.dictionaries(word, st.sampled_from([1, 2, 3, 4, 5, 50]), min_size=1, max_size=6)
sentences = st.integers(1, 8).flatmap(
    lambda length: st.lists(
        st.lists(st.floats(-10, 0, width=32), min_size=len(LETTERS), max_size=len(LETTERS)),
        min_size=length,
        max_size=length,
    )
)


def made(*words: str, weight: int = 4) -> HotwordSet:
    words_ = compiled(tuple((word, weight) for word in words), VOCABULARY)
    assert words_ is not None
    return words_


def said(*pieces: str, confidence: float = 1.0) -> tuple[Token, ...]:
    return tuple(Token(p, n * 100, n * 100 + 90, confidence) for n, p in enumerate(pieces))


def text(tokens: Sequence[Token]) -> str:
    return " ".join(token.piece for token in tokens)


def evidence(words: HotwordSet, *rows: dict[str, float]) -> Evidence:
    """Every token impossible but those given."""
    return np.array(
        [[row.get(piece, -99.0) for piece in words.pieces] for row in rows], dtype=np.float32
    ).reshape(len(rows), len(words.pieces))


def heard(words: HotwordSet, *rows: dict[str, float]) -> HotwordSearch:
    search = HotwordSearch(words)
    search.hear(evidence(words, *rows), commit=True)
    return search


# The search -------------------------------------------------------------------------------------


def ways(length: int, spans: dict[tuple[int, int], float]) -> Iterator[float]:
    """What every way through the places `[0, length)` earns."""
    if length == 0:
        yield 0.0
        return
    for score in ways(length - 1, spans):
        yield score
    for (begin, end), earned in spans.items():
        if end == length:
            for score in ways(begin, spans):
                yield score + earned


def by_hand(words: dict[str, int], rows: np.ndarray) -> dict[tuple[int, int], float]:
    """What the best word earns on every span that it could fill."""
    spans: dict[tuple[int, int], float] = {}
    for listed, weight in words.items():
        alone = compiled(((listed, weight),), VOCABULARY)
        assert alone is not None
        bonus = float(alone.words[0].bonuses[0])
        for begin in range(len(rows) - len(listed) + 1):
            costs = [rows[begin + n][LETTERS.index(c)] for n, c in enumerate(listed)]
            if min(costs) >= UNHEARD:
                span = (begin, begin + len(listed))
                spans[span] = max(spans.get(span, -np.inf), sum(costs) + bonus)
    return spans


@given(words=word_lists, rows=sentences, cuts=st.sets(st.integers(0, 8)))
def test_the_way_found_is_the_best_of_all_however_the_sentence_was_cut(
    words: dict[str, int], rows: list[list[float]], cuts: set[int]
) -> None:
    compiled_ = compiled(tuple(words.items()), VOCABULARY)
    assert compiled_ is not None
    costs = np.array(rows, dtype=np.float32)
    own = costs[:, [LETTERS.index(piece) for piece in compiled_.pieces]]
    search = HotwordSearch(compiled_)
    for begin, end in pairwise(sorted({0, len(rows), *(c for c in cuts if c < len(rows))})):
        search.hear(own[begin : min(end + 2, len(rows))], commit=False)  # leaves no trace
        search.hear(own[begin:end], commit=True)
    path = best_path(search._arcs, said(*"天" * len(rows)))
    assert all(one.end <= other.begin for one, other in pairwise(path))
    expected = max(ways(len(rows), by_hand(words, costs)))
    assert sum(arc.score for arc in path) == pytest.approx(expected, abs=1e-4)


def test_a_word_that_is_almost_as_good_replaces_what_was_heard() -> None:
    words = made("长安")
    search = heard(words, {"长": -1.0}, {"安": 0.0}, {})
    assert text(search.rewrite(said(*"常安街"))) == "长 安 街"


def test_a_word_that_nobody_said_stays_out_whatever_its_weight() -> None:
    words = made("长安街", weight=50)
    search = heard(words, {"长": 0.0}, {"安": 0.0}, {"街": UNHEARD - 0.1})
    assert text(search.rewrite(said(*"长安甲"))) == "长 安 甲"


def test_the_heavier_weight_forgives_more() -> None:
    rows = ({"长": -2.0}, {"安": 0.0})
    assert text(heard(made("长安", weight=1), *rows).rewrite(said(*"常安"))) == "常 安"
    assert text(heard(made("长安", weight=5), *rows).rewrite(said(*"常安"))) == "长 安"


def test_of_two_words_that_overlap_the_better_one_is_chosen() -> None:
    words = made("长安", "安街")
    rows = ({"长": -0.2}, {"安": 0.0}, {"街": -0.1})
    assert text(heard(words, *rows).rewrite(said(*"常安甲"))) == "常 安 街"


def test_a_word_inside_a_longer_one_does_not_break_it() -> None:
    words = made("长安", "长安街")
    rows = ({"长": -0.2}, {"安": -0.2}, {"街": -0.2})
    assert text(heard(words, *rows).rewrite(said(*"常甲乙"))) == "长 安 街"


def test_a_word_may_begin_in_one_chunk_and_end_in_another() -> None:
    words = made("长安街")
    search = HotwordSearch(words)
    for row in ({"长": -0.5}, {"安": -0.5}):
        search.hear(evidence(words, row), commit=True)
    search.hear(evidence(words, {"街": -0.5}), commit=False)
    assert text(search.rewrite(said(*"常甲乙"))) == "长 安 街"
    search.hear(evidence(words, {}), commit=False)  # heard again with more sound: another token
    assert text(search.rewrite(said(*"常甲丙"))) == "常 甲 丙"


def test_times_and_marks_stay_and_confidence_is_the_replacements() -> None:
    words = made("长安")
    search = heard(words, {"长": -1.0}, {"安": 0.0})
    before = (Token("常", 5, 9, 0.6, "，"), Token("安", 9, 20, 0.9, "。"))
    first, second = search.rewrite(before)
    assert first == Token("长", 5, 9, pytest.approx(0.6 * np.exp(-1.0)), "，")
    assert second == before[1]


def test_an_english_word_is_never_halved() -> None:
    search = heard(made("长安"), {"长": 0.0}, {"长": 0.0, "安": 0.0}, {"安": 0.0})
    assert text(search.rewrite(said("hel@@", "lo", "街"))) == "长 安 街"
    assert text(search.rewrite(said("hel@@", "hel@@", "lo"))) == "hel@@ hel@@ lo"
    assert text(search.rewrite(said("lo", "hel@@", "lo"))) == "lo 长 安"


def test_english_hotwords_are_found_by_their_pieces() -> None:
    words = made("Hello")
    search = heard(words, {"hel@@": -1.0}, {"lo": -0.5})
    assert text(search.rewrite(said("ok", "安"))) == "hel@@ lo"


def test_closing_the_first_part_of_a_sentence_leaves_the_rest_as_it_was() -> None:
    words = made("长安")
    search = heard(words, {"长": -0.5}, {"安": 0.0}, {}, {"长": -0.5})
    search.cut(2)
    assert text(search.rewrite(said(*"甲常"))) == "甲 常"
    search.hear(evidence(words, {"安": 0.0}), commit=True)
    assert text(search.rewrite(said(*"甲常安"))) == "甲 长 安"
    search.cut(2)
    assert text(search.rewrite(said(*"安"))) == "安"


# Sounds -----------------------------------------------------------------------------------------


def scores(best: str, **others: float) -> np.ndarray:
    """One token that is sure but for some others."""
    logits = {best: 0.0, **others}
    return np.array([[logits.get(piece, -30.0) for piece in VOCABULARY]], dtype=np.float32)


@pytest.mark.parametrize(
    ("best", "cost"),
    [
        ("章", 0.0),
        ("张", -SAME_SOUND),
        ("掌", -SAME_BUT_TONE),
        ("常", -30.0),
        ("ok", -30.0),
    ],
)
def test_a_character_is_as_good_as_its_sound_less_a_penalty(best: str, cost: float) -> None:
    words = made("章甲")
    (row,) = words.evidence(scores(best))
    assert row[words.pieces.index("章")] == pytest.approx(cost, abs=1e-3)


def test_what_is_heard_has_its_usual_reading_only() -> None:
    words = made("方甲")
    (row,) = words.evidence(scores("放"))  # fang4, very seldom fang1
    assert row[words.pieces.index("方")] == pytest.approx(-SAME_BUT_TONE, abs=1e-3)


def test_a_hotwords_character_is_read_as_in_its_word() -> None:
    (row,) = made("长安").evidence(scores("常"))  # chang2
    assert row[1] == pytest.approx(-SAME_SOUND, abs=1e-3)
    (row,) = made("长安").evidence(scores("掌"))  # zhang3
    assert row[1] == pytest.approx(-30.0, abs=1e-3)
    (row,) = made("长安", "安长").evidence(scores("掌"))  # 长 by itself
    assert row[1] == pytest.approx(-SAME_SOUND, abs=1e-3)


def test_what_sounds_alike_counts_together() -> None:
    words = made("章甲")
    (row,) = words.evidence(scores("常", 张=-2.0, 章=-4.0))
    together = np.log(np.exp(-2.0) + np.exp(-4.0))
    assert row[words.pieces.index("章")] == pytest.approx(together - SAME_SOUND, abs=1e-3)


@given(seed=st.integers(0, 999), tokens=st.integers(0, 6))
def test_the_device_gathers_what_the_set_means(seed: int, tokens: int) -> None:
    words = made("章长安街", "Hello", "常安")
    other = made("甲乙")
    logits = np.random.default_rng(seed).normal(0, 6, (tokens, len(VOCABULARY)))
    logits = logits.astype(np.float32)
    gather = EvidenceGatherer(torch.device("cpu"))
    first, none, second, third = gather(
        [torch.from_numpy(logits), torch.from_numpy(logits), None, torch.from_numpy(logits[:2])],
        [words, None, words, other],
    )
    np.testing.assert_allclose(first, words.evidence(logits), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(third, other.evidence(logits[:2]), rtol=1e-4, atol=1e-4)
    assert none is None
    assert second is not None
    assert second.shape == (0, len(words.pieces))


# Compiling --------------------------------------------------------------------------------------


def test_words_that_the_vocabulary_cannot_spell_are_left_out_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    words = compiled((("长安", 4), ("长沙", 4), ("world", 4)), VOCABULARY)
    assert words is not None
    assert "2 of 3 hotwords" in caplog.text
    assert words.pieces == ("安", "长")


def test_nothing_is_made_of_words_that_can_do_nothing() -> None:
    assert compiled((("世", 4), ("沙漠", 4)), VOCABULARY) is None
    assert compiled((("张", 5),), VOCABULARY) is None  # a character alone


def test_a_word_that_is_not_allowed_is_the_clients_fault() -> None:
    with pytest.raises(ValueError, match="weight"):
        compiled((("长安", -1),), VOCABULARY)


def test_tasks_with_the_same_list_share_its_set() -> None:
    assert made("长安", "章甲") is made("长安", "章甲")


# In the engine ----------------------------------------------------------------------------------

SPEECH = np.full(16_000 * 3, 0.1, dtype=np.float32)
"""天地玄黄宇 to the fake backend."""


async def recognise(engine: Engine, audio: Pcm, hotwords: Listed, pieces: int = 1) -> list[str]:
    """The texts of all hypotheses; the last is the final one."""
    stream = engine.open(StreamOptions(hotwords=hotwords))
    for piece in np.array_split(audio, pieces):
        stream.push(piece)
        await asyncio.sleep(0)
    stream.finish()
    texts = []
    while not isinstance(event := await asyncio.wait_for(stream.next(), 10), EndOfStream):
        assert isinstance(event, Hypothesis)
        texts.append("".join(token.piece for token in event.tokens))
    stream.close()
    return texts


async def test_interims_have_hotwords_as_soon_as_they_end() -> None:
    engine = Engine(FakeBackend)
    await engine.start()
    stream = engine.open(StreamOptions(hotwords=(("悬皇", 4),)))
    texts = []
    for piece in np.array_split(SPEECH, 20):
        stream.push(piece)
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            while isinstance(event := await asyncio.wait_for(stream.next(), 0.1), Hypothesis):
                texts.append("".join(token.piece for token in event.tokens))
    await engine.stop()
    assert "天地玄" in texts
    assert "天地悬皇" in texts
    assert not any("玄黄" in text for text in texts)
    assert texts[-1] == "天地悬皇宇"


async def test_streams_do_not_hear_each_others_hotwords() -> None:
    engine = Engine(FakeBackend)
    await engine.start()
    lists: list[Listed] = [(), (("悬皇", 4),), (("玄皇", 4),), (("不在", 4),), ()]
    texts = await asyncio.gather(*(recognise(engine, SPEECH, words) for words in lists))
    await engine.stop()
    assert [text[-1][2:4] for text in texts] == ["玄黄", "悬皇", "玄皇", "玄黄", "玄黄"]


@settings(max_examples=15)
@given(pieces=st.integers(1, 200))
def test_finals_with_hotwords_do_not_depend_on_how_the_audio_was_cut(pieces: int) -> None:
    async def run() -> None:
        engine = Engine(FakeBackend)
        await engine.start()
        texts = await recognise(engine, SPEECH, (("悬皇", 4), ("黄宇宙", 4)), pieces)
        await engine.stop()
        assert texts[-1] == "天地悬皇宇"

    asyncio.run(run())


async def test_a_hotword_that_is_not_allowed_opens_no_stream() -> None:
    engine = Engine(FakeBackend)
    await engine.start()
    with pytest.raises(ValueError, match="weight"):
        engine.open(StreamOptions(hotwords=(("天地", 9),)))
    assert engine.open_streams == 0
    await engine.stop()


# On the real backend ----------------------------------------------------------------------------


def with_words(works: Sequence[DecodeWork], words: HotwordSet | None) -> list[DecodeWork]:
    return [
        DecodeWork(work.stream, work.kind, work.first, work.pcm, hotwords=words) for work in works
    ]


def test_a_stream_with_hotwords_changes_nothing_for_one_without(backend: PyTorchBackend) -> None:
    words = compiled((("的一", 4), ("hello", 4)), backend.vocabulary)
    other = compiled((("是在", 4),), backend.vocabulary)
    audio = [speechlike(3.0, seed) for seed in range(3)]

    def run(*sets: HotwordSet | None) -> list[list[DecodeResult]]:
        chunks = [
            with_words(list(chunks_of(backend, n, samples)), own)
            for n, (samples, own) in enumerate(zip(audio, sets, strict=True))
        ]
        streams = tuple(range(len(audio)))
        backend.step(Step(opened=streams))
        steps = [backend.step(Step(chunks=works)).heard for works in zip(*chunks, strict=True)]
        backend.step(Step(closed=streams))
        return [list(heard) for heard in zip(*steps, strict=True)]

    plain, mixed = run(None, None, None), run(words, None, other)
    assert [[h.tokens for h in stream] for stream in mixed] == [
        [h.tokens for h in stream] for stream in plain
    ]
    assert all(heard.evidence is None for heard in (*mixed[1], *plain[0]))
    together = run(words, words, words)[0]
    for alone, shared in zip(mixed[0], together, strict=True):
        assert alone.evidence is not None
        np.testing.assert_allclose(shared.evidence, alone.evidence, atol=1e-3)


def test_there_is_evidence_for_every_token_and_none_is_better_than_the_best(
    backend: PyTorchBackend,
) -> None:
    characters = [piece for piece in backend.vocabulary if len(piece) == 1]
    pairs = tuple((a + b, 4) for a, b in zip(characters[::2], characters[1::2], strict=False))
    words = compiled(pairs, backend.vocabulary)
    assert words is not None
    place = {piece: column for column, piece in enumerate(words.pieces)}
    backend.step(Step(opened=(1,)))
    tokens = 0
    for work in with_words(list(chunks_of(backend, 1, speechlike(6.0, 3))), words):
        (heard,) = backend.step(Step(chunks=(work,))).heard
        assert heard.evidence is not None
        assert heard.evidence.shape == (len(heard.tokens), len(words.pieces))
        assert not np.any(heard.evidence > 0)
        for token, row in zip(heard.tokens, heard.evidence, strict=True):
            assert token.piece not in SPECIAL_TOKENS
            if token.piece in place:
                assert row[place[token.piece]] == pytest.approx(0.0, abs=1e-5)
                tokens += 1
    backend.step(Step(closed=(1,)))
    assert tokens > 5


def test_a_chunk_without_tokens_has_no_evidence_rows(backend: PyTorchBackend) -> None:
    words = compiled((("的一", 4),), backend.vocabulary)
    assert words is not None
    backend.step(Step(opened=(1,)))
    work = DecodeWork(1, Kind.FLUSH, True, np.zeros(400, dtype=np.float32), hotwords=words)
    (heard,) = backend.step(Step(chunks=(work,))).heard
    backend.step(Step(closed=(1,)))
    assert heard.evidence is not None
    assert heard.evidence.shape == (len(heard.tokens), len(words.pieces))
