"""How fast files of vectors are read and written, beside gensim: word2vec's text and binary format, fastText's .bin.

Both read the same file, from memory, since it has just been written; both write to the same disk, and neither waits for
it. The words and vectors are made here, from a seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.jobs import run_worker
from benchmarks.targets import Median, Target
from wordlab.embeddings import Embeddings
from wordlab.ngrams import Ngrams
from wordlab.stage import say
from wordlab.subword_vectors import SubwordVectors

NUM_WORDS, DIM = 100_000, 200
NGRAMS = Ngrams(3, 6, 200_000)
LETTERS = np.frombuffer(b"etaoinshrdlcumwfgypbvkjxqz", np.uint8)
LEAST_MB_A_SECOND = {"binary": 300, "text": 30}
"""Of reading and of writing, by the clock and per CPU-second."""
FORMS = {"text": "word2vec text", "binary": "word2vec binary", "fasttext": "fastText .bin"}


@dataclass(frozen=True)
class Task:
    """One line of the table."""

    form: str
    action: str
    """load or save."""
    program: str

    @property
    def name(self) -> str:
        return f"{FORMS[self.form]}, {self.action}, {self.program}"


TASKS = [
    *(
        Task(form, action, who)
        for form in ("text", "binary")
        for action in ("load", "save")
        for who in ("ours", "gensim")
    ),
    *(Task("fasttext", "load", "ours"), Task("fasttext", "load", "gensim"), Task("fasttext", "save", "ours")),
]


def make_model(num_words: int, dim: int) -> Embeddings:
    """Words of letters as frequent as in English, and vectors as long as trained ones, with n-grams' rows."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 12, num_words)
    frequency = 1 / np.arange(1, len(LETTERS) + 1)
    letters = rng.choice(LETTERS, lengths.sum(), p=frequency / frequency.sum()).tobytes().decode()
    stops = np.cumsum(lengths)
    words = [f"{letters[stop - n : stop]}{i}" for i, (stop, n) in enumerate(zip(stops, lengths, strict=True))]

    def rows(number: int) -> NDArray[np.float32]:
        return rng.standard_normal((number, dim), np.float32) * np.float32(0.2)

    buckets = np.unique(NGRAMS.of_words(pa.array(words, pa.large_string())).bucket)
    subwords = SubwordVectors(ngrams=NGRAMS, word_rows=rows(num_words), buckets=buckets, rows=rows(len(buckets)))
    return Embeddings(words, rows(num_words), counts=np.arange(num_words, 0, -1), subwords=subwords)


def run_rounds(scratch: Path, rounds: int) -> list[dict[str, dict[str, Any]]]:
    """All tasks `rounds` times, each in a fresh process, after the files that are read have been written."""
    folder = scratch / "formats"
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(NUM_WORDS, DIM)
    model.save(folder / "model", "safetensors")
    for form in FORMS:
        model.save(folder / f"load-{form}", form)
    del model
    measured = []
    try:
        for number in range(rounds):
            first = number * 4 % len(TASKS)
            found = {task.name: _run(task, folder) for task in (*TASKS[first:], *TASKS[:first])}
            for name, one in found.items():
                rate = one["size_bytes"] / 1e6 / one["wall_seconds"]
                say(f"round {number + 1} of {rounds}, {name}: {rate:.0f} MB/s, {one['cpu_seconds']:.2f} CPU s")
            measured.append(found)
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    return measured


def _run(task: Task, folder: Path) -> dict[str, Any]:
    path = folder / f"{task.action}-{task.form}"
    spec = {**dataclasses.asdict(task), "path": path.absolute(), "model": (folder / "model").absolute()}
    return run_worker("format", spec)


def summarize(rounds: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Medians, targets, table, and every single measurement. JSON."""

    def over(task: Task, key: str) -> list[float]:
        return [found[task.name][key] for found in rounds]

    rows, targets = [], []
    for task in TASKS:
        sizes, wall, cpu = over(task, "size_bytes"), over(task, "wall_seconds"), over(task, "cpu_seconds")
        by_clock = Median.of([size / 1e6 / seconds for size, seconds in zip(sizes, wall, strict=True)])
        per_cpu = Median.of([size / 1e6 / seconds for size, seconds in zip(sizes, cpu, strict=True)])
        other = dataclasses.replace(task, program="gensim")
        ratios = (None, None)
        if task.program == "ours" and other in TASKS:
            ratios = tuple(
                Median.of([b / a for a, b in zip(over(task, key), over(other, key), strict=True)])
                for key in ("wall_seconds", "cpu_seconds")
            )
            targets += _targets(task, by_clock, per_cpu, *ratios)
        shown = [ratio.median if ratio else None for ratio in ratios]
        seconds = [Median.of(values).median for values in (wall, cpu)]
        rows.append([task.name, sizes[0] / 1e6, *seconds, by_clock.median, per_cpu.median, *shown])
    columns = ["", "MB", "seconds", "CPU seconds", "MB/s", "MB per CPU-second", "gensim's time / ours", "in CPU time"]
    note = (
        f"Medians of {len(rounds)} interleaved rounds, each measurement in a fresh process; ratios are taken round by "
        "round. gensim writes no .bin from vectors alone."
    )
    return {
        "targets": [dataclasses.asdict(target) for target in targets],
        "tables": [{"title": None, "columns": columns, "rows": rows, "note": note}],
        "rounds": list(rounds),
    }


def _targets(task: Task, by_clock: Median, per_cpu: Median, wall: Median, cpu: Median) -> list[Target]:
    """What a task of ours must reach: a speed, and to be faster than gensim, by the clock and in CPU time."""
    name = f"{FORMS[task.form]}, {task.action}"
    found = [
        Target(
            f"{name}: faster than gensim",
            "more than 1, by the clock and in CPU time",
            f"{wall.median:.1f} and {cpu.median:.1f} times",
            min(wall.median, cpu.median) > 1,
        )
    ]
    if task.form in LEAST_MB_A_SECOND:
        least = LEAST_MB_A_SECOND[task.form]
        found.append(
            Target(
                name,
                f"at least {least} MB/s, by the clock and per CPU-second",
                f"{by_clock.median:.0f} and {per_cpu.median:.0f}",
                min(by_clock.median, per_cpu.median) >= least,
            )
        )
    return found
