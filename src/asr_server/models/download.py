"""Fetch the files of a listing into a directory: resumable, checked, all or nothing.

A model directory exists under its own name only when every file in it was checked; what is under
way lies beside it in `<name>.part`, where the next attempt goes on.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
from filelock import FileLock

from asr_server.models.catalog import ModelError
from asr_server.models.hubs import Listing, RemoteFile

Progress = Callable[[str, int, int], None]
"""Called with a file's path, its bytes so far and its size, for every block that arrives."""

MANIFEST = "asr-server.json"
"""Where a downloaded directory says what it is made of."""

ATTEMPTS = 5
"""Attempts in a row that bring nothing before a file is given up."""
TIMEOUT = httpx2.Timeout(30, connect=10)


def fetch(listing: Listing, target: Path, progress: Progress, pause_s: float = 1.0) -> Path:
    """Make `target` a checked copy of a listing; returns it. Raises ModelError.

    Several processes may ask for the same directory at once; one downloads, the others wait.
    `pause_s` is the first of the doubling pauses between attempts.
    """
    part = target.with_name(target.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if all(_same_size(target / file.path, file.size) for file in listing.files):
            return target
        _check_space(listing, part)
        with httpx2.Client(timeout=TIMEOUT, follow_redirects=True) as client:
            for file in listing.files:
                _fetch_file(client, listing, file, part, progress, pause_s)
        (part / MANIFEST).write_text(_manifest(listing), encoding="utf-8")
        if target.exists():  # an incomplete directory somebody made by hand
            shutil.copytree(part, target, dirs_exist_ok=True)
            shutil.rmtree(part)
        else:
            part.rename(target)
    return target


def _fetch_file(
    client: httpx2.Client,
    listing: Listing,
    file: RemoteFile,
    part: Path,
    progress: Progress,
    pause_s: float,
) -> None:
    done = part / file.path
    if not done.resolve().is_relative_to(part.resolve()):
        raise ModelError(f"{listing.hub}: refuses to write outside the model: {file.path}")
    done.parent.mkdir(parents=True, exist_ok=True)
    if done.exists() and wrong(done, file.size, file.sha256) is None:
        progress(file.path, file.size, file.size)
        return
    # The name carries the content's identity: the hubs' copies never continue one another unless
    # they are the same file.
    open_name = f"{done.name}.{(file.sha256 or str(file.size))[:16]}.incomplete"
    incomplete = done.with_name(open_name)
    for trial in range(2):
        _transfer(client, listing, file, incomplete, progress, pause_s)
        problem = wrong(incomplete, file.size, file.sha256)
        if problem is None:
            incomplete.replace(done)
            return
        incomplete.unlink()
        if trial:
            raise ModelError(
                f"{listing.hub}: {file.path} arrived twice with {problem}; "
                "something on the way changes it. Try the other hub with --hub"
            )


def _transfer(
    client: httpx2.Client,
    listing: Listing,
    file: RemoteFile,
    incomplete: Path,
    progress: Progress,
    pause_s: float,
) -> None:
    """Bring a file to its full length, taking up again after every cut."""
    fruitless = 0
    while not incomplete.exists() or incomplete.stat().st_size != file.size:
        have = incomplete.stat().st_size if incomplete.exists() else 0
        try:
            _receive(client, file, incomplete, have, progress)
            reason = "the connection ended early"
        except httpx2.HTTPStatusError as exc:
            reason = f"HTTP {exc.response.status_code}"
            if exc.response.status_code in (401, 403, 404):
                raise ModelError(f"{listing.hub}: {reason} for {file.path}") from exc
        except httpx2.HTTPError as exc:
            reason = type(exc).__name__
        now = incomplete.stat().st_size if incomplete.exists() else 0
        fruitless = 0 if now > have else fruitless + 1
        if fruitless == ATTEMPTS:
            raise ModelError(
                f"{listing.hub}: {file.path} stopped at {now} of {file.size} bytes ({reason}); "
                "run the same command again to go on from there"
            )
        if now != file.size:
            time.sleep(pause_s * 2**fruitless)


def _receive(
    client: httpx2.Client, file: RemoteFile, incomplete: Path, have: int, progress: Progress
) -> None:
    """One request's worth; keeps what arrived even when the connection is cut."""
    if have > file.size:
        have = 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", file.url, headers=headers) as response:
        response.raise_for_status()
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            have = 0  # the server sends the whole file whatever it was asked
        with incomplete.open("r+b" if have else "wb") as out:
            out.seek(have)
            for block in response.iter_raw():  # no block size: a cut would lose what it gathers
                if have + len(block) > file.size:
                    raise ModelError(f"{file.path} is longer than the hub said; try again later")
                out.write(block)
                have += len(block)
                progress(file.path, have, file.size)


def wrong(path: Path, size: int, sha256: str | None) -> str | None:
    """What differs from the published size and hash, in words, or None."""
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


def _same_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _check_space(listing: Listing, part: Path) -> None:
    free = shutil.disk_usage(part).free
    have = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
    if listing.size - have > free:
        raise ModelError(
            f"{listing.model_id} needs {listing.size - have >> 20} MB more in {part.parent}, "
            f"where {free >> 20} MB are free; choose another place with --model-dir"
        )


def _manifest(listing: Listing) -> str:
    about = {
        "hub": listing.hub,
        "id": listing.model_id,
        "files": {file.path: {"size": file.size, "sha256": file.sha256} for file in listing.files},
    }
    return json.dumps(about, indent=2, ensure_ascii=False) + "\n"
