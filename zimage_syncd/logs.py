"""The service's log: structlog, one event a line, to a console, as JSON, or as journald likes it."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

from zimage_syncd.plain_structlog import structlog

_SECRET_KEY = re.compile(
    r"token(?!iz)|secret|password|passwd|authorization|signature|credential|access_key", re.IGNORECASE
)
_SECRET_TEXTS = (
    (re.compile(r"://[^/@\s]+@"), "://(hidden)@"),
    (
        re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)=[^&\s]+", re.IGNORECASE),
        r"\1=(hidden)",
    ),
    (re.compile(r"\b(authorization['\"]?\s*[:=]\s*['\"]?)[^'\"\n]+", re.IGNORECASE), r"\1(hidden)"),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]+", re.IGNORECASE), r"\1(hidden)"),
    (
        re.compile(
            r"(\w*(?:password|passwd|secret|token(?!iz)|access_key)\w*['\"]?\s*[:=]\s*['\"]?)[^\s'\",;&]+",
            re.IGNORECASE,
        ),
        r"\1(hidden)",
    ),
    (re.compile(r"\b(?:hf|ms)_\w{8,}|\bms-[0-9a-f]{8}-[0-9a-f-]{8,}"), "(hidden)"),
)
"""What gives a secret away inside a text, and what takes its place; the last one are the hubs' own tokens."""

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
            escape_controls,
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
    """Takes everything out of an event that looks like a secret, however deep it lies."""
    for name in list(event):
        event[name] = _without_secrets(name, event[name])
    return event


def _without_secrets(name: str, value: object) -> object:
    if _SECRET_KEY.search(name):
        return "(hidden)"
    if isinstance(value, Mapping):
        return {key: _without_secrets(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets("", item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return text_without_secrets(str(value))


def text_without_secrets(text: str) -> str:
    """A text, such as a foreign library's message, without what looks like a secret in it."""
    for pattern, instead in _SECRET_TEXTS:
        text = pattern.sub(instead, text)
    return text


def escape_controls(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No name of a file can command a terminal that shows the log; a traceback keeps its lines."""
    for name, value in event.items():
        event[name] = _escaped(value, keep="\n" if name == "exception" else "")
    return event


def _escaped(value: object, keep: str = "") -> object:
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if not isinstance(value, str):
        return value
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in value
    )
