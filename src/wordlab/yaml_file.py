"""YAML files that people write, read as plain values and without trust.

PyYAML follows YAML 1.1, where `1e-05` (which `-S train.lr.cbow=1e-5` writes) is a string, `010` is eight and `no` is
false; DVC follows YAML 1.2. The loader here reads numbers and booleans as DVC does, or refuses them. No tag makes an
object. A few lines can describe a tree of billions of values through aliases: as values they share memory, so nothing
here or in who reads them may walk over all of them (`shown` is for messages), and `<<`, which copies, is refused.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from wordlab.errors import ConfigError

MAX_BYTES = 1 << 18
"""A larger file is no file of parameters; PyYAML reads about 50 kB a second."""
_ODD_VALUE = (ValueError, LookupError, ArithmeticError, AttributeError, TypeError)
"""What PyYAML raises, besides its own errors, over a value that does not fit its tag, such as `!!bool maybe`."""


def read_yaml(path: Path) -> object:
    """The values in a YAML file. Raises ConfigError where it cannot be read, OSError where it does not exist."""
    restore = f"Correct it, or restore the file: git checkout {path}"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. {restore}") from None
    return parse_yaml(data, str(path), restore)


def parse_yaml(data: bytes, where: str, restore: str) -> object:
    """The values in the bytes of a YAML file. where: names it in messages; restore: ends them.

    Raises ConfigError where they are no YAML, or too many.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where} has more than {MAX_BYTES} bytes, which no such file needs. {restore}")
    try:
        return yaml.load(data.decode("utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where} cannot be read: {error}. {restore}") from None
    except (yaml.YAMLError, RecursionError, *_ODD_VALUE) as error:
        raise ConfigError(f"{where} is not valid YAML{_problem(error)[:1000]}. {restore}") from None


def _problem(error: Exception) -> str:
    """Where and what: PyYAML tells it over several lines, with a name of its own for the file."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ": " + str(error).partition("\n")[0]
    told = ", ".join(text for text in (error.context, error.problem) if text)
    return f", line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {told}"


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a string that can be written: `"\\ud800"` makes halves of surrogate pairs, which cannot."""
    return isinstance(value, str) and value == value.encode(errors="replace").decode()


class _Shown(reprlib.Repr):
    """repr of whatever a file may hold, in at most a few hundred characters."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict, self.maxset = 2, 4, 4, 4
        self.maxstring = self.maxother = self.maxlong = 80


shown = _Shown().repr


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads numbers and booleans as YAML 1.2 does and refuses a key given twice."""

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        return int(str(self.construct_scalar(node)))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "<< is not supported: write out what it would copy", key_node.start_mark
                )
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    problem = f"key {shown(key)} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


_READ_AS_1_2 = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in _READ_AS_1_2]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole_number)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?([0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
