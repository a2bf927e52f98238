"""Structured logs: one line an event, with the request's and the job's id on every line."""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager
from typing import IO, Any

import structlog

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_logging(*, level: str = "INFO", stream: IO[str] | None = None, as_json: bool | None = None) -> None:
    """Send every log of this process, libraries included, to `stream` (standard error): JSON unless it is a terminal.

    Calling it again replaces what was configured before.
    """
    target = stream if stream is not None else sys.stderr
    if as_json is None:
        as_json = not target.isatty()
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(default=str)
    if not as_json:
        renderer = structlog.dev.ConsoleRenderer(colors=target.isatty())
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(target)
    chain: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:  # the console renderer draws tracebacks itself
        chain.append(structlog.processors.format_exc_info)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=[*chain, renderer]))
    logging.captureWarnings(capture=True)  # they are events as well
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def get_log(name: str) -> structlog.stdlib.BoundLogger:
    """The log of a module: `get_log(__name__).info("job_claimed", queue="cpu")`."""
    log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return log


def tag_log(**facts: Any) -> None:
    """Put facts on every line logged from here on in this context: a thread's, or an asynchronous task's."""
    structlog.contextvars.bind_contextvars(**facts)


def log_context(**facts: Any) -> AbstractContextManager[None]:
    """Facts, such as `request_id` or `job_id`, that stand on every line logged inside the `with`."""
    return structlog.contextvars.bound_contextvars(**facts)
