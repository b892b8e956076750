"""The hotwords of a task: its own, and those of the list it names."""

import logging

from asr_server.access import Caller
from asr_server.errors import NotFound
from asr_server.state.task import Task
from asr_server.vocabularies import Vocabularies

log = logging.getLogger(__name__)


class Hotwords:
    """Looks lists up; a task that names one nobody has here is recognised without it.

    Clients that came from DashScope name lists that lie there and not here, and must not notice.
    """

    def __init__(self, vocabularies: Vocabularies) -> None:
        self._vocabularies = vocabularies

    async def of(self, caller: Caller, task: Task) -> tuple[tuple[str, int], ...]:
        """Words and their weights. Raises DatabaseUnavailable."""
        if task.vocabulary_id is None:
            return task.hotwords
        lists = self._vocabularies
        try:
            found = await lists.run(lists.get, caller, task.vocabulary_id)
        except NotFound:
            about = {"task_id": task.task_id}
            log.info("no such vocabulary here; the task goes on without it", extra=about)
            return task.hotwords
        listed = tuple((str(word["text"]), int(word["weight"])) for word in found.words)
        return listed + task.hotwords
