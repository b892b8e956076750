"""Print every setting as `.env` knows it: `python tools/print_settings.py > .env.example`."""

import inspect
import json
import re
from typing import Any

from asr_server.settings import Settings

HEAD = """\
# Every setting with its default. Copy to .env and remove the # of what you change, or set the
# variable in the environment, which wins. Printed by tools/print_settings.py.
"""


def main() -> None:
    print(HEAD.rstrip())
    sections = _sections()
    for name, field in Settings.model_fields.items():
        if name in sections:
            print(f"\n# --- {sections[name]}")
        print(f"\n# {field.description}")
        print(f"#ASR_{name.upper()}={_written(field.get_default(call_default_factory=True))}")


def _sections() -> dict[str, str]:
    """The comment above a group of fields, by the group's first field."""
    source = inspect.getsource(Settings)
    return {m[2]: m[1] for m in re.finditer(r"^    # (.+)\n    (\w+):", source, re.MULTILINE)}


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return json.dumps(value).strip('"')


if __name__ == "__main__":
    main()
