"""Stages run by themselves on a toy corpus, in a folder that can be set back: what the kill and fault tests share.

The code is copied once, so that an edit to the repository while the soak runs does not turn up as a mismatch. One
folder, `work`, is used for every run; snapshots of it are kept:

    new      after all seven stages, uninterrupted: what every run must end with
    old      the same for another text and other parameters: outputs that an earlier run has left
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pipeline_project import SMALL, Project, environment, write_corpus
from tests.soak.syscalls import Fault, Watched, run_watched, unavailable
from tests.soak.warm import WarmStart
from wordlab.artifacts import MANIFEST, read_manifest, sha256_file
from wordlab.errors import ArtifactError
from wordlab.stage import say

ROOT = Path(__file__).parents[2]
SETTINGS = SMALL | {"seeds": [1], "download.evaluation_sets": ["wordsim353"], "run.threads": 2}
EARLIER: dict[str, Any] = {
    "tokenize.shard_bytes": 20000,
    "vocab.min_count": 2,
    "model.dim": 9,
    "evaluate.neighbors": ["queen"],
    "report.map_words": 11,
}
"""What differs in the run that left old outputs, besides the text."""
DIFFER = ("metrics/run/", ".wordlab/numba")
"""Seconds and words/s, and compiled code, which no run promises to repeat."""
LIMIT_SECONDS = 120.0


KEPT = ".wordlab/downloads/partial"
"""What has arrived of a file is kept for the next run, on purpose."""


@dataclass(frozen=True)
class Stage:
    """A stage and what it writes."""

    name: str
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", f"stages.{self.name}", *self.arguments]


STAGES = (
    Stage("download", (), ("data/download", "data/source", ".wordlab/downloads")),
    Stage("tokenize", (), ("data/tokenize",)),
    Stage("vocab", (), ("data/vocab",)),
    Stage("encode", (), ("data/encode",)),
    Stage("train", ("--seed", "1"), ("data/train/seed-1", "metrics/curves/seed-1.tsv", "metrics/run/seed-1.json")),
    Stage("evaluate", ("--seed", "1"), ("data/evaluate/seed-1", "metrics/seed-1.json")),
    Stage("report", (), ("data/report", "metrics/summary.json")),
)


@dataclass
class Tally:
    """What was tried on a stage, and what did not come out right."""

    kind: str
    stage: str
    tried: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problems: Sequence[str], where: str) -> None:
        """One more try. where: what repeats it."""
        self.tried += 1
        for problem in problems:
            self.problems.append(f"{self.stage}, {self.kind}, {where}: {problem}")
            say(self.problems[-1])


class Workbench:
    """The folder the stages run in, and its snapshots."""

    def __init__(self, base: Path, stages: Sequence[Stage] = STAGES) -> None:
        """Copy the code and run `stages`, which must begin with the first one, for both snapshots."""
        self.work = base / "work"
        self._snapshots = base / "snapshots"
        self._code = base / "code"
        for folder in ("src", "stages"):
            shutil.copytree(ROOT / folder, self._code / folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "params.yaml", self._code)
        self.environment = environment(base) | {
            "PYTHONPATH": os.pathsep.join([str(self._code), str(self._code / "src")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "WORDLAB_CHECKPOINT_SECONDS": "0",  # after every segment
            "WORDLAB_PREFLIGHT": "warn",  # a small disk is to be met, not to be told of in advance
            "PYTHONSAFEPATH": "1",  # or Python itself looks for modules in the folder whose reads fail
        }
        self._warm: WarmStart | None = None
        for name, seed, changes in (("old", 2, EARLIER), ("new", 1, {})):
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir(parents=True)
            write_corpus(self.work / "own.txt", seed)
            self.set_params(changes)
            for stage in stages:
                problems = self.problems(stage, warm=unavailable() is None)
                assert not problems, problems
            shutil.copytree(self.work, self._snapshots / name, symlinks=True)
        self.expected = digests(self._snapshots / "new")

    def close(self) -> None:
        """End the server of warm processes."""
        if self._warm:
            self._warm.close()
            self._warm = None

    def set_params(self, changes: dict[str, Any]) -> None:
        """Write params.yaml: the repository's with the settings above and `changes`."""
        shutil.copy(self._code / "params.yaml", self.work)
        project = Project(self.work, self.environment)
        for key, value in (SETTINGS | changes).items():
            project.set(key, value)

    def run(
        self, stage: Stage, command: Sequence[str] = (), before: Callable[[], None] | None = None
    ) -> tuple[int, str]:
        """Run a stage to its end; its status and what it says, -1 where it does not end. before: in the new process."""
        try:
            done = subprocess.run(
                command or stage.command,
                cwd=self.work,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                preexec_fn=before,
                text=True,
                errors="replace",
                timeout=LIMIT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            return -1, str(error)
        return done.returncode, done.stdout

    def watch(self, stage: Stage, fault: Fault | None = None) -> Watched:
        """Run a stage with its file operations seen, and one of them failed."""
        self._warm = self._warm or WarmStart(self.environment, ROOT)
        try:
            return run_watched(stage.command, self.work, self.work, self.environment, fault, LIMIT_SECONDS, self._warm)
        except TimeoutError as error:
            return Watched(-1, str(error), [], None)

    def problems_after_rerun(self, stage: Stage, warm: bool = False) -> list[str]:
        """Run the stage again, undisturbed; what is not as it should be then. Right: nothing."""
        return self.problems(stage, warm) or [f"differs: {name}" for name in self.mismatches()]

    def problems(self, stage: Stage, warm: bool = False) -> list[str]:
        """Run the stage; why it failed, or nothing. warm: in a process that has imported everything."""
        if warm:
            watched = self.watch(stage)
            status, output = watched.status, watched.output
        else:
            status, output = self.run(stage)
        return [f"a run without a fault ends with status {status}: {output}"] if status else []

    def set_back(self, stage: Stage, outputs: str) -> None:
        """Everything as after the uninterrupted run, but the stage's outputs: absent, old, or new ones."""
        for entry in list(self.work.iterdir()):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        shutil.copytree(self._snapshots / "new", self.work, symlinks=True, dirs_exist_ok=True)
        if outputs == "new":
            return
        for output in stage.outputs:
            _remove(self.work / output)
            if outputs == "old":
                _copy(self._snapshots / "old" / output, self.work / output)

    def half_written(self, stage: Stage) -> list[str]:
        """What a later stage could take for an output, and is neither the old nor the new one; none is right."""
        wrong = []
        for output in stage.outputs:
            if output.startswith((*DIFFER, ".wordlab")):  # a store: its files are checked whenever they are used
                continue
            found = digests(self.work, output)
            snapshots = [digests(self._snapshots / name, output) for name in ("old", "new")]
            if found and found not in snapshots:
                wrong += [f"{output} is neither the old nor the new one: {sorted(found)}"]
        return wrong + incomplete(self.work / "data")

    def mismatches(self) -> list[str]:
        """Files that are not as after the uninterrupted run: other bytes, missing, or left behind."""
        found = digests(self.work)
        names = sorted(name for name in self.expected.keys() | found.keys() if not name.startswith(KEPT))
        return [name for name in names if self.expected.get(name) != found.get(name)]


def digests(root: Path, below: str = ".") -> dict[str, str]:
    """SHA-256 of every file at or below a path, by its path from `root`; of a link, where it leads to."""
    start = root / below
    if start.is_symlink() or start.is_file():
        paths = [start]
    else:
        paths = [Path(folder, name) for folder, folders, names in os.walk(start) for name in (*folders, *names)]
    found = {}
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = "differs" if name.startswith(DIFFER) else sha256_file(path)
    return found


def incomplete(data: Path) -> list[str]:
    """Folders with a manifest that do not hold what it says, temporary ones aside.

    Parts of stages are such: an output that is replaced is removed there, and what is found there is compared first.
    """
    wrong = []
    for manifest in data.rglob(MANIFEST):
        if not any(part.endswith((".tmp", ".parts")) for part in manifest.relative_to(data).parts):
            try:
                read_manifest(manifest.parent, json.loads(manifest.read_bytes())["stage"], verify=True)
            except (ArtifactError, ValueError) as error:
                wrong.append(str(error))
    return wrong


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(source, target, follow_symlinks=False)
