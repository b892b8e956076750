"""What the log looks like: one format for everything on stderr, for people or for machines.

Modules log through `logging` and put figures into `extra`. Neither text, audio, keys nor hotwords
belong there, so foreign modules are held at `info`: the WebSocket library's `debug` shows frames.
"""

import logging
import sys
import traceback

import structlog
from rich.console import Console
from structlog.typing import EventDict, Processor, WrappedLogger

from asr_server.settings import Settings

OURS = "asr_server"
FOREIGN = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
"""Loggers that uvicorn configures for itself."""


def as_json(settings: Settings) -> bool:
    """Whether lines are JSON."""
    asked = settings.log_format
    return asked == "json" or (asked == "auto" and not sys.stderr.isatty())


def configure(settings: Settings) -> None:
    """Send every record to stderr in one format, uvicorn's too; may be called again."""
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(as_json(settings)))
    least = logging.getLevelName(settings.log_level.upper())
    logging.basicConfig(level=max(least, logging.INFO), handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(least)
    for name in FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        if logger.level < logging.INFO:
            logger.setLevel(logging.NOTSET)  # then the root decides


def fault(error: BaseException) -> dict[str, str]:
    """As `extra`: what went wrong and where, without what the exception may quote.

    The machine's own errors speak of devices, files and shapes; others may repeat what was said.
    """
    kind = type(error).__name__
    speaks = isinstance(error, (RuntimeError, OSError, MemoryError))
    stack = "".join(traceback.format_tb(error.__traceback__))
    return {"fault": f"{kind}: {error}" if speaks else kind, "stack": stack.rstrip()}


def _formatter(json: bool) -> logging.Formatter:
    stamp = structlog.processors.TimeStamper(fmt="iso" if json else "%Y-%m-%d %H:%M:%S", utc=json)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            stamp,
            structlog.stdlib.add_log_level,
            structlog.processors.EventRenamer("message"),
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            _without_twins,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *(_for_machines() if json else _for_people()),
        ],
    )


def _for_machines() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _for_people() -> list[Processor]:
    console = Console(stderr=True)
    return [
        structlog.dev.ConsoleRenderer(
            event_key="message",
            pad_event_to=0,
            sort_keys=False,
            colors=console.is_terminal and not console.no_color,
            # The default shows local variables, and with them what was said.
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _without_twins(_: WrappedLogger, __: str, record: EventDict) -> EventDict:
    """uvicorn repeats its message in colours."""
    record.pop("color_message", None)
    return record
