"""Share revoked temporary tokens among the servers of an installation.

Tokens are signed and not stored. Each server reads the few that are revoked twice a second, so that
neither a connection nor a task asks the database. While it is away, the last ones read stay revoked
and all others are valid until they expire, as without a database.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from asr_server.access import Access, Caller
from asr_server.database import Base, Database
from asr_server.errors import DatabaseUnavailable, Throttled
from asr_server.observability.logs import fault

log = logging.getLogger(__name__)

PERIOD_S = 0.5
"""Time between two readings: a revoked token is refused everywhere within a second."""

MAX_REVOKED = 1000
"""Revoked tokens of a key; every server reads all of them at each reading."""

KEPT_S = 600
"""Time for which an expired token stays revoked, for servers whose clocks are late."""

DatabaseState = Literal["unknown", "ok", "unavailable"]


class _Revoked(Base):
    """Hold one revoked token until it has expired."""

    __tablename__ = "revoked_tokens"

    token_id: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    caller: Mapped[str] = mapped_column(sa.String(16), index=True)
    expires_at: Mapped[int] = mapped_column(sa.BigInteger)


class Revocations:
    """Write revoked tokens to the database, and keep those of all servers in an `Access`."""

    def __init__(
        self, database: Database, access: Access, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._access = access
        self._clock = clock
        self._order = asyncio.Lock()
        """A reading that began before a token was revoked must not end after it."""
        self.state: DatabaseState = "unknown"
        """Whether the database answered the last reading."""

    async def revoke(self, caller: Caller, token_id: str, expires_at: int) -> None:
        """Revoke a token on all servers. Raises DatabaseUnavailable, and Throttled at the limit."""
        async with self._order:
            await self._database.run(self._write, caller, token_id, expires_at)
            self._access.revoked |= {token_id}

    async def watch(self) -> None:
        """Read the revoked tokens of all servers until cancelled, and log whether that works."""
        while True:
            try:
                if not self._database.missing:  # reading would create it
                    async with self._order:
                        self._access.revoked = await self._database.run(self._read)
                self._log_change("ok")
            except Exception as error:  # the last ones stay revoked, and the next reading comes
                if not isinstance(error, DatabaseUnavailable) and self.state != "unavailable":
                    log.error("revoked tokens cannot be read", extra=fault(error))
                self._log_change("unavailable")
            await asyncio.sleep(PERIOD_S)

    def _read(self) -> frozenset[str]:
        with self._database.session() as session:
            return frozenset(session.scalars(sa.select(_Revoked.token_id)))

    def _write(self, caller: Caller, token_id: str, expires_at: int) -> None:
        with contextlib.suppress(IntegrityError):  # another server revoked it at the same moment
            with self._database.session() as session, session.begin():
                kept_from = int(self._clock()) - KEPT_S
                session.execute(sa.delete(_Revoked).where(_Revoked.expires_at < kept_from))
                if session.get(_Revoked, token_id) is not None:
                    return
                count = sa.select(sa.func.count()).where(_Revoked.caller == caller)
                if session.scalars(count).one() >= MAX_REVOKED:
                    raise Throttled(f"{MAX_REVOKED} tokens are revoked already; replace their key.")
                session.add(_Revoked(token_id=token_id, caller=caller, expires_at=expires_at))

    def _log_change(self, state: DatabaseState) -> None:
        before, self.state = self.state, state
        if state == "unavailable" and before != state:
            log.warning(
                "the database is unavailable: tasks with a hotword list fail, all others go on; "
                "tokens that other servers revoke now stay valid"
            )
        elif before == "unavailable" and state == "ok":
            log.info("the database is available again")
