"""Issue temporary tokens over HTTP, for browsers and devices that must not hold the API key."""

import re
from typing import Any

from fastapi import APIRouter, Request

from asr_server.access import Access
from asr_server.api.schemas import BEARER
from asr_server.protocol.refusals import invalid

PATH = "/api/v1/tokens"
DEFAULT_S, MAX_S = 60, 1800


def router(access: Access) -> APIRouter:
    """Return `POST /api/v1/tokens?expire_in_seconds=60`."""
    routes = APIRouter(tags=["DashScope"], dependencies=[BEARER])

    @routes.post(PATH)
    @routes.post("/{prefix:path}" + PATH[1:], include_in_schema=False)
    async def tokens(request: Request, expire_in_seconds: str = str(DEFAULT_S)) -> dict[str, Any]:
        """Issue a temporary token, which may start tasks for 1 to 1800 seconds."""
        caller = access.check_key(request.headers.get("authorization"))
        seconds = _seconds(expire_in_seconds)
        token, expires_at = access.issue(caller, seconds)
        return {"token": token, "expires_at": expires_at}

    return routes


def _seconds(text: str) -> int:
    """Return the lifetime of a token. Raises InvalidParameter."""
    seconds = int(text) if re.fullmatch("[0-9]{1,4}", text) else 0
    if not 1 <= seconds <= MAX_S:
        raise invalid("expire_in_seconds", text, f"It must be 1 to {MAX_S}, a whole number")
    return seconds
