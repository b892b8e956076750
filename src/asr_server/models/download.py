"""Download the files of a listing into a directory: resumable, verified, all or nothing.

A model directory gets its name only once every file in it was verified; an unfinished download
lies in `<name>.part`, where the next attempt resumes.
"""

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2
from filelock import FileLock

from asr_server import command
from asr_server.models.catalog import ModelError
from asr_server.models.hubs import Listing, RemoteFile, http_client
from asr_server.models.lock import Lock, LockedFile, read_lock, write_lock

Progress = Callable[[str, int, int], None]
"""Called with a file's path, its bytes so far and its size, for every block that arrives."""

ATTEMPTS = 5
"""Consecutive attempts without a new byte after which a file is given up."""
TIMEOUT = httpx2.Timeout(30, connect=10)


def fetch(
    listing: Listing,
    target: Path,
    progress: Progress,
    pause_s: float = 1.0,
    accept_changes: bool = False,
) -> Path:
    """Make `target` a verified copy of a listing and return it. Raises ModelError.

    Of several processes that fetch one directory, one downloads and the others wait.
    `pause_s` is the first of the doubling pauses between attempts. Files that differ from an
    earlier download of this model are an error unless `accept_changes`.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        lock = read_lock(target)
        changes = lock.changes(listing) if lock else []
        if lock and changes and not accept_changes:
            raise ModelError(
                f"{listing.hub}: {', '.join(changes)} of {listing.model_id} changed since the last "
                f"download, from {lock.hub} ({lock.revision}). To accept that: "
                f"{command.asr_server()} models download --accept-changes"
            )
        if not changes and all(_size(target / file.path) == file.size for file in listing.files):
            return target
        if lock and not changes:
            listing = lock.applied_to(listing)
        part.mkdir(exist_ok=True)
        _check_space(listing, part)
        with http_client(listing.files[0].url, TIMEOUT) as client:
            transfer = _Transfer(client, listing, part, progress, pause_s)
            files = {file.path: transfer.fetch(file) for file in listing.files}
        write_lock(target, Lock(listing.hub, listing.model_id, listing.revision, files))
        if target.exists():  # an incomplete directory made by hand, or changed files
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

    def fetch(self, file: RemoteFile) -> LockedFile:
        """Download and verify one file, a second time if the first copy is damaged."""
        hub = self.listing.hub
        done = self.part / file.path
        if not done.resolve().is_relative_to(self.part.resolve()):
            raise ModelError(f"{hub}: refuses to write outside the model: {file.path}")
        done.parent.mkdir(parents=True, exist_ok=True)
        if done.exists() and (whole := _measured(done)).allows(file):
            self.progress(file.path, file.size, file.size)
            return whole
        # The name identifies the content, so that a download resumes from the other hub's copy
        # only if that is the same file.
        identity = (file.sha256 or file.blob_id or str(file.size))[:16]
        incomplete = done.with_name(f"{done.name}.{identity}.incomplete")
        for _ in range(2):
            self._complete(file, incomplete)
            if (whole := _measured(incomplete)).allows(file):
                incomplete.replace(done)
                return whole
            incomplete.unlink()
        raise ModelError(
            f"{hub}: {file.path} arrived twice with another hash than published; "
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


def difference(path: Path, locked: LockedFile) -> str | None:
    """Return in words how a file differs from the locked size and hash, or None."""
    actual = path.stat().st_size
    if actual != locked.size:
        return f"{actual} bytes instead of {locked.size}"
    return None if _measured(path) == locked else "another SHA-256 than locked"


def _measured(path: Path) -> LockedFile:
    """Return the size and the hashes of a file."""
    size = path.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            blob.update(block)
    return LockedFile(size, sha256.hexdigest(), blob.hexdigest())


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
