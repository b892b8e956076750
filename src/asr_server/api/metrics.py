"""What Prometheus collects."""

from fastapi import APIRouter, Response

from asr_server.observability.metrics import CONTENT_TYPE, Metrics


def router(metrics: Metrics) -> APIRouter:
    """`/metrics`, in Prometheus's text format."""
    routes = APIRouter()

    @routes.get("/metrics")
    async def figures() -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return routes
