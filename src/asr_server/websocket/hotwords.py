"""The hotwords of a task: its own, and those of the list it names."""

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError

from asr_server.access import Caller
from asr_server.errors import NotFound
from asr_server.state.task import Task
from asr_server.vocabularies import Vocabularies

log = logging.getLogger(__name__)


class Hotwords:
    """Looks lists up; a task whose list cannot be had is recognised without it.

    Clients that came from DashScope name lists that lie there and not here, and must not notice.
    """

    def __init__(self, vocabularies: Vocabularies) -> None:
        self._vocabularies = vocabularies

    async def of(self, caller: Caller, task: Task) -> tuple[tuple[str, int], ...]:
        """Words and their weights."""
        if task.vocabulary_id is None:
            return task.hotwords
        try:
            found = await asyncio.to_thread(self._vocabularies.get, caller, task.vocabulary_id)
        except NotFound:
            log.info("task %s: no such vocabulary here, going on without", task.task_id)
            return task.hotwords
        except SQLAlchemyError:
            log.exception("task %s: the database fails, going on without", task.task_id)
            return task.hotwords
        listed = tuple((str(word["text"]), int(word["weight"])) for word in found.words)
        return listed + task.hotwords
