"""Download the files of a listing into a directory: resumable, verified, all or nothing.

A model directory gets its name only once every file in it was verified; an unfinished download
lies in `<name>.part`, where the next attempt resumes.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2
from filelock import FileLock

from asr_server.models.catalog import ModelError
from asr_server.models.hubs import Listing, RemoteFile

Progress = Callable[[str, int, int], None]
"""Called with a file's path, its bytes so far and its size, for every block that arrives."""

MANIFEST = "asr-server.json"
"""The file of a downloaded directory that lists its hub and files."""

ATTEMPTS = 5
"""Consecutive attempts without a new byte after which a file is given up."""
TIMEOUT = httpx2.Timeout(30, connect=10)


def fetch(listing: Listing, target: Path, progress: Progress, pause_s: float = 1.0) -> Path:
    """Make `target` a verified copy of a listing and return it. Raises ModelError.

    Of several processes that fetch one directory, one downloads and the others wait.
    `pause_s` is the first of the doubling pauses between attempts.
    """
    part = target.with_name(target.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if all(_size(target / file.path) == file.size for file in listing.files):
            return target
        _check_space(listing, part)
        with httpx2.Client(timeout=TIMEOUT, follow_redirects=True) as client:
            transfer = _Transfer(client, listing, part, progress, pause_s)
            for file in listing.files:
                transfer.fetch(file)
        files = {file.path: {"size": file.size, "sha256": file.sha256} for file in listing.files}
        manifest = {"hub": listing.hub, "id": listing.model_id, "files": files}
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (part / MANIFEST).write_text(text, encoding="utf-8")
        if target.exists():  # an incomplete directory made by hand
            shutil.copytree(part, target, dirs_exist_ok=True)
            shutil.rmtree(part)
        else:
            part.rename(target)
    return target


@dataclass(frozen=True, slots=True)
class _Transfer:
    client: httpx2.Client
    listing: Listing
    part: Path
    progress: Progress
    pause_s: float

    def fetch(self, file: RemoteFile) -> None:
        """Download and verify one file, a second time if the first copy is damaged."""
        hub = self.listing.hub
        done = self.part / file.path
        if not done.resolve().is_relative_to(self.part.resolve()):
            raise ModelError(f"{hub}: refuses to write outside the model: {file.path}")
        done.parent.mkdir(parents=True, exist_ok=True)
        if done.exists() and difference(done, file.size, file.sha256) is None:
            self.progress(file.path, file.size, file.size)
            return
        # The name identifies the content, so that a download resumes from the other hub's copy
        # only if that is the same file.
        identity = (file.sha256 or str(file.size))[:16]
        incomplete = done.with_name(f"{done.name}.{identity}.incomplete")
        for trial in range(2):
            self._complete(file, incomplete)
            problem = difference(incomplete, file.size, file.sha256)
            if problem is None:
                incomplete.replace(done)
                return
            incomplete.unlink()
            if trial:
                raise ModelError(
                    f"{hub}: {file.path} arrived twice with {problem}; "
                    "a proxy may change it. Try the other hub with --hub"
                )

    def _complete(self, file: RemoteFile, incomplete: Path) -> None:
        """Download a file to its full length, resuming after every broken connection."""
        hub = self.listing.hub
        fruitless = 0
        while (have := _size(incomplete) or 0) != file.size:
            try:
                self._receive(file, incomplete, have)
                reason = "the connection ended early"
            except httpx2.HTTPStatusError as exc:
                reason = f"HTTP {exc.response.status_code}"
                if exc.response.status_code in (401, 403, 404):
                    raise ModelError(f"{hub}: {reason} for {file.path}") from exc
            except httpx2.HTTPError as exc:
                reason = type(exc).__name__
            now = _size(incomplete) or 0
            fruitless = 0 if now > have else fruitless + 1
            if fruitless == ATTEMPTS:
                raise ModelError(
                    f"{hub}: {file.path} stopped at {now} of {file.size} bytes ({reason}); "
                    "run the same command again to go on from there"
                )
            if now != file.size:
                time.sleep(self.pause_s * 2**fruitless)

    def _receive(self, file: RemoteFile, incomplete: Path, have: int) -> None:
        """Append the body of one response; keeps what arrived if the connection breaks."""
        have = have if have <= file.size else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self.client.stream("GET", file.url, headers=headers) as response:
            response.raise_for_status()
            if response.status_code != httpx2.codes.PARTIAL_CONTENT:
                have = 0  # the server ignores Range and sends the whole file
            with incomplete.open("r+b" if have else "wb") as out:
                out.seek(have)
                for block in response.iter_raw():  # no block size: it would buffer, and lose, bytes
                    if have + len(block) > file.size:
                        raise ModelError(f"{file.path} is longer than listed; try again later")
                    out.write(block)
                    have += len(block)
                    self.progress(file.path, have, file.size)


def difference(path: Path, size: int, sha256: str | None) -> str | None:
    """Return in words how a file differs from the published size and hash, or None."""
    actual = path.stat().st_size
    if actual != size:
        return f"{actual} bytes instead of {size}"
    if sha256 is None:
        return None
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return None if digest.hexdigest() == sha256 else "another SHA-256 than published"


def _size(path: Path) -> int | None:
    """Return the bytes of a file, or None without one."""
    return path.stat().st_size if path.is_file() else None


def _check_space(listing: Listing, part: Path) -> None:
    free = shutil.disk_usage(part).free
    have = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
    if listing.size - have > free:
        raise ModelError(
            f"{listing.model_id} needs {listing.size - have >> 20} MB more in {part.parent}, "
            f"where {free >> 20} MB are free; choose another place with --model-dir"
        )
