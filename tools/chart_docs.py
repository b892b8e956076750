"""Fill the table of values in the Helm chart's README: `python -m tools.chart_docs`.

The table stands between `<!-- generated: values -->` and `<!-- end -->` and comes from values.yaml,
in which a line `# -- text` above a key describes it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "deploy" / "helm" / "asr-server"
README, VALUES = CHART / "README.md", CHART / "values.yaml"
PART = re.compile(r"(<!-- generated: values -->\n).*?(<!-- end -->)", re.DOTALL)
DESCRIBED = re.compile(r"^( *)# -- (.+)$|^( *)(\w+):", re.MULTILINE)


def main() -> None:
    README.write_text(fill(README.read_text(encoding="utf-8")), encoding="utf-8")


def fill(text: str) -> str:
    """Return the README with the current table."""
    rows = [f"| `{path}` | `{shown}` | {meaning} |" for path, shown, meaning in values()]
    table = "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])
    return PART.sub(lambda part: f"{part[1]}\n{table}\n\n{part[2]}", text)


def values() -> Iterator[tuple[str, str, str]]:
    """Yield path, default as JSON, and meaning of each described value."""
    text = VALUES.read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)
    path: list[str] = []
    meaning = ""
    for _, comment, indent, key in DESCRIBED.findall(text):
        if comment:
            meaning = comment
            continue
        path = [*path[: len(indent) // 2], key]
        if meaning:
            yield ".".join(path), json.dumps(_at(defaults, path)), meaning
        meaning = ""


def leaves(defaults: dict[str, Any], described: set[str], path: str = "") -> Iterator[str]:
    """Yield the paths of all values, without the insides of described ones."""
    for key, value in defaults.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, dict) and here not in described and value:
            yield from leaves(value, described, here)
        else:
            yield here


def _at(defaults: Any, path: list[str]) -> Any:
    for key in path:
        defaults = defaults[key]
    return defaults


if __name__ == "__main__":
    main()
