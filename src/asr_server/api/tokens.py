"""Issue temporary tokens over HTTP, for browsers and devices that must not hold the API key."""

from typing import Any

from fastapi import APIRouter, Request

from asr_server.access import Access
from asr_server.errors import InvalidParameter

PATH = "/{prefix:path}api/v1/tokens"
DEFAULT_S, MAX_S = 60, 1800


def router(access: Access) -> APIRouter:
    """Return `POST /api/v1/tokens?expire_in_seconds=60`."""
    routes = APIRouter()

    @routes.post(PATH)
    async def tokens(request: Request) -> dict[str, Any]:
        caller = access.check(request.headers.get("authorization"), tokens=False)
        seconds = request.query_params.get("expire_in_seconds", str(DEFAULT_S))
        if not (seconds.isascii() and seconds.isdigit() and 1 <= int(seconds[:9]) <= MAX_S):
            raise InvalidParameter(f"expire_in_seconds must be 1 to {MAX_S}.")
        token, expires_at = access.issue(caller, int(seconds))
        return {"token": token, "expires_at": expires_at}

    return routes
