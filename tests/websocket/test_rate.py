"""Who asks too often is told so, and forgotten once quiet."""

import httpx2
import pytest
import websockets
from asr_server.websocket.rate_limit import Rate

from asr_server.websocket import rate_limit as rate
from tests.support.serving import connected, serving


def test_so_many_requests_at_once_and_then_steadily():
    limit = Rate(per_minute=60)
    assert all(limit.allows("a", 0) for _ in range(60))
    assert not limit.allows("a", 0)
    assert not limit.allows("a", 0.9)
    assert limit.allows("a", 1.0)
    assert not limit.allows("a", 1.0)


def test_asking_in_vain_costs_nothing():
    limit = Rate(per_minute=60)
    for _ in range(100):
        limit.allows("a", 0)
    assert limit.allows("a", 1)


def test_addresses_do_not_share_a_limit():
    limit = Rate(per_minute=1)
    assert limit.allows("a", 0)
    assert limit.allows("b", 0)


def test_quiet_addresses_are_forgotten(monkeypatch):
    monkeypatch.setattr(rate, "MOST_ADDRESSES", 3)
    limit = Rate(per_minute=1)
    for second in range(0, 1000, 100):
        limit.allows(str(second), second)
    assert len(limit._buckets) <= 3


async def test_handshakes_and_requests_are_counted_together_and_refused_with_429():
    async with serving(max_requests_per_minute=2) as served, connected(served):
        async with httpx2.AsyncClient(trust_env=False) as client:
            assert (await client.get(served.http + "/healthz")).status_code == 200
            refused = await client.get(served.http + "/healthz")
        assert refused.status_code == 429
        assert refused.json()["code"] == "Throttling.RateQuota"
        with pytest.raises(websockets.InvalidStatus) as refusal:
            async with connected(served):
                pass
        assert refusal.value.response.status_code == 429
