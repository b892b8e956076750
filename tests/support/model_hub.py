"""A hub on a local port, with the file interfaces of ModelScope and Hugging Face."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from asr_server.settings import Settings

MODEL_FILES = {
    "config.yaml": b"model: ParaformerStreaming\n",
    "model.pt": bytes(range(256)) * 4096,  # 1 MiB
    "tokens.json": b'["<blank>", "a"]',
    "am.mvn": b"<Nnet>",
    "example/asr_example.wav": b"RIFF",
    "unwanted.bin": b"x" * 100,
}


COMMIT = "c0ffee" + "0" * 34
"""What `main` names on this hub."""


def blob_id(data: bytes) -> str:
    """Return Git's name of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def hub_settings(directory: Path, modelscope: str, huggingface: str, **settings: Any) -> Settings:
    """Return settings with these hubs, and models and caches in `directory`."""
    return Settings(
        **{
            "model": "auto",
            "model_dir": str(directory),
            "modelscope_endpoint": modelscope,
            "huggingface_endpoint": huggingface,
            "modelscope_cache": str(directory / "ms"),
            "huggingface_cache": str(directory / "hf"),
            **settings,
        }
    )


@dataclass
class Hub:
    """Hold the files a hub serves, its faults, and the requests it got."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: dict(MODEL_FILES))
    models: tuple[str, ...] = (
        "iic/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-online",
        "funasr/paraformer-zh-streaming",
    )
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the next downloads of model.pt break off, one item each."""
    ranges: bool = True
    """Whether `Range` is honoured."""
    spoil: int = 0
    """How many downloads of `spoiled` come with a wrong byte."""
    portal: bool = False
    """Answer everything with a page, as a hotel network does."""
    spoiled: str = "model.pt"
    """The file that `spoil` is about."""
    revisions: list[str] = field(default_factory=list)
    """Revisions that listings were asked for."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Paths of files that were sent, with the Range asked for."""

    def settings(self, directory: Path, **settings: Any) -> Settings:
        """Return settings that name this hub, with models and caches in `directory`."""
        return hub_settings(directory, self.url, self.url, **settings)

    def ranges_of(self, path: str) -> list[str | None]:
        return [wanted for name, wanted in self.asked if name == path]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            if hub.portal:
                return self.reply(b"<html>Please sign in</html>", "text/html")
            if m := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo/files", url.path):
                hub.revisions += query["Revision"]
                return self.listing(m[1], {"Data": {"Files": self.modelscope_files()}})
            if m := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", url.path):
                hub.revisions.append(m[2])
                return self.listing(m[1], {"sha": COMMIT, "siblings": self.huggingface_files()})
            if m := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo", url.path):
                return self.send_file(query["FilePath"][0])
            if m := re.fullmatch(rf"/[^/]+/[^/]+/resolve/{COMMIT}/(.+)", url.path):
                self.send_response(302)  # as the real one: to a content network
                self.send_header("Location", f"/content/{m[1]}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            if m := re.fullmatch(r"/content/(.+)", url.path):
                return self.send_file(unquote(m[1]))
            self.send_error(404)

        def listing(self, model: str, body: object) -> None:
            if model not in hub.models:
                return self.send_error(404)
            self.reply(json.dumps(body).encode(), "application/json")

        def modelscope_files(self) -> list[dict[str, object]]:
            return [{"Type": "tree", "Path": "example", "Size": 0}] + [
                {
                    "Type": "blob",
                    "Path": path,
                    "Size": len(data),
                    "Sha256": hashlib.sha256(data).hexdigest(),
                }
                for path, data in hub.files.items()
            ]

        def huggingface_files(self) -> list[dict[str, object]]:
            return [
                {"rfilename": path, "size": len(data), "blobId": blob_id(data)}
                | ({"lfs": {"sha256": hashlib.sha256(data).hexdigest()}} if len(data) > 999 else {})
                for path, data in hub.files.items()
            ]

        def send_file(self, path: str) -> None:
            wanted = self.headers.get("Range")
            hub.asked.append((path, wanted))
            data = hub.files[path]
            if path == hub.spoiled and hub.spoil:
                hub.spoil -= 1
                data = b"!" + data[1:]
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and hub.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            cut = hub.cut_after.pop(0) if path == "model.pt" and hub.cut_after else None
            self.wfile.write(data[start:] if cut is None else data[start : start + cut])
            self.close_connection = True

        def reply(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def hub() -> Iterator[Hub]:
    served = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()
