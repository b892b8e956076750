"""Connect to the database of this installation: SQLite (the default) or PostgreSQL.

It may be away at any time. Calls then fail within `database_timeout_s`, and the next one connects
anew; nothing has to be restarted.
"""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session

from asr_server import command
from asr_server.errors import DatabaseUnavailable
from asr_server.observability.logs import OncePerMinute
from asr_server.settings import Settings, SettingsError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
"""Concurrent calls; not on asyncio's threads, where a dead database would delay decoders."""

CONNECTION_AGE_S = 900
"""Connections are replaced after this time: a new primary or address is found."""

SCHEMA_LOCK = 0x617372  # "asr"
"""Advisory lock of PostgreSQL that a server holds while it creates tables."""


class Base(DeclarativeBase):
    """Collect the tables; modules that define one are imported before the first call."""


class Database:
    """Run calls in threads, with a timeout, on connections that are pooled.

    The constructor raises SettingsError for a malformed URL or a missing driver.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = _parse(settings.database_url)
        self._timeout_s = settings.database_timeout_s
        self._engine: sa.Engine | None = None
        self._connections: set[Any] = set()
        """Open connections of psycopg."""
        self._opening = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")
        self._log_failure = OncePerMinute(log, logging.ERROR)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call, which uses `session`, in a thread. Raises DatabaseUnavailable."""
        running = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: call(*args, **kwargs)
        )
        # Not `wait_for`, which before Python 3.12 loses a cancellation that coincides with the
        # result (python/cpython#86296): a client that has left would get a stream.
        try:
            await asyncio.wait({running}, timeout=self._timeout_s)
            if running.done():
                return running.result()
        finally:
            running.cancel()
        self._log_failure("the database fails: no answer within %g s", self._timeout_s)
        self._interrupt()
        raise DatabaseUnavailable

    @property
    def missing(self) -> bool:
        """Return whether the database is a SQLite file that no call has created yet."""
        file = self._sqlite_file
        return file is not None and not os.path.exists(file)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a session; the first one creates the tables. Raises DatabaseUnavailable.

        The database is full, locked, read-only or unreachable.
        """
        try:
            with Session(self._connected()) as session:
                yield session
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            reason = getattr(error, "orig", None) or error  # without the statement
            self._log_failure("the database fails: %s", str(reason).partition("\n")[0])
            self._disconnect()
            raise DatabaseUnavailable from error

    def close(self) -> None:
        """Close all connections; does not wait for a database that does not answer."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._opening.acquire(blocking=False):
            self._opening.release()
            self._disconnect()
        self._interrupt()

    def _connected(self) -> sa.Engine:
        with self._opening:
            if self._closed:
                raise OSError("the server stops")
            if self._engine is None:
                if file := self._sqlite_file:
                    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    if not str(self._url.database).startswith("file:"):
                        _create_file(file)
                engine = self._new_engine()
                try:
                    _create_tables(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine

    def _new_engine(self) -> sa.Engine:
        """Return an engine whose timeouts are below that of `run`, so that errors have a reason."""
        timeout_s = 0.8 * self._timeout_s
        options: dict[str, dict[str, Any]] = {
            "sqlite": {"connect_args": {"timeout": timeout_s}},
            "postgresql": {
                "pool_size": THREADS,
                "max_overflow": 0,
                "pool_recycle": CONNECTION_AGE_S,
                "connect_args": {
                    "application_name": "asr-server",
                    "connect_timeout": max(2, int(timeout_s)),  # libpq's least
                    "prepare_threshold": None,  # PgBouncer changes connections
                },
            },
        }
        engine = sa.create_engine(
            self._url,
            pool_pre_ping=True,
            hide_parameters=True,  # errors would quote hotwords
            **options.get(self._url.get_backend_name(), {}),
        )
        milliseconds = max(1, int(1000 * timeout_s))

        def limit(connection: sa.Connection) -> None:
            # PgBouncer refuses this among the options of a connection.
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")

        if engine.dialect.name == "postgresql":
            sa.event.listen(engine, "connect", lambda own, _: self._connections.add(own))
            sa.event.listen(engine, "close", lambda own, _: self._connections.discard(own))
            sa.event.listen(engine, "begin", limit)
        return engine

    @property
    def _sqlite_file(self) -> Path | None:
        file = self._url.database
        if self._url.get_backend_name() != "sqlite" or not file or file == ":memory:":
            return None
        return Path(file.removeprefix("file:"))  # SQLite takes URIs too

    def _interrupt(self) -> None:
        """Shut down the sockets of a database that does not answer, so that its threads go on.

        One that lives has cancelled its statements before. libpq itself waits without limit.
        """
        for connection in list(self._connections):
            with contextlib.suppress(Exception):  # it is closed
                number = connection.fileno()
                with socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as end:
                    if connection.fileno() == number:  # else the number may be another socket's
                        end.shutdown(socket.SHUT_RDWR)

    def _disconnect(self) -> None:
        """Reconnect at the next call, which creates missing tables again."""
        with self._opening:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()


def _create_file(file: Path) -> None:
    """Create a missing database for this user only; SQLite gives its journals the same mode."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _create_tables(engine: sa.Engine) -> None:
    """Create missing tables; servers that start at once do not collide.

    Where all tables exist, the role of the server needs no right to create any.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # its IF NOT EXISTS fails in a race
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
        for table in Base.metadata.sorted_tables:
            if not sa.inspect(connection).has_table(table.name):
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed.get_dialect().import_dbapi()
    except ArgumentError as error:  # its text quotes the URL with the password
        raise SettingsError("ASR_DATABASE_URL is no URL of a database") from error
    except ImportError as error:
        raise SettingsError(
            f"ASR_DATABASE_URL needs the Python package {error.name}; "
            f"for PostgreSQL: {command.python()} -m pip install 'psycopg[binary]'"
        ) from error
    return parsed
