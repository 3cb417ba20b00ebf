"""What came out of a study, as one JSON file: studies/results/NAME.json, from which its page and figure are made.

It holds the study's definition, each arm with its settings, scores of every seed, speed and commit, the comparison of
all arms with the base arm as it was computed, and what `study_models` keeps of the models. So a page is made again
without training, on a machine that has none of the experiments, and looks the same. metrics/ has the results of the one
run that dvc.lock describes, and `dvc metrics diff` compares them path by path: results of many runs have their own
place.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordlab.artifacts import read_json, write_atomic
from wordlab.comparability import Comparable
from wordlab.comparison import Comparison, PairComparison, ScoreDifference, compare
from wordlab.comparison_json import as_json
from wordlab.differences import Difference
from wordlab.errors import ArtifactError, WordlabError
from wordlab.evaluation import rounded
from wordlab.experiments import Experiment
from wordlab.permutation import Permutation
from wordlab.resampling import QuestionInterval
from wordlab.results import MEASURED, mean_of
from wordlab.sections.reading import parse_section
from wordlab.statistics import Spread, spread
from wordlab.study import Study, StudyFile, level_name, plain
from wordlab.study_models import NO_MAP, NO_MODELS, ArmModels, BaseMap, map_of_base, models_of, parse_map, parse_models
from wordlab.study_origin import Origin, origin_of, parse_origin

FORMAT = 2
OLDER = 1
"""A format that can still be read: without anything of the models."""
NUMBERS = re.compile(r'\[\n([^"\[\]{}]*)\n *\]')
"""In indented JSON: a list of nothing but numbers. Text cannot match, since its line breaks are escaped."""
LOSS_FOLLOWS = ("model.arch", "model.objective", "model.negatives")
"""Parameters that decide what a loss is the mean of."""
LOCKED = re.compile(
    r"^  (?P<stage>\S+):$|^    - path: (?P<path>(?:src|stages)/\S+)\n      hash: md5\n      md5: (?P<md5>\S+)$",
    re.MULTILINE,
)
"""In dvc.lock: where a stage begins, and the hash of a module that it depended on."""


@dataclass(frozen=True)
class ArmResult:
    """What is known of an arm."""

    name: str
    experiment: str
    commit: str
    corpus: str
    settings: Mapping[str, Any]
    scores: Mapping[str, Mapping[int, float]]
    """Score -> seed -> value."""
    coverage: Mapping[str, float | None]
    """Score -> percent of the set's questions that were asked."""
    speed: Mapping[str, float | None]
    """Means over the seeds of `MEASURED`."""
    where_run: tuple[str, ...]
    """Device and threads, without which its speed says nothing."""
    models: ArmModels

    def spread(self, score: str) -> Spread:
        return spread(list(self.scores.get(score, {}).values()))


@dataclass(frozen=True)
class StudyResult:
    """A study that has been run."""

    name: str
    definition: StudyFile
    units: Mapping[str, str]
    """Score -> its unit."""
    arms: tuple[ArmResult, ...]
    comparison: Comparison
    """Of each arm with the base; without the experiments themselves."""
    base_map: BaseMap
    origin: Origin | None
    """None where the file keeps none, as the first files of this format."""
    remarks: tuple[str, ...]


def with_like_losses(arms: Sequence[ArmResult]) -> dict[str, list[ArmResult]]:
    """Arms whose losses can be compared, by what tells them from others: `skipgram, hs`; one group has no name."""
    keys = [key for key in LOSS_FOLLOWS if len({str(arm.settings.get(key)) for arm in arms}) > 1]
    groups: dict[str, list[ArmResult]] = {}
    for arm in arms:
        name = ", ".join(level_name(key, arm.settings[key]) for key in keys if key in arm.settings)
        groups.setdefault(name or "the others" * bool(keys), []).append(arm)
    return groups


def result_path(study: Path) -> Path:
    return study.parent / "results" / f"{study.stem}.json"


def collect(study: Study, arms: Sequence[Experiment]) -> dict[str, Any]:
    """The content of the file. arms: in the order of the study. Raises ConfigError and ArtifactError as `compare`."""
    base = next(arm for arm in arms if arm.label == study.file.base)
    found = compare([base, *(arm for arm in arms if arm is not base)], scores=study.file.scores)
    compared = as_json(found)
    settings = {arm.name: (arm.experiment, arm.settings) for arm in study.arms}
    return {
        "format": FORMAT,
        "study": study.name,
        "definition": study.definition,
        "units": {
            score: next(arm.first["scores"][score]["unit"] for arm in arms if score in arm.first["scores"])
            for score in study.file.scores
        },
        "arms": [_arm(arm, *settings[arm.label], study.file.scores) for arm in arms],
        "tests": compared["tests"],
        "pairs": compared["pairs"],
        "map": map_of_base(base),
        "origin": origin_of(base, arms),
        "remarks": list(_code_differs(base, arms)),
    }


def _arm(one: Experiment, experiment: str, settings: Mapping[str, Any], scores: Sequence[str]) -> dict[str, Any]:
    runs = list(one.runs.values())
    measured = {key: mean_of(runs, key) for key in MEASURED}
    first = one.first["scores"]
    return {
        "name": one.label,
        "experiment": experiment,
        "commit": one.revision and one.revision.commit,
        "corpus": one.corpus,
        "settings": plain(dict(settings)),
        "scores": {name: {str(seed): value for seed, value in one.values(name).items()} for name in scores},
        "coverage": {name: first.get(name, {}).get("coverage") for name in scores},
        "speed": {key: None if value is None else rounded(value, 3) for key, value in measured.items()},
        "where_run": sorted({f"{run.get('device', '?')}, {run.get('threads', '?')} threads" for run in runs}),
        "models": models_of(one),
    }


def _code_differs(base: Experiment, arms: Sequence[Experiment]) -> list[str]:
    """Arms that were made by other code than the base arm, as their dvc.lock tell."""
    ours, remarks = _code(base), []
    for arm in arms:
        theirs = _code(arm)
        changed = sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
        if changed:
            remarks.append(
                f"{arm.label} was made by other code than {base.label}: {', '.join(changed)}. To make it again: "
                f"dvc exp remove {arm.revision.name if arm.revision else arm.label}, then the study"
            )
    return remarks


def _code(experiment: Experiment) -> dict[str, str]:
    """Module -> its hash when the experiment was run, of the stages that decide a score.

    Lines are searched, since reading dvc.lock as YAML takes a second for each arm.
    """
    text = (experiment.source.read("dvc.lock") or b"").decode("utf-8", errors="replace")
    found, stage = {}, ""
    for line in LOCKED.finditer(text):
        stage = line["stage"] or stage
        if line["path"] and stage != "report":
            found[line["path"]] = line["md5"]
    return found


def write_result(path: Path, content: dict[str, Any]) -> None:
    """Write the file for people and for git: indented, and every list of numbers on one line."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n").encode())


def read_result(path: Path) -> StudyResult:
    """Raises ArtifactError where there is no such file, or it is damaged."""
    remedy = f"Run: wordlab study run {path.parent.parent / path.stem}.yaml"
    content = read_json(path, remedy)
    try:
        return _parsed(content, str(path))
    except (KeyError, TypeError, ValueError, AttributeError, WordlabError) as error:
        raise ArtifactError(f"{path} is damaged, or of another version of wordlab: {error!r}. {remedy}") from None


def _parsed(content: Any, where: str) -> StudyResult:
    if content["format"] not in (OLDER, FORMAT):
        raise ArtifactError(f"format {content['format']}")
    kept = content["format"] == FORMAT
    definition: StudyFile = parse_section(StudyFile, content["definition"], "definition", where)
    arms = tuple(_parsed_arm(arm, kept) for arm in content["arms"])
    if definition.x:
        [float(arm.settings[definition.x]) for arm in arms]
    pairs = tuple(_parsed_pair(pair) for pair in content["pairs"])
    comparison = Comparison((), pairs, content["tests"])
    remarks = tuple(map(str, content["remarks"]))
    base_map = parse_map(content["map"]) if kept else NO_MAP
    origin = parse_origin(content["origin"]) if "origin" in content else None
    return StudyResult(content["study"], definition, content["units"], arms, comparison, base_map, origin, remarks)


def _parsed_arm(arm: Mapping[str, Any], kept: bool) -> ArmResult:
    scores = {
        name: {int(seed): _finite(value) for seed, value in values.items()} for name, values in arm["scores"].items()
    }
    where = tuple(map(str, arm["where_run"]))
    settings, coverage, speed = dict(arm["settings"]), dict(arm["coverage"]), dict(arm["speed"])
    about = (arm["name"], arm["experiment"], arm["commit"], arm["corpus"])
    models = parse_models(arm["models"]) if kept else NO_MODELS
    return ArmResult(*about, settings, scores, coverage, speed, where, models)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value} is no score")
    return float(value)


def _parsed_pair(pair: Mapping[str, Any]) -> PairComparison:
    changed = tuple((one["parameter"], one["base"], one["other"]) for one in pair["changed"])
    scores = tuple(_parsed_score(score) for score in pair["scores"])
    names = tuple(score.score for score in scores)
    what = Comparable(names, dict(pair["left_out"]), changed, tuple(pair["remarks"]))
    return PairComparison(pair["base"], pair["other"], what, scores)


def _parsed_score(score: Mapping[str, Any]) -> ScoreDifference:
    kinds = {
        "base": Spread,
        "other": Spread,
        "t": Difference,
        "permutation": Permutation,
        "questions": QuestionInterval,
    }
    parts = {key: None if score[key] is None else kind(**score[key]) for key, kind in kinds.items()}
    return ScoreDifference(**{key: value for key, value in score.items() if key != "sentence"} | parts)
