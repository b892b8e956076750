"""Issue and revoke temporary tokens, for browsers and devices that must not hold the API key."""

import re
from typing import Any

from fastapi import APIRouter, Request

from asr_server.access import Access
from asr_server.api.json_body import read_object
from asr_server.api.schemas import BEARER, REVOCATION
from asr_server.errors import DatabaseUnavailable
from asr_server.protocol import http
from asr_server.protocol.refusals import invalid, missing
from asr_server.revocations import Revocations

PATH = "/api/v1/tokens"
REVOKE = PATH + "/revoke"
DEFAULT_S, MAX_S = 60, 1800
NOT_REVOKED = "The token is not revoked: the database is unavailable, please try again later."


def router(access: Access, revocations: Revocations) -> APIRouter:
    """Return `POST /api/v1/tokens?expire_in_seconds=60` and `POST /api/v1/tokens/revoke`."""
    routes = APIRouter(tags=["DashScope"], dependencies=[BEARER])

    @routes.post(PATH)
    @routes.post("/{prefix:path}" + PATH[1:], include_in_schema=False)
    async def tokens(request: Request, expire_in_seconds: str = str(DEFAULT_S)) -> dict[str, Any]:
        """Issue a temporary token, which may start tasks for 1 to 1800 seconds."""
        caller = access.check_key(request.headers.get("authorization"))
        seconds = _seconds(expire_in_seconds)
        token, expires_at = access.issue(caller, seconds)
        return {"token": token, "expires_at": expires_at}

    @routes.post(REVOKE, openapi_extra=REVOCATION)
    @routes.post("/{prefix:path}" + REVOKE[1:], include_in_schema=False)
    async def revoke(request: Request) -> dict[str, Any]:
        """Revoke a temporary token of this key: every server refuses it within a second."""
        caller = access.check_key(request.headers.get("authorization"))
        token = (await read_object(request)).get("token")
        if token is None:
            raise missing("token")
        grant = access.verify(token) if isinstance(token, str) else None
        if grant is None or grant.expires_at is None or grant.caller != caller:
            raise invalid("token", token, "It must be a temporary token made from this API key")
        try:
            await revocations.revoke(caller, grant.token_id, int(grant.expires_at))
        except DatabaseUnavailable as error:
            raise DatabaseUnavailable(NOT_REVOKED) from error
        return {"expires_at": grant.expires_at, "request_id": http.request_id()}

    return routes


def _seconds(text: str) -> int:
    """Return the lifetime of a token. Raises InvalidParameter."""
    seconds = int(text) if re.fullmatch("[0-9]{1,4}", text) else 0
    if not 1 <= seconds <= MAX_S:
        raise invalid("expire_in_seconds", text, f"It must be 1 to {MAX_S}, a whole number")
    return seconds
