"""Configure logging: one format for all records on stderr, text or JSON.

Modules log through `logging` and put figures into `extra`. Text, audio, keys and hotwords never
belong into a record, so other packages log from `info` up: the WebSocket library's `debug` level
prints frames.
"""

import logging
import sys
import time
import traceback

import structlog
from rich.console import Console
from structlog.typing import EventDict, WrappedLogger

from asr_server.settings import Settings

UVICORN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
"""Loggers that uvicorn configures for itself."""


def as_json(settings: Settings) -> bool:
    """Return whether records are JSON."""
    format = settings.log_format
    return format == "json" or (format == "auto" and not sys.stderr.isatty())


def configure(settings: Settings) -> None:
    """Send every record to stderr in one format, uvicorn's too; may be called again."""
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(as_json(settings)))
    level = logging.getLevelName(settings.log_level.upper())
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler], force=True)
    logging.getLogger("asr_server").setLevel(level)
    for name in UVICORN_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        if logger.level < logging.INFO:
            logger.setLevel(logging.NOTSET)  # then the root logger's level applies


class OncePerMinute:
    """Log one kind of record at most once a minute, and how many were left out since."""

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger = logger
        self._level = level
        self._next_at = 0.0
        self._left_out = 0

    def __call__(self, message: str, *values: object) -> None:
        """Log a record, or count it."""
        now = time.monotonic()
        if now < self._next_at:
            self._left_out += 1
            return
        extra = {"left_out": self._left_out} if self._left_out else {}
        self._logger.log(self._level, message, *values, extra=extra)
        self._next_at, self._left_out = now + 60, 0


def fault(error: BaseException) -> dict[str, str]:
    """Return the kind and the stack of an error for `extra`, without text it may quote.

    The messages of system errors name devices, files and shapes; other messages may quote
    recognised text and are left out.
    """
    kind = type(error).__name__
    safe = isinstance(error, (RuntimeError, OSError, MemoryError))
    stack = "".join(traceback.format_tb(error.__traceback__))
    return {"fault": f"{kind}: {error}" if safe else kind, "stack": stack.rstrip()}


def _formatter(json: bool) -> logging.Formatter:
    stamp = structlog.processors.TimeStamper(fmt="iso" if json else "%Y-%m-%d %H:%M:%S", utc=json)
    console = Console(stderr=True)
    text_renderer = structlog.dev.ConsoleRenderer(
        event_key="message",
        pad_event_to=0,
        sort_keys=False,
        colors=console.is_terminal and not console.no_color,
        # The default prints local variables, which may hold recognised text.
        exception_formatter=structlog.dev.plain_traceback,
    )
    json_renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            stamp,
            structlog.stdlib.add_log_level,
            structlog.processors.EventRenamer("message"),
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            _without_duplicate,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([structlog.processors.format_exc_info, json_renderer] if json else [text_renderer]),
        ],
    )


def _without_duplicate(_: WrappedLogger, __: str, record: EventDict) -> EventDict:
    """Remove uvicorn's second, coloured copy of the message."""
    record.pop("color_message", None)
    return record
