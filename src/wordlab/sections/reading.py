"""A section of YAML or JSON -> its dataclass: every key there, none besides, each of its kind.

All of params.yaml is read by it, and so are files of studies (`wordlab.study`). Ranges, and what one value allows
another, are checked by the dataclasses themselves, with `require`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from wordlab.errors import ConfigError, nearest, suggestion
from wordlab.yaml_file import is_text, shown

PARAMS = "params.yaml"
WHOLE_NUMBER_LIMIT = 1 << 63
"""Whole numbers from here on, on either side of 0, are no int64."""


def require(condition: bool, key: str, found: object, wanted: str, where: str = PARAMS) -> None:
    """Raise ConfigError, which says that `key` of the file `where` must be `wanted`, unless the condition holds."""
    if not condition:
        raise ConfigError(f"{where}: {key} is {shown(found)}, but must be {wanted}.")


def require_each(section: Any, key: str, allows: Callable[[Any], bool], wanted: str) -> None:
    """The same of every value of a section, a dataclass that `key` names. Raises ConfigError."""
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        require(allows(value), f"{key}.{field.name}", value, wanted)


def parse_section(wanted: type, tree: object, key: str, where: str = PARAMS) -> Any:
    """A section, as YAML or JSON has it -> its dataclass.

    key: its name in messages, "" for all; where: the file. Raises ConfigError.
    """
    return _parse(wanted, tree, key, where)


def _parse(wanted: Any, value: object, key: str, where: str) -> Any:
    if wanted is Any:
        return value
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return _parse_section(wanted, value, key, where)
    origin = typing.get_origin(wanted)
    if origin is Literal:
        choices = typing.get_args(wanted)
        if value not in choices or isinstance(value, bool):
            hint = nearest(shown(value).strip("'"), list(choices), likeness=0.7)  # `gpu` is no slip for `cpu`
            raise ConfigError(f"{where}: {key} is {shown(value)}, but must be one of {', '.join(choices)}.{hint}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: {key} is {shown(value)}, but must be a list, in square brackets.")
        (element, _) = typing.get_args(wanted)
        return tuple(_parse(element, item, f"{key}.{i}", where) for i, item in enumerate(value))
    if origin is dict:
        return _parse_mapping(typing.get_args(wanted)[1], value, key, where)
    assert not isinstance(wanted, types.UnionType), key
    return _parse_scalar(wanted, value, key, where)


def _parse_mapping(element: Any, value: object, key: str, where: str) -> dict[str, Any]:
    """Values of one kind by names of any kind of text."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {key} is {shown(value)}, but must be a mapping of names to values.")
    for name in value:
        require(is_text(name), f"a name in {key}", name, "text", where)
    return {name: _parse(element, item, f"{key}: {name}", where) for name, item in value.items()}


def _parse_section(wanted: type, value: object, key: str, where: str) -> Any:
    if not isinstance(value, dict):
        names = ", ".join(field.name for field in dataclasses.fields(wanted))
        start = f"{where}: {key} is {shown(value)}" if key else f"{where} is empty or not a mapping"
        raise ConfigError(f"{start}, but must be a section with the keys {names}.")
    hints = typing.get_type_hints(wanted)
    prefix = f"{key}." if key else ""
    for name in value:
        if name not in hints:
            found = shown(name).strip("'")
            raise ConfigError(f"{where}: unknown key {prefix}{found}.{suggestion(found, list(hints), prefix)}")
    for name in hints:
        if name not in value:
            raise ConfigError(f"{where}: {prefix}{name} is missing. Add it, or restore the file: git checkout {where}")
    return wanted(**{name: _parse(hint, value[name], prefix + name, where) for name, hint in hints.items()})


_KIND = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _require_in_int64(value: float, key: str, where: str) -> None:
    if not -WHOLE_NUMBER_LIMIT < value < WHOLE_NUMBER_LIMIT:
        raise ConfigError(f"{where}: {key} is {shown(value)}, but whole numbers must be between -2^63 and 2^63.")


def _parse_scalar(wanted: type, value: object, key: str, where: str) -> Any:
    if wanted in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float):
            require(math.isfinite(value), key, value, "a finite number", where)
        if isinstance(value, int) or wanted is int:
            _require_in_int64(value, key, where)
        if wanted is float or value == int(value):
            return wanted(value)
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is str and is_text(value):
        return value
    raise ConfigError(f"{where}: {key} is {shown(value)}, but must be {_KIND[wanted]}.")
