"""Structured logs on stderr: JSON, or coloured lines for people. Library logs take the same road."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(form: Literal["json", "console"], level: str) -> None:
    """Route stdlib logging and structlog through one formatter.

    Each line of an update carries ``time``, ``update_id``, ``request_id`` and ``step``, bound by the activity, and
    ``definition`` and ``replica`` where they apply.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=["request_id", "definition", "replica", "epoch"]),
        _name_workflow,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="time")
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "uvicorn.access", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _name_workflow(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Temporal's own loggers put the workflow into the record's attributes: lift its id to ``update_id``."""
    record = event.get("_record")
    details = getattr(record, "temporal_workflow", None) or getattr(record, "temporal_activity", None)
    if isinstance(details, dict):
        event.setdefault("update_id", details.get("workflow_id"))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    return event
