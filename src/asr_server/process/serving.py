"""Run uvicorn; `websocket/uvicorn_compat.py` sets what the protocol needs, for every start."""

import logging
import math
from collections.abc import Callable
from typing import Any

import uvicorn

from asr_server.observability import logs
from asr_server.process.signals import ignored_signals
from asr_server.settings import Settings


def options(settings: Settings) -> dict[str, Any]:
    """Return the arguments of `uvicorn.Config` beside the application."""
    return {
        "host": settings.listen_host,
        "port": settings.port,
        "root_path": settings.root_path,
        "ssl_certfile": settings.ssl_certfile or None,
        "ssl_keyfile": settings.ssl_keyfile or None,
        # uvicorn logs whole URLs, and some clients put their API key into the query.
        "access_log": False,
        "log_config": None,
        "server_header": False,
        # By then every task has ended; only clients that do not read are left.
        "timeout_graceful_shutdown": math.ceil(settings.close_timeout_s),
    }


class Server(uvicorn.Server):
    """Call `listening` with the port once the sockets are open and the application is ready."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:  # a signal may have come during the loading
            self._listening(self.servers[0].sockets[0].getsockname()[1])


def serve(app: Any, settings: Settings, listening: Callable[[int], None] | None = None) -> int:
    """Run until stopped and return the exit status; `listening` gets the port once it is open.

    The status is 0 after a signal, and 1 if the server did not start or lost its device.
    """
    logs.configure(settings)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = Server(uvicorn.Config(app, **options(settings)), listening or (lambda port: None))
    with ignored_signals():
        try:
            server.run()
        except SystemExit:  # uvicorn has logged why it cannot start
            return 1
    return 1 if app.state.engine.lost.is_set() else 0
