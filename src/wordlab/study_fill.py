"""Adding to a study's result file what it lacks of its models, from the experiments that it names by their commits.

For files of format 1, for experiments whose data has been fetched since, and for those of a clone: names of experiments
follow from all parameters, so a newer wordlab, which has more of them, looks for other names, and commits stay.
Scores and comparisons stay as they are; the experiments must have the same scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordlab.errors import ArtifactError
from wordlab.experiments import Experiment, load_experiment
from wordlab.result_sources import CommitSource
from wordlab.revisions import Revision, commit_of
from wordlab.study_models import map_of_base, models_of
from wordlab.study_origin import origin_of
from wordlab.study_results import FORMAT, ArmResult, StudyResult


def filled(content: Mapping[str, Any], result: StudyResult, project: Path) -> dict[str, Any]:
    """The content of a result file with what was missing. content: as it is; result: the same, read.

    project: the folder in which the study was run. Raises ArtifactError where it has not these experiments.
    """
    opened = {arm.name: open_recorded(arm, project) for arm in result.arms}
    arms = [
        {**tree, "models": _joined(tree.get("models"), models_of(opened[arm.name]))}
        for tree, arm in zip(content["arms"], result.arms, strict=True)
    ]
    base_map = content.get("map", {"absent": ""})
    if "absent" in base_map:
        base_map = map_of_base(opened[result.definition.base])
    origin = content.get("origin") or origin_of(opened[result.definition.base], list(opened.values()))
    changes = {"format": FORMAT, "arms": arms, "map": base_map, "origin": origin}
    remarks = content["remarks"]
    return {**{key: value for key, value in content.items() if key != "remarks"}, **changes, "remarks": remarks}


def open_recorded(arm: ArmResult, project: Path) -> Experiment:
    """The experiment of an arm, by its commit. Raises ArtifactError where it is not there, or has other scores."""
    if not arm.commit or not commit_of(project, arm.commit):
        raise ArtifactError(
            f"{project.absolute()} has no commit {str(arm.commit)[:12]}, which is experiment {arm.experiment}. Name "
            "the folder in which the study was run: --project FOLDER"
        )
    revision = Revision(arm.experiment, arm.commit, None)
    experiment = load_experiment(arm.name, CommitSource(project, revision), revision)
    for score, values in arm.scores.items():
        if experiment.values(score) != values:
            raise ArtifactError(
                f"experiment {arm.experiment} has other values of {score} than the result file. To compare anew: "
                "wordlab study run"
            )
    return experiment


def _joined(old: Mapping[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """What is there already stays where nothing better is at hand."""
    if old is None:
        return new
    absent = dict(new["absent"])
    joined = dict(new)
    for name in ("curves", "neighbors"):
        if name in absent and (name not in old["absent"] or new[name] is None):
            joined[name] = old[name]
            absent.pop(name)
            if name in old["absent"]:
                absent[name] = old["absent"][name]
    return {**joined, "absent": absent}
