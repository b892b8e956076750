"""Fill the tables of settings in docs/OPERATIONS*.md: `python -m tools.settings_docs`.

The tables stand between `<!-- generated: settings -->` and `<!-- end -->` and come from `Settings`.
settings.zh-CN.yaml translates each sentence; a test fails if one has no translation.
"""

import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from asr_server.settings import Settings
from tools.print_settings import default, groups, meaning, variable

ROOT = Path(__file__).parents[1]
TRANSLATIONS = Path(__file__).with_name("settings.zh-CN.yaml")
ENGLISH, CHINESE = ROOT / "docs" / "OPERATIONS.md", ROOT / "docs" / "OPERATIONS.zh-CN.md"
HEADS = {
    ENGLISH: ("setting", "default", "values", "meaning"),
    CHINESE: ("配置项", "默认值", "取值", "含义"),
}
PART = re.compile(r"(<!-- generated: settings -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    for page in HEADS:
        page.write_text(fill(page, page.read_text(encoding="utf-8")), encoding="utf-8")


def fill(page: Path, text: str) -> str:
    """Return the page with current tables; raises KeyError for a sentence without a translation."""
    tables = _tables(HEADS[page], translations() if page == CHINESE else None)
    return PART.sub(lambda part: f"{part[1]}\n{tables}\n\n{part[2]}", text)


def translations() -> dict[str, str]:
    """Return the Chinese sentences by the English ones."""
    loaded: dict[str, str] = yaml.safe_load(TRANSLATIONS.read_text(encoding="utf-8"))
    return loaded


def sentences() -> list[str]:
    """Return all sentences that need a translation."""
    return [text for title, names in groups() for text in (title, *map(meaning, names))]


def _tables(head: tuple[str, ...], chinese: dict[str, str] | None) -> str:
    def local(sentence: str) -> str:
        return sentence if chinese is None else chinese[sentence]

    tables = []
    for title, names in groups():
        lines = [f"**{local(title)}**", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for name in names:
            cells = (
                _code(variable(name)),
                _code(default(name)),
                _values(name),
                local(meaning(name)),
            )
            lines.append(f"| {' | '.join(cells)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _values(name: str) -> str:
    """Return the choices or the range of a setting; nothing for free text."""
    field = Settings.model_fields[name]
    annotation: Any = field.annotation
    if annotation is bool:
        return "`true`, `false`"
    if get_origin(annotation) is Literal:
        return ", ".join(map(_code, get_args(annotation)))
    limits = {
        mark: getattr(rule, mark)
        for rule in field.metadata
        for mark in SIGNS
        if hasattr(rule, mark)
    }
    if limits.keys() >= {"ge", "le"}:
        return f"{limits['ge']} … {limits['le']}"
    return ", ".join(f"{SIGNS[mark]} {limit}" for mark, limit in limits.items())


SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    main()
