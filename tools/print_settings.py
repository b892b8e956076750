"""Print every setting as a line of `.env`: `python tools/print_settings.py > .env.example`."""

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from asr_server.settings import Settings

HEAD = """\
# Every setting with its default. Copy this file to .env and uncomment the lines you change, or set
# the variable in the environment, which takes precedence. Printed by tools/print_settings.py.
"""


def main() -> None:
    print(HEAD.rstrip())
    for title, names in groups():
        print(f"\n# --- {title}")
        for name in names:
            print(f"\n# {meaning(name)}")
            print(f"#{variable(name)}={default(name)}")


def groups() -> Iterator[tuple[str, list[str]]]:
    """Yield each group of settings, in order: the comment above it in `Settings`, its names."""
    source = inspect.getsource(Settings)
    titles = {m[2]: m[1] for m in re.finditer(r"^    # (.+)\n    (\w+):", source, re.MULTILINE)}
    names = list(Settings.model_fields)
    begins = [names.index(name) for name in titles]
    for begin, end in zip(begins, [*begins[1:], len(names)], strict=True):
        yield titles[names[begin]], names[begin:end]


def variable(name: str) -> str:
    return f"ASR_{name.upper()}"


def meaning(name: str) -> str:
    """Return the sentence that describes a setting."""
    return str(Settings.model_fields[name].description)


def default(name: str) -> str:
    """Return the default as it is written in `.env`."""
    value: Any = Settings.model_fields[name].get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return json.dumps(value).strip('"')


if __name__ == "__main__":
    main()
