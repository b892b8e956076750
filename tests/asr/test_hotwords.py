"""Check the hotword search, and that streams of one step do not see each other's hotwords."""

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
from asr_server.asr.hotword_compiler import SAME_BUT_TONE, SAME_SOUND, compile_hotwords
from asr_server.asr.hotwords import (
    MIN_EVIDENCE,
    Evidence,
    HotwordSearch,
    HotwordSet,
    best_path,
)
from asr_server.asr.loading.model_dir import SPECIAL_TOKENS
from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.run.evidence import EvidenceGatherer
from asr_server.asr.types import DecodeResult, DecodeWork, Kind, StreamOptions
from asr_server.audio.units import Pcm
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.text.tokens import Token
from tests.support.chunks import chunks_of, speechlike
from tests.support.engines import engine_with
from tests.support.hotword_evidence import reference_evidence

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
    words_ = compile_hotwords(tuple((word, weight) for word in words), VOCABULARY)
    assert words_ is not None
    return words_


def tokens_of(*pieces: str, confidence: float = 1.0) -> tuple[Token, ...]:
    return tuple(Token(p, n * 100, n * 100 + 90, confidence) for n, p in enumerate(pieces))


def text(tokens: Sequence[Token]) -> str:
    return " ".join(token.piece for token in tokens)


def evidence(words: HotwordSet, *rows: dict[str, float]) -> Evidence:
    """Return evidence in which every token is impossible but those given."""
    return np.array(
        [[row.get(piece, -99.0) for piece in words.pieces] for row in rows], dtype=np.float32
    ).reshape(len(rows), len(words.pieces))


def searched(words: HotwordSet, *rows: dict[str, float]) -> HotwordSearch:
    search = HotwordSearch(words)
    search.accept(evidence(words, *rows), commit=True)
    return search


# The search -------------------------------------------------------------------------------------


def path_scores(length: int, spans: dict[tuple[int, int], float]) -> Iterator[float]:
    """Yield the score of every path through the positions `[0, length)`."""
    if length == 0:
        yield 0.0
        return
    for score in path_scores(length - 1, spans):
        yield score
    for (begin, end), gain in spans.items():
        if end == length:
            for score in path_scores(begin, spans):
                yield score + gain


def by_hand(words: dict[str, int], rows: np.ndarray) -> dict[tuple[int, int], float]:
    """Return the score of the best word on every span that it could fill."""
    spans: dict[tuple[int, int], float] = {}
    for listed, weight in words.items():
        alone = compile_hotwords(((listed, weight),), VOCABULARY)
        assert alone is not None
        bonus = float(alone.words[0].bonuses[0])
        for begin in range(len(rows) - len(listed) + 1):
            costs = [rows[begin + n][LETTERS.index(c)] for n, c in enumerate(listed)]
            if min(costs) >= MIN_EVIDENCE:
                span = (begin, begin + len(listed))
                spans[span] = max(spans.get(span, -np.inf), sum(costs) + bonus)
    return spans


@given(words=word_lists, rows=sentences, cuts=st.sets(st.integers(0, 8)))
def test_the_best_path_is_found_however_the_sentence_was_cut(
    words: dict[str, int], rows: list[list[float]], cuts: set[int]
) -> None:
    compiled_set = compile_hotwords(tuple(words.items()), VOCABULARY)
    assert compiled_set is not None
    costs = np.array(rows, dtype=np.float32)
    own = costs[:, [LETTERS.index(piece) for piece in compiled_set.pieces]]
    search = HotwordSearch(compiled_set)
    for begin, end in pairwise(sorted({0, len(rows), *(c for c in cuts if c < len(rows))})):
        search.accept(own[begin : min(end + 2, len(rows))], commit=False)  # leaves no trace
        search.accept(own[begin:end], commit=True)
    path = best_path(search._arcs, tokens_of(*"天" * len(rows)))
    assert all(one.end <= other.begin for one, other in pairwise(path))
    expected = max(path_scores(len(rows), by_hand(words, costs)))
    assert sum(arc.score for arc in path) == pytest.approx(expected, abs=1e-4)


def test_a_hotword_that_is_almost_as_good_replaces_the_best_tokens() -> None:
    words = made("长安")
    search = searched(words, {"长": -1.0}, {"安": 0.0}, {})
    assert text(search.rewrite(tokens_of(*"常安街"))) == "长 安 街"


def test_a_hotword_without_evidence_stays_out_whatever_its_weight() -> None:
    words = made("长安街", weight=50)
    search = searched(words, {"长": 0.0}, {"安": 0.0}, {"街": MIN_EVIDENCE - 0.1})
    assert text(search.rewrite(tokens_of(*"长安甲"))) == "长 安 甲"


def test_a_heavier_weight_accepts_less_evidence() -> None:
    rows = ({"长": -2.0}, {"安": 0.0})
    assert text(searched(made("长安", weight=1), *rows).rewrite(tokens_of(*"常安"))) == "常 安"
    assert text(searched(made("长安", weight=5), *rows).rewrite(tokens_of(*"常安"))) == "长 安"


def test_of_two_words_that_overlap_the_better_one_is_chosen() -> None:
    words = made("长安", "安街")
    rows = ({"长": -0.2}, {"安": 0.0}, {"街": -0.1})
    assert text(searched(words, *rows).rewrite(tokens_of(*"常安甲"))) == "常 安 街"


def test_a_word_inside_a_longer_one_does_not_break_it() -> None:
    words = made("长安", "长安街")
    rows = ({"长": -0.2}, {"安": -0.2}, {"街": -0.2})
    assert text(searched(words, *rows).rewrite(tokens_of(*"常甲乙"))) == "长 安 街"


def test_a_word_may_begin_in_one_chunk_and_end_in_another() -> None:
    words = made("长安街")
    search = HotwordSearch(words)
    for row in ({"长": -0.5}, {"安": -0.5}):
        search.accept(evidence(words, row), commit=True)
    search.accept(evidence(words, {"街": -0.5}), commit=False)
    assert text(search.rewrite(tokens_of(*"常甲乙"))) == "长 安 街"
    search.accept(evidence(words, {}), commit=False)  # decoded again with more audio: another token
    assert text(search.rewrite(tokens_of(*"常甲丙"))) == "常 甲 丙"


def test_a_replacement_keeps_times_and_marks_and_brings_its_confidence() -> None:
    words = made("长安")
    search = searched(words, {"长": -1.0}, {"安": 0.0})
    before = (Token("常", 5, 9, 0.6, "，"), Token("安", 9, 20, 0.9, "。"))
    first, second = search.rewrite(before)
    assert first == Token("长", 5, 9, pytest.approx(0.6 * np.exp(-1.0)), "，")
    assert second == before[1]


def test_an_english_word_is_never_split() -> None:
    search = searched(made("长安"), {"长": 0.0}, {"长": 0.0, "安": 0.0}, {"安": 0.0})
    assert text(search.rewrite(tokens_of("hel@@", "lo", "街"))) == "长 安 街"
    assert text(search.rewrite(tokens_of("hel@@", "hel@@", "lo"))) == "hel@@ hel@@ lo"
    assert text(search.rewrite(tokens_of("lo", "hel@@", "lo"))) == "lo 长 安"


def test_english_hotwords_are_found_by_their_pieces() -> None:
    words = made("Hello")
    search = searched(words, {"hel@@": -1.0}, {"lo": -0.5})
    assert text(search.rewrite(tokens_of("ok", "安"))) == "hel@@ lo"


def test_closing_the_first_part_of_a_sentence_leaves_the_rest_as_it_was() -> None:
    words = made("长安")
    search = searched(words, {"长": -0.5}, {"安": 0.0}, {}, {"长": -0.5})
    search.cut(2)
    assert text(search.rewrite(tokens_of(*"甲常"))) == "甲 常"
    search.accept(evidence(words, {"安": 0.0}), commit=True)
    assert text(search.rewrite(tokens_of(*"甲常安"))) == "甲 长 安"
    search.cut(2)
    assert text(search.rewrite(tokens_of(*"安"))) == "安"


# Sounds -----------------------------------------------------------------------------------------


def scores(best: str, **others: float) -> np.ndarray:
    """Return scores of one token that is certain but for some others."""
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
    (row,) = reference_evidence(words, scores(best))
    assert row[words.pieces.index("章")] == pytest.approx(cost, abs=1e-3)


def test_a_decoded_character_has_its_usual_reading_only() -> None:
    words = made("方甲")
    (row,) = reference_evidence(words, scores("放"))  # fang4, very seldom fang1
    assert row[words.pieces.index("方")] == pytest.approx(-SAME_BUT_TONE, abs=1e-3)


def test_a_hotwords_character_is_read_as_in_its_word() -> None:
    (row,) = reference_evidence(made("长安"), scores("常"))  # chang2
    assert row[1] == pytest.approx(-SAME_SOUND, abs=1e-3)
    (row,) = reference_evidence(made("长安"), scores("掌"))  # zhang3
    assert row[1] == pytest.approx(-30.0, abs=1e-3)
    (row,) = reference_evidence(made("长安", "安长"), scores("掌"))  # 长 by itself
    assert row[1] == pytest.approx(-SAME_SOUND, abs=1e-3)


def test_characters_of_one_sound_count_together() -> None:
    words = made("章甲")
    (row,) = reference_evidence(words, scores("常", 张=-2.0, 章=-4.0))
    together = np.log(np.exp(-2.0) + np.exp(-4.0))
    assert row[words.pieces.index("章")] == pytest.approx(together - SAME_SOUND, abs=1e-3)


@given(seed=st.integers(0, 999), tokens=st.integers(0, 6))
def test_the_device_computes_the_same_evidence_as_the_reference(seed: int, tokens: int) -> None:
    words = made("章长安街", "Hello", "常安")
    other = made("甲乙")
    logits = np.random.default_rng(seed).normal(0, 6, (tokens, len(VOCABULARY)))
    logits = logits.astype(np.float32)
    gather = EvidenceGatherer(torch.device("cpu"))
    first, none, second, third = gather(
        [torch.from_numpy(logits), torch.from_numpy(logits), None, torch.from_numpy(logits[:2])],
        [words, None, words, other],
    )
    np.testing.assert_allclose(first, reference_evidence(words, logits), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(third, reference_evidence(other, logits[:2]), rtol=1e-4, atol=1e-4)
    assert none is None
    assert second is not None
    assert second.shape == (0, len(words.pieces))


# Compiling --------------------------------------------------------------------------------------


def test_words_that_the_vocabulary_cannot_spell_are_left_out_and_named_by_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    hotwords = (("长安", 4), ("长沙", 4), ("world", 4))
    words = compile_hotwords(hotwords, VOCABULARY)
    assert compile_hotwords(hotwords, VOCABULARY) is words
    [record] = caplog.records
    assert record.__dict__["places"] == [2, 3]
    assert words is not None
    assert words.pieces == ("安", "长")


def test_names_of_a_context_are_no_less_words_but_never_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    words = compile_hotwords((("章甲", 4),), VOCABULARY, (("长沙", 2), ("长安", 2)))
    assert words is not None
    assert words.pieces == ("安", "甲", "章", "长")
    assert not caplog.records


def test_a_list_without_usable_words_compiles_to_none() -> None:
    assert compile_hotwords((("世", 4), ("沙漠", 4)), VOCABULARY) is None
    assert compile_hotwords((("张", 5),), VOCABULARY) is None  # a character alone


def test_a_word_that_is_not_allowed_raises_value_error() -> None:
    with pytest.raises(ValueError, match="weight"):
        compile_hotwords((("长安", -1),), VOCABULARY)


def test_tasks_with_the_same_list_share_its_set() -> None:
    assert made("长安", "章甲") is made("长安", "章甲")


# In the engine ----------------------------------------------------------------------------------

SPEECH = np.full(16_000 * 3, 0.1, dtype=np.float32)
"""天地玄黄宇 to the fake backend."""


async def recognise(engine: Engine, audio: Pcm, hotwords: Listed, pieces: int = 1) -> list[str]:
    """Return the texts of all hypotheses; the last is the final one."""
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
    engine = engine_with()
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


async def test_hotwords_replaced_within_a_sentence_count_from_the_next_one_on() -> None:
    engine = engine_with()
    await engine.start()
    stream = engine.open(StreamOptions(hotwords=(("悬皇", 4),)))
    stream.push(SPEECH)
    assert isinstance(await asyncio.wait_for(stream.next(), 10), Hypothesis)
    stream.favour(await engine.prepare((), (("玄皇", 4),)))
    stream.push(np.concatenate((np.zeros(32_000, np.float32), SPEECH)))
    stream.finish()
    finals = []
    while not isinstance(event := await asyncio.wait_for(stream.next(), 10), EndOfStream):
        if event.final:
            finals.append("".join(token.piece for token in event.tokens))
    await engine.stop()
    assert [final[2:4] for final in finals] == ["悬皇", "玄皇"]


async def test_streams_do_not_see_each_others_hotwords() -> None:
    engine = engine_with()
    await engine.start()
    lists: list[Listed] = [(), (("悬皇", 4),), (("玄皇", 4),), (("不在", 4),), ()]
    texts = await asyncio.gather(*(recognise(engine, SPEECH, words) for words in lists))
    await engine.stop()
    assert [text[-1][2:4] for text in texts] == ["玄黄", "悬皇", "玄皇", "玄黄", "玄黄"]


@settings(max_examples=15)
@given(pieces=st.integers(1, 200))
def test_finals_with_hotwords_do_not_depend_on_how_the_audio_was_cut(pieces: int) -> None:
    async def run() -> None:
        engine = engine_with()
        await engine.start()
        texts = await recognise(engine, SPEECH, (("悬皇", 4), ("黄宇宙", 4)), pieces)
        await engine.stop()
        assert texts[-1] == "天地悬皇宇"

    asyncio.run(run())


async def test_a_hotword_that_is_not_allowed_opens_no_stream() -> None:
    engine = engine_with()
    await engine.start()
    with pytest.raises(ValueError, match="weight"):
        engine.open(StreamOptions(hotwords=(("天地", 9),)))
    assert engine.open_streams == 0
    await engine.stop()


# On the real backend ----------------------------------------------------------------------------


def with_words(works: Sequence[DecodeWork], words: HotwordSet | None) -> list[DecodeWork]:
    return [
        DecodeWork(work.slot, work.kind, work.first, work.pcm, hotwords=words) for work in works
    ]


def test_a_stream_with_hotwords_changes_nothing_for_one_without(backend: PyTorchBackend) -> None:
    words = compile_hotwords((("的一", 4), ("hello", 4)), backend.vocabulary)
    other = compile_hotwords((("是在", 4),), backend.vocabulary)
    audio = [speechlike(3.0, seed) for seed in range(3)]

    def run(*sets: HotwordSet | None) -> list[list[DecodeResult]]:
        chunks = [
            with_words(list(chunks_of(backend, n, samples)), own)
            for n, (samples, own) in enumerate(zip(audio, sets, strict=True), start=1)
        ]
        steps = [backend.decode(works) for works in zip(*chunks, strict=True)]
        return [list(results) for results in zip(*steps, strict=True)]

    plain, mixed = run(None, None, None), run(words, None, other)
    assert [[h.tokens for h in stream] for stream in mixed] == [
        [h.tokens for h in stream] for stream in plain
    ]
    assert all(result.evidence is None for result in (*mixed[1], *plain[0]))
    together = run(words, words, words)[0]
    for alone, shared in zip(mixed[0], together, strict=True):
        assert alone.evidence is not None
        np.testing.assert_allclose(shared.evidence, alone.evidence, atol=1e-3)


def test_there_is_evidence_for_every_token_and_none_is_better_than_the_best(
    backend: PyTorchBackend,
) -> None:
    characters = [piece for piece in backend.vocabulary if len(piece) == 1]
    pairs = tuple((a + b, 4) for a, b in zip(characters[::2], characters[1::2], strict=False))
    words = compile_hotwords(pairs, backend.vocabulary)
    assert words is not None
    place = {piece: column for column, piece in enumerate(words.pieces)}
    tokens = 0
    for work in with_words(list(chunks_of(backend, 1, speechlike(6.0, 3))), words):
        (result,) = backend.decode([work])
        assert result.evidence is not None
        assert result.evidence.shape == (len(result.tokens), len(words.pieces))
        assert not np.any(result.evidence > 0)
        for token, row in zip(result.tokens, result.evidence, strict=True):
            assert token.piece not in SPECIAL_TOKENS
            if token.piece in place:
                assert row[place[token.piece]] == pytest.approx(0.0, abs=1e-5)
                tokens += 1
    assert tokens > 5


def test_a_chunk_without_tokens_has_no_evidence_rows(backend: PyTorchBackend) -> None:
    words = compile_hotwords((("的一", 4),), backend.vocabulary)
    assert words is not None
    work = DecodeWork(1, Kind.FLUSH, True, np.zeros(400, dtype=np.float32), hotwords=words)
    (result,) = backend.decode([work])
    assert result.evidence is not None
    assert result.evidence.shape == (len(result.tokens), len(words.pieces))
