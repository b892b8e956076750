"""Read the settings of this installation: options, then the environment, then `.env`.

No other module reads either. A fault is one line that names the place of the value.
"""

import codecs
import difflib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AliasChoices, ValidationError

from asr_server.settings import Settings, SettingsError

FILE = Path(".env")

OTHER_NAMES = {"ASR_PUBLISH", "ASR_MEMORY", "ASR_DOMAIN", "ASR_SERVERS"}
"""Names that compose.yaml and the Caddyfile read."""

CLIENT_NAMES = {"ASR_API_KEY", "ASR_URL"}
"""Names that clients read, from the environment only."""

KUBERNETES = re.compile(r"ASR_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP)\w*)?)")
"""Names that Kubernetes adds for a Service called `asr` or `asr-...`."""


def read(options: Mapping[str, Any], **defaults: str) -> Settings:
    """Return the settings; `options` overrule all else, and all else overrules `defaults`.

    Raises SettingsError with a line for each fault.
    """
    given = dict(options)
    file, faults = _read_file()
    lines = {name: line for name, (_, line) in file.items()}
    exported = {name.lower() for name in os.environ}
    unset = {name for name in Settings.model_fields if not exported & _variables(name)}
    values = {name: value for name, (value, _) in file.items() if name in unset}
    others = {name: value for name, value in defaults.items() if name in unset}
    settings = None
    try:
        settings = Settings(**{**others, **values, **given})
    except ValidationError as error:
        for fault in error.errors():  # without the value, which may be a key
            key, message = str(fault["loc"][0]), fault["msg"]
            name = _field(key) or key
            if name in given:
                faults.append(f"--{name.replace('_', '-')}: {message}")
            else:
                place = f"{FILE}, line {lines[name]}: " if name in values else ""
                faults.append(f"{place}ASR_{name.upper()}: {message}")
    if settings is None or faults:
        raise SettingsError("\n".join(faults))
    return settings


def read_or_exit(**defaults: str) -> Settings:
    """Return the settings without options, or end the process with a line for each fault."""
    try:
        return read({}, **defaults)
    except SettingsError as error:
        raise SystemExit(f"Not started:\n{error}") from None


def unknown_variables() -> list[str]:
    """Return a warning for each variable of the environment that looks like a setting and is none.

    They do not prevent a start: an older version, after a rollback, meets the newer one's names.
    """
    return [
        _no_setting(name)
        for name in sorted(os.environ)
        if name.startswith("ASR_")
        and _field(name) is None
        and name not in OTHER_NAMES | CLIENT_NAMES
        and not KUBERNETES.fullmatch(name)
    ]


def _read_file() -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Return the values of `.env` with their lines by the names of settings, and its faults."""
    try:
        text = _decode(FILE.read_bytes()).replace("\r\n", "\n")
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "neither UTF-8 nor GBK text"
        return {}, [f"{FILE}: {reason}"]
    lines = list(_lines(text))
    if faults := [f"{FILE}, line {line}: expected NAME=value" for name, line in lines if not name]:
        return {}, faults
    found: dict[str, tuple[str, int]] = {}
    values = dotenv_values(stream=io.StringIO(text))  # with `${OTHER}` replaced
    for name, line in lines:
        if field := _field(name):
            found[field] = values[name] or "", line
        elif name.upper().startswith("ASR_") and name.upper() not in OTHER_NAMES:
            faults.append(f"{FILE}, line {line}: {_no_setting(name)}")
    return found, faults


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield the name and the line of each assignment; an empty name for a line that is none."""
    for binding in parse_stream(io.StringIO(text)):
        if binding.key is not None or binding.error:
            written = binding.original.string
            blank = written[: len(written) - len(written.lstrip())].count("\n")
            yield binding.key or "", binding.original.line + blank


def _decode(raw: bytes) -> str:
    """Return the text of a file as editors save it; Chinese Windows has GBK, PowerShell UTF-16."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("gb18030")


def _variables(field: str) -> set[str]:
    """Return the variables that set a field, in lower case."""
    alias = Settings.model_fields[field].validation_alias
    shared: Iterable[Any] = alias.choices if isinstance(alias, AliasChoices) else ()
    return {f"asr_{field}", *(str(name).lower() for name in shared)}


def _field(variable: str) -> str | None:
    """Return the field that a variable sets, or None."""
    name = variable.lower()
    return next((field for field in Settings.model_fields if name in _variables(field)), None)


def _no_setting(variable: str) -> str:
    near = difflib.get_close_matches(variable[4:].lower(), Settings.model_fields, 1)
    hint = f"did you mean ASR_{near[0].upper()}?" if near else "see .env.example"
    return f"{variable} is no setting; {hint}"
