"""Store hotword vocabularies in SQLite (the default) or PostgreSQL.

Calls block while the database works; the event loop makes them through `run`.
"""

import asyncio
import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from asr_server import command
from asr_server.access import Caller
from asr_server.errors import DatabaseUnavailable, NotFound, Throttled
from asr_server.settings import Settings, SettingsError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
"""Concurrent calls; not on asyncio's threads, where a dead database would delay decoders."""

Hotword = dict[str, Any]
"""`text`, `weight`, `lang` and any other key of the client's."""


class _Base(DeclarativeBase):
    pass


class _Account(_Base):
    """Hold one row per caller, which is locked while the caller's vocabularies are counted."""

    __tablename__ = "hotword_accounts"

    caller: Mapped[str] = mapped_column(sa.String(16), primary_key=True)


class Vocabulary(_Base):
    """Hold one vocabulary; times are in the server's time zone."""

    __tablename__ = "hotword_vocabularies"

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    caller: Mapped[str] = mapped_column(sa.ForeignKey(_Account.caller), index=True)
    prefix: Mapped[str] = mapped_column(sa.String(10))
    target_model: Mapped[str] = mapped_column(sa.String(256))
    words: Mapped[list[Hotword]] = mapped_column(sa.JSON)
    created: Mapped[datetime]
    modified: Mapped[datetime]


class Vocabularies:
    """Store the vocabularies of all callers; each caller sees its own only.

    Every call raises DatabaseUnavailable if the database is full, locked, read-only or unreachable.
    The constructor raises SettingsError for a malformed URL or a missing driver.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = _parse(settings.database_url)
        self._max_vocabularies = settings.max_vocabularies
        self._timeout_s = settings.database_timeout_s
        self._engine: sa.Engine | None = None
        self._opening = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make one of the calls below in a thread, with the timeout."""
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
        log.error("the database does not answer", extra={"timeout_s": self._timeout_s})
        raise DatabaseUnavailable

    def create(self, caller: Caller, prefix: str, model: str, words: Sequence[Hotword]) -> str:
        """Store a vocabulary and return its id. Raises Throttled at the caller's limit."""
        now = datetime.now()
        vocabulary = Vocabulary(
            id=f"vocab-{prefix}-{uuid.uuid4().hex}",
            caller=caller,
            prefix=prefix,
            target_model=model,
            words=list(words),
            created=now,
            modified=now,
        )
        with contextlib.suppress(IntegrityError), self._session() as session, session.begin():
            session.add(_Account(caller=caller))
        with self._session() as session, session.begin():
            account = sa.update(_Account).where(_Account.caller == caller)
            session.execute(account.values(caller=caller))  # locks the row on either database
            count = sa.select(sa.func.count(Vocabulary.id)).where(Vocabulary.caller == caller)
            limit = self._max_vocabularies
            if session.scalars(count).one() >= limit:
                raise Throttled(f"There are {limit} vocabularies already; delete one first.")
            session.add(vocabulary)
            return vocabulary.id

    def list(
        self, caller: Caller, prefix: str | None, page: int, page_size: int
    ) -> list[Vocabulary]:
        """Return a page of the caller's vocabularies, newest first; pages count from 0."""
        wanted = sa.select(Vocabulary).where(Vocabulary.caller == caller)
        if prefix:
            wanted = wanted.where(Vocabulary.prefix == prefix)
        wanted = wanted.order_by(Vocabulary.created.desc(), Vocabulary.id)
        with self._session() as session:
            return [*session.scalars(wanted.offset(page * page_size).limit(page_size))]

    def get(self, caller: Caller, id: str) -> Vocabulary:
        """Return one vocabulary. Raises NotFound."""
        with self._session() as session:
            return _find(session, caller, id)

    def replace(self, caller: Caller, id: str, words: Sequence[Hotword]) -> None:
        """Replace the words of a vocabulary. Raises NotFound."""
        with self._session() as session, session.begin():
            vocabulary = _find(session, caller, id)
            vocabulary.words, vocabulary.modified = list(words), datetime.now()

    def delete(self, caller: Caller, id: str) -> None:
        """Delete a vocabulary. Raises NotFound."""
        with self._session() as session, session.begin():
            session.delete(_find(session, caller, id))

    def close(self) -> None:
        """Close all connections; does not wait for a database that does not answer."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._opening.acquire(blocking=False):
            self._opening.release()
            self._disconnect()

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        """Yield a session; the first one creates the database."""
        try:
            with Session(self._connected()) as session:
                yield session
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            reason = getattr(error, "orig", None) or error  # without the statement
            log.error("the database fails: %s", str(reason).splitlines()[0])
            self._disconnect()
            raise DatabaseUnavailable from error

    def _connected(self) -> sa.Engine:
        with self._opening:
            if self._closed:
                raise OSError("the server stops")
            if self._engine is None:
                file, backend = self._url.database, self._url.get_backend_name()
                if backend == "sqlite" and file and file != ":memory:":
                    path = Path(file.removeprefix("file:"))  # SQLite takes URIs too
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    if not file.startswith("file:"):
                        _create_file(path)
                timeout_s = 0.8 * self._timeout_s  # sooner than `run`'s: its error has a reason
                timeouts: dict[str, dict[str, float]] = {
                    "sqlite": {"timeout": timeout_s},
                    "postgresql": {"connect_timeout": max(2, int(timeout_s))},
                }
                engine = sa.create_engine(
                    self._url,
                    pool_pre_ping=True,
                    hide_parameters=True,  # errors would quote hotwords
                    connect_args=timeouts.get(backend, {}),
                )
                _create_tables(engine)
                self._engine = engine
            return self._engine

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
    """Create missing tables; each collision with another process leaves one fewer to create."""
    for _ in _Base.metadata.tables:
        with contextlib.suppress(DBAPIError):
            _Base.metadata.create_all(engine)
            return
    _Base.metadata.create_all(engine)


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        parsed.get_dialect().import_dbapi()
    except ArgumentError as error:  # its text quotes the URL with the password
        raise SettingsError("ASR_DATABASE_URL is no URL of a database") from error
    except ImportError as error:
        raise SettingsError(
            f"ASR_DATABASE_URL needs the Python package {error.name}; "
            f"for PostgreSQL: {command.python()} -m pip install 'psycopg[binary]'"
        ) from error
    return parsed


def _find(session: Session, caller: Caller, id: str) -> Vocabulary:
    vocabulary = session.get(Vocabulary, id)
    if vocabulary is None or vocabulary.caller != caller:
        raise NotFound
    return vocabulary
