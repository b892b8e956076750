"""What every DashScope HTTP request shares: who asks, a JSON body of bounded size, how it fails."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from asr_server.errors import AsrError, InvalidParameter
from asr_server.protocol import http

LONGEST_BODY = 1 << 20
"""Bytes; 500 hotwords take a tenth of it."""


async def body(request: Request) -> dict[str, Any]:
    """The JSON object in a request. Raises InvalidParameter."""
    received = bytearray()
    async for piece in request.stream():
        received += piece
        if len(received) > LONGEST_BODY:
            raise InvalidParameter(f"The request is longer than {LONGEST_BODY} bytes.")
    try:
        value = json.loads(received)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidParameter("The request is not a JSON object.")
    return value


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """The answer to a request that failed with an AsrError."""
    assert isinstance(error, AsrError)
    request_id = http.request_id()
    return JSONResponse(
        http.failure(error, request_id), error.http_status, {"x-request-id": request_id}
    )
