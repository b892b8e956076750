"""List the files of a model on a hub, with the URL of each file.

Both hubs are used over their plain HTTP file interface; docs/adr/0010 has the reason.
"""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import httpx2

from asr_server.models.catalog import HubName, Model, ModelError
from asr_server.settings import Settings

PROBE_S = 5.0
"""Time without an answer after which a hub counts as unreachable."""
SECOND_HUB_S = 1.0
"""How long to wait for the slower hub once the faster one has answered."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """Describe one file of a model on a hub."""

    path: str
    size: int
    sha256: str | None
    """Lower-case hex, or None if the hub publishes none (Hugging Face: small files)."""
    url: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Hold the files of a model that this server uses, as one hub publishes them now."""

    hub: HubName
    model_id: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Return the bytes of all files together."""
        return sum(file.size for file in self.files)


def list_files(model: Model, hub: HubName, settings: Settings, client: httpx2.Client) -> Listing:
    """Return a model's files on one hub; raises ModelError unless the hub has all of them."""
    model_id = model.id_on(hub)
    if model_id is None:
        raise ModelError(f"{hub}: {model.name} is not published there")
    try:
        if hub == "modelscope":
            files = _modelscope(model_id, settings.modelscope_endpoint, client)
        else:
            files = _huggingface(model_id, settings.huggingface_endpoint, client)
    except httpx2.HTTPStatusError as exc:
        raise ModelError(f"{hub}: HTTP {exc.response.status_code} for {model_id}") from exc
    except httpx2.HTTPError as exc:
        raise ModelError(f"{hub}: not reachable ({type(exc).__name__})") from exc
    except (ValueError, KeyError, TypeError) as exc:
        # A captive portal or a proxy's error page comes with status 200 too.
        raise ModelError(f"{hub}: the answer is no file list") from exc
    wanted = {*model.files, *model.extras}
    listing = Listing(hub, model_id, tuple(file for file in files if file.path in wanted))
    missing = set(model.files) - {file.path for file in listing.files}
    if missing:
        raise ModelError(f"{hub}: {model_id} lacks {', '.join(sorted(missing))}")
    return listing


def listings(model: Model, hubs: Sequence[HubName], settings: Settings) -> list[Listing]:
    """Ask hubs in parallel and return the listings that arrive in time, fastest hub first.

    The timeout includes name resolution, which socket timeouts do not. Raises ModelError with the
    reason of every hub if none has the model.
    """
    answers: queue.SimpleQueue[Listing | ModelError] = queue.SimpleQueue()

    def ask(hub: HubName) -> None:
        try:
            with httpx2.Client(timeout=PROBE_S, follow_redirects=True) as client:
                answers.put(list_files(model, hub, settings, client))
        except Exception as exc:  # also an endpoint that is no URL, a proxy of an unknown kind
            answers.put(exc if isinstance(exc, ModelError) else ModelError(f"{hub}: {exc}"))

    for hub in hubs:
        threading.Thread(target=ask, args=(hub,), name=f"ask-{hub}", daemon=True).start()
    found: list[Listing] = []
    reasons: list[str] = []
    deadline = time.monotonic() + PROBE_S
    for _ in hubs:
        try:
            answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            reasons.append(f"no answer within {PROBE_S:g} s")
            break
        if isinstance(answer, Listing):
            found.append(answer)
            deadline = min(deadline, time.monotonic() + SECOND_HUB_S)
        else:
            reasons.append(str(answer))
    if not found:
        raise ModelError("; ".join(reasons))
    return found


def _modelscope(model_id: str, endpoint: str, client: httpx2.Client) -> list[RemoteFile]:
    base = f"{endpoint.rstrip('/')}/api/v1/models/{model_id}/repo"
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


def _huggingface(model_id: str, endpoint: str, client: httpx2.Client) -> list[RemoteFile]:
    base = endpoint.rstrip("/")
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
