"""Read the bodies of HTTP requests, of bounded size."""

import json
from typing import Any

from starlette.requests import Request

from asr_server.errors import InvalidParameter

MAX_BODY_BYTES = 1 << 20
"""500 hotwords take a tenth of it."""


async def body(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request. Raises InvalidParameter."""
    received = bytearray()
    async for piece in request.stream():
        received += piece
        if len(received) > MAX_BODY_BYTES:
            raise InvalidParameter(f"The request is longer than {MAX_BODY_BYTES} bytes.")
    try:
        value = json.loads(received)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidParameter("The request is not a JSON object.")
    return value
