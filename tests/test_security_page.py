"""The limits that SECURITY.md states are those of the code."""

import importlib
import re

import pytest

from asr_server.settings import Settings
from tests.support.processes import ROOT

PAGES = (ROOT / "SECURITY.md", ROOT / "SECURITY.zh-CN.md")
ROW = re.compile(r"^\| [^|]+ \| ([^|]*`\d[^|]*) \| ([^|]*`[^|]*) \| [^|]+ \|$", re.MULTILINE)


def value(name: str) -> float:
    """Return the default of a setting, or a constant of the package."""
    if name.startswith("ASR_"):
        return float(Settings.model_fields[name.removeprefix("ASR_").lower()].default)
    module, _, constant = name.rpartition(".")
    return float(getattr(importlib.import_module(f"asr_server.{module}"), constant))


def limits(page: str) -> dict[str, float]:
    """Return the stated values by the names beside them."""
    found: dict[str, float] = {}
    for values, names in ROW.findall(page):
        pair = re.findall(r"`([\w.]+)`", names), re.findall(r"`(\d+)`", values)
        found.update(zip(pair[0], map(float, pair[1]), strict=True))
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_limit_has_the_value_of_the_code(path):
    stated = limits(path.read_text(encoding="utf-8"))
    assert len(stated) > 20
    assert stated == {name: value(name) for name in stated}


def test_both_languages_state_the_same_limits_in_the_same_order():
    english, chinese = (limits(path.read_text(encoding="utf-8")) for path in PAGES)
    assert list(english.items()) == list(chinese.items())
