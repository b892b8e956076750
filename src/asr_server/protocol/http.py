"""Bodies of HTTP answers, as DashScope's."""

import uuid
from typing import Any

from asr_server.errors import AsrError


def request_id() -> str:
    """An id for one answer, as it stands in the body and in `x-request-id`."""
    return str(uuid.uuid4())


def failure(error: AsrError, request: str) -> dict[str, Any]:
    """The body that tells a client why its request, or its handshake, was refused."""
    return {"code": error.code, "message": error.told, "request_id": request}
