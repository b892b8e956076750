"""Read `payload.input.context`: what was said before, which helps with names.

The form is that of a conversation: `[{"role": "user", "content": [{"type": "input_text", "text":
"..."}]}, {"role": "assistant", "content": [{"type": "text", "text": "..."}]}]`. A context only
helps, so nothing in it fails a task: what has no meaning is left out.
"""

from typing import Any, TypeGuard

Context = tuple[str, ...]
"""The texts of a context, oldest first."""

MOST_MESSAGES = 5
"""Of each role; the last ones count."""
MOST_CHARACTERS = 400
"""Of a message; the first ones count."""


def read(given: Any) -> tuple[Context, bool]:
    """Return the texts of a context, and whether it was read in full."""
    messages = given if isinstance(given, list) else [given]
    texts: list[str] = []
    taken: dict[object, int] = {}
    complete = True
    for message in reversed(messages):
        text, whole = _text(message)
        role = str(message.get("role")) if isinstance(message, dict) else ""
        taken[role] = taken.get(role, 0) + 1
        if taken[role] > MOST_MESSAGES:
            return tuple(reversed(texts)), False
        complete = complete and whole and len(text) <= MOST_CHARACTERS
        if text:
            texts.append(text[:MOST_CHARACTERS])
    return tuple(reversed(texts)), complete


def _text(message: Any) -> tuple[str, bool]:
    """Return the text of a message, and whether all of it is text."""
    content = message.get("content") if isinstance(message, dict) else message
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return " ".join(filter(_is_text, texts)), all(map(_is_text, texts))


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str)
