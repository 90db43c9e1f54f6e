"""The service's log: structlog, one event a line, to a console, as JSON, or as journald likes it."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Protocol

import structlog

_SECRET_KEY = re.compile(r"token|secret|password|passwd|authorization|signature|credential|access_key", re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"://[^/@\s]+@")
_SIGNED = re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)=[^&\s]+", re.IGNORECASE)

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2, "exception": 3}
"""sd-daemon(3): a line's prefix <N> is its priority in the journal."""


class Logger(Protocol):
    """What the daemon needs of a log."""

    def info(self, event: str, **fields: object) -> object:
        """Something went as it should."""

    def warning(self, event: str, **fields: object) -> object:
        """Something needs a look."""

    def error(self, event: str, **fields: object) -> object:
        """Something failed."""

    def exception(self, event: str, **fields: object) -> object:
        """Something failed by an error that was not foreseen; with its traceback."""


def open_log(form: str, *, verbose: bool = False) -> Logger:
    """A log on standard error.

    Args:
        form: auto, console, json or journald; auto: journald under systemd, console on a terminal, else JSON.
        verbose: details, too.
    """
    if form == "auto":
        under_systemd = "JOURNAL_STREAM" in os.environ
        form = "journald" if under_systemd else "console" if sys.stderr.isatty() else "json"
    return structlog.wrap_logger(  # type: ignore[no-any-return]
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            hide_secrets,
            *_ending(form),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
    )


def _ending(form: str) -> list[Any]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if form == "json":
        return [stamp, structlog.processors.JSONRenderer(default=str)]
    if form == "journald":
        return [_journald]
    return [stamp, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def _journald(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """One line with its priority; the journal keeps the time itself."""
    level = str(event.pop("level", "info"))
    text = str(event.pop("event", ""))
    fields = " ".join(f"{name}={value!r}" if " " in str(value) else f"{name}={value}" for name, value in event.items())
    return f"<{_PRIORITIES.get(level, 6)}>{text} {fields}".rstrip().replace("\n", " | ")


def hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Takes everything out of an event that looks like a secret."""
    for name in list(event):
        if _SECRET_KEY.search(name):
            event[name] = "(hidden)"
        elif isinstance(event[name], str):
            event[name] = _SIGNED.sub(r"\1=(hidden)", _SECRET_IN_URL.sub("://(hidden)@", event[name]))
    return event
