"""What a key takes: read from an environment variable's text, required of a file's value, named in a message."""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from zimage_syncd.config.schema import SECRET_KEYS
from zimage_syncd.model.failures import ConfigInvalid

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_SHOWN_CHARS = 100


def kind_of(section: type[Any], key: str) -> Any:  # noqa: ANN401 - a type as typing describes it
    """The type of a key."""
    return get_type_hints(section)[key]


def require_kind(subject: str, key: str, kind: Any, value: object) -> None:  # noqa: ANN401 - as above
    """Refuses a value that is not of the key's type.

    Args:
        subject: who said it: the file and the whole key, or the variable.
        key: the last part of the key; it tells whether the value may be shown.
        kind: the key's type.
        value: what was found.

    Raises:
        ConfigInvalid: it is of another type, or none of the words that are allowed.
    """
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigInvalid(subject, f"expected {expected(kind)}, found {shown(key, value)}") from error


def read_text(subject: str, key: str, kind: Any, text: str) -> object:  # noqa: ANN401 - as above
    """An environment variable's value as the key's type.

    Raises:
        ConfigInvalid: it cannot be read as one.
    """
    try:
        return _read(kind, text)
    except ValueError:
        # Without its cause: a JSON error carries the whole text along, and that may be a secret.
        raise ConfigInvalid(subject, f"expected {expected(kind)}, found {shown(key, text)}") from None


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


def _read(kind: Any, text: str) -> object:  # noqa: ANN401 - as above
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
        return json.loads(words) if words.startswith("[") else [word.strip() for word in words.split(",") if word.strip()]
    if get_origin(kind) is dict:
        return json.loads(text) if text.strip() else {}
    return text.strip()
