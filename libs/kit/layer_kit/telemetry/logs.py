"""Structured logs on stderr: JSON for machines, colours for a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

# Local variables hold queries, rows and keys, none of which belong in a log.
_traceback_without_values = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure_logs(*, service: str, log_format: LogFormat, level: LogLevel) -> None:
    """Send every event of this process, ours and libraries', through one renderer.

    Args:
        service: Bound to every event as ``service``.
        log_format: ``auto`` means console on a terminal and JSON elsewhere.
        level: Events below it are dropped before they are built.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                exception_formatter=structlog.dev.plain_traceback  # others show local variables
            )
        ]
        if console
        else [_traceback_without_values, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    # Libraries speak up only when something is wrong; their chatter is not our log.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
