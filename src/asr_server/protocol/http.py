"""Write the bodies of HTTP responses like DashScope's."""

import uuid
from typing import Any

from asr_server.errors import AsrError


def request_id() -> str:
    """Return an id for one response, for its body and its `x-request-id`."""
    return str(uuid.uuid4())


def failure(error: AsrError, request: str) -> dict[str, Any]:
    """Return the body of a refused request or handshake."""
    return {"code": error.code, "message": error.client_message, "request_id": request}
