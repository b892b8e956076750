"""Start `uvicorn main:app` in a checkout; operations/test_drain.py starts `python main.py`."""

import base64
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.processes import ROOT, Running, environment, free_port, launched
from tests.support.serving import LOUD, finish_task, run_task

IMPATIENT = ["--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.2"]
"""Pings that would come within the test; uvicorn's own come every 20 s."""


@pytest.fixture(scope="module")
def uvicorn() -> Iterator[tuple[Running, int]]:
    """Run `uvicorn main:app` on all addresses; fail if its log has a traceback."""
    port = free_port()
    command = ("-m", "uvicorn", "main:app", "--host", "0.0.0.0", "--port", str(port), *IMPATIENT)
    with launched(*command, port=port) as server:
        yield server, port
        server.stop()
    assert "Traceback" not in server.said


def recognise(port: int) -> str:
    with connect(f"ws://127.0.0.1:{port}/api-ws/v1/inference", proxy=None) as client:
        assert client.protocol.extensions == []  # no deflate: 7 MB could become 7 GB
        for message in (run_task(), LOUD, finish_task()):
            client.send(message)
        frames = []
        while '"task-finished"' not in (frame := client.recv(timeout=10)):
            frames.append(frame)
        return frames[-1]


def flood(port: int) -> int | None:
    """Send messages until the server closes the connection; return its close code."""
    with connect(f"ws://127.0.0.1:{port}/api-ws/v1/inference", proxy=None) as client:
        with contextlib.suppress(ConnectionClosed):
            while True:
                client.send(b"")
        return client.protocol.close_code


def test_a_hand_started_uvicorn_recognises(uvicorn):
    _, port = uvicorn
    assert '"sentence_end":true' in recognise(port)
    assert flood(port) == 1008


def test_a_hand_started_uvicorn_without_keys_logs_its_address_and_warns(uvicorn):
    server, port = uvicorn
    assert f"running on http://0.0.0.0:{port}" in server.said
    assert server.said.count("every client that reaches 0.0.0.0 may use the server") == 1


def test_a_blank_key_refuses_to_start_with_a_sentence():
    done = subprocess.run(
        [sys.executable, "-c", "import main"],
        cwd=ROOT,
        env=environment(ASR_MODEL="fake", ASR_API_KEYS=" "),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "ASR_API_KEYS: it is set but blank" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hand_started_uvicorn_does_not_ping(uvicorn):
    _, port = uvicorn
    with socket.create_connection(("127.0.0.1", port)) as client:
        key = base64.b64encode(os.urandom(16)).decode()
        client.sendall(
            "GET /api-ws/v1/inference HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        assert client.recv(4096).endswith(b"\r\n\r\n")
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.recv(1)
