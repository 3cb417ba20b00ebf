"""A study: a question, and the experiments that answer it, as one small YAML file.

    arms     named sets of parameters
    grid     parameter -> values; every arm with every combination of them is an arm of its own
    params   what all arms have otherwise than params.yaml

Every arm is one DVC experiment over all seeds. Its name is study-arm-digits, the digits a fingerprint of all its
parameters: where a study or params.yaml has changed, the name is another, and nothing old is taken for it. As in
params.yaml, every key must be there; parameters are checked as params.yaml's are, before anything runs.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordlab.artifacts import fingerprint
from wordlab.config import Params, parse_params
from wordlab.errors import ConfigError, suggestion
from wordlab.evaluation import score_name
from wordlab.sections.reading import PARAMS, parse_section, require
from wordlab.yaml_file import read_yaml, shown

LATER = {"tokenize.count_words": False, "tokenize.filters.unit": "lines", "evaluate.words": "vocabulary"}
"""Parameters that there were not when the first studies were run, and what was done then, so that names stay."""
NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
"""Names of studies and arms: they become names of git references."""
MOST_ARMS = 200
HOW_NOT_WHAT = ("threads", "workers", "executor", "dask_address")
"""Keys of `run` that change no byte."""


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """A study as its file has it."""

    question: str
    """What is asked, in a sentence."""
    base: str
    """The arm that the others are compared with."""
    seeds: tuple[int, ...]
    scores: tuple[str, ...]
    """The scores that answer the question: the fewer, the less correction they need."""
    x: str
    """A number that every arm sets, for the figure's x axis; empty: the figure has a row for each arm."""
    params: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    grid: dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Arm:
    """One experiment of a study."""

    name: str
    settings: Mapping[str, Any]
    """Its parameters where they are not params.yaml's, by their names with dots."""
    experiment: str
    """Its name as a DVC experiment."""
    params: Params


@dataclass(frozen=True)
class Study:
    """A study, checked."""

    name: str
    file: StudyFile
    arms: tuple[Arm, ...]
    """In the order of the file."""

    @property
    def base(self) -> Arm:
        return next(arm for arm in self.arms if arm.name == self.file.base)

    @property
    def definition(self) -> dict[str, Any]:
        """The file's content, as values of JSON."""
        return plain(dataclasses.asdict(self.file))


def load_study(path: Path, params: Path = Path(PARAMS)) -> Study:
    """Read and check a study. params: the file that has all other parameters.

    Raises ConfigError naming file, key, what was found, and what is wanted.
    """
    where = str(path)
    require_name(path.stem, f"{where}: the file's name without .yaml")
    try:
        tree = read_yaml(path)
    except FileNotFoundError:
        known = sorted(str(one) for one in path.parent.glob("*.yaml"))
        raise ConfigError(f"{where} was not found.{suggestion(where, known) if known else ''}") from None
    file: StudyFile = parse_section(StudyFile, tree, "", where)
    try:
        defaults = read_yaml(params)
    except FileNotFoundError:
        raise ConfigError(f"{params} was not found. Run wordlab from the folder that holds it and dvc.yaml.") from None
    parse_params(defaults)
    require(file.question.strip() != "", "question", file.question, "a sentence", where)
    arms = tuple(_arms(path, file, defaults))
    names = [arm.name for arm in arms]
    if file.base not in names:
        raise ConfigError(f"{where}: base is {shown(file.base)}, which is no arm.{suggestion(file.base, names)}")
    study = Study(path.stem, file, arms)
    _check_scores(study, where)
    _check_x(study, where)
    return study


def require_name(name: str, what: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{what} is {shown(name)}, but must be small letters and digits, with . _ or - between them: "
            "it is a part of the names of experiments."
        )


def _arms(path: Path, file: StudyFile, defaults: Any) -> Iterator[Arm]:
    """Every arm, its parameters checked."""
    where, seen = str(path), dict[str, str]()
    for key, values in file.grid.items():
        require(len(values) > 0, f"grid: {key}", list(values), "a list of one value or more", where)
    count = max(1, len(file.arms))
    for values in file.grid.values():
        count *= len(values)
    _require_values(file, where)
    require(2 <= count <= MOST_ARMS, "number of arms, with the grid's values,", count, f"from 2 to {MOST_ARMS}", where)
    for name, settings in combinations(file):
        require_name(name, f"{where}: the name of an arm")
        tree = copy.deepcopy(defaults)
        for key, value in {**settings, "seeds": list(file.seeds)}.items():
            _set(tree, key, value, f"{where}: arm {name}")
        try:
            params = parse_params(tree)
        except ConfigError as error:
            raise ConfigError(f"{where}: arm {name}: {str(error).removeprefix(f'{PARAMS}: ')}") from None
        mark = mark_of(params)
        for other, its_name in seen.items():
            if mark == other or name == its_name:
                raise ConfigError(f"{where}: arms {its_name} and {name} are the same. Take one out, or rename it.")
        seen[mark] = name
        yield Arm(name, settings, f"{path.stem}-{name}-{mark[:6]}", params)


def _require_values(file: StudyFile, where: str) -> None:
    """Parameters are single values or lists of such; in the grid, where they become names, single values."""
    for key, values in file.grid.items():
        for value in values:
            require(isinstance(value, str | int | float), f"grid: {key}", value, "a list of single values", where)
    for name, settings in (("params", file.params), *((f"arms: {name}", own) for name, own in file.arms.items())):
        for key, value in settings.items():
            parts = value if isinstance(value, list) else [value]
            good = all(isinstance(part, str | int | float) for part in parts)
            require(good, f"{name}: {key}", value, "a single value or a list of such", where)


def combinations(file: StudyFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and settings of every arm; what an arm says counts more than the study's params."""
    for arm, own in (file.arms or {"": {}}).items():
        for values in itertools.product(*file.grid.values()):
            levels = dict(zip(file.grid, values, strict=True))
            parts = [arm, *(level_name(key, value) for key, value in levels.items())]
            yield "-".join(part for part in parts if part), {**file.params, **own, **levels}


def level_name(key: str, value: Any) -> str:
    """A value of the grid as part of a name: `hs` for an objective, `dim300` or `subsample-t1e-05` for a number."""
    text = value if isinstance(value, str) else key.rpartition(".")[2].replace("_", "-") + _number_name(value)
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def _number_name(value: Any) -> str:
    if isinstance(value, bool):
        return f"-{value}"
    return f"{value:g}".replace("+", "") if isinstance(value, float) else str(value)


def _set(tree: Any, key: str, value: Any, where: str) -> None:
    """Set a parameter by its name with dots."""
    *sections, last = key.split(".")
    for depth, section in enumerate(sections):
        known = list(tree) if isinstance(tree, dict) else []
        if section not in known:
            raise _unknown(key, where, section, known, ".".join(sections[:depth]))
        tree = tree[section]
    known = list(tree) if isinstance(tree, dict) else []
    if last not in known:
        raise _unknown(key, where, last, known, ".".join(sections))
    if isinstance(tree[last], dict):
        raise ConfigError(f"{where}: {key} is a section. Name one parameter of it: {', '.join(tree[last])}.")
    tree[last] = value


def _unknown(key: str, where: str, part: str, known: list[str], prefix: str) -> ConfigError:
    hint = suggestion(part, known, f"{prefix}." if prefix else "") if known else ""
    return ConfigError(f"{where}: there is no parameter {key} in {PARAMS}.{hint}")


def mark_of(params: Params) -> str:
    """Fingerprint of all parameters that can change a result; those of LATER count where they are not as before.

    train.damping.hs counts with hierarchical softmax alone: it came later, too, and was that of the architecture.
    """
    tree = plain(dataclasses.asdict(params))
    if params.model.objective != "hs":
        del tree["train"]["damping"]["hs"]
    tree["run"] = {key: value for key, value in tree["run"].items() if key not in HOW_NOT_WHAT}
    for key, before in LATER.items():
        *sections, last = key.split(".")
        branch = functools.reduce(lambda found, section: found[section], sections, tree)
        if branch.get(last) == before:
            del branch[last]
    return fingerprint(tree)


def with_later(params: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a params.yaml, perhaps of an earlier version, with what it lacks of LATER."""
    tree: dict[str, Any] = copy.deepcopy(dict(params))
    for key, before in LATER.items():
        *sections, last = key.split(".")
        branch = functools.reduce(lambda found, section: found.setdefault(section, {}), sections, tree)
        branch.setdefault(last, before)
    damping = tree.get("train", {}).get("damping")
    if isinstance(damping, dict):
        damping.setdefault("hs", damping.get(tree.get("model", {}).get("arch")))
    return tree


def plain(value: Any) -> Any:
    """Tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _check_scores(study: Study, where: str) -> None:
    """Scores are known by name only after scoring; a set that no arm is scored on is noticed now."""
    require(len(study.file.scores) > 0, "scores", [], "a list of one score or more", where)
    rows = dict.fromkeys(row for arm in study.arms for row in arm.params.download.evaluation_sets)
    known = [score_name(row) for row in rows]
    for score in study.file.scores:
        if not score.startswith(tuple(known)):
            raise ConfigError(f"{where}: no evaluation set gives a score {shown(score)}.{suggestion(score, known)}")


def _check_x(study: Study, where: str) -> None:
    """Every arm must have a place on the figure's x axis."""
    x = study.file.x
    for arm in study.arms if x else ():
        if x not in arm.settings:
            hint = suggestion(x, list(arm.settings))
            raise ConfigError(f"{where}: x is {shown(x)}, which arm {arm.name} does not set.{hint}")
        value = arm.settings[x]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        require(number, f"{x} of arm {arm.name}", value, "a number, since it is the figure's x", where)
