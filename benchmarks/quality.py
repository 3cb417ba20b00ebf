"""Are our vectors as good as gensim's? Ten seeds each on the same encoded corpus, one evaluator, one interval a score.

gensim runs at each of two learning rates with the first seeds; the rate with the better mean on analogies gets all of
them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.corpus import BenchCorpus
from benchmarks.jobs import ARCHITECTURES, Job, make_job
from benchmarks.models import Evaluator, scored
from benchmarks.targets import Target
from wordlab.config import Params
from wordlab.differences import Difference, welch_difference
from wordlab.stage import say
from wordlab.statistics import spread

GENSIM_RATES = (0.025, 0.05)
RATE_SEEDS = 3
"""Seeds that decide between gensim's learning rates."""
ANALOGIES = "google_analogy"
MARGINS = {ANALOGIES: 1.0, "wordsim353": 0.01, "simlex999": 0.01}
"""Score -> how much worse ours may be at most, at the lower end of the interval: points of accuracy, and ρ."""
BETTER_ON = 2
"""Of these scores, on how many skip-gram must be better beyond doubt."""
SHOWN = {ANALOGIES: "analogies", "wordsim353": "WordSim-353", "simlex999": "SimLex-999", "men": "MEN"}

Arch = Literal["skipgram", "cbow"]
Runs = dict[int, dict[str, Any]]
"""Seed -> scores and training of one model (models.scored)."""


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Everything a model of this benchmark is made with."""

    params: Params
    corpus: BenchCorpus
    text: Path
    evaluator: Evaluator
    scratch: Path
    processes: int
    """Models trained at a time, each on one thread in a process of its own."""

    def runs(self, program: Literal["ours", "gensim"], arch: Arch, lr: float | None, seeds: Sequence[int]) -> Runs:
        """Train, or take from the scratch folder, one model a seed."""
        jobs = [
            make_job(program, arch, self.params, self.corpus, self.text, threads=1, seed=seed, lr=lr) for seed in seeds
        ]
        pool = ThreadPoolExecutor(self.processes)
        try:
            return dict(zip(seeds, pool.map(self._run, jobs), strict=True))
        finally:  # where one fails, the others are not begun
            pool.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> dict[str, Any]:
        found = scored(job, self.corpus.fingerprint, self.corpus.data.vocab.words, self.scratch, self.evaluator)
        shown = ", ".join(f"{SHOWN[name]} {found['scores'].get(name)}" for name in SHOWN)
        took = found["training"]
        say(
            f"{job.program} {job.model.arch} lr {job.lr:g} seed {job.seed}: {shown} "
            f"({took['wall_seconds']:.0f} s, {took['cpu_seconds']:.0f} CPU s)"
        )
        return found


def train_gensim(trainer: Trainer, seeds: Sequence[int]) -> dict[Arch, dict[float, Runs]]:
    """All of gensim's models: both rates on the first seeds, then the better one of each architecture on all."""
    first = seeds[:RATE_SEEDS]
    runs: dict[Arch, dict[float, Runs]] = {
        arch: {lr: trainer.runs("gensim", arch, lr, first) for lr in GENSIM_RATES} for arch in ARCHITECTURES
    }
    for arch, by_rate in runs.items():
        lr = better_rate(by_rate, first)
        by_rate[lr] |= trainer.runs("gensim", arch, lr, seeds)
    return runs


def better_rate(by_rate: Mapping[float, Runs], seeds: Sequence[int]) -> float:
    """The learning rate with the higher mean on analogies over `seeds`; the lower rate where there is none or a tie."""

    def mean(lr: float) -> float:
        value = spread([by_rate[lr][seed]["scores"].get(ANALOGIES) for seed in seeds]).mean
        return -1.0 if value is None else value

    return max(sorted(by_rate), key=mean)


def train_ours(trainer: Trainer, seeds: Sequence[int]) -> dict[Arch, Runs]:
    """All of our models, with the values of params.yaml."""
    return {arch: trainer.runs("ours", arch, None, seeds) for arch in ARCHITECTURES}


def compare(
    ours: Mapping[Arch, Runs], gensim: Mapping[Arch, Mapping[float, Runs]], seeds: Sequence[int], params: Params
) -> dict[str, Any]:
    """The results: spread of every score, differences with intervals, targets, tables. JSON."""
    result: dict[str, Any] = {"architectures": {}, "targets": [], "tables": []}
    for arch in ARCHITECTURES:
        lr = better_rate(gensim[arch], seeds[:RATE_SEEDS])
        programs = {f"ours, lr {getattr(params.train.lr, arch):g}": ours[arch]}
        programs |= {f"gensim, lr {rate:g}": gensim[arch][rate] for rate in sorted(gensim[arch], key=lambda r: r != lr)}
        found = {
            name: welch_difference(values(ours[arch], name), values(gensim[arch][lr], name))
            for name in score_names(ours[arch])
        }
        result["architectures"][arch] = {
            "gensim_lr": lr,
            "programs": {program: _described(runs) for program, runs in programs.items()},
            "differences": {name: d and dataclasses.asdict(d) for name, d in found.items()},
        }
        targets = list(_targets(arch, found))
        result["targets"] += [dataclasses.asdict(target) for target in targets]
        result["tables"] += [_scores_table(arch, programs), _differences_table(arch, found, lr)]
    return result


def score_names(runs: Runs) -> list[str]:
    return list(next(iter(runs.values()))["scores"])


def values(runs: Runs, score: str) -> list[float]:
    """Values of a score, seed by seed, where there is one."""
    found = [run["scores"].get(score) for run in runs.values()]
    return [value for value in found if value is not None]


def _described(runs: Runs) -> dict[str, Any]:
    by_score = {name: dataclasses.asdict(spread(values(runs, name))) for name in score_names(runs)}
    return {"spread": by_score, "seeds": {str(seed): run for seed, run in runs.items()}}


def _targets(arch: Arch, found: Mapping[str, Difference | None]) -> Iterator[Target]:
    for name, margin in MARGINS.items():
        d = found.get(name)
        yield Target(
            f"{arch}: {SHOWN[name]}, ours − gensim",
            f"lower 95 % bound above −{margin:g}",
            "not measured: the set is absent" if d is None else f"{d.mean:+.3g}, from {d.low:+.3g} to {d.high:+.3g}",
            d is not None and d.low > -margin,
        )
    if arch == "skipgram":
        better = [SHOWN[name] for name in MARGINS if (d := found.get(name)) is not None and d.low > 0]
        yield Target(
            f"{arch}: better than gensim",
            f"lower 95 % bound above 0 on {BETTER_ON} of {len(MARGINS)}",
            ", ".join(better) or "none",
            len(better) >= BETTER_ON,
        )


def _scores_table(arch: Arch, programs: Mapping[str, Runs]) -> dict[str, Any]:
    rows = []
    for program, runs in programs.items():
        cells = [_cell(values(runs, name), "{:.1f}" if name == ANALOGIES else "{:.3f}") for name in SHOWN]
        rows.append([program, len(runs), *cells])
    return {
        "title": f"**{arch}**, mean ± sd over seeds",
        "columns": ["program", "seeds", *SHOWN.values()],
        "rows": rows,
        "note": None,
    }


def _cell(numbers: Sequence[float], form: str) -> str | None:
    found = spread(numbers)
    if found.mean is None:
        return None
    return form.format(found.mean) + ("" if found.sd is None else f" ± {form.format(found.sd)}")


def _differences_table(arch: Arch, found: Mapping[str, Difference | None], lr: float) -> dict[str, Any]:
    rows = []
    for name, shown in SHOWN.items():
        d = found.get(name)
        if d is not None:
            mean, low, high = (f"{number:+.{2 if name == ANALOGIES else 4}f}" for number in (d.mean, d.low, d.high))
            rows.append([shown, mean, f"{low} to {high}"])
    return {
        "title": f"**{arch}**, ours − gensim at its better learning rate, {lr:g}",
        "columns": ["score", "difference", "95 % interval (Welch)"],
        "rows": rows,
        "note": None,
    }
