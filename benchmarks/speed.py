"""How fast, beside gensim and beside a racing engine: interleaved rounds on the same encoded corpus.

A round runs every program once, each in a fresh process; the next round begins with another program. Ratios are taken
within a round, so that what slows the machine for a while slows both sides of a ratio; their median counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.corpus import BenchCorpus
from benchmarks.jobs import Measured, ProgramName, make_job, run_together
from benchmarks.targets import Median, Target
from wordlab.config import Params
from wordlab.machine import cpu_model
from wordlab.stage import available_cores, say


@dataclass(frozen=True)
class Program:
    """One line of the table."""

    program: ProgramName
    arch: Literal["skipgram", "cbow"]
    threads: int
    epochs: int
    """gensim reads the corpus once: a pass takes it longer than two passes take the others."""
    copies: int = 1
    """Processes that run at once."""

    @property
    def name(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.program} {self.arch}, {f'{self.copies} processes of ' if self.copies > 1 else ''}{threads}"


PROGRAMS = (
    *(Program("ours", arch, threads, 2) for arch in ("skipgram", "cbow") for threads in (1, 2)),
    *(Program("gensim", arch, threads, 1) for arch in ("skipgram", "cbow") for threads in (1, 2)),
    *(Program("racing", "skipgram", threads, 2) for threads in (1, 2)),
    Program("ours", "skipgram", 1, 2, copies=2),
)
ONE_THREAD = "ours skipgram, 1 thread"
WORDS_PER_CPU_SECOND = 2.5e6
"""Raw words, skip-gram on one thread, at least."""


@dataclass(frozen=True)
class Ratio:
    """Two programs' words a second, the one divided by the other, and what must come out."""

    name: str
    above: str
    below: str
    bound: float
    at_most: bool = False
    in_cpu_time_too: bool = False

    def met(self, wall: float, cpu: float) -> bool:
        """Whether the bound holds, by the clock and, where wanted, in CPU time."""
        times = [wall, cpu] if self.in_cpu_time_too else [wall]
        return max(times) <= self.bound if self.at_most else min(times) >= self.bound

    @property
    def wanted(self) -> str:
        where = "by the clock and in CPU time" if self.in_cpu_time_too else "by the clock"
        return f"at {'most' if self.at_most else 'least'} {self.bound:g} {where}"


RATIOS = (
    *(
        Ratio(
            f"{arch} on {threads}: ours / gensim",
            f"ours {arch}, {threads}",
            f"gensim {arch}, {threads}",
            bound,
            in_cpu_time_too=True,
        )
        for arch, bound in (("skipgram", 8.0), ("cbow", 3.0))
        for threads in ("1 thread", "2 threads")
    ),
    Ratio(
        "skipgram: 2 threads / 2 processes", "ours skipgram, 2 threads", "ours skipgram, 2 processes of 1 thread", 0.85
    ),
    *(
        Ratio(
            f"skipgram on {threads}: our time / racing time",
            f"racing skipgram, {threads}",
            f"ours skipgram, {threads}",
            1.3,
            at_most=True,
        )
        for threads in ("1 thread", "2 threads")
    ),
)

Round = Mapping[str, list[Measured]]
"""Program's name -> one measurement for each of its processes."""


def run_rounds(corpus: BenchCorpus, text: Path, params: Params, rounds: int) -> list[dict[str, list[Measured]]]:
    """Run all programs that this machine has cores for, `rounds` times."""
    programs = [p for p in PROGRAMS if p.threads * p.copies <= available_cores()]
    measured = []
    for number in range(rounds):
        first = number % len(programs)
        found = {}
        for program in [*programs[first:], *programs[:first]]:
            how: dict[str, Any] = {"threads": program.threads, "seed": 1, "epochs": program.epochs}
            job = make_job(program.program, program.arch, params, corpus, text, **how)
            found[program.name] = run_together([job] * program.copies)
            say(f"round {number + 1} of {rounds}, {program.name}: {words_per_second(found[program.name]):,.0f} words/s")
        measured.append(found)
    return measured


def words_per_second(runs: Sequence[Measured]) -> float:
    """Raw words a second of wall time; of several processes the sum of their own speeds."""
    return sum(run.raw_words / run.wall_seconds for run in runs)


def words_per_cpu_second(runs: Sequence[Measured]) -> float:
    """Raw words a second of CPU time."""
    return sum(run.raw_words for run in runs) / sum(run.cpu_seconds for run in runs)


def trained_words_per_second(runs: Sequence[Measured]) -> float:
    """Words that survived subsampling, a second of wall time."""
    return sum(run.trained_words / run.wall_seconds for run in runs)


FIGURES = {
    "raw_words_per_second": words_per_second,
    "raw_words_per_cpu_second": words_per_cpu_second,
    "trained_words_per_second": trained_words_per_second,
}


def summarize(rounds: Sequence[Round], params: Params) -> dict[str, Any]:
    """Medians, ratios, targets, tables, and every single measurement. JSON."""
    programs = {
        name: {
            **{figure: Median.of([of(r[name]) for r in rounds]) for figure, of in FIGURES.items()},
            "peak_memory_bytes": max(run.peak_memory_bytes for r in rounds for run in r[name]),
        }
        for name in rounds[0]
    }
    found = ratios(rounds)
    targets = list(_targets(programs, found))
    result = {
        "model": {name: value for name, value in dataclasses.asdict(params.model).items() if name != "arch"},
        "train": dataclasses.asdict(params.train),
        "subsample_t": params.vocab.subsample_t,
        "epochs": {p.name: p.epochs for p in PROGRAMS if p.name in programs},
        "programs": programs,
        "ratios": found,
        "targets": targets,
        "tables": [_programs_table(programs, len(rounds), params), _ratios_table(found)],
        "rounds": [dict(r) for r in rounds],
    }
    return as_plain(result)


def ratios(rounds: Sequence[Round]) -> dict[str, dict[str, Median]]:
    """Name of a ratio -> its wall-clock and CPU-time values over rounds; only those whose programs have run."""
    return {
        ratio.name: {
            "wall": Median.of([words_per_second(r[ratio.above]) / words_per_second(r[ratio.below]) for r in rounds]),
            "cpu": Median.of(
                [words_per_cpu_second(r[ratio.above]) / words_per_cpu_second(r[ratio.below]) for r in rounds]
            ),
        }
        for ratio in RATIOS
        if ratio.above in rounds[0] and ratio.below in rounds[0]
    }


def _targets(programs: Mapping[str, Any], found: Mapping[str, Mapping[str, Median]]) -> Iterator[Target]:
    for ratio in RATIOS:
        if ratio.name not in found:
            yield Target(ratio.name, ratio.wanted, "not measured: it takes two cores", False)
            continue
        wall, cpu = (found[ratio.name][time].median for time in ("wall", "cpu"))
        yield Target(ratio.name, ratio.wanted, f"{wall:.2f} by the clock, {cpu:.2f} in CPU time", ratio.met(wall, cpu))
    speed = programs[ONE_THREAD]["raw_words_per_cpu_second"].median
    yield Target(
        f"{ONE_THREAD}: raw words per CPU-second",
        f"at least {WORDS_PER_CPU_SECOND / 1e6:g} M",
        f"{speed / 1e6:.2f} M",
        speed >= WORDS_PER_CPU_SECOND,
    )


def _programs_table(programs: Mapping[str, Any], rounds: int, params: Params) -> dict[str, Any]:
    model = params.model
    note = (
        f"Medians of {rounds} interleaved rounds on {cpu_model()}, {available_cores()} cores; {model.dim} dimensions, "
        f"window {model.window}, {model.negatives} negatives, subsampling {params.vocab.subsample_t:g}. Raw words are "
        "those of the vocabulary before subsampling, trained words those that survive it. The timers enclose training "
        "alone."
    )
    rows = []
    for name, figures in programs.items():
        wall, cpu, trained = (figures[figure] for figure in FIGURES)
        spread = f"{wall.low / 1e6:.2f}–{wall.high / 1e6:.2f}"
        memory = round(figures["peak_memory_bytes"] / 1e6)
        rows.append([name, wall.median / 1e6, spread, cpu.median / 1e6, trained.median / 1e6, memory])
    columns = ["M words a second", "raw, by the clock", "range", "raw, per CPU-second", "trained, by the clock", "MB"]
    return {"title": None, "columns": columns, "rows": rows, "note": note}


def _ratios_table(found: Mapping[str, Mapping[str, Median]]) -> dict[str, Any]:
    rows = [
        [name, *(cell for m in (r["wall"], r["cpu"]) for cell in (m.median, f"{m.low:.2f}–{m.high:.2f}"))]
        for name, r in found.items()
    ]
    columns = ["ratio", "by the clock", "range", "CPU time", "range"]
    note = "Ratios are taken round by round; their medians are shown. Racing: the prototype, without determinism."
    return {"title": None, "columns": columns, "rows": rows, "note": note}


def as_plain(value: Any) -> Any:
    """Dataclasses -> dicts, all the way down."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    return value
