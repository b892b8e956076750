"""Fixtures of the client tests: the clients on the path, and a scripted server."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients" / "python"))

from tests.clients.nodejs import install_packages  # noqa: E402 - needs the path
from tests.clients.scripted_server import ScriptedServer  # noqa: E402 - needs the path


@pytest.fixture(scope="session")
def packages() -> None:
    """npm's, for the tests that run Node."""
    install_packages()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as running:
        yield running
