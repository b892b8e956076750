"""The effects of misbehaving clients on well-behaved ones are found."""

from dataclasses import replace

from asr_server.load.figures import Figures, Percentiles
from benchmarks.chaos import Beside, compare

SEEN = Figures(
    seconds=20,
    first_text=Percentiles(40, 0.4, 0.5, 0.55),
    final=Percentiles(40, 0.85, 0.9, 0.92),
    tail=Percentiles(40, 0.05, 0.06, 0.07),
    finished=40,
    refused=0,
    failed={},
    wordless=0,
    shown=400,
    revised=20,
    late=Percentiles(),
)
ALONE = Beside(SEEN, frozenset({("a.wav", ("您好。",))}), 400.0, 410.0, {})


def test_what_is_as_without_anybody_is_not_noticed():
    assert compare("x", ALONE, ALONE) == []


def test_other_words_are_noticed_and_fewer_of_them_are_not():
    other = replace(ALONE, texts=ALONE.texts | {("a.wav", ("你好。",))})
    assert compare("x", ALONE, other) == ["x: 1 other texts"]
    assert compare("x", ALONE, replace(ALONE, texts=frozenset())) == []


def test_latency_memory_failures_and_what_is_left_are_noticed():
    slow = replace(SEEN, final=Percentiles(40, 0.9, 1.2, 1.3), failed={"no answer": 1}, refused=2)
    now = replace(ALONE, seen=slow, most_rss_mb=700.0, left={"asr_open_tasks": 3.0})
    assert compare("x", ALONE, now) == [
        "x: 1 x no answer",
        "x: 2 refused",
        "x: final p95 900 -> 1200 ms",
        "x: memory 410 -> 700 MB",
        "x: 3 asr_open_tasks left",
    ]


def test_no_answers_at_all_are_noticed():
    silent = replace(ALONE, seen=replace(SEEN, final=Percentiles()))
    assert compare("x", ALONE, silent) == ["x: no final came"]
