"""List the files of a model on a hub, with the URL of each file.

Both hubs are used over their plain HTTP file interface; docs/adr/0010 has the reason.
"""

import ipaddress
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import httpx2

from asr_server.models.catalog import HubName, Model, ModelError
from asr_server.settings import Settings

log = logging.getLogger(__name__)

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
    blob_id: str | None = None
    """Git's SHA-1 of the blob, which Hugging Face publishes for small files, or None."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Hold the files of a model that this server uses, as one hub publishes them now."""

    hub: HubName
    model_id: str
    files: tuple[RemoteFile, ...]
    revision: str
    """The commit on Hugging Face; on ModelScope, which lists none, the revision asked for."""

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
        list_all = _modelscope if hub == "modelscope" else _huggingface
        endpoint = _endpoint(hub, settings)
        revision, files = list_all(model_id, settings.model_revision, endpoint, client)
    except httpx2.HTTPStatusError as exc:
        raise ModelError(f"{hub}: HTTP {exc.response.status_code} for {model_id}") from exc
    except httpx2.HTTPError as exc:
        raise ModelError(f"{hub}: not reachable ({type(exc).__name__})") from exc
    except (ValueError, KeyError, TypeError) as exc:
        # A captive portal or a proxy's error page comes with status 200 too.
        raise ModelError(f"{hub}: the answer is no file list") from exc
    needed = {*model.files, *model.extras}
    kept = tuple(file for file in files if file.path in needed)
    listing = Listing(hub, model_id, kept, revision)
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
            with http_client(_endpoint(hub, settings), PROBE_S) as client:
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


def http_client(url: str, timeout: float | httpx2.Timeout) -> httpx2.Client:
    """Return a client for a URL and where it redirects to, but never from https to http.

    Logs a warning if the URL itself is http to another machine.
    """
    secure = httpx2.URL(url).scheme == "https"
    if not secure and not _loopback(host := httpx2.URL(url).host):
        log.warning("http://%s is unencrypted: its files may be changed on their way", host)

    def check(request: httpx2.Request) -> None:
        if secure and request.url.scheme != "https":
            raise ModelError(f"{url} redirects to unencrypted http://{request.url.host}")

    hooks = {"request": [check]}
    return httpx2.Client(timeout=timeout, follow_redirects=True, event_hooks=hooks)


def _endpoint(hub: HubName, settings: Settings) -> str:
    name = settings.modelscope_endpoint if hub == "modelscope" else settings.huggingface_endpoint
    return name.rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _modelscope(
    model_id: str, revision: str, endpoint: str, client: httpx2.Client
) -> tuple[str, list[RemoteFile]]:
    """Return the revision that is listed, and its files."""
    revision = revision or "master"
    base = f"{endpoint}/api/v1/models/{model_id}/repo"
    query = {"Revision": revision, "Recursive": "True"}
    answer = client.get(f"{base}/files", params=query).raise_for_status().json()
    return revision, [
        RemoteFile(
            path=item["Path"],
            size=int(item["Size"]),
            sha256=(item.get("Sha256") or "").lower() or None,
            url=f"{base}?Revision={quote(revision, safe='')}&FilePath={quote(item['Path'])}",
        )
        for item in answer["Data"]["Files"]
        if item["Type"] == "blob"
    ]


def _huggingface(
    model_id: str, revision: str, endpoint: str, client: httpx2.Client
) -> tuple[str, list[RemoteFile]]:
    """Return the commit that a revision names, and its files."""
    about = f"{endpoint}/api/models/{model_id}/revision/{quote(revision or 'main', safe='')}"
    answer = client.get(about, params={"blobs": "true"}).raise_for_status().json()
    commit = str(answer["sha"])
    return commit, [
        RemoteFile(
            path=item["rfilename"],
            size=int(item["size"]),
            sha256=item["lfs"]["sha256"].lower() if item.get("lfs") else None,
            url=f"{endpoint}/{model_id}/resolve/{commit}/{quote(item['rfilename'])}",
            blob_id=None if item.get("lfs") else item.get("blobId"),
        )
        for item in answer["siblings"]
    ]
