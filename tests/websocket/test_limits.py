"""The rate limit refuses an address over its limit, at constant cost."""

import pytest
import websockets

from asr_server.access import ANONYMOUS
from asr_server.errors import Throttled
from asr_server.websocket.limits import ConcurrencyLimit, TokenBuckets, client_address
from tests.support.serving import connected, http_client, serving


def test_an_address_may_spend_its_minute_at_once_and_then_one_token_as_it_is_refilled():
    buckets = TokenBuckets(per_minute=60)
    assert all(buckets.take("a", 0) for _ in range(60))
    assert not buckets.take("a", 0)
    assert not buckets.take("a", 0.9)
    assert buckets.take("a", 1.0)
    assert not buckets.take("a", 1.0)


def test_a_refused_request_costs_no_token():
    buckets = TokenBuckets(per_minute=60)
    for _ in range(100):
        buckets.take("a", 0)
    assert buckets.take("a", 1)


def test_addresses_do_not_share_a_limit():
    buckets = TokenBuckets(per_minute=1)
    assert buckets.take("a", 0)
    assert buckets.take("b", 0)


def test_a_full_table_evicts_only_the_address_whose_last_request_is_oldest():
    buckets = TokenBuckets(per_minute=1, max_addresses=3)
    for address in "abc":
        assert buckets.take(address, 0)
    assert not buckets.take("a", 1)  # now "b" is the oldest
    assert buckets.take("d", 1)
    assert len(buckets) == 3
    assert not buckets.take("a", 1)
    assert not buckets.take("c", 1)
    assert buckets.take("b", 1)


def test_an_attack_from_many_addresses_at_once_does_not_grow_the_table():
    buckets = TokenBuckets(per_minute=1, max_addresses=100)
    for number in range(10_000):
        assert buckets.take(str(number), 0)
        assert len(buckets) <= 100


def test_a_debt_grows_with_each_token_up_to_the_longest_delay_and_is_paid_off():
    buckets = TokenBuckets(per_minute=60)
    assert [buckets.owe("a", 0, longest_s=2) for _ in range(64)] == [0.0] * 60 + [1.0, 2.0, 2, 2]
    assert buckets.owe("b", 0, longest_s=2) == 0
    assert buckets.owe("a", 10, longest_s=2) == 0


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "unix", False),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(first, second, same):
    addresses = [client_address({"client": (host, 1)}) for host in (first, second)]
    assert (addresses[0] == addresses[1]) is same


def test_a_caller_has_its_own_task_limit_and_gets_a_task_back_when_one_ends():
    limit = ConcurrencyLimit(1)
    limit.acquire("a")
    limit.acquire("b")
    with pytest.raises(Throttled):
        limit.acquire("a")
    limit.release("a")
    limit.acquire("a")


def test_a_task_limit_of_zero_refuses_no_task():
    limit = ConcurrencyLimit(0)
    for _ in range(100):
        limit.acquire(ANONYMOUS)


async def test_handshakes_and_requests_are_counted_together_and_refused_with_429():
    async with serving(max_requests_per_minute=2) as served, connected(served):
        async with http_client() as client:
            assert (await client.get(served.http + "/healthz")).status_code == 200
            refused = await client.get(served.http + "/healthz")
        assert refused.status_code == 429
        assert refused.json()["code"] == "Throttling.RateQuota"
        with pytest.raises(websockets.InvalidStatus) as refusal:
            async with connected(served):
                pass
        assert refusal.value.response.status_code == 429
