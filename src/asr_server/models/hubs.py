"""What a hub has of a model: its file list and the address of each file.

Both hubs are spoken to over their plain HTTP file interface; docs/adr/0010 says why.
"""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx2

from asr_server.models.catalog import HubName, Model, ModelError

SECOND_HUB_S = 1.0
"""How long the slower hub is waited for once the quicker one has answered."""


@dataclass(frozen=True, slots=True)
class Hubs:
    """Where the hubs answer, and where their own libraries keep what they downloaded."""

    modelscope: str = "https://modelscope.cn"
    huggingface: str = "https://huggingface.co"
    modelscope_cache: Path = field(default_factory=lambda: Path.home() / ".cache/modelscope")
    huggingface_cache: Path = field(default_factory=lambda: Path.home() / ".cache/huggingface")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model on a hub."""

    path: str
    size: int
    sha256: str | None
    """Lower-case hex, or None where the hub publishes none (HuggingFace: small files)."""
    url: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a model that matter to us, as one hub has them now."""

    hub: HubName
    model_id: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def list_files(model: Model, hub: HubName, hubs: Hubs, client: httpx2.Client) -> Listing:
    """Ask one hub for a model's files; raises ModelError unless it has the whole model."""
    model_id = model.id_on(hub)
    if model_id is None:
        raise ModelError(f"{hub}: {model.name} is not published there")
    read = _modelscope if hub == "modelscope" else _huggingface
    try:
        files = read(model_id, hubs, client)
    except httpx2.HTTPStatusError as exc:
        raise ModelError(f"{hub}: HTTP {exc.response.status_code} for {model_id}") from exc
    except httpx2.HTTPError as exc:
        raise ModelError(f"{hub}: not reachable ({type(exc).__name__})") from exc
    except (ValueError, KeyError, TypeError) as exc:
        # A captive portal or a proxy's error page comes with status 200 too.
        raise ModelError(f"{hub}: what it answered is no file list") from exc
    wanted = {*model.files, *model.extras}
    listing = Listing(hub, model_id, tuple(file for file in files if file.path in wanted))
    absent = set(model.files) - {file.path for file in listing.files}
    if absent:
        raise ModelError(f"{hub}: {model_id} lacks {', '.join(sorted(absent))}")
    return listing


def listings(
    model: Model, hubs: Hubs, wanted: Sequence[HubName], timeout_s: float
) -> list[Listing]:
    """Ask hubs side by side; what came within the time, quickest first.

    The time bounds name resolution too, which socket timeouts do not. Raises ModelError with every
    hub's reason if none has the model.
    """
    answers: queue.SimpleQueue[Listing | ModelError] = queue.SimpleQueue()

    def ask(hub: HubName) -> None:
        try:
            with httpx2.Client(timeout=timeout_s, follow_redirects=True) as client:
                answers.put(list_files(model, hub, hubs, client))
        except ModelError as exc:
            answers.put(exc)
        except Exception as exc:  # an endpoint that is no URL, a proxy of an unknown kind
            answers.put(ModelError(f"{hub}: {exc}"))

    for hub in wanted:
        threading.Thread(target=ask, args=(hub,), name=f"ask-{hub}", daemon=True).start()
    found: list[Listing] = []
    reasons: list[str] = []
    deadline = time.monotonic() + timeout_s
    for _ in wanted:
        try:
            answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            reasons.append(f"no answer within {timeout_s:g} s")
            break
        if isinstance(answer, Listing):
            found.append(answer)
            deadline = min(deadline, time.monotonic() + SECOND_HUB_S)
        else:
            reasons.append(str(answer))
    if not found:
        raise ModelError("; ".join(reasons))
    return found


def _modelscope(model_id: str, hubs: Hubs, client: httpx2.Client) -> list[RemoteFile]:
    base = f"{hubs.modelscope.rstrip('/')}/api/v1/models/{model_id}/repo"
    query = {"Revision": "master", "Recursive": "True"}
    answer = client.get(f"{base}/files", params=query).raise_for_status().json()
    return [
        RemoteFile(
            path=item["Path"],
            size=int(item["Size"]),
            sha256=(item.get("Sha256") or "").lower() or None,
            url=f"{base}?Revision=master&FilePath={quote(item['Path'])}",
        )
        for item in answer["Data"]["Files"]
        if item["Type"] == "blob"
    ]


def _huggingface(model_id: str, hubs: Hubs, client: httpx2.Client) -> list[RemoteFile]:
    base = hubs.huggingface.rstrip("/")
    answer = client.get(f"{base}/api/models/{model_id}/tree/main", params={"recursive": "true"})
    return [
        RemoteFile(
            path=item["path"],
            size=int(item["size"]),
            sha256=item["lfs"]["oid"].lower() if item.get("lfs") else None,
            url=f"{base}/{model_id}/resolve/main/{quote(item['path'])}",
        )
        for item in answer.raise_for_status().json()
        if item["type"] == "file"
    ]
