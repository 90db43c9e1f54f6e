"""`ZIMAGE_SYNCD__SECTION__KEY`: every key of the configuration as an environment variable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zimage_syncd.config.kinds import fits, kind_of, mismatch, read_text
from zimage_syncd.config.schema import SECTIONS, Store
from zimage_syncd.config.unknown import unknown
from zimage_syncd.model.failures import ConfigInvalid

PREFIX = "ZIMAGE_SYNCD__"


def overlay(document: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The file's tables with the environment's values over them.

    Args:
        document: the file's tables.
        environ: the process's environment; names count in upper and lower case.

    Raises:
        ConfigInvalid: a variable names no key, its value is not of the key's type, or two differ only in their case.
    """
    result = {name: dict(table) if isinstance(table, dict) else table for name, table in document.items()}
    said_by: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX):
            continue
        other = said_by.setdefault(variable.upper(), variable)
        if other != variable:
            raise ConfigInvalid(variable, f"{other} is set, too; keep one of them")
        _set(result, variable, environ[variable])
    return result


def _set(result: dict[str, Any], variable: str, value: str) -> None:
    section, *rest = variable[len(PREFIX) :].lower().split("__")
    if section == "stores":
        if len(rest) != 2:
            raise ConfigInvalid(variable, f"unknown variable; expected {PREFIX}STORES__NAME__KEY")
        name, key = rest
        stores = _table(result, "stores", variable)
        _table(stores, name, variable, within_name="stores.")[key] = _value(variable, Store, key, value)
        return
    if section in SECTIONS and len(rest) != 1:
        raise ConfigInvalid(variable, f"unknown variable; expected {PREFIX}{section.upper()}__KEY")
    if section not in SECTIONS:
        raise ConfigInvalid(variable, unknown("variable", variable.upper(), _all_variables()))
    (key,) = rest
    # The value first: an unknown key is told as such even where the file has no such table.
    read = _value(variable, SECTIONS[section], key, value)
    _table(result, section, variable)[key] = read


def _table(within: dict[str, Any], name: str, variable: str, *, within_name: str = "") -> dict[str, Any]:
    """A table that may be changed: a copy of the file's, which stays as it was read."""
    found = within.get(name, {})
    if not isinstance(found, dict):
        raise ConfigInvalid(variable, f"{within_name}{name} is no table in the file")
    within[name] = dict(found)
    table: dict[str, Any] = within[name]
    return table


def _all_variables() -> list[str]:
    names = [f"{PREFIX}{name}__{key}" for name, section in SECTIONS.items() for key in section.__struct_fields__]
    return [name.upper() for name in names]


def _value(variable: str, section: type[Any], key: str, text: str) -> object:
    if key not in section.__struct_fields__:
        raise ConfigInvalid(variable, unknown("key", key, section.__struct_fields__))
    kind = kind_of(section, key)
    try:
        value = read_text(kind, text)
    except ValueError:
        # Without its cause: a JSON error carries the whole text along, and that may be a secret.
        raise ConfigInvalid(variable, mismatch(kind, key, text)) from None
    if not fits(kind, value):
        raise ConfigInvalid(variable, mismatch(kind, key, text))
    return value
