"""The demo page at `/`: the files of `clients/web`, and the recordings to try it with.

Every file has a route of its own, so nothing else of the disk can be asked for.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

PACKAGED = Path(__file__).parent / "static"
CHECKOUT = Path(__file__).parents[3]

LIBRARY = ("AsrClient.js", "pcm-worklet.js")
HEADERS = {
    "Cache-Control": "no-cache",  # asked again each time, answered 304: an update shows at once
    "Content-Security-Policy": (
        "default-src 'self'; connect-src * data: blob:; img-src 'self' data:; "
        "media-src 'self' blob:; style-src 'self' 'unsafe-inline'"
    ),
    "X-Content-Type-Options": "nosniff",
}


def router() -> APIRouter:
    """`/`, what it needs, and `/samples/`; without any route where the files are missing."""
    page = APIRouter(include_in_schema=False)
    for path, file in _files().items():
        page.add_api_route(path, _answer(file), methods=["GET", "HEAD"])
    return page


def _files() -> dict[str, Path]:
    """What is served, by its path: from an installed wheel, or else from a checkout."""
    web, samples = PACKAGED, PACKAGED / "samples"
    if not (web / "AsrClient.js").exists():
        web, samples = CHECKOUT / "clients" / "web", CHECKOUT / "tests" / "data"
    files = {f"/{name}": web / name for name in LIBRARY}
    files |= {f"/{file.name}": file for file in (web / "demo").glob("*.*")}
    files |= {f"/samples/{file.name}": file for file in samples.glob("*.wav")}
    files["/samples/manifest.json"] = samples / "manifest.json"
    files["/"] = web / "demo" / "index.html"
    return {path: file for path, file in files.items() if file.is_file()}


def _answer(file: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def answer() -> FileResponse:
        return FileResponse(file, headers=HEADERS)

    return answer
