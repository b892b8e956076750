"""What `make check` adds to the linters: skipped checks, and documents in two languages."""

import sys

import pytest

from tools import check, check_documents
from tools.check import Check

ENGLISH = "# Title\n\n| a |\n- one\n\n```bash\nmake run  # start\n```\n"


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("# Title", "# 标题", []),
        ("start", "启动", []),
        ("- one\n", "", ["structure differs at item 3: '-' and '```bash'"]),
        ("# Title", "## 标题", ["structure differs at item 1: '#' and '##'"]),
        ("make run", "make test", ["code differs at item 1: 'make run' and 'make test'"]),
    ],
)
def test_translated_words_may_differ_and_structure_and_code_may_not(old, new, found):
    assert check_documents.differences(ENGLISH, ENGLISH.replace(old, new)) == found


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        ((sys.executable, "-c", "print('fine')"), 0, "a check: ok"),
        ((sys.executable, "-c", "raise SystemExit('wrong')"), 1, "wrong"),
        (("no-such-program",), 0, "no-such-program is not installed (make setup)"),
    ],
)
def test_a_check_fails_by_its_status_and_not_by_its_absence(
    command, status, line, monkeypatch, capsys
):
    monkeypatch.setattr(check, "CHECKS", (Check("a check", command),))
    assert check.main() == status
    assert line in capsys.readouterr().out
