"""Serve the probes of liveness and readiness."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response

from asr_server import __version__
from asr_server.asr.engine import Engine
from asr_server.observability.metrics import ServerState


def router(
    engine: Engine, state: Callable[[], ServerState], model: str, notice: str | None
) -> APIRouter:
    """Return `/healthz` and `/readyz`; `model` is its name, `notice` a warning to users."""
    health = APIRouter()

    @health.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {
            "status": "ok",
            "version": __version__,
            "model": model,
            "device": engine.device,
            "notice": notice,
        }

    @health.get("/readyz")
    async def readyz(response: Response) -> dict[str, str]:
        status = state()
        if status == "ready":
            return {"status": status}
        response.status_code = 503
        return {"status": status} | ({"reason": engine.failure} if engine.failure else {})

    return health
