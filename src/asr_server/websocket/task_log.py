"""The one line that a task leaves in the log."""

import logging
from typing import Any

from asr_server.access import Caller
from asr_server.errors import AsrError, InternalError
from asr_server.observability.metrics import Outcome

log = logging.getLogger(__name__)


def ended(outcome: Outcome, error: AsrError | None, caller: Caller, **figures: Any) -> None:
    """Log the end of a task: how it ended, and those of its figures that are not None.

    An error when it was our doing, a warning when it was the client's or there was no room.
    """
    fields = {
        "outcome": outcome,
        "error": error.code if error else None,
        "caller": caller or None,
        **figures,
    }
    log.log(
        _level(outcome, error),
        "task %s",
        outcome,
        extra={name: value for name, value in fields.items() if value is not None},
    )


def _level(outcome: Outcome, error: AsrError | None) -> int:
    if outcome == "finished":
        return logging.INFO
    return logging.ERROR if isinstance(error, InternalError) else logging.WARNING
