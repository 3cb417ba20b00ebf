"""Sections of params.yaml -> the dataclasses of `wordlab.config`: every key there, none besides, each of its kind."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, Literal

from wordlab.errors import ConfigError, suggestion
from wordlab.yaml_file import is_text, shown

WHOLE_NUMBER_LIMIT = 1 << 63
"""Whole numbers from here on, on either side of 0, are no int64."""


def require(condition: bool, key: str, found: object, wanted: str) -> None:
    """Raise ConfigError, which says that `key` must be `wanted`, unless the condition holds."""
    if not condition:
        raise ConfigError(f"params.yaml: {key} is {shown(found)}, but must be {wanted}.")


def parse_section(wanted: type, tree: object, key: str) -> Any:
    """A section, as YAML or JSON has it -> its dataclass. key: its name in messages, "" for all. Raises ConfigError."""
    return _parse(wanted, tree, key)


def _parse(wanted: Any, value: object, key: str) -> Any:
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return _parse_section(wanted, value, key)
    origin = typing.get_origin(wanted)
    if origin is Literal:
        choices = typing.get_args(wanted)
        if value not in choices or isinstance(value, bool):
            hint = suggestion(shown(value).strip("'"), list(choices))
            raise ConfigError(f"params.yaml: {key} is {shown(value)}, but must be one of {', '.join(choices)}.{hint}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"params.yaml: {key} is {shown(value)}, but must be a list.")
        (element, _) = typing.get_args(wanted)
        return tuple(_parse(element, item, f"{key}.{i}") for i, item in enumerate(value))
    assert not isinstance(wanted, types.UnionType), key
    return _parse_scalar(wanted, value, key)


def _parse_section(wanted: type, value: object, key: str) -> Any:
    if not isinstance(value, dict):
        names = ", ".join(field.name for field in dataclasses.fields(wanted))
        where = f"params.yaml: {key} is {shown(value)}" if key else "params.yaml is empty or not a mapping"
        raise ConfigError(f"{where}, but must be a section with the keys {names}.")
    hints = typing.get_type_hints(wanted)
    prefix = f"{key}." if key else ""
    for name in value:
        if name not in hints:
            found = shown(name).strip("'")
            raise ConfigError(f"params.yaml: unknown key {prefix}{found}.{suggestion(found, list(hints), prefix)}")
    for name in hints:
        if name not in value:
            raise ConfigError(
                f"params.yaml: {prefix}{name} is missing. Add it, or restore the file: git checkout params.yaml"
            )
    return wanted(**{name: _parse(hint, value[name], prefix + name) for name, hint in hints.items()})


_KIND = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _require_in_int64(value: float, key: str) -> None:
    if not -WHOLE_NUMBER_LIMIT < value < WHOLE_NUMBER_LIMIT:
        raise ConfigError(f"params.yaml: {key} is {shown(value)}, but whole numbers must be between -2^63 and 2^63.")


def _parse_scalar(wanted: type, value: object, key: str) -> Any:
    if wanted in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float):
            require(math.isfinite(value), key, value, "a finite number")
        if isinstance(value, int) or wanted is int:
            _require_in_int64(value, key)
        if wanted is float or value == int(value):
            return wanted(value)
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is str and is_text(value):
        return value
    raise ConfigError(f"params.yaml: {key} is {shown(value)}, but must be {_KIND[wanted]}.")
