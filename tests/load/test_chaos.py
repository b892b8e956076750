"""Differences of an observation from the baseline become problems, and equal ones do not."""

from dataclasses import replace

from asr_server.load.figures import Figures, Percentiles
from benchmarks.chaos import Observed, problems_of

CLIENTS = Figures(
    seconds=20,
    first_text=Percentiles(40, 0.4, 0.5, 0.55),
    final=Percentiles(40, 0.85, 0.9, 0.92),
    tail=Percentiles(40, 0.05, 0.06, 0.07),
    finished=40,
    refused=0,
    failed={},
    shown=400,
    revised=20,
    late=Percentiles(),
)
BASELINE = Observed(CLIENTS, frozenset({("a.wav", ("您好。",))}), 400.0, 410.0, {})


def test_an_observation_equal_to_the_baseline_has_no_problems():
    assert problems_of("x", BASELINE, BASELINE) == []


def test_different_texts_are_a_problem_and_fewer_texts_are_not():
    other = replace(BASELINE, texts=BASELINE.texts | {("a.wav", ("你好。",))})
    assert problems_of("x", BASELINE, other) == ["x: 1 different texts"]
    assert problems_of("x", BASELINE, replace(BASELINE, texts=frozenset())) == []


def test_latency_memory_failures_and_open_tasks_are_problems():
    slow = replace(
        CLIENTS, final=Percentiles(40, 0.9, 1.2, 1.3), failed={"no answer": 1}, refused=2
    )
    now = replace(BASELINE, clients=slow, max_rss_mb=700.0, left_open={"asr_open_tasks": 3.0})
    assert problems_of("x", BASELINE, now) == [
        "x: 1 x no answer",
        "x: 2 refused",
        "x: final p95 900 -> 1200 ms",
        "x: memory 410 -> 700 MB",
        "x: 3 asr_open_tasks left open",
    ]


def test_a_latency_without_any_value_is_a_problem():
    without = replace(BASELINE, clients=replace(CLIENTS, final=Percentiles()))
    assert problems_of("x", BASELINE, without) == ["x: no final came"]
