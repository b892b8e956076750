"""The application: everything that is configured, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.middleware.cors import CORSMiddleware

from asr_server import __version__
from asr_server.access import Access
from asr_server.api import health, page, tokens, vocabularies
from asr_server.asr.engine import Engine
from asr_server.asr.factory import FAKE_MODEL, build_engine
from asr_server.errors import AsrError, InternalError
from asr_server.models.registry import choose_for
from asr_server.settings import Settings
from asr_server.vocabularies import Vocabularies
from asr_server.websocket.endpoint import Inference
from asr_server.websocket.rate import RateLimit
from asr_server.websocket.refusals import refusal
from asr_server.websocket.server import Connections


def create_app(settings: Settings) -> FastAPI:
    """The server as an ASGI application; it accepts connections once the model is warm.

    Finding the model happens here, and so does downloading it where the settings allow that.
    """
    engine, name, notice = _recogniser(settings)
    keys = (key.get_secret_value() for key in settings.api_keys)
    access = Access(keys, settings.api_keys_file)
    lists = Vocabularies(settings.database_url, settings.max_vocabularies)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await engine.start()
        try:
            yield
        finally:
            await engine.stop()
            lists.close()

    app = FastAPI(
        title="asr-server", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.engine = engine
    app.include_router(health.router(engine, name, notice))
    app.include_router(page.router())
    app.include_router(tokens.router(access))
    app.include_router(vocabularies.router(lists, access, settings))
    app.include_router(Inference(engine, access, lists, settings).router)
    app.add_exception_handler(AsrError, _refuse)
    app.add_exception_handler(Exception, _refuse)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
    )
    if settings.max_requests_per_minute:
        app.add_middleware(RateLimit, per_minute=settings.max_requests_per_minute)
    app.add_middleware(Connections)  # last added is outermost
    return app


async def _refuse(_: Request, error: Exception) -> Response:
    return refusal(error if isinstance(error, AsrError) else InternalError())


def _recogniser(settings: Settings) -> tuple[Engine, str, str | None]:
    if settings.model == FAKE_MODEL:
        return build_engine(settings, FAKE_MODEL), FAKE_MODEL, None
    choice = choose_for(settings)
    engine = build_engine(settings, choice.path, choice.punctuation)
    return engine, Path(choice.name).name, choice.notice
