"""Record the SHA-256 of every file of a downloaded model, and compare later downloads with it.

The record of the model directory `NAME` is `NAME.lock.json` beside it. It outlives the directory,
and a copy of it makes another machine accept the same files only.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from asr_server.models.catalog import ModelError
from asr_server.models.hubs import Listing, RemoteFile


@dataclass(frozen=True, slots=True)
class LockedFile:
    """Hold what a file has to be."""

    size: int
    sha256: str
    blob_id: str
    """As in `RemoteFile`: a listing may have only this hash."""

    def allows(self, file: RemoteFile) -> bool:
        """Return whether a hub publishes this file with this size and hash."""
        return (
            file.size == self.size
            and file.sha256 in (None, self.sha256)
            and file.blob_id in (None, self.blob_id)
        )


@dataclass(frozen=True, slots=True)
class Lock:
    """Hold where a model came from, and its files by their paths in the model directory."""

    hub: str
    model_id: str
    revision: str
    files: dict[str, LockedFile]

    def changes(self, listing: Listing) -> list[str]:
        """Return the files that a hub now publishes with another size or hash."""
        return [
            file.path
            for file in listing.files
            if file.path in self.files and not self.files[file.path].allows(file)
        ]

    def applied_to(self, listing: Listing) -> Listing:
        """Return a listing without changes, with a SHA-256 for every file of the lock."""
        files = (
            replace(file, sha256=self.files[file.path].sha256) if file.path in self.files else file
            for file in listing.files
        )
        return replace(listing, files=tuple(files))


def lock_path(directory: Path) -> Path:
    """Return where the lock of a model directory lies."""
    directory = directory.resolve()
    return directory.with_name(f"{directory.name}.lock.json")


def read_lock(directory: Path) -> Lock | None:
    """Return the lock of a model directory, or None without one. Raises ModelError."""
    path = lock_path(directory)
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        files = {
            name: LockedFile(file["size"], file["sha256"], file["blob_id"])
            for name, file in about["files"].items()
        }
        return Lock(about["hub"], about["id"], about["revision"], files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{path} cannot be read; remove it to accept any files") from exc


def write_lock(directory: Path, lock: Lock) -> None:
    """Replace the lock of a model directory."""
    files = {name: asdict(file) for name, file in lock.files.items()}
    about = {"hub": lock.hub, "id": lock.model_id, "revision": lock.revision, "files": files}
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    path = lock_path(directory)
    path.with_suffix(".new").write_text(text, encoding="utf-8")
    path.with_suffix(".new").replace(path)
