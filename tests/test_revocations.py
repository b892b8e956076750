"""Revoked tokens are kept as long as they could be valid, and are limited in number."""

import pytest

from asr_server import revocations
from asr_server.access import Access
from asr_server.database import Database
from asr_server.errors import Throttled
from asr_server.revocations import KEPT_S, Revocations
from asr_server.settings import Settings

ME, YOU = "0123456789abcdef", "fedcba9876543210"


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(database_url):
    database = Database(Settings(database_url=database_url))
    yield database
    database.close()


async def test_a_revoked_token_is_forgotten_once_no_clock_can_take_it_for_valid(database, clock):
    revoked = Revocations(database, Access([]), clock)
    await revoked.revoke(ME, "a", int(clock.now) + 60)
    clock.now += 60 + KEPT_S
    await revoked.revoke(ME, "b", int(clock.now) + 60)
    assert revoked._read() == {"a", "b"}
    clock.now += 1
    await revoked.revoke(ME, "c", int(clock.now) + 60)
    assert revoked._read() == {"b", "c"}


async def test_a_key_has_a_limited_number_of_revoked_tokens(database, clock, monkeypatch):
    monkeypatch.setattr(revocations, "MAX_REVOKED", 2)
    access = Access([])
    revoked = Revocations(database, access, clock)
    for token in ("a", "b", "a"):
        await revoked.revoke(ME, token, int(clock.now) + 60)
    with pytest.raises(Throttled, match="2 tokens are revoked already; replace their key"):
        await revoked.revoke(ME, "c", int(clock.now) + 60)
    await revoked.revoke(YOU, "d", int(clock.now) + 60)
    assert access.revoked == {"a", "b", "d"}
