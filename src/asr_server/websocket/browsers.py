"""Refuse what web pages of other sites send to a server that needs no key.

A browser sends a page's requests to every address that its user can reach, loopback included.
Where keys are configured they decide: a foreign page has none. Without keys two headers decide that
no page can forge. `Origin` names the page's site. `Host` is the server's name as the page knows it:
a site whose name resolves to this server's address (DNS rebinding) is of the same origin, but its
name is none of this server's.

SDKs and other programs send no Origin and are not concerned.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from asr_server.errors import AccessDenied
from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings
from asr_server.websocket.limits import error_response, refuse

PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa")
"""Names that public DNS does not resolve (RFC 6761, 6762, 8375; ICANN for `internal`)."""

PROBES = ("/healthz", "/readyz")
"""Supervisors and proxies ask these by any name."""

LOCAL_FILE = "file://"
"""Origin that the WebSocket library of Arduino and ESP boards sends; a remote page cannot."""


class BrowserGuard:
    """Pass on only requests of pages that may use the server; the others get 403."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._keyed = settings.keyed
        self._origins = frozenset(settings.allowed_origins or ("*",) * settings.keyed)
        self._names = {_name(origin.partition("://")[2]) for origin in self._origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        if scope["type"] in ("http", "websocket") and (reason := self._refusal(scope)) is not None:
            error = AccessDenied(reason)
            self._metrics.errors.labels(error.code).inc()
            await refuse(scope, receive, send, error_response(error, scope["path"]))
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        """Return why a request is refused, or None."""
        if "*" in self._origins:
            return None
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), headers.get("host", "")
        # A page may read its own site without sending an Origin; everything else has one.
        visits = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if origin is None and (not visits or scope["path"].endswith(PROBES)):
            return None
        if not self._keyed and not self._is_own(host):
            return f"{host[:100]!r} is no name of this server; list its URL in ASR_ALLOWED_ORIGINS."
        if origin is not None and not self._may_use(origin.lower(), host):
            return f"Pages of {origin[:100]!r} may not use this server; see ASR_ALLOWED_ORIGINS."
        return None

    def _is_own(self, host: str) -> bool:
        """Return whether a `Host` cannot be the name of a site on the Internet, or is listed."""
        name = _name(host)
        return (
            "." not in name
            or _address(name) is not None
            or name.endswith(PRIVATE_SUFFIXES)
            or name in self._names
        )

    def _may_use(self, origin: str, host: str) -> bool:
        """Return whether the pages of an origin may use the server."""
        if origin == LOCAL_FILE or origin in self._origins:
            return True
        site = origin.partition("://")[2]
        # Schemes are not compared: a proxy may end TLS.
        return is_loopback(_name(site)) or (site != "" and _portless(site) == _portless(host))


def is_loopback(host: str) -> bool:
    """Return whether a name or an address leads to the machine itself."""
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback


def _name(netloc: str) -> str:
    """Return the host of `host:port` in lower case, without the brackets of IPv6."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").removesuffix(".")
    except ValueError:
        return ".invalid"


def _portless(netloc: str) -> str:
    """Return `host:port` in lower case, without a port that is the default of http or https."""
    return netloc.lower().removesuffix(":80").removesuffix(":443")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
