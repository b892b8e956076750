"""Serve the demo page at `/`: the files of `clients/web`, and recordings to try it with.

Every file has a route of its own, so no other path can be read. The paths are those of the files in
`clients/web`, and the page refers to them relatively: it works below any prefix of a proxy.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

PACKAGED = Path(__file__).parent / "static"
CHECKOUT = Path(__file__).parents[3]

LIBRARY = ("AsrClient.js", "pcm-worklet.js")
HEADERS = {
    "Cache-Control": "no-cache",  # revalidated each time (304), so an update shows at once
    "Content-Security-Policy": (
        "default-src 'self'; connect-src * data: blob:; img-src 'self' data:; "
        "media-src 'self' blob:; style-src 'self' 'unsafe-inline'"
    ),
    "X-Content-Type-Options": "nosniff",
}


def router() -> APIRouter:
    """Return `/`, its files, and `/samples/`; no route where the files are missing."""
    page = APIRouter(include_in_schema=False)
    for path, file in _files().items():
        page.add_api_route(path, _send(file), methods=["GET", "HEAD"])
    return page


def _files() -> dict[str, Path]:
    """Return the served files by path, from an installed wheel or else from a checkout."""
    web, samples = PACKAGED, PACKAGED / "samples"
    if not (web / "AsrClient.js").exists():
        web, samples = CHECKOUT / "clients" / "web", CHECKOUT / "tests" / "data"
    files = {f"/{name}": web / name for name in LIBRARY}
    files |= {f"/demo/{file.name}": file for file in (web / "demo").glob("*.*")}
    files |= {f"/samples/{file.name}": file for file in samples.glob("*.wav")}
    files["/samples/manifest.json"] = samples / "manifest.json"
    files["/"] = web / "index.html"
    return {path: file for path, file in files.items() if file.is_file()}


def _send(file: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def send() -> FileResponse:
        return FileResponse(file, headers=HEADERS)

    return send
