"""The rate limit refuses an address over its limit, at constant cost."""

import pytest
import websockets

from asr_server.access import ANONYMOUS
from asr_server.errors import Throttled
from asr_server.websocket.limits import ConcurrencyLimit, TokenBuckets
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
