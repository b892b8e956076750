"""Translate the command line where the locale is Chinese.

The English texts stand in the code. `zh-CN.yaml` is the one home of the Chinese ones and has them
by the English ones; a text that is not in it stays English. A test fails for each missing text.
"""

import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).with_name("zh-CN.yaml")
VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
"""Where gettext looks for the language of messages, in this order."""
WINDOWS_CHINESE = 0x04
"""Primary language of Windows' language ids."""

TYPER_TEXTS = {
    "ARGUMENTS_PANEL_TITLE": "Arguments",
    "OPTIONS_PANEL_TITLE": "Options",
    "COMMANDS_PANEL_TITLE": "Commands",
    "ERRORS_PANEL_TITLE": "Error",
    "DEFAULT_STRING": "[default: {}]",
    "ENVVAR_STRING": "[env var: {}]",
    "REQUIRED_LONG_STRING": "[required]",
}
"""Names of typer's own texts in `typer.rich_utils`."""


def _(text: str) -> str:
    """Return a text in the user's language."""
    return _catalogue().get(text, text)


def translate(command: Any) -> None:
    """Translate the help of a command, of its parameters and of the commands below it."""
    if not _catalogue():
        return

    from typer import rich_utils

    for name, text in TYPER_TEXTS.items():
        setattr(rich_utils, name, _(text))
    _translate(command)


def paragraphs(text: str | None) -> list[str]:
    """Return the units in which a help text is translated."""
    return [re.sub(r"\s*\n\s*", " ", part) for part in re.split(r"\n\s*\n", (text or "").strip())]


def is_chinese() -> bool:
    """Return whether the user's messages are to be Chinese."""
    chosen = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), "")
    if chosen or sys.platform != "win32":
        return chosen.lower().startswith("zh")
    import ctypes

    language: int = ctypes.windll.kernel32.GetUserDefaultUILanguage()
    return language & 0x3FF == WINDOWS_CHINESE


@cache
def _catalogue() -> Mapping[str, str]:
    """Return the Chinese texts by the English ones; nothing where the locale is another."""
    if not is_chinese():
        return {}
    import yaml

    texts: dict[str, str] = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))
    return texts


def _translate(command: Any) -> None:
    for name in ("help", "short_help", "epilog"):
        setattr(command, name, _paragraphwise(getattr(command, name, None)))
    for parameter in command.get_params(command.context_class(command)):  # with `--help`
        parameter.help = _paragraphwise(getattr(parameter, "help", None))
    for below in getattr(command, "commands", {}).values():
        _translate(below)


def _paragraphwise(text: str | None) -> str | None:
    return "\n\n".join(map(_, paragraphs(text))) if text else text
