"""How fast text becomes encoded shards: the raw corpus, and plain text beside gensim's vocabulary pass.

The raw corpus is what a user waits for: the clock runs while worker processes start, too. Plain text is about the work
per byte: one process, compiled functions loaded before the timer starts, as for gensim's count.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpus import token_text
from benchmarks.jobs import run_worker
from benchmarks.targets import Median, Target
from wordlab.config import Params
from wordlab.rawtext import corpus_files
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.stage import available_cores, say

WORKERS = 2
"""Processes for the raw corpus."""
WARM_UP_BYTES = 1_000_000
"""Of plain text."""
MOST_SECONDS, PER_BYTES = 60, 100_000_000
"""The raw corpus must be done in this time, for each so many bytes of it (enwik8 has exactly these)."""
MB_PER_CPU_SECOND = 60
"""Plain text, at least."""
RAW = "raw corpus to encoded shards"
PLAIN = "plain text to encoded shards"
GENSIM = "plain text, gensim's vocabulary pass alone"


@dataclass(frozen=True)
class Task:
    """One line of the table."""

    kind: str
    """Key of preprocessing_run.WORK."""
    size_bytes: int
    spec: dict[str, Any]


def make_tasks(download: Path, tokenize: Path, scratch: Path, params: Params) -> dict[str, Task]:
    """The three tasks. Raises ArtifactError where the pipeline has not run."""
    raw = [file.path.absolute() for file in corpus_files(download, download.parent / "source")]
    text = token_text(tokenize, scratch)
    lines = dataclasses.replace(
        params.tokenize, normalizer="plain", tokenizer="whitespace", lowercase=False, sentences="lines"
    )

    def encode(files: Sequence[Path], config: TokenizeConfig, workers: int, warm_up_bytes: int) -> Task:
        spec = {
            "files": list(files),
            "tokenize": dataclasses.asdict(config),
            "vocab": dataclasses.asdict(params.vocab),
            "encode": dataclasses.asdict(params.encode),
            "workers": workers,
            "warm_up_bytes": warm_up_bytes,
        }
        return Task("encode", sum(file.stat().st_size for file in files), spec)

    count = {"text": text, "min_count": params.vocab.min_count}
    return {
        RAW: encode(raw, params.tokenize, min(WORKERS, available_cores()), 0),
        PLAIN: encode([text], lines, 1, WARM_UP_BYTES),
        GENSIM: Task("count", text.stat().st_size, count),
    }


def run_rounds(tasks: dict[str, Task], scratch: Path, rounds: int) -> list[dict[str, dict[str, Any]]]:
    """Run all tasks `rounds` times, each in a fresh process, after one run of ours that does not count.

    That one compiles what numba has not compiled yet and brings the files into memory.
    """
    _run(tasks[RAW], scratch)
    measured = []
    for number in range(rounds):
        names = list(tasks)[number % len(tasks) :] + list(tasks)[: number % len(tasks)]
        found = {name: _run(tasks[name], scratch) for name in names}
        for name, one in found.items():
            say(f"round {number + 1} of {rounds}, {name}: {one['wall_seconds']:.1f} s, {one['cpu_seconds']:.1f} CPU s")
        measured.append(found)
    return measured


def _run(task: Task, scratch: Path) -> dict[str, Any]:
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="encoded-") as out:
        return run_worker(task.kind, {**task.spec, "out": Path(out).absolute()})


def summarize(tasks: dict[str, Task], rounds: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Medians, targets, table, and every single measurement. JSON."""
    wall, cpu, rate = {}, {}, {}
    for name, task in tasks.items():
        wall[name] = Median.of([r[name]["wall_seconds"] for r in rounds])
        cpu[name] = Median.of([r[name]["cpu_seconds"] for r in rounds])
        rate[name] = Median.of([task.size_bytes / 1e6 / r[name]["cpu_seconds"] for r in rounds])
    seconds = wall[RAW].median * PER_BYTES / tasks[RAW].size_bytes
    workers = tasks[RAW].spec["workers"]
    targets = [
        Target(
            f"{RAW}, {workers} processes",
            f"under {MOST_SECONDS} s for each 100 MB",
            f"{seconds:.1f} s",
            seconds < MOST_SECONDS,
        ),
        Target(
            f"{PLAIN}, whitespace tokenizer",
            f"at least {MB_PER_CPU_SECOND} MB per CPU-second",
            f"{rate[PLAIN].median:.1f}",
            rate[PLAIN].median >= MB_PER_CPU_SECOND,
        ),
    ]
    rows = [
        [name, task.size_bytes / 1e6, wall[name].median, cpu[name].median, rate[name].median]
        for name, task in tasks.items()
    ]
    columns = ["", "MB", "seconds", "CPU seconds", "MB per CPU-second"]
    note = f"Medians of {len(rounds)} rounds. Raw: in {workers} processes, their start included; plain: in one."
    return {
        "workers": workers,
        "tokenize": {name: task.spec.get("tokenize") for name, task in tasks.items() if task.kind == "encode"},
        "size_bytes": {name: task.size_bytes for name, task in tasks.items()},
        "wall_seconds": {name: dataclasses.asdict(m) for name, m in wall.items()},
        "cpu_seconds": {name: dataclasses.asdict(m) for name, m in cpu.items()},
        "mb_per_cpu_second": {name: dataclasses.asdict(m) for name, m in rate.items()},
        "targets": [dataclasses.asdict(target) for target in targets],
        "tables": [{"title": None, "columns": columns, "rows": rows, "note": note}],
        "rounds": list(rounds),
    }
