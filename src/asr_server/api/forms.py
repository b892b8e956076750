"""Read the multipart forms of requests, within limits."""

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from asr_server.protocol.openai import InvalidRequest, NoForm, RequestTooLong
from asr_server.protocol.realtime_session import LONGEST_PROMPT

MAX_FIELDS = 1000
MAX_FIELD_BYTES = 64 * 1024


async def read_form(request: Request, max_bytes: int) -> FormData:
    """Return the fields of a request; files lie on disk. Raises InvalidRequest."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise NoForm(f"Content-Type must be multipart/form-data, not {kind[:100]!r}.", None)
    received = 0
    fault: InvalidRequest | None = None

    async def limited() -> AsyncGenerator[bytes, None]:
        nonlocal received, fault
        try:
            async for piece in request.stream():
                received += len(piece)
                if received > max_bytes:
                    fault = RequestTooLong(f"The request is longer than {max_bytes} bytes.", "file")
                    raise MultiPartException("")  # so that the parser closes its files
                yield piece
        except ClientDisconnect:
            fault = InvalidRequest("The request ended before its body.", None)
            raise MultiPartException("") from None

    parser = MultiPartParser(
        request.headers,
        limited(),
        max_files=1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        return await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = getattr(error, "message", "its parts cannot be told apart")
        raise fault or InvalidRequest(
            f"The body is not multipart/form-data: {reason}", None
        ) from error


def text_of(form: FormData, name: str) -> str | None:
    """Return the text of a field, or None. Raises InvalidRequest."""
    value = form.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > LONGEST_PROMPT:
        raise InvalidRequest(f"'{name}' must be text of at most {LONGEST_PROMPT} characters.", name)
    return value


def all_of(form: FormData, name: str) -> list[str]:
    """Return the values of a field that may be repeated, with or without brackets."""
    values = [*form.getlist(name), *form.getlist(f"{name}[]")]
    return [value for value in values if isinstance(value, str) and value]


def listed(text: str | None) -> list[str]:
    """Return the words of a list, one a line or with commas between them."""
    words = (text or "").replace("\n", ",").replace("，", ",").split(",")
    return [word.strip() for word in words if word.strip()]


def one_of(form: FormData, name: str, values: tuple[str, ...], default: str) -> str:
    """Return the value of a field, one of some names. Raises InvalidRequest."""
    value = (text_of(form, name) or default).lower()
    if value not in values:
        raise unsupported(name, value, values)
    return value


def unsupported(name: str, value: str, values: tuple[str, ...]) -> InvalidRequest:
    """Return the error for a value that is none of those supported."""
    shown = value[:100] if value.isprintable() else "?"
    return InvalidRequest(f"'{name}' is {shown!r}, not one of {', '.join(values)}.", name)
