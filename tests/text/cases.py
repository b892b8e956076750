"""The tables of phrases and their expected text."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path


def table(name: str) -> list[dict[str, str]]:
    """Return the rows of a table beside this file."""
    with open(Path(__file__).with_name(name), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def wrong(
    shown_of: Callable[[str], str], cases: Iterable[tuple[str, str]]
) -> list[tuple[str, str, str]]:
    """Return what is said, what is shown and what should be, of all cases that differ."""
    shown = [(said, shown_of(said), expected) for said, expected in cases]
    return [case for case in shown if case[1] != case[2]]


def said_and_shown(kind: str) -> list[tuple[str, str]]:
    """Return what is said and what is shown, of one kind of text_cases.tsv."""
    return [(row["said"], row["shown"]) for row in table("text_cases.tsv") if row["kind"] == kind]
