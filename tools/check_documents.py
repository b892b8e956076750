"""Compares the English and the Chinese documents: same structure, same code.

`make check` runs it; `python -m tools.check_documents` prints the first difference of each pair.
"""

import re
import sys
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [
    (ROOT / name, ROOT / name.replace(".md", ".zh-CN.md"))
    for name in (
        "README.md",
        "SECURITY.md",
        "docs/OPERATIONS.md",
        "docs/CAPACITY.md",
        "docs/INSTALL.md",
        "docs/KUBERNETES.md",
        "deploy/ray/README.md",
    )
]
LANGUAGES = ("bash", "python", "json")


def structure(text: str) -> list[str]:
    """Return the kinds of headings, code blocks, table rows and list items, in order."""
    kinds = []
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
            kinds.append(line)
        elif not fenced and line.startswith(("#", "|", "- ")):
            kinds.append(line.split()[0])
    return kinds


def code(text: str) -> list[str]:
    """Return the lines of code, without comments, which are translated."""
    blocks = re.findall(
        rf"^```(?:{'|'.join(LANGUAGES)})\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    return [re.sub(r"\s*#.*", "", line) for block in blocks for line in block.splitlines()]


def differences(english: str, chinese: str) -> list[str]:
    """Return one line for structure and one for code, where the two texts differ."""
    found = []
    for what, parts in (("structure", structure), ("code", code)):
        for number, (one, other) in enumerate(zip_longest(parts(english), parts(chinese)), 1):
            if one != other:
                found.append(f"{what} differs at item {number}: {one!r} and {other!r}")
                break
    return found


def main() -> int:
    """Print what differs; return 1 if anything does."""
    status = 0
    for pair in PAIRS:
        for difference in differences(*(path.read_text(encoding="utf-8") for path in pair)):
            print(f"{pair[0].relative_to(ROOT)}, {pair[1].name}: {difference}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
