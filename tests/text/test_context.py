"""Candidate names in a conversation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.text.context import LONGEST_NAME, MOST_NAMES, WEIGHT, context_hotwords
from asr_server.text.hotwords import check


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("请问达摩院的张三丰在哪里", {"达摩院", "张三丰", "张三"}),
        ("今天我们和王小明、李思思讨论通义千问", {"王小明", "王小", "李思思", "李思", "通义千问"}),
        ("FastAPI and iPhone15 are names, and so is Qwen", {"FastAPI", "iPhone15", "Qwen"}),
        ("The GPT5 of OpenAI. But why", {"GPT5", "OpenAI"}),
        ("白云山怎么去", {"白云山", "白云"}),
        ("跌了百分之十三点一穆娜曦很高兴", {"穆娜曦", "穆娜"}),
        ("帮我给欧阳锋打电话", {"欧阳锋"}),
        ("明天下午三点开会讨论季度预算", set()),
        ("今天天气怎么样，我们去公园", set()),
        ("", set()),
    ],
)
def test_names_are_what_the_lexicon_of_common_words_lacks(said: str, names: set[str]):
    assert {name for name, _ in context_hotwords([said])} == names


def test_the_last_candidates_count_and_each_once():
    said = "、".join(chr(0x4E00 + n) + chr(0x5000 + n) for n in range(MOST_NAMES + 50))
    found = [name for name, _ in context_hotwords([said, said])]
    assert len(found) == len(set(found)) == MOST_NAMES
    assert found[0] == said[-2:]


@given(st.lists(st.text(st.sampled_from("达摩院张三的在我们今天一二A9b ，、"), max_size=40)))
def test_every_candidate_is_an_acceptable_hotword_of_the_context(texts: list[str]):
    for name, weight in context_hotwords(texts):
        check(name, weight)
        assert weight == WEIGHT
        assert name.isascii() or 2 <= len(name) <= LONGEST_NAME
        assert any(name in text for text in texts)
