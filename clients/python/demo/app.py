"""Serve subtitles for recordings: upload audio or video, download srt, vtt or txt.

    python app.py --url ws://127.0.0.1:8000          then open http://127.0.0.1:8010/

Recognition uses AsrClient.py. Uploads are stored in a temporary folder: above 20 jobs the oldest
is deleted, and the folder when the service ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # AsrClient.py is one folder up

from AsrClient import (  # noqa: E402 - needs the path
    AsrClient,
    AsrError,
    Sentence,
    ServerAway,
    ServerBusy,
    Unauthorized,
    to_json,
    to_srt,
    to_txt,
    to_vtt,
)

RATE = 16000
MAX_UPLOAD = 4 << 30  # bytes
MAX_JOBS = 20
REASONS: dict[type[Exception], str] = {
    ServerAway: "away",
    ServerBusy: "busy",
    Unauthorized: "unauthorized",
    AsrError: "task",
}
"""Why a job failed, as the page translates it; anything else is an unreadable file."""
WRITERS = {
    "srt": (to_srt, "application/x-subrip"),
    "vtt": (to_vtt, "text/vtt"),
    "txt": (to_txt, "text/plain"),
    "json": (to_json, "application/json"),
}


@dataclass
class Job:
    """One recording and the state of its recognition."""

    id: str
    name: str
    path: Path
    duration_ms: int = 0
    done_ms: int = 0
    state: str = "waiting"  # waiting, running, done, failed
    error: str = ""
    reason: str = ""  # of REASONS, or "unreadable"
    sentences: list[Sentence] = field(default_factory=list)
    changes: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    task: asyncio.Task[None] | None = None

    def status(self) -> dict[str, Any]:
        """Return the fields that the page shows, without the sentences."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "error": self.error,
            "reason": self.reason,
            "duration_ms": self.duration_ms,
            "done_ms": self.done_ms,
            "count": len(self.sentences),
        }

    async def update(self, **values: Any) -> None:
        """Set attributes and wake the event streams that wait for a change."""
        for name, value in values.items():
            setattr(self, name, value)
        async with self.changed:
            self.changes += 1
            self.changed.notify_all()

    async def wait(self, seen: int) -> None:
        """Wait until the number of changes is not `seen`."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.changes != seen)


class Subtitler:
    """Runs the jobs, at most `parallel` of them at a time."""

    def __init__(self, url: str, api_key: str | None, folder: Path, parallel: int = 2) -> None:
        self._url = url
        self._api_key = api_key
        self._folder = folder
        self._running = asyncio.Semaphore(parallel)
        self.jobs: dict[str, Job] = {}

    def add(self, name: str) -> Job:
        """Return a new job without its file; delete the oldest finished jobs above the limit."""
        for old in [job for job in self.jobs.values() if job.state in ("done", "failed")]:
            if len(self.jobs) >= MAX_JOBS:
                self.remove(old)
        job_id = secrets.token_hex(8)
        job = Job(job_id, name, self._folder / f"{job_id}{Path(name).suffix[:8]}")
        self.jobs[job_id] = job
        return job

    def start(self, job: Job) -> None:
        """Start the recognition."""
        job.task = asyncio.create_task(self._run(job), name=f"subtitles {job.id}")

    def remove(self, job: Job) -> None:
        """Cancel a job and delete it with its file."""
        if job.task:
            job.task.cancel()
        self.jobs.pop(job.id, None)
        job.path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Cancel all jobs."""
        tasks = [job.task for job in self.jobs.values() if job.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Job) -> None:
        async with self._running:
            try:
                duration_ms = await asyncio.to_thread(duration_of, job.path)
                await job.update(state="running", duration_ms=duration_ms)
                await self._recognise(job)
                await job.update(state="done", done_ms=job.duration_ms)
            except (AsrError, av.error.FFmpegError, ValueError, OSError) as error:
                reasons = (name for kind, name in REASONS.items() if isinstance(error, kind))
                reason = next(reasons, "unreadable")
                await job.update(state="failed", error=str(error), reason=reason)

    async def _recognise(self, job: Job) -> None:
        async with AsrClient(self._url, api_key=self._api_key) as asr:
            async for sentence in asr.transcribe(pcm_of(job.path)):
                job.sentences.append(sentence)
                await job.update(done_ms=sentence.end_ms or job.done_ms)


def duration_of(path: Path) -> int:
    """Return milliseconds, 0 if the file has no duration. Raises ValueError without audio."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ValueError("the file has no audio")
            return int((container.duration or 0) / 1000)
    except av.error.FFmpegError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error


def pcm_of(path: Path) -> Iterator[bytes]:
    """Yield the first audio track as 16 kHz mono PCM, one second at a time."""
    second = bytearray()
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        for frame in _frames(container, resampler):
            second += bytes(frame.planes[0])[: frame.samples * 2]
            if len(second) >= 2 * RATE:
                yield bytes(second)
                second.clear()
    yield bytes(second)


def _frames(container: Any, resampler: Any) -> Iterator[Any]:
    for frame in container.decode(audio=0):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


# ------------------------------------------------------------------------------------------ HTTP


def _job(request: Request) -> Job | None:
    subtitler: Subtitler = request.app.state.subtitler
    return subtitler.jobs.get(request.path_params["job"])


async def create(request: Request) -> Response:
    """Create a job from the request body: the file itself, so that it streams to disk unparsed."""
    subtitler: Subtitler = request.app.state.subtitler
    job = subtitler.add(Path(request.query_params.get("name", "recording")).name[:120])
    size = 0
    with await asyncio.to_thread(job.path.open, "wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_UPLOAD:
                subtitler.remove(job)
                return JSONResponse({"error": "the file is too large", "reason": "large"}, 413)
            await asyncio.to_thread(file.write, chunk)
    subtitler.start(job)
    return JSONResponse(job.status(), 201)


async def jobs(request: Request) -> Response:
    """Return all jobs, the newest first."""
    subtitler: Subtitler = request.app.state.subtitler
    return JSONResponse([job.status() for job in reversed(subtitler.jobs.values())])


async def watch(request: Request) -> Response:
    """Stream progress and sentences as server-sent events, from the first sentence on."""
    job = _job(request)
    if job is None:
        return Response(status_code=404)

    async def events() -> AsyncIterator[str]:
        sent = 0
        while True:
            seen = job.changes
            for sentence in job.sentences[sent:]:
                yield _event("sentence", asdict(sentence))
            sent = len(job.sentences)
            yield _event("status", job.status())
            if job.state in ("done", "failed"):
                return
            await job.wait(seen)

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


async def download(request: Request) -> Response:
    """Return the subtitles recognised so far, as srt, vtt, txt or json."""
    job, suffix = _job(request), request.path_params["suffix"]
    if job is None or suffix not in WRITERS:
        return Response(status_code=404)
    write, media_type = WRITERS[suffix]
    name = quote(f"{Path(job.name).stem}.{suffix}")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(write(job.sentences), media_type=media_type, headers=headers)


async def media(request: Request) -> Response:
    """Return the recording for the player."""
    job = _job(request)
    return FileResponse(job.path) if job and job.path.exists() else Response(status_code=404)


async def delete(request: Request) -> Response:
    """Delete a job."""
    if job := _job(request):
        request.app.state.subtitler.remove(job)
    return Response(status_code=204)


def create_app(url: str, api_key: str | None = None) -> Starlette:
    """Return the service that recognises with the server at `url`."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="subtitles-") as folder:
            app.state.subtitler = Subtitler(url, api_key, Path(folder))
            try:
                yield
            finally:
                await app.state.subtitler.close()

    routes = [
        Route("/api/jobs", create, methods=["POST"]),
        Route("/api/jobs", jobs),
        Route("/api/jobs/{job}", delete, methods=["DELETE"]),
        Route("/api/jobs/{job}/events", watch),
        Route("/api/jobs/{job}/media", media),
        Route("/api/jobs/{job}/subtitles.{suffix}", download),
        Mount("/", StaticFiles(directory=HERE / "static", html=True)),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    url = os.environ.get("ASR_URL", "ws://127.0.0.1:8000")
    parser.add_argument("--url", default=url, help="of the ASR server (default: %(default)s)")
    parser.add_argument("--api-key", default=os.environ.get("ASR_API_KEY"), help="$ASR_API_KEY")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8010, help="default: %(default)s")
    options = parser.parse_args()
    print(f"Subtitles: http://{options.host}:{options.port}/  recognising with {options.url}")
    app = create_app(options.url, options.api_key)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
