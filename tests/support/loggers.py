"""Separate the logging that a test configures from that of pytest and of other tests."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def separate_logging() -> Iterator[None]:
    """Remove all handlers for the block; afterwards undo what the block configured."""
    before = {logger: (logger.handlers[:], logger.level) for logger in _loggers()}
    logging.getLogger().handlers.clear()  # before anything configures: that would close pytest's
    try:
        yield
    finally:
        for logger in _loggers():
            handlers, level = before.get(logger, ([], logging.NOTSET))
            logger.handlers[:] = handlers
            logger.setLevel(level)


def _loggers() -> list[logging.Logger]:
    """Return all loggers, the root first."""
    others = logging.getLogger().manager.loggerDict.values()
    return [logging.getLogger(), *(one for one in others if isinstance(one, logging.Logger))]
