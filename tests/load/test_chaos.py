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
BASELINE = Beside(SEEN, frozenset({("a.wav", ("您好。",))}), 400.0, 410.0, {})


def test_equal_figures_are_no_effect():
    assert compare("x", BASELINE, BASELINE) == []


def test_other_texts_are_an_effect_and_missing_ones_are_not():
    other = replace(BASELINE, texts=BASELINE.texts | {("a.wav", ("你好。",))})
    assert compare("x", BASELINE, other) == ["x: 1 other texts"]
    assert compare("x", BASELINE, replace(BASELINE, texts=frozenset())) == []


def test_latency_memory_failures_and_open_tasks_are_effects():
    slow = replace(SEEN, final=Percentiles(40, 0.9, 1.2, 1.3), failed={"no answer": 1}, refused=2)
    now = replace(BASELINE, figures=slow, most_rss_mb=700.0, left={"asr_open_tasks": 3.0})
    assert compare("x", BASELINE, now) == [
        "x: 1 x no answer",
        "x: 2 refused",
        "x: final p95 900 -> 1200 ms",
        "x: memory 410 -> 700 MB",
        "x: 3 asr_open_tasks left",
    ]


def test_a_latency_without_measurement_is_an_effect():
    silent = replace(BASELINE, figures=replace(SEEN, final=Percentiles()))
    assert compare("x", BASELINE, silent) == ["x: no final came"]
