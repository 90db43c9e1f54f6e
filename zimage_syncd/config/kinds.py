"""What a key takes: read from an environment variable's text, required of a file's value, named in a message."""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from zimage_syncd.config.schema import SECRET_KEYS

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_SHOWN_CHARS = 100


def kind_of(section: type[Any], key: str) -> Any:  # noqa: ANN401 - a type as typing describes it
    """The type of a key."""
    return get_type_hints(section)[key]


def fits(kind: Any, value: object) -> bool:  # noqa: ANN401 - as above
    """Whether a value is of a key's type, and one of its words where only some are allowed."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def mismatch(kind: Any, key: str, value: object) -> str:  # noqa: ANN401 - as above
    """What to say of a value that is not of its key's type."""
    return f"expected {expected(kind)}, found {shown(key, value)}"


def expected(kind: Any) -> str:  # noqa: ANN401 - as above
    """A type in words."""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if kind in names:
        return names[kind]
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return "a list of texts" if item is str else f"a list of {_words(item)}"
    return "a table (in the environment: JSON)" if get_origin(kind) is dict else f"one of {_words(kind)}"


def _words(kind: Any) -> str:  # noqa: ANN401 - as above
    return ", ".join(str(word) for word in get_args(kind))


def shown(key: str, value: object) -> str:
    """A value for a message; only its type where it may hold a secret."""
    if key in SECRET_KEYS:
        return f"something else ({type(value).__name__}, not shown)"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def read_text(kind: Any, text: str) -> object:  # noqa: ANN401 - as above
    """An environment variable's value as the key's type.

    Raises:
        ValueError: it cannot be read as one.
    """
    if kind is str:
        return text
    if kind is bool:
        lowered = text.strip().lower()
        if lowered not in _TRUE | _FALSE:
            raise ValueError(lowered)
        return lowered in _TRUE
    if kind in (int, float):
        return kind(text)
    if get_origin(kind) is list:
        words = text.strip()
        parts = [part.strip() for part in words.split(",")]
        return json.loads(words) if words.startswith("[") else [part for part in parts if part]
    if get_origin(kind) is dict:
        return json.loads(text) if text.strip() else {}
    return text.strip()
