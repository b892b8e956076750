"""The demo page at `/`, and recordings for it to play."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

CHECKOUT = Path(__file__).parents[3]
PAGES = (Path(__file__).parent / "static", CHECKOUT / "clients" / "web")
SAMPLES = (Path(__file__).parent / "static" / "samples", CHECKOUT / "tests" / "data")
"""Where they lie in an installation and in a checkout."""


def router() -> APIRouter:
    """What of it this installation has."""
    routes = APIRouter()
    for directory in PAGES:
        if (page := directory / "standalone.html").is_file():
            routes.add_api_route("/", lambda: FileResponse(page), include_in_schema=False)
            break
    for directory in SAMPLES:
        if (directory / "manifest.json").is_file():
            routes.mount("/samples", StaticFiles(directory=directory))
            break
    return routes
