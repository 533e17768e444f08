"""Logs: one JSON object a line on stdout. Names and numbers only, never a token of a prompt or a secret."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


class JsonLines(logging.Formatter):
    """Formats a record as JSON; `extra={"fields": {...}}` adds fields."""

    def __init__(self, rank_id: str) -> None:
        super().__init__()
        self._rank_id = rank_id

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "rank": self._rank_id,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logs(level: str, rank_id: str) -> None:
    """Send every logger of the process to stdout."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(rank_id))
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
