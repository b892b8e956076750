"""Run the server inside a replica as `asr-server serve` runs it: its sockets, limits and drain.

Ray Serve gives its replicas uvicorn's defaults: pings every 20 s, compression, frames of 16 MiB,
and at the end all WebSockets are closed at once. Nothing of this is an option of Ray Serve, so the
replica's process has another `uvicorn.Server`. Imports no Ray.
"""

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from asr_server import configuration
from asr_server.app import Application, create_app
from asr_server.errors import ServiceUnavailable
from asr_server.observability import logs
from asr_server.settings import Settings
from asr_server.websocket.limits import error_response, refuse
from asr_server.websocket.uvicorn_compat import PROTOCOL

log = logging.getLogger(__name__)

OF_SERVE = (b"x-request-disconnect-disabled", b"x-request-timeout-seconds")
"""Headers by which a client could change how Ray Serve treats its connection."""


class ReplicaServer(uvicorn.Server):
    """Serve a replica's port with the application's configuration, and drain before the end."""

    adapted = False
    """Whether Ray Serve has made such a server in this process."""

    def __init__(self, app: Application, settings: Settings, config: uvicorn.Config) -> None:
        config.server_header = False
        config.timeout_graceful_shutdown = math.ceil(settings.close_timeout_s)
        super().__init__(config)
        ReplicaServer.adapted = True
        self._configure: Callable[[Any], None] = app.configure_uvicorn
        self._drain: Callable[[], Awaitable[None]] = app.state.drain

    async def startup(self, sockets: Any = None) -> None:
        """Open the port."""
        self._configure(self.config)
        self.config.loaded_app = PlainSockets(self.config.loaded_app)
        await super().startup(sockets)

    async def shutdown(self, sockets: Any = None) -> None:
        """Refuse new connections, which the proxy then opens elsewhere; end the running tasks."""
        for server in self.servers:
            server.close()
        await self._drain()
        await super().shutdown(sockets)


class PlainSockets:
    """Give the application uvicorn's own `receive`.

    Ray Serve would read ahead without limit, to notice a client that disconnects: the server could
    not make a client wait that sends faster than audio is decoded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on."""
        if "headers" in scope:
            kept = [(name, value) for name, value in scope["headers"] if name not in OF_SERVE]
            scope["headers"] = [*kept, (OF_SERVE[0], b"?1")]
            scope[PROTOCOL] = getattr(send, "__self__", None)
        await self._app(scope, receive, send)


class DirectOnly:
    """Refuse WebSockets that come through Ray's Python proxy, HAProxy's way out without a replica.

    None of the server's limits would hold, and the proxy's pings would end conversations.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on, or refuse it with 503."""
        if scope["type"] == "websocket" and PROTOCOL not in scope:
            response = error_response(ServiceUnavailable(), scope["path"])
            await refuse(scope, receive, send, response)
        else:
            await self._app(scope, receive, send)


def application(open_access: bool) -> Application:
    """Return the server for the settings of this process, whose next `uvicorn.Server` serves it.

    Raises ValueError without a key, unless access may be open, and SettingsError.
    """
    settings = configuration.read({})
    if not (settings.keyed or open_access):
        raise ValueError(
            "no API key is configured, and whoever reaches this node could use the server: "
            "set ASR_API_KEYS_FILE, or `open: true` if something in front authenticates"
        )
    logs.configure(settings)
    for warning in configuration.unknown_variables():
        log.warning("%s", warning)
    app = create_app(settings)
    app.add_middleware(DirectOnly)
    uvicorn.Server = partial(ReplicaServer, app, settings)  # type: ignore[assignment, misc]
    return app
