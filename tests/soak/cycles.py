"""The whole pipeline under DVC: a parameter changed, killed and interrupted again and again, run to its end, compared.

What a set of parameters must give is computed without DVC and undisturbed, stage by stage, in a folder of its own.
DVC's record of past runs is deleted before every cycle, so that what changed is computed anew and not fetched.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pipeline_project import PARTS, REPORTS_SPEED, Project, environment, shrink, write_corpus
from tests.soak.workbench import ROOT, digests
from wordlab.stage import say

CHOICES: dict[str, tuple[Any, ...]] = {
    "seeds": ([1], [1, 2]),
    "tokenize.shard_bytes": (16384, 20000),
    "tokenize.tokenizer": ("words", "whitespace"),
    "vocab.min_count": (1, 3),
    "vocab.subsample_t": (0.001, 0.01),
    "model.arch": ("skipgram", "cbow"),
    "model.dim": (8, 12),
    "train.epochs": (2, 1000),
    "evaluate.neighbors_count": (3, 5),
    "report.map_words": (10, 12),
    "run.threads": (1, 2),
    "run.workers": (1, 2),
}
"""Parameter -> its values in the soak; `text` beside them is the number of the corpus."""
TEXTS = (1, 2)
VARIANTS = 24
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("dvc", "stage", "all")
"""Who gets the signal: DVC alone, the stage it runs, or both, as from a keyboard or a scheduler."""
LIMIT_SECONDS = 300.0

Variant = Mapping[str, Any]


@dataclass
class Cycles:
    """What happened. signals: SIGNAL to TARGET -> how often; late: runs that were over before their signal."""

    seed: int
    cycles: int = 0
    signals: dict[str, int] = field(default_factory=dict)
    late: int = 0
    stages_run: dict[str, int] = field(default_factory=dict)
    files_compared: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Pipeline:
    """A project under DVC, and beside it the same code without DVC for what must come out."""

    def __init__(self, base: Path) -> None:
        checkpoints = {"WORDLAB_CHECKPOINT_SECONDS": "0.2"}  # trainings last seconds here
        self.project = Project(base / "project", environment(base) | checkpoints)
        self._plain = base / "plain"
        self._expected: dict[str, dict[str, str]] = {}
        for root in (self.project.root, self._plain):
            copy_pipeline(root)
            write_corpus(root / "own.txt", TEXTS[0])
        shrink(self.project)
        shutil.copy(self.project.root / "params.yaml", self._plain / "params.yaml")
        self.project.run("git", "init", "--quiet")
        self.project.run("git", "add", ".")
        self.project.run("git", "commit", "--quiet", "-m", "start")

    def set(self, variant: Variant, root: Path | None = None) -> None:
        """Write params.yaml and the corpus."""
        project = Project(root or self.project.root, self.project.environment)
        for key, value in variant.items():
            if key == "text":
                write_corpus(project.root / "own.txt", value)
            else:
                project.set(key, value)

    def expected(self, variant: Variant) -> dict[str, str]:
        """Digests of the results of an undisturbed run without DVC."""
        key = str(sorted(variant.items()))
        if key not in self._expected:
            for folder in ("data", "metrics", ".wordlab"):
                shutil.rmtree(self._plain / folder, ignore_errors=True)
            self.set(variant, self._plain)
            plain = Project(self._plain, self.project.environment)
            for stage in stages_of(variant):
                plain.run("python", "-m", *stage)
            self._expected[key] = results(self._plain)
        return self._expected[key]

    def forget_runs(self) -> None:
        """Delete DVC's record of past runs, so that it repeats them."""
        shutil.rmtree(self.project.root / ".dvc/cache/runs", ignore_errors=True)

    def forget_all(self) -> None:
        """Back to a fresh clone."""
        self.project.run("git", "reset", "--quiet", "--hard")
        self.project.run("git", "clean", "--quiet", "-d", "-x", "--force")
        write_corpus(self.project.root / "own.txt", TEXTS[0])

    def interrupt(self, draw: random.Random, seconds: float, number: int, target: str) -> bool:
        """Start `dvc repro` and send a signal after `seconds`; False if it was over by then."""
        with (self.project.root.parent / "interrupted.txt").open("w") as log:
            running = subprocess.Popen(
                ["dvc", "repro"],
                cwd=self.project.root,
                env=self.project.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(seconds)
            early = running.poll() is None
            with contextlib.suppress(ProcessLookupError):
                if target == "all":
                    os.killpg(running.pid, number)
                else:
                    stages = list(processes_of(self.project.root)) if target == "stage" else []
                    os.kill(draw.choice(stages) if stages else running.pid, number)
            try:
                running.wait(LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                raise
        until = time.monotonic() + 60
        while list(processes_of(self.project.root)):
            assert time.monotonic() < until, "a stage lives on a minute after DVC has ended"
            time.sleep(0.02)
        return early

    def finish(self, variant: Variant) -> tuple[list[str], list[str]]:
        """Run to the end; the stages that ran, and what differs from what must come out."""
        log = self.project.root.parent / "finish.txt"
        with log.open("w") as output:
            done = subprocess.run(
                ["dvc", "repro"],
                cwd=self.project.root,
                env=self.project.environment,
                stdout=output,
                stderr=output,
                timeout=LIMIT_SECONDS,
            )
        text = log.read_text(errors="replace")
        if done.returncode:
            return [], [f"dvc repro fails: {text}"]
        ran = [line.split("'")[1] for line in text.splitlines() if line.startswith("Running stage")]
        found, expected = results(self.project.root), self.expected(variant)
        names = sorted(name for name in found.keys() | expected.keys() if not of_another_seed(name, variant))
        return ran, [f"differs: {name}" for name in names if found.get(name) != expected.get(name)]


def copy_pipeline(root: Path) -> None:
    """The repository's files that make the pipeline, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if name.startswith(PARTS) and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)


def stages_of(variant: Variant) -> Iterator[tuple[str, ...]]:
    """All stages in their order, as `python -m` takes them."""
    for name in ("download", "tokenize", "vocab", "encode"):
        yield (f"stages.{name}",)
    for name in ("train", "evaluate"):
        for seed in variant["seeds"]:
            yield (f"stages.{name}", "--seed", str(seed))
    yield ("stages.report",)


def results(root: Path) -> dict[str, str]:
    """Digests of all that a run promises to repeat, and of what lies in .wordlab, downloads and compiled code aside.

    Links are compared by whether they are links: each project has a place of its own.
    """
    found = {}
    for top in ("data", "metrics", ".wordlab"):
        if (root / top).is_dir():
            found |= digests(root, top)
    kept = {
        name: value for name, value in found.items() if not name.startswith((".wordlab/downloads", ".wordlab/numba"))
    }
    for name, value in kept.items():
        if name.startswith(REPORTS_SPEED):
            kept[name] = "reports speed"
        elif value.startswith("link to "):
            kept[name] = "a link"
    # an empty folder is no result, and DVC leaves .gitignore files beside its outputs
    return {
        name: value for name, value in kept.items() if value != "folder" and not name.endswith(("/.gitignore", ".lock"))
    }


def of_another_seed(name: str, variant: Variant) -> bool:
    """Whether a file is of a seed that is no longer asked for: DVC leaves the outputs of stages that are gone."""
    seed = re.search(r"/seed-(\d+)[./]", name)
    return seed is not None and int(seed[1]) not in variant["seeds"]


def processes_of(folder: Path) -> Iterator[int]:
    """Stages, and their workers, that run with this folder as their own."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if (process / "cwd").resolve() == folder and (b"stages." in command or b"multiprocessing" in command):
                yield int(process.name)


def draw_variants(draw: random.Random) -> list[dict[str, Any]]:
    """Sets of parameters for the soak; each differs from the one before in one to three values."""
    variant: dict[str, Any] = {key: values[0] for key, values in CHOICES.items()} | {"text": TEXTS[0]}
    variants = [variant]
    while len(variants) < VARIANTS:
        variant = dict(variant)
        for key in draw.sample([*CHOICES, "text"], draw.randint(1, 3)):
            values = CHOICES.get(key, TEXTS)
            variant[key] = draw.choice([value for value in values if value != variant[key]])
        variants.append(variant)
    return variants


def run_cycles(base: Path, seed: int, seconds: float) -> Cycles:
    """Cycles until the time is over: another set of parameters, up to four interruptions, run to the end, compare."""
    draw = random.Random(seed)
    pipeline, variants, done = Pipeline(base), draw_variants(draw), Cycles(seed)
    started = time.monotonic()
    typical_seconds = 15.0
    while time.monotonic() - started < seconds:
        variant = draw.choice(variants)
        pipeline.set(variant)
        pipeline.forget_runs()
        ran: list[str] = []
        try:
            for _ in range(draw.randint(1, 4)):
                number, target = draw.choice(SIGNALS), draw.choice(TARGETS)
                if pipeline.interrupt(draw, draw.uniform(0.3, typical_seconds), number, target):
                    _count(done.signals, f"{number.name} to {target}")
                else:
                    done.late += 1
            begun = time.monotonic()
            ran, problems = pipeline.finish(variant)
            typical_seconds = max(5.0, 0.8 * typical_seconds + 0.2 * 2 * (time.monotonic() - begun))
        except (AssertionError, subprocess.TimeoutExpired) as error:
            problems = [str(error)]
        _note(done, ran, problems, variant, len(pipeline.expected(variant)))
        done.seconds = time.monotonic() - started
    return done


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def kill_pipeline(base: Path, points: int, seed: int) -> Cycles:
    """SIGKILL to DVC at random moments of a first run, from a fresh clone; each time run to the end and compared."""
    draw = random.Random(seed)
    pipeline, done = Pipeline(base), Cycles(seed)
    variant: dict[str, Any] = {key: values[0] for key, values in CHOICES.items()} | {"text": TEXTS[0]}
    variant |= {"seeds": [1, 2], "train.epochs": 1000}
    started = time.monotonic()
    pipeline.set(variant)
    begun = time.monotonic()
    ran, problems = pipeline.finish(variant)
    whole_seconds = time.monotonic() - begun
    assert ran and not problems, problems
    while done.cycles < points:
        pipeline.forget_all()
        pipeline.set(variant)
        if not pipeline.interrupt(draw, draw.uniform(1, whole_seconds), signal.SIGKILL, "dvc"):
            done.late += 1
            continue
        _count(done.signals, "SIGKILL to dvc")
        ran, problems = pipeline.finish(variant)
        _note(done, ran, problems, variant, len(pipeline.expected(variant)))
    done.seconds = time.monotonic() - started
    return done


def _note(done: Cycles, ran: list[str], problems: list[str], variant: Variant, files: int) -> None:
    done.cycles += 1
    for stage in ran:
        _count(done.stages_run, stage.partition("@")[0])
    done.files_compared += files
    for problem in problems:
        done.problems.append(f"cycle {done.cycles} of seed {done.seed}, {dict(variant)}: {problem}")
        say(done.problems[-1])
    say(f"cycle {done.cycles}: {sum(done.signals.values())} signals, {len(done.problems)} problems")
