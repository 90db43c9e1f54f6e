"""`ZIMAGE_SYNCD__SECTION__KEY`: every key of the configuration as an environment variable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from zimage_syncd.config.schema import SECTIONS, Store
from zimage_syncd.config.unknown import unknown
from zimage_syncd.model.failures import ConfigInvalid

PREFIX = "ZIMAGE_SYNCD__"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def overlay(document: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The file's tables with the environment's values over them.

    Raises:
        ConfigInvalid: a variable names no key, or its value is not of the key's type.
    """
    result = {name: dict(table) if isinstance(table, dict) else table for name, table in document.items()}
    for variable in sorted(environ):
        if variable.upper().startswith(PREFIX):
            _set(result, variable, environ[variable])
    return result


def _set(result: dict[str, Any], variable: str, value: str) -> None:
    parts = variable[len(PREFIX) :].lower().split("__")
    if parts[0] == "stores" and len(parts) == 3:
        stores = result.setdefault("stores", {})
        if not isinstance(stores, dict):
            raise ConfigInvalid(variable, "the file's [stores] is no table")
        stores[parts[1]] = {**stores.get(parts[1], {}), parts[2]: _value(variable, Store, parts[2], value)}
        return
    if len(parts) != 2 or parts[0] not in SECTIONS:
        known = [f"{PREFIX}{name.upper()}__KEY" for name in (*SECTIONS, "stores__NAME")]
        raise ConfigInvalid(variable, unknown("variable", variable, known))
    section, key = parts
    result.setdefault(section, {})[key] = _value(variable, SECTIONS[section], key, value)


def _value(variable: str, section: type[Any], key: str, text: str) -> object:
    hints = get_type_hints(section)
    if key not in section.__struct_fields__:
        raise ConfigInvalid(variable, unknown("key", key, section.__struct_fields__))
    kind = hints[key]
    try:
        return _read(kind, text)
    except ValueError as error:
        raise ConfigInvalid(variable, f"{error}, found {text!r}" if key != "url" else str(error)) from error


def _read(kind: Any, text: str) -> object:  # noqa: ANN401 - a type as typing describes it
    if kind is bool:
        lowered = text.strip().lower()
        if lowered not in _TRUE | _FALSE:
            raise ValueError("expected true or false")
        return lowered in _TRUE
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    if get_origin(kind) is list:
        return _list(text)
    if get_origin(kind) is dict:
        document = json.loads(text) if text.strip() else {}
        if not isinstance(document, dict):
            raise ValueError("expected a JSON object")
        return document
    if get_args(kind) and text.strip() in get_args(kind):
        return text.strip()
    return text


def _list(text: str) -> list[object]:
    if text.strip().startswith("["):
        document = json.loads(text)
        if not isinstance(document, list):
            raise ValueError("expected a JSON array")
        return document
    return [part.strip() for part in text.split(",") if part.strip()]
