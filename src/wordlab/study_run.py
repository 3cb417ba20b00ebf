"""Running a study: the DVC experiments of its arms that are missing, one after the other.

Each is a `dvc exp run --temp`, in a copy, so that the workspace stays as it is. DVC's queue would do the same, but its
workers may stop before the queue is empty, go on when the terminal has gone, and keep what they say in files of their
own. What was finished before a kill is found again: whole experiments by their names, seeds of the one that was under
way in DVC's run cache, and a training that was under way at its last checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from wordlab.config import parse_params
from wordlab.errors import ArtifactError, ConfigError
from wordlab.experiments import Experiment, load_experiment
from wordlab.parent import follow_parent
from wordlab.result_sources import CommitSource
from wordlab.revisions import Revision, commit_of, experiments, read_committed
from wordlab.sections.reading import PARAMS
from wordlab.stage import StoppedError, StopSignals, say
from wordlab.study import Arm, Study, mark_of, with_later
from wordlab.yaml_file import parse_yaml, read_yaml

LOOK_SECONDS = 0.2
"""How often a signal that came is looked for."""


def finished(study: Study, root: Path = Path()) -> dict[str, Revision]:
    """Arm -> its experiment, for the arms that have one. Of several of one name, the one that started from HEAD."""
    here = commit_of(root, "HEAD")
    by_name: dict[str, Revision] = {}
    for revision in experiments(root):
        if revision.name not in by_name or revision.base == here:
            by_name[revision.name] = revision
    return {arm.name: by_name[arm.experiment] for arm in study.arms if arm.experiment in by_name}


def open_arms(study: Study, root: Path = Path()) -> list[Experiment]:
    """The experiments of all arms, by the arms' names. Raises ArtifactError where one is missing or incomplete."""
    found = finished(study, root)
    missing = [arm.name for arm in study.arms if arm.name not in found]
    if missing:
        raise ArtifactError(
            f"{len(missing)} of the {len(study.arms)} arms of {study.name} have not been run: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. Run: wordlab study run"
        )
    opened = []
    for arm in study.arms:
        revision = found[arm.name]
        experiment = load_experiment(arm.name, CommitSource(root, revision), revision)
        require_its_parameters(arm, experiment)
        if experiment.seeds != study.file.seeds:
            raise ArtifactError(
                f"experiment {arm.experiment} has results of the seeds {', '.join(map(str, experiment.seeds))}, not of "
                f"all of the study. Run: dvc exp remove {arm.experiment}, then the study again"
            )
        opened.append(experiment)
    return opened


def require_its_parameters(arm: Arm, experiment: Experiment) -> None:
    """Check that an experiment was run with the arm's parameters, whatever its name. Raises ArtifactError."""
    if mark_of(parse_params(with_later(experiment.params))) != mark_of(arm.params):
        raise ArtifactError(
            f"experiment {arm.experiment} was run with other parameters than its name stands for. See: dvc exp show; "
            f"then run: dvc exp remove {arm.experiment}, and the study again"
        )


def run_missing(study: Study, root: Path = Path()) -> None:
    """Run every arm that has no experiment yet.

    Raises ConfigError where params.yaml is not as it is committed, ArtifactError where an experiment fails.
    """
    _require_committed(root)
    done = finished(study, root)
    for number, arm in enumerate(study.arms, 1):
        if arm.name in done:
            say(f"{study.name}, arm {number} of {len(study.arms)}: {arm.name} is there, {arm.experiment}")
            continue
        say(f"{study.name}, arm {number} of {len(study.arms)}: {arm.name}, as {arm.experiment}")
        run_arm(arm, root)
        if arm.name not in finished(study, root):
            raise ArtifactError(
                f"`dvc exp run` ended well, but left no experiment {arm.experiment}. See: dvc exp list --all-commits"
            )


def _require_committed(root: Path) -> None:
    """Parameters left over from another experiment would be those of all arms."""
    committed = read_committed(root, "HEAD", PARAMS)
    if committed is None:
        raise ConfigError(
            f"{PARAMS} is in no commit of git here, from which experiments start. Run: git add {PARAMS}, git commit"
        )
    if parse_yaml(committed, f"HEAD:{PARAMS}", "Commit a right one.") != read_yaml(root / PARAMS):
        raise ConfigError(
            f"{PARAMS} differs from what is committed, and a study starts from committed parameters. "
            f"See: git diff {PARAMS}; then commit it, or restore it with: git checkout {PARAMS}"
        )


def command(arm: Arm) -> list[str]:
    """What runs an arm. Values as JSON, which is also how Hydra, by which DVC reads them, writes text and lists."""
    settings = {"seeds": list(arm.params.seeds), **arm.settings}
    changes = [part for key, value in settings.items() for part in ("-S", f"{key}={_value(value)}")]
    return [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", arm.experiment, *changes]


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def run_arm(arm: Arm, root: Path) -> None:
    """Run one experiment to its end, and hand on what asks this process to stop: a stage then writes a checkpoint.

    Raises ArtifactError where it fails, StoppedError where it was stopped.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with StopSignals() as stop:
        process = subprocess.Popen(
            command(arm), cwd=root, env={**os.environ, "PATH": path}, preexec_fn=follow_parent, stdout=sys.stderr
        )
        told = False
        while process.poll() is None:
            try:
                process.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                # Ctrl-C came to DVC as well, by the terminal
                if stop.number in (signal.SIGTERM, signal.SIGHUP) and not told:
                    process.send_signal(stop.number)
                    told = True
    if stop.number is not None:
        raise StoppedError(stop.number, "stopped. The same command goes on where it was.")
    if process.returncode:
        raise ArtifactError(
            f"arm {arm.name} failed: `dvc exp run` ended with status {process.returncode}, for the reason above. Mend "
            "it, then run the study again: what is finished is not repeated."
        )
