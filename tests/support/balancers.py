"""Run HAProxy or Envoy with the configuration of this repository before servers of a test."""

import asyncio
import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from httpx2 import AsyncClient, ConnectError

from tests.support.processes import ROOT, free_port
from tests.support.serving import http_client, within

HAPROXY = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
ENVOY = ROOT / "deploy" / "envoy" / "envoy.yaml"


@dataclass(frozen=True)
class Command:
    """A command and its additional environment."""

    words: list[str | Path]
    environment: dict[str, str]


class HAProxy:
    """HAProxy; addresses come from the environment."""

    name = "haproxy"
    spread = 1
    """Most tasks that one server may have above another when all came through the balancer."""

    def check(self) -> list[str | Path]:
        """Return the command that checks the configuration."""
        return [self.name, "-c", "-f", HAPROXY]

    def start(self, port: int, admin: int, servers: Sequence[int], directory: Path) -> Command:
        """Return the command that balances servers of this machine."""
        variables = {"ASR_LISTEN": f"127.0.0.1:{port}", "ASR_STATS": f"127.0.0.1:{admin}"}
        for n, server in enumerate(servers, 1):
            variables[f"ASR_SERVER_{n}"] = f"127.0.0.1:{server}"
        return Command([self.name, "-db", "-f", HAPROXY], variables)

    def status(self) -> str:
        """Return the path of the servers' states on the admin port."""
        return "/;csv"

    def healthy(self, status: str) -> set[int]:
        """Return the ports of the servers that passed their last check."""
        rows = csv.DictReader(io.StringIO(status.removeprefix("# ")))
        return {int(row["addr"].rpartition(":")[2]) for row in rows if _is_up(row)}


def _is_up(row: dict[str, str]) -> bool:
    """Return whether a server has passed a check: until then HAProxy shows it as up, too."""
    return bool(row["addr"]) and row["status"] == "UP" and row["check_status"] == "L7OK"


class Envoy:
    """Envoy; its format has no variables, so that the addresses are replaced in a copy."""

    name = "envoy"
    spread = 5  # least of three at random

    def check(self) -> list[str | Path]:
        """Return the command that checks the configuration."""
        return [self.name, "--mode", "validate", "-c", ENVOY]

    def start(self, port: int, admin: int, servers: Sequence[int], directory: Path) -> Command:
        """Return the command that balances servers of this machine."""
        configuration = yaml.safe_load(ENVOY.read_text(encoding="utf-8"))
        address(configuration["admin"])["port_value"] = admin
        static = configuration["static_resources"]
        address(static["listeners"][0])["port_value"] = port
        [endpoints] = static["clusters"][0]["load_assignment"]["endpoints"]
        for endpoint, server in zip(endpoints["lb_endpoints"], servers, strict=True):
            address(endpoint["endpoint"])["port_value"] = server
        copy = directory / ENVOY.name
        copy.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        words: list[str | Path] = [self.name, "-c", copy, "--use-dynamic-base-id"]
        return Command([*words, "--concurrency", "1", "--file-flush-interval-msec", "10"], {})

    def status(self) -> str:
        """Return the path of the servers' states on the admin port."""
        return "/clusters?format=json"

    def healthy(self, status: str) -> set[int]:
        """Return the ports of the servers that passed their last check."""
        [cluster] = json.loads(status)["cluster_statuses"]
        return {
            address(host)["port_value"]
            for host in cluster.get("host_statuses", ())
            if host["health_status"].keys() == {"eds_health_status"}
        }


def address(of: dict[str, Any]) -> dict[str, Any]:
    """Return the socket address of a part of Envoy's configuration or status."""
    found: dict[str, Any] = of["address"]["socket_address"]
    return found


Balancer = HAProxy | Envoy


@dataclass(frozen=True)
class Balancing:
    """A running balancer."""

    balancer: Balancer
    port: int
    admin: int
    log: Path

    @property
    def http(self) -> str:
        """The address that clients use."""
        return f"http://127.0.0.1:{self.port}"

    async def until_healthy(self, *servers: int) -> None:
        """Return once exactly these servers get new connections."""
        url = f"http://127.0.0.1:{self.admin}{self.balancer.status()}"
        async with http_client() as client, within(20):
            await polled(lambda: self._healthy(client, url), set(servers))

    async def _healthy(self, client: AsyncClient, url: str) -> set[int]:
        with contextlib.suppress(ConnectError):  # while it starts
            return self.balancer.healthy((await client.get(url)).text)
        return set()


async def polled(read: Callable[[], Awaitable[Any]], expected: Any) -> None:
    """Return once a value that only polling can observe is the expected one."""
    while await read() != expected:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


@contextmanager
def balancing(balancer: Balancer, servers: Sequence[int], directory: Path) -> Iterator[Balancing]:
    """Run a balancer before the servers at these ports."""
    port, admin, log = free_port(), free_port(), directory / "balancer.log"
    command = balancer.start(port, admin, servers, directory)
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command.words,
            env={**os.environ, **command.environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Balancing(balancer, port, admin, log)
        assert process.poll() is None, log.read_text(encoding="utf-8")
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_here(balancer: Balancer) -> bool:
    """Return whether this machine has the balancer."""
    return shutil.which(balancer.name) is not None
