"""Log of the server as text or JSON: one line for each event and each call.

Of a call's metadata only the request id is logged, and nothing of its pictures.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # the help of the command line should not import gRPC
    from .call_record import CallRecord

calls_logger: Final = logging.getLogger("styleserve.serving.calls")

_OURS: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
"""Statuses of failures of the server itself."""


class LogFormat(str, Enum):
    """Format of log lines."""

    TEXT = "text"
    JSON = "json"


def set_up_logging(log_format: LogFormat) -> None:
    """Sends the log to stderr."""
    handler = logging.StreamHandler()
    if log_format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("styleserve").setLevel(logging.INFO)


def log_call(record: CallRecord) -> None:
    """Logs a finished call."""
    level = logging.WARNING if record.status.name in _OURS else logging.INFO
    if calls_logger.isEnabledFor(level):
        fields = _fields(record)
        calls_logger.log(level, "%s", _as_text(fields), extra={"call": fields})


class TextFormatter(logging.Formatter):
    """One line for each message, line breaks escaped; a traceback has more lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's
        """Line of a record."""
        text = super().formatMessage(record).replace("\n", "\\n")
        return "".join(char if char.isprintable() else "?" for char in text)


class JsonFormatter(logging.Formatter):
    """One line of JSON for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Line of a record."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        call: dict[str, Any] | None = getattr(record, "call", None)
        line: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "logger": record.name}
        line |= {"event": "call", **call} if call is not None else {"event": "log", "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _fields(record: CallRecord) -> dict[str, Any]:
    return {
        "method": record.method,
        "request_id": record.request_id,
        "peer": record.peer,
        "model": record.model,
        "version": record.version,
        "signature": record.signature,
        "status": record.status.name,
        "queue_s": round(record.waited_s, 3),
        "run_s": None if record.ran_s is None else round(record.ran_s, 3),
        "total_s": round(record.total_s(), 3),
        "steps": record.steps,
    }


def _as_text(fields: dict[str, Any]) -> str:
    """`method status name=value ...`, without empty values; values with blanks as JSON strings.

    >>> _as_text({"method": "Predict", "status": "OK", "model": "a b", "version": 3, "signature": "", "run_s": None})
    'Predict OK model="a b" version=3'
    """
    head = (fields["method"], fields["status"])
    rest = {name: value for name, value in fields.items() if name not in ("method", "status")}
    return " ".join([*head, *(f"{name}={_quoted(value)}" for name, value in rest.items() if value not in (None, ""))])


def _quoted(value: object) -> str:
    text = str(value)
    return text if text.isascii() and not set(text) & set(' "=\\') else json.dumps(text)
