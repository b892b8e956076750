"""Store hotword vocabularies.

Calls block while the database works; the event loop makes them through `database.run`.
"""

import contextlib
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from asr_server.access import Caller
from asr_server.database import Base, Database
from asr_server.errors import NotFound, Throttled

Hotword = dict[str, Any]
"""`text`, `weight`, `lang` and any other key of the client's."""


class _Account(Base):
    """Hold one row per caller, which is locked while the caller's vocabularies are counted."""

    __tablename__ = "hotword_accounts"

    caller: Mapped[str] = mapped_column(sa.String(16), primary_key=True)


class Vocabulary(Base):
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
    """

    def __init__(self, database: Database, max_vocabularies: int) -> None:
        self.database = database
        self._max_vocabularies = max_vocabularies

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
        with contextlib.suppress(IntegrityError):
            with self.database.session() as session, session.begin():
                session.add(_Account(caller=caller))
        with self.database.session() as session, session.begin():
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
        with self.database.session() as session:
            return [*session.scalars(wanted.offset(page * page_size).limit(page_size))]

    def get(self, caller: Caller, id: str) -> Vocabulary:
        """Return one vocabulary. Raises NotFound."""
        with self.database.session() as session:
            return _find(session, caller, id)

    def replace(self, caller: Caller, id: str, words: Sequence[Hotword]) -> None:
        """Replace the words of a vocabulary. Raises NotFound."""
        with self.database.session() as session, session.begin():
            vocabulary = _find(session, caller, id)
            vocabulary.words, vocabulary.modified = list(words), datetime.now()

    def delete(self, caller: Caller, id: str) -> None:
        """Delete a vocabulary. Raises NotFound."""
        with self.database.session() as session, session.begin():
            session.delete(_find(session, caller, id))


def _find(session: Session, caller: Caller, id: str) -> Vocabulary:
    vocabulary = session.get(Vocabulary, id)
    if vocabulary is None or vocabulary.caller != caller:
        raise NotFound
    return vocabulary
