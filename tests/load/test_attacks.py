"""Attacks are found by themselves, and a figure beside one of them is good or not."""

import json
from dataclasses import asdict

from benchmarks.attack_figures import TABLE, Observed, held, line, rows
from benchmarks.attack_process import find_attacks

GOOD = Observed(
    first_text_p95_s=0.4,
    final_p95_s=0.9,
    finished=24,
    failed={},
    rss_before_mb=500,
    rss_max_mb=520,
    rss_after_mb=505,
    back_s=1.0,
    refused={"close 1008": 7},
    errors=0,
    tracebacks=0,
    log_mb=0.1,
    late_p99_s=0.01,
)


def figures(**changes):
    return json.loads(json.dumps({**asdict(GOOD), **changes}))


def test_every_coroutine_that_needs_only_a_url_is_an_attack():
    found = find_attacks()
    assert {"foreign_pages", "guessed_keys", "broken_parameters"} <= found.keys()
    assert not any(name.startswith("_") for name in found)


def test_late_finals_failed_tasks_kept_memory_and_logged_errors_miss_the_goals():
    assert held(figures())
    for change in (
        {"final_p95_s": 1.2},
        {"final_p95_s": None},
        {"failed": {"InternalError": 1}},
        {"back_s": None},
        {"errors": 1},
        {"tracebacks": 1},
    ):
        assert not held(figures(**change)), change


def test_the_table_shows_figures_before_and_now():
    before = {"floods": figures(final_p95_s=5.6, errors=9, tracebacks=12)}
    shown = rows(before, {"floods": figures(), "others": figures()})
    assert shown[0] == [
        "`floods`",
        "5600 → 900",
        "0 → 0",
        "+20 → +20",
        "+5 → +5",
        "12 → 0",
        "close 1008: 7",
    ]
    assert shown[1][1] == "900"
    assert len(shown[0]) == len(TABLE)
    assert "final 900 ms p95" in line(GOOD)
