"""HAProxy and Envoy before three servers: balance, refusals, drain, and a server that is killed."""

import asyncio
import json
import re
import subprocess
import sys
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import pytest
import websockets
import yaml

from asr_client import AsrClient, Final, Parameters, Reconnecting
from asr_client.protocol import PATH
from asr_server.load.server_metrics import scrape
from asr_server.settings import Settings
from tests.support.balancers import ENVOY, HAPROXY, Envoy, HAProxy, balancing, is_here, polled
from tests.support.processes import free_port, launched
from tests.support.serving import (
    LOUD,
    QUIET,
    Served,
    connected,
    error,
    http_client,
    run_task,
    serving,
    within,
)

KEY = "a-key-of-one-client"
DEFAULTS = Settings(_env_file=None)
SILENCE_S = max(
    DEFAULTS.connection_timeout_s,
    DEFAULTS.idle_timeout_s,
    DEFAULTS.input_timeout_s,
    DEFAULTS.response_timeout_s,
)
"""Longest silence that the server allows."""


@pytest.fixture(params=[HAProxy(), Envoy()], ids=lambda balancer: balancer.name)
def balancer(request):
    if not is_here(request.param):
        pytest.skip(f"{request.param.name} is not here")
    return request.param


@asynccontextmanager
async def fleet(balancer, directory, *servers):
    """Run servers in this process, of these settings, behind a balancer."""
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(serving(**settings)) for settings in servers]
        ports = [server.port for server in running]
        balanced = stack.enter_context(balancing(balancer, ports, directory))
        await balanced.until_healthy(*ports)
        yield balanced, running


async def client(stack, at, path="", **options):
    """Open a connection; Envoy would take a second to close it with a handshake."""
    opened = await stack.enter_async_context(connected(Served(at.port, None), path, **options))
    stack.callback(opened.socket.transport.abort)
    return opened


async def started(stack, at, path="", **options):
    """Open a connection with a running task."""
    task = await client(stack, at, path, **options)
    await task.say(run_task())
    assert (await task.event())["header"]["event"] == "task-started"


def tasks(servers):
    """Return the open tasks of each server."""
    return [server.engine.open_streams for server in servers]


# The files ----------------------------------------------------------------------------------------


def test_the_balancer_accepts_its_file(balancer):
    checked = subprocess.run(balancer.check(), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert not re.search("deprecated|warning", checked.stderr, re.IGNORECASE), checked.stderr


def test_the_timeouts_of_haproxy_exceed_the_servers():
    units = {"s": 1, "h": 3600}
    found = dict(re.findall(r"^ +timeout ([a-z-]+) +(\S+)$", HAPROXY.read_text("utf-8"), re.M))
    for name in ("client", "server", "tunnel"):
        assert int(found[name][:-1]) * units[found[name][-1]] > SILENCE_S


def test_the_timeouts_of_envoy_exceed_the_servers():
    manager, route = connection_manager()
    assert int(manager["stream_idle_timeout"].removesuffix("s")) > SILENCE_S
    assert route["timeout"] == "0s"


def test_both_retry_what_a_server_refused_on_another_server():
    assert re.search(r"^ +retry-on .*\b503$", HAPROXY.read_text("utf-8"), re.M)
    assert "option redispatch 1" in HAPROXY.read_text("utf-8")
    policy = connection_manager()[1]["retry_policy"]
    assert policy["retriable_status_codes"] == [503]
    assert "retriable-status-codes" in policy["retry_on"]
    [predicate] = policy["retry_host_predicate"]
    assert predicate["name"].endswith("previous_hosts")


def connection_manager():
    """Return Envoy's connection manager, and the route of handshakes."""
    [listener] = yaml.safe_load(ENVOY.read_text("utf-8"))["static_resources"]["listeners"]
    [chain] = listener["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    return manager, manager["route_config"]["virtual_hosts"][0]["routes"][-1]["route"]


# Handshakes ---------------------------------------------------------------------------------------


async def test_new_tasks_go_to_the_server_with_the_fewest_connections(balancer, tmp_path):
    async with fleet(balancer, tmp_path, {}, {}, {}) as (at, servers), AsyncExitStack() as stack:
        for _ in range(12):
            await started(stack, at)
        assert sum(tasks(servers)) == 12
        assert max(tasks(servers)) - min(tasks(servers)) <= balancer.spread


async def test_a_refused_handshake_goes_to_another_server(balancer, tmp_path):
    limited = {"capacity": 2, "refuse_when_full": True}
    async with (
        fleet(balancer, tmp_path, limited, limited, limited) as (at, servers),
        AsyncExitStack() as stack,
    ):
        for _ in range(2):  # not through the balancer, which takes this server for the idlest
            await started(stack, servers[0])
        for _ in range(4):
            await started(stack, at)
        assert tasks(servers) == [2, 2, 2]
        with pytest.raises(websockets.InvalidStatus) as refused:
            await started(stack, at)
        assert refused.value.response.status_code == 503
        assert json.loads(refused.value.response.body)["code"] == "ServiceUnavailable"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
async def test_limits_count_the_address_of_the_client_and_not_what_it_claims(balancer, tmp_path):
    limited = {"max_tasks_per_address": 1}
    async with (
        fleet(balancer, tmp_path, limited, limited, limited) as (at, servers),
        AsyncExitStack() as stack,
    ):
        for server in servers:
            await started(stack, server)
        forged = {"X-Forwarded-For": "192.0.2.1"}
        late = await client(stack, at, additional_headers=forged)
        await late.say(run_task())
        assert error(await late.until("task-failed"))[0] == "Throttling.RateQuota"
        await started(stack, at, local_addr=("127.0.0.2", 0))


async def test_external_addresses_cannot_read_metrics(balancer, tmp_path):
    async with fleet(balancer, tmp_path, {}, {}, {}) as (at, _), http_client() as http:
        for path in ("/metrics", "/status", "/%6detrics", "/m%65trics?x=1", "/status/data"):
            assert (await http.get(at.http + path)).status_code == 403, path
        assert (await http.get(at.http + "/healthz")).status_code == 200


async def test_the_log_names_the_path_and_no_key(balancer, tmp_path):
    async def logged():
        return at.log.read_text("utf-8").count(f"GET {PATH} 101")

    keyed = {"api_keys": KEY}
    async with fleet(balancer, tmp_path, keyed, keyed, keyed) as (at, _), within(10):
        async with AsyncExitStack() as stack:
            await started(stack, at, f"{PATH}?api_key={KEY}")
            await started(stack, at, additional_headers={"Authorization": f"Bearer {KEY}"})
        await polled(logged, 2)
        assert KEY not in at.log.read_text("utf-8")


# Servers that go and come -------------------------------------------------------------------------


async def total(*ports):
    """Return the open tasks of these servers."""
    samples = [await scrape(Served(port, None).url) for port in ports]
    return sum(sample["asr_open_tasks"] for sample in samples)


class Caller:
    """A client library's stream through the balancer."""

    def __init__(self, at, sentences):
        self.sentences, self.reconnections = 0, 0
        self.expected = sentences
        parameters = Parameters(max_sentence_silence=300)
        self.client = AsrClient(f"ws://127.0.0.1:{at.port}", parameters=parameters)
        self.running = asyncio.create_task(self._run())

    async def _run(self):
        async with self.client:
            async for event in self.client.open((LOUD + QUIET) * self.expected, pace=2):
                self.reconnections += isinstance(event, Reconnecting)
                if isinstance(event, Final):
                    # Audio is resent from the last final's end: some ms may be recognised twice.
                    self.sentences += event.sentence.end_ms - event.sentence.begin_ms > 100


@pytest.mark.slow
async def test_a_drain_and_a_killed_server_cost_no_sentence(balancer, tmp_path):
    ports = [free_port() for _ in range(3)]
    drained, killed, left = ports
    with ExitStack() as stack:
        servers = [
            stack.enter_context(launched("main.py", port=port, ASR_DRAIN_TIMEOUT_S="30"))
            for port in ports
        ]
        at = stack.enter_context(balancing(balancer, ports, tmp_path))
        async with within(60):
            await at.until_healthy(*ports)
            callers = [Caller(at, sentences=6) for _ in range(6)]
            await polled(lambda: total(*ports), 6)
            draining = await total(drained)
            assert draining

            servers[0].terminate()
            callers += [Caller(at, sentences=6) for _ in range(3)]
            await polled(lambda: total(killed, left), 9 - draining)
            assert await total(drained) == draining

            broken = await total(killed)
            assert broken
            servers[1].process.kill()
            await asyncio.gather(*(caller.running for caller in callers))
            assert [caller.sentences for caller in callers] == [6] * 9
            assert sum(caller.reconnections > 0 for caller in callers) == broken
            assert await asyncio.to_thread(servers[0].ended) == 0

            stack.enter_context(launched("main.py", port=drained))
            await at.until_healthy(drained, left)
            late = [Caller(at, sentences=2) for _ in range(6)]
            await polled(lambda: total(drained, left), 6)
            assert abs(await total(drained) - await total(left)) <= balancer.spread
            await asyncio.gather(*(caller.running for caller in late))
            assert [caller.sentences for caller in late] == [2] * 6
