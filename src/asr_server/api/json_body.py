"""Read the JSON object that is the body of a request."""

import json
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from asr_server.errors import InvalidParameter
from asr_server.protocol.refusals import shown

MAX_BODY_BYTES = 1 << 20
"""500 hotwords take a tenth of it."""


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request. Raises InvalidParameter."""
    kind = request.headers.get("content-type", "")
    # Pages of any site may send the other types without the browser asking this server first.
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise InvalidParameter(f"Content-Type must be application/json, not {kind[:100]!r}.")
    received = bytearray()
    try:
        async for piece in request.stream():
            received += piece
            if len(received) > MAX_BODY_BYTES:
                raise InvalidParameter(f"The request is longer than {MAX_BODY_BYTES} bytes.")
    except ClientDisconnect as error:
        raise InvalidParameter("The request ended before its body.") from error
    try:
        value = json.loads(received)
    except (ValueError, RecursionError):
        raise InvalidParameter("The request is not a JSON object, but no JSON at all.") from None
    if not isinstance(value, dict):
        raise InvalidParameter(f"The request is not a JSON object, but {shown(value)}.")
    return value
