"""Word refusals: each names the parameter, what was found in it, and what is accepted."""

import json
from typing import Any

from pydantic import ValidationError

from asr_server.errors import InvalidParameter

LONGEST_SHOWN = 40
"""Characters of a value that a refusal repeats."""
LONGEST_NAME = 256
"""Characters of a task id or a model name; messages and the log repeat both."""

OBJECT_TYPES = frozenset({"dict_type", "model_type"})
"""Pydantic's errors for a JSON value that is no object, which it words for Python."""


def missing(path: str) -> InvalidParameter:
    """Return the error for a parameter that has to be there, in DashScope's words."""
    return InvalidParameter(f"Missing required parameter '{path}'! Please follow the protocol!")


def invalid_action(action: str, accepted: str = "") -> InvalidParameter:
    """Return the error for a message that its state does not allow, in DashScope's words."""
    return InvalidParameter(f"Invalid action('{action}')! Please follow the protocol!{accepted}")


def invalid(path: str, found: Any, accepted: str) -> InvalidParameter:
    """Return the error for a value; `accepted` is a sentence without its full stop."""
    return InvalidParameter(f"Invalid value of parameter '{path}': {shown(found)}. {accepted}.")


def invalid_field(parent: str, error: ValidationError) -> InvalidParameter:
    """Return the error for the first field of a model that its type does not allow."""
    first = error.errors(include_url=False)[0]
    place = (str(part) for part in first["loc"] if part != "[key]")
    names = [name[:LONGEST_NAME] for name in place]
    path = ".".join([parent, *(name if name.isprintable() else "?" for name in names)])
    if first["type"] == "missing":
        return missing(path)
    accepted = "It must be an object" if first["type"] in OBJECT_TYPES else first["msg"]
    return invalid(path, first["input"], accepted)


def shown(value: Any) -> str:
    """Return a value as a refusal repeats it: containers and long texts by their size."""
    match value:
        case dict():
            return f"an object of {len(value)}"
        case list():
            return f"an array of {len(value)}"
        case str() if len(value) > LONGEST_SHOWN:
            return f"{len(value)} characters"
        case str() if value.isprintable():
            return f'"{value}"'
        case _:
            return json.dumps(value)[:LONGEST_SHOWN]
