"""Serve the metrics to Prometheus."""

from fastapi import APIRouter, Response

from asr_server.observability.metrics import CONTENT_TYPE, Metrics


def router(metrics: Metrics) -> APIRouter:
    """Return `/metrics`, in Prometheus's text format."""
    routes = APIRouter()

    @routes.get("/metrics")
    async def scrape() -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return routes
