"""Serve `/page/phone`: the address and the QR code with which a phone opens the demo page.

The link carries the API key that the request brought, in the fragment, which browsers keep to
themselves.
"""

from collections.abc import Callable

from fastapi import APIRouter, Header, Request, Response
from starlette.responses import JSONResponse

from asr_server.access import Access
from asr_server.errors import UnknownPath
from asr_server.network import page_url


def router(access: Access, lan_addresses: Callable[[], list[str]]) -> APIRouter:
    """Return the route, for a server that speaks HTTPS to its network."""
    phone = APIRouter(include_in_schema=False)

    @phone.get("/page/phone")
    async def show(request: Request, authorization: str | None = Header(None)) -> Response:
        access.check(authorization)
        addresses = lan_addresses()
        if not addresses:
            raise UnknownPath

        import segno  # only a request for a code takes the time

        key = (authorization or "").rpartition(" ")[2]
        url = page_url(addresses[0], request.scope["server"][1], tls=True, key=key)
        qr = segno.make_qr(url).svg_data_uri(scale=4, border=2)
        return JSONResponse({"url": url, "qr": qr}, headers={"Cache-Control": "no-store"})

    return phone
