"""Hotword lists and where they are kept: SQLite by default, PostgreSQL by URL.

Calls block for as long as the database takes; from the event loop they go through `run`.
"""

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import (
    JSON,
    URL,
    Engine,
    ForeignKey,
    String,
    create_engine,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from asr_server.access import Caller
from asr_server.errors import DatabaseUnavailable, NotFound, Throttled
from asr_server.settings import SettingsError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
"""Calls on the database at once; what waits for a dead one must not keep audio from its decoder."""

Word = dict[str, Any]
"""`text` and `weight`, with `lang` and whatever else the client gave."""


class _Base(DeclarativeBase):
    pass


class _Account(_Base):
    """One row a caller, locked while its lists are counted."""

    __tablename__ = "hotword_accounts"

    caller: Mapped[str] = mapped_column(String(16), primary_key=True)


class _Row(_Base):
    __tablename__ = "hotword_vocabularies"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    caller: Mapped[str] = mapped_column(ForeignKey(_Account.caller), index=True)
    prefix: Mapped[str] = mapped_column(String(10))
    target_model: Mapped[str] = mapped_column(String(256))
    words: Mapped[list[Word]] = mapped_column(JSON)
    created: Mapped[datetime]
    modified: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One list; times in the server's own zone."""

    id: str
    target_model: str
    words: tuple[Word, ...]
    created: datetime
    modified: datetime


class Vocabularies:
    """Everybody's lists; nobody sees another caller's.

    Every call raises DatabaseUnavailable when the database is full, locked, read-only or away.
    Making one raises SettingsError if no such database can be spoken to at all.
    """

    def __init__(self, url: str, most: int, timeout_s: float = 5) -> None:
        self._url = _checked(url)
        self._most = most
        self._timeout_s = timeout_s
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One of the calls below, in a thread, for so long and no longer."""
        running = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: call(*args, **kwargs)
        )
        # Not `wait_for`, which before Python 3.12 forgets a cancellation that comes together with
        # the answer (python/cpython#86296): a client that is gone would get its stream.
        try:
            await asyncio.wait({running}, timeout=self._timeout_s)
            if running.done():
                return running.result()
        finally:
            running.cancel()
        log.error("the database does not answer", extra={"timeout_s": self._timeout_s})
        raise DatabaseUnavailable

    def create(self, caller: Caller, prefix: str, model: str, words: Sequence[Word]) -> str:
        """The id of a new list. Raises Throttled when the caller has as many as it may."""
        now = datetime.now()
        row = _Row(
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
            mine = update(_Account).where(_Account.caller == caller)
            session.execute(mine.values(caller=caller))  # locks it on either database
            counted = select(func.count()).select_from(_Row).where(_Row.caller == caller)
            if session.scalars(counted).one() >= self._most:
                raise Throttled(f"There are {self._most} vocabularies already; delete one first.")
            session.add(row)
            return row.id

    def list(
        self, caller: Caller, prefix: str | None, page: int, page_size: int
    ) -> list[Vocabulary]:
        """A page of the caller's lists, the newest first; pages count from 0."""
        wanted = select(_Row).where(_Row.caller == caller)
        if prefix:
            wanted = wanted.where(_Row.prefix == prefix)
        wanted = wanted.order_by(_Row.created.desc(), _Row.id)
        with self._session() as session:
            rows = session.scalars(wanted.offset(page * page_size).limit(page_size))
            return [_vocabulary(row) for row in rows]

    def get(self, caller: Caller, id: str) -> Vocabulary:
        """One list. Raises NotFound."""
        with self._session() as session:
            return _vocabulary(_find(session, caller, id))

    def replace(self, caller: Caller, id: str, words: Sequence[Word]) -> None:
        """Give a list other words. Raises NotFound."""
        with self._session() as session, session.begin():
            row = _find(session, caller, id)
            row.words, row.modified = list(words), datetime.now()

    def delete(self, caller: Caller, id: str) -> None:
        """Forget a list. Raises NotFound."""
        with self._session() as session, session.begin():
            session.delete(_find(session, caller, id))

    def close(self) -> None:
        """Give the connections back."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._forget()

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        """A session on the database, which is made when it is first needed."""
        try:
            with Session(self._opened()) as session:
                yield session
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            log.error("the database fails: %s", _reason(error))
            self._forget()
            raise DatabaseUnavailable from error

    def _opened(self) -> Engine:
        with self._opening:
            if self._engine is None:
                file, backend = self._url.database, self._url.get_backend_name()
                if backend == "sqlite" and file and file != ":memory:":
                    folder = Path(file.removeprefix("file:")).parent  # SQLite takes URIs too
                    folder.mkdir(parents=True, exist_ok=True)
                engine = create_engine(
                    self._url,
                    pool_pre_ping=True,
                    hide_parameters=True,  # errors would quote the words of a list
                    connect_args=_patience(backend, self._timeout_s),
                )
                _make_tables(engine)
                self._engine = engine
            return self._engine

    def _forget(self) -> None:
        """Open the database anew at the next call; its tables may have to be made again."""
        with self._opening:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()


def _make_tables(engine: Engine) -> None:
    """Make those that are missing; whenever another process is quicker, there is one more."""
    for _ in _Base.metadata.tables:
        with contextlib.suppress(DBAPIError):
            _Base.metadata.create_all(engine)
            return
    _Base.metadata.create_all(engine)


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except ArgumentError as error:  # which quotes the URL, and with it a password
        raise SettingsError("ASR_DATABASE_URL is no URL of a database") from error
    except ImportError as error:
        raise SettingsError(
            f"ASR_DATABASE_URL needs the Python package {error.name}; "
            "for PostgreSQL: pip install 'asr-server[postgres]'"
        ) from error
    return parsed


def _patience(backend: str, seconds: float) -> dict[str, float]:
    """How the drivers are told to give up: before the event loop does, for they can say why."""
    if backend == "sqlite":
        return {"timeout": 0.8 * seconds}
    return {"connect_timeout": max(2, int(0.8 * seconds))} if backend == "postgresql" else {}


def _reason(error: Exception) -> str:
    """What the database or the system says, without the statement."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _find(session: Session, caller: Caller, id: str) -> _Row:
    row = session.get(_Row, id)
    if row is None or row.caller != caller:
        raise NotFound
    return row


def _vocabulary(row: _Row) -> Vocabulary:
    return Vocabulary(row.id, row.target_model, tuple(row.words), row.created, row.modified)
