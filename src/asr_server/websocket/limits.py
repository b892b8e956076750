"""How many tasks each caller runs at once."""

from collections import Counter

from asr_server.access import Caller
from asr_server.errors import Throttled


class ConcurrencyLimit:
    """Counts the running tasks of all callers; `limit` 0 counts without refusing."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[Caller] = Counter()

    def take(self, caller: Caller) -> None:
        """Begin a task. Raises Throttled."""
        if self._limit and self._taken[caller] >= self._limit:
            raise Throttled
        self._taken[caller] += 1

    def leave(self, caller: Caller) -> None:
        """End a task."""
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
