"""Compose the application from the settings."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Lifespan, Receive, Scope, Send

from asr_server import __version__
from asr_server.access import Access
from asr_server.api import (
    docs,
    health,
    page,
    phone,
    status,
    tokens,
    transcriptions,
    vocabularies,
)
from asr_server.asr.engine import Engine
from asr_server.asr.load import build_engine
from asr_server.asr.types import Backend, LoadError
from asr_server.audio.decoder_pool import DecoderPool, decoder_pool
from asr_server.capacity import Capacity, Setup, measured
from asr_server.database import Database
from asr_server.errors import AsrError, InternalError, MethodNotAllowed, UnknownPath
from asr_server.models.registry import Choice, choose
from asr_server.network import lan_addresses
from asr_server.observability import gpu
from asr_server.observability.history import History
from asr_server.observability.logs import fault
from asr_server.observability.metrics import Metrics, ServerState
from asr_server.process import descriptors, heap_trim
from asr_server.process.signals import GracefulShutdown
from asr_server.revocations import Revocations
from asr_server.settings import Settings
from asr_server.vocabularies import Vocabularies
from asr_server.websocket.browsers import BrowserGuard
from asr_server.websocket.connection_manager import ConnectionManager
from asr_server.websocket.limits import (
    ConcurrencyLimit,
    RateLimit,
    Refusals,
    error_response,
    refuse,
)
from asr_server.websocket.server_context import ServerContext
from asr_server.websocket.uvicorn_compat import UvicornCompat

log = logging.getLogger(__name__)


class Application(FastAPI):
    """Pass every connection through `UvicornCompat` first: FastAPI hides uvicorn's objects."""

    def __init__(self, settings: Settings, lifespan: Lifespan["Application"]) -> None:
        super().__init__(
            title="asr-server",
            version=__version__,
            description="Self-hosted real-time Mandarin speech recognition: the routes over HTTP.",
            lifespan=lifespan,
            docs_url=None,
            redoc_url=None,
        )
        max_sockets = descriptors.max_sockets(settings.max_connections)
        self._compat = UvicornCompat(super().__call__, settings, max_sockets)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the application's start and end."""
        await self._compat(scope, receive, send)

    def configure_uvicorn(self, config: Any) -> None:
        """Change the `Config` of a uvicorn that does not call the application's lifespan."""
        self._compat.configure(config)


def create_app(
    settings: Settings,
    choice: Choice | None = None,
    load: Callable[[], Backend] | None = None,
    decoders: DecoderPool | None = None,
) -> Application:
    """Return the server as an ASGI application; it accepts connections once the model is warm.

    Without a `choice` of the model, finds the settings' model, and downloads it if they allow that.
    For tests, `load` makes another backend, which then needs no model, and a pool of decoders that
    is given is shared with other servers, and left open.
    """
    metrics = Metrics()
    name, notice = settings.model, None
    if load is not None:
        engine = Engine(load, settings, metrics)
    else:
        choice = choice or choose(settings)
        engine = build_engine(
            settings,
            choice.path,
            choice.punctuation,
            metrics,
            choice.second_pass,
            choice.no_second_pass,
        )
        name, notice = Path(choice.name).name, choice.notice
    keys = (key.get_secret_value() for key in settings.api_keys)
    access = Access(keys, settings.api_keys_file or "")
    database = Database(settings)
    lists = Vocabularies(database, settings.max_vocabularies)
    revocations = Revocations(database, access)
    metrics.database_up.set_function(lambda: revocations.state == "ok")
    pool = decoders or decoder_pool()
    server = ServerContext(
        engine,
        settings,
        lists,
        ConcurrencyLimit(settings.max_tasks_per_key),
        metrics,
        ConcurrencyLimit(settings.max_tasks_per_address),
        pool,
    )
    connections = ConnectionManager(access, server)

    def state() -> ServerState:
        return "draining" if connections.draining else engine.state

    metrics.watch_state(state)
    metrics.watch_build(partial(_build, engine, name))
    history = History(metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        descriptors.log_seldom(asyncio.get_running_loop())
        try:
            await engine.start()
            engine.capacity = await _capacity(engine, settings, name)
        except LoadError as error:
            log.critical("%s", error)
            raise
        except Exception:
            log.critical("the engine does not start", exc_info=True)
            raise
        pool.start()
        signals = GracefulShutdown(connections.drain)
        signals.begin()
        watchers = [
            asyncio.create_task(_stop_without_device(engine), name="device"),
            asyncio.create_task(metrics.watch_loop(), name="lag"),
            asyncio.create_task(gpu.watch(metrics, lambda: engine.gpu), name="gpu"),
            asyncio.create_task(history.watch(), name="history"),
            asyncio.create_task(heap_trim.watch(), name="heap trim"),
            asyncio.create_task(revocations.watch(), name="revocations"),
        ]
        try:
            with heap_trim.frozen_gc():
                yield
        finally:
            signals.end()
            for watcher in watchers:
                watcher.cancel()
            if decoders is None:
                pool.close()
            await engine.stop()
            database.close()

    app = Application(settings, lifespan)
    app.state.engine = engine
    app.state.drain = connections.drain
    app.include_router(
        health.router(engine, state, metrics, name, notice, lambda: revocations.state)
    )
    app.include_router(status.router(history, notice))
    app.include_router(page.router())
    if settings.https:
        app.include_router(phone.router(access, lan_addresses))
    app.include_router(tokens.router(access, revocations))
    app.include_router(vocabularies.router(lists, access, settings))
    app.include_router(transcriptions.router(connections.recognise, access, settings))
    app.include_router(docs.router(app))
    app.include_router(connections.router)
    respond = partial(_respond, metrics)
    app.add_exception_handler(AsrError, respond)
    app.add_exception_handler(HTTPException, respond)
    app.add_exception_handler(Exception, respond)
    app.router.default = partial(_unknown_path, metrics)
    # The guard has refused other origins already.
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"]
    )
    app.add_middleware(BrowserGuard, settings=settings, metrics=metrics)
    if settings.max_requests_per_minute:
        per_minute = settings.max_requests_per_minute
        app.add_middleware(RateLimit, per_minute=per_minute, metrics=metrics)
    app.add_middleware(Refusals)
    return app


async def _respond(metrics: Metrics, request: Request, error: Exception) -> Response:
    """Answer an HTTP request that failed; the client gets no details of a bug."""
    headers: Mapping[str, str] = {}
    if isinstance(error, HTTPException):  # Starlette's own, of the router
        headers = error.headers or {}  # `Allow`
        error = MethodNotAllowed() if error.status_code == 405 else UnknownPath()
    shown = error if isinstance(error, AsrError) else InternalError()
    metrics.errors.labels(shown.code).inc()
    response = error_response(shown, request.scope["path"])
    response.headers.update(headers)
    return response


async def _unknown_path(metrics: Metrics, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request or a handshake to a path without a route."""
    metrics.errors.labels(UnknownPath.code).inc()
    await refuse(scope, receive, send, error_response(UnknownPath(), scope["path"]))


async def _stop_without_device(engine: Engine) -> None:
    """Stop the process once only a new one can use the device; a supervisor restarts it."""
    await engine.lost.wait()
    log.critical("the server stops: only a new process can use the device again")
    signal.raise_signal(signal.SIGTERM)


async def _capacity(engine: Engine, settings: Settings, model: str) -> Capacity | None:
    """Return how many live streams this machine holds: as set, as measured, or estimated.

    An estimate that fails stops nothing: the first task will show what is wrong.
    """
    if settings.capacity:
        return Capacity(settings.capacity, "set")
    setup = Setup.here(model, engine.device, engine.dtype)
    try:
        if streams := measured(Path(settings.capacity_file), setup):
            return Capacity(streams, "measured")
    except ValueError as error:
        log.warning("%s; the capacity is estimated", error)
    try:
        return Capacity(await engine.estimate_capacity(), "estimated")
    except Exception as error:
        log.error("the capacity cannot be estimated", extra=fault(error))
        return None


def _build(engine: Engine, model: str) -> dict[str, str]:
    """Return what runs; the device is known after loading, and an engine restart may change it."""
    return {
        "version": __version__,
        "model": model,
        "device": engine.device,
        "dtype": engine.dtype,
        "second_pass": "off" if engine.no_second_pass else "on",
    }
