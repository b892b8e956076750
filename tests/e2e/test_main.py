"""`uvicorn main:app` and `python main.py`, as somebody types them in a checkout."""

import base64
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx2
import pytest
from websockets.sync.client import connect

from tests.support.processes import ROOT, environment
from tests.support.serving import LOUD, finish_task, run_task

IMPATIENT = ["--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.2"]
"""uvicorn pings every 20 s by default; nobody wants to wait for that."""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def running(*command: str, port: int):
    variables = environment(ASR_MODEL="fake", ASR_HOST="127.0.0.1", ASR_PORT=str(port))
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until_ready(process, port)
        yield process
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
        assert "Traceback" not in said


def wait_until_ready(process, port: int) -> None:
    for _ in range(300):
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError("it does not get ready")


def recognise(port: int) -> str:
    with connect(f"ws://127.0.0.1:{port}/api-ws/v1/inference", proxy=None) as client:
        for message in (run_task(), LOUD, finish_task()):
            client.send(message)
        frames = []
        while '"task-finished"' not in (frame := client.recv(timeout=10)):
            frames.append(frame)
        return frames[-1]


@pytest.mark.parametrize(
    "command",
    [["main.py"], ["-m", "uvicorn", "main:app", "--host", "127.0.0.1"]],
    ids=["python main.py", "uvicorn main:app"],
)
def test_both_ways_of_starting_it_serve(command, port):
    options = ["--port", str(port)] if "uvicorn" in command else []
    with running(*command, *options, port=port):
        assert '"sentence_end":true' in recognise(port)


def test_a_hand_started_uvicorn_does_not_ping(port):
    command = ["-m", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", str(port), *IMPATIENT]
    with running(*command, port=port), socket.create_connection(("127.0.0.1", port)) as client:
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
