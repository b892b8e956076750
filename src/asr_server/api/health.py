"""Serve the probes of liveness and readiness, and the metrics to Prometheus."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response

from asr_server import __version__
from asr_server.asr.engine import Engine
from asr_server.observability.metrics import CONTENT_TYPE, Metrics, ServerState
from asr_server.revocations import DatabaseState


def router(
    engine: Engine,
    state: Callable[[], ServerState],
    metrics: Metrics,
    model: str,
    notice: str | None,
    database: Callable[[], DatabaseState],
) -> APIRouter:
    """Return `/healthz`, `/readyz`, `/metrics`; `model` is a name, `notice` a warning to users."""
    health = APIRouter(tags=["Operation"])

    @health.get("/healthz")
    async def healthz() -> dict[str, Any]:
        """Report that the process lives, its model, its device and whether its database answers."""
        return {
            "status": "ok",
            "version": __version__,
            "model": model,
            "device": engine.device,
            "second_pass": "off" if engine.no_second_pass else "on",
            "second_pass_reason": engine.no_second_pass or None,
            "database": database(),
            "notice": notice,
        }

    @health.get("/readyz")
    async def readyz(response: Response) -> dict[str, str]:
        """Report whether tasks are accepted: 200, or 503 with the state."""
        status = state()
        if status == "ready":
            return {"status": status}
        response.status_code = 503
        return {"status": status} | ({"reason": engine.failure} if engine.failure else {})

    @health.get("/metrics")
    async def scrape() -> Response:
        """Export the metrics to Prometheus."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return health
