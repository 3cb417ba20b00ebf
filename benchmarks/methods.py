"""Subwords beside fastText, hierarchical softmax beside gensim, sent2vec: speed in rounds, and quality over seeds.

fastText is required: without it the benchmark ends, rather than leave the comparison out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.corpus import BenchCorpus
from benchmarks.jobs import Arch, Measured, ProgramName, make_job, run_together
from benchmarks.models import Evaluator, scored
from benchmarks.speed import Round, as_plain, words_per_cpu_second, words_per_second
from benchmarks.targets import Median, Target
from wordlab.config import Params
from wordlab.differences import Difference, welch_difference
from wordlab.machine import cpu_model
from wordlab.sections.model import Sent2vecConfig, SubwordsConfig
from wordlab.stage import say
from wordlab.statistics import spread

NGRAMS = SubwordsConfig(units="characters", min_n=3, max_n=6, buckets=2_000_000)
"""fastText's own defaults."""
SUBWORDS, TREE = {"subwords": NGRAMS}, {"objective": "hs"}
WORD_NGRAMS = {"word_ngrams": 2, "dropout": 2, "buckets": 2_000_000}
"""Pairs of words, and what the program of sent2vec's authors has for them where nothing else is said."""
SUBWORD_RATE, SUBWORD_DAMPING = 0.05, 0.3
"""Ours with subwords: both lower than for words alone (docs/LOG.md)."""
FASTTEXT_RATE = 0.05
"""fastText's default for vectors of words."""
FASTTEXT_THREADS = 10
"""fastText 0.9.3 lets each thread draw a tenth of the rows that training starts from; with fewer, the others are 0."""


@dataclass(frozen=True)
class Method:
    """One line of the tables: a program with values of the section `model`."""

    name: str
    program: ProgramName
    arch: Arch
    model: Mapping[str, Any] = field(default_factory=dict)
    lr: float | None = None
    damping: float | None = None


PLAIN = Method("ours skipgram", "ours", "skipgram")
OURS = Method("ours skipgram, subwords", "ours", "skipgram", SUBWORDS, SUBWORD_RATE, SUBWORD_DAMPING)
FASTTEXT = Method("fastText skipgram", "fasttext", "skipgram", SUBWORDS, FASTTEXT_RATE)
SPEED = (
    PLAIN,
    OURS,
    FASTTEXT,
    *(Method(f"ours {arch}, hs", "ours", arch, TREE) for arch in ("skipgram", "cbow")),
    *(Method(f"gensim {arch}, hs", "gensim", arch, TREE) for arch in ("skipgram", "cbow")),
    Method(
        "ours sent2vec, words", "ours", "sent2vec", {"sent2vec": Sent2vecConfig(**WORD_NGRAMS | {"word_ngrams": 1})}
    ),
    Method("ours sent2vec, words and pairs", "ours", "sent2vec", {"sent2vec": Sent2vecConfig(**WORD_NGRAMS)}),
)
SENT2VEC_PUBLISHED = 0.93
"""M words a second on one thread: the published speed of the sent2vec authors' own program."""
RATIOS = (
    ("subword skip-gram: ours / fastText", OURS.name, FASTTEXT.name, 3.0),
    ("hs skip-gram: ours / gensim", "ours skipgram, hs", "gensim skipgram, hs", 2.0),
    ("hs CBOW: ours / gensim", "ours cbow, hs", "gensim cbow, hs", 2.0),
)
"""Name, above, below, and how much it must be at least, by the clock and in CPU time, on one thread."""
SHOWN = {
    "google_analogy": "analogies",
    "google_analogy_semantic": "semantic",
    "google_analogy_syntactic": "syntactic",
    "wordsim353": "WordSim-353",
    "rare_words": "Rare Words",
}
MARGINS = {"google_analogy": 1.0, "wordsim353": 0.01, "rare_words": 0.01}
"""Score -> how much worse than fastText the mean of ours may be: points of accuracy, and ρ."""
SYNTACTIC, LIFT = "google_analogy_syntactic", 15.0
"""What subwords must add to plain skip-gram, in points."""


def run_rounds(corpus: BenchCorpus, text: Path, params: Params, rounds: int) -> list[dict[str, list[Measured]]]:
    """Every method once a round, one epoch on one thread, each in a fresh process."""
    measured = []
    for number in range(rounds):
        first, found = number % len(SPEED), {}
        for method in [*SPEED[first:], *SPEED[:first]]:
            job = make_job(
                method.program, method.arch, params, corpus, text, threads=1, seed=1, epochs=1, lr=method.lr,
                damping=method.damping, **method.model,
            )  # fmt: skip
            found[method.name] = run_together([job])
            say(f"round {number + 1} of {rounds}, {method.name}: {words_per_second(found[method.name]):,.0f} words/s")
        measured.append(found)
    return measured


def train_models(
    corpus: BenchCorpus, text: Path, params: Params, evaluator: Evaluator, scratch: Path, seeds: int, processes: int
) -> dict[str, list[dict[str, Any]]]:
    """Method's name -> scores and training of a model a seed; kept in the scratch folder."""
    jobs = [
        (method.name, make_job(
            method.program, method.arch, params, corpus, text, seed=seed, lr=method.lr, damping=method.damping,
            threads=FASTTEXT_THREADS if method.program == "fasttext" else 1, **method.model
        ))
        for method in (PLAIN, OURS, FASTTEXT) for seed in range(1, seeds + 1)
    ]  # fmt: skip
    words = corpus.data.vocab.words
    with ThreadPoolExecutor(processes) as pool:
        futures = [
            (name, pool.submit(scored, job, corpus.fingerprint, words, scratch, evaluator)) for name, job in jobs
        ]
        found: dict[str, list[dict[str, Any]]] = {}
        for name, future in futures:
            run = future.result()
            found.setdefault(name, []).append(run)
            shown = ", ".join(f"{title} {run['scores'].get(score)}" for score, title in SHOWN.items())
            say(f"{name}: {shown} ({run['training']['cpu_seconds']:.0f} CPU s)")
    return found


def summarize(rounds: Sequence[Round], models: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Medians, ratios, differences of scores, targets, tables, and every single measurement. JSON."""
    ratios = {
        name: {
            time: Median.of([speed(r[above]) / speed(r[below]) for r in rounds])
            for time, speed in (("wall", words_per_second), ("cpu", words_per_cpu_second))
        }
        for name, above, below, _ in RATIOS
    }
    scores = {
        name: {score: [run["scores"].get(score) for run in runs] for score in SHOWN} for name, runs in models.items()
    }
    differences = {
        title: {score: welch_difference(_known(scores[above][score]), _known(scores[below][score])) for score in SHOWN}
        for title, above, below in (
            ("ours − fastText", OURS.name, FASTTEXT.name),
            ("subwords − plain skip-gram", OURS.name, PLAIN.name),
        )
    }
    targets = [*_speed_targets(ratios), *_quality_targets(differences)]
    return as_plain(
        {
            "ratios": ratios,
            "scores": scores,
            "differences": differences,
            "targets": targets,
            "tables": [
                _speed_table(rounds),
                _ratio_table(ratios),
                _score_table(scores),
                _difference_table(differences),
            ],
            "rounds": [dict(r) for r in rounds],
        }
    )


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _speed_targets(ratios: Mapping[str, Mapping[str, Median]]) -> Iterator[Target]:
    for name, _, _, bound in RATIOS:
        wall, cpu = ratios[name]["wall"].median, ratios[name]["cpu"].median
        found = f"{wall:.2f} by the clock, {cpu:.2f} in CPU time"
        yield Target(name, f"at least {bound:g}, both ways", found, min(wall, cpu) >= bound)


def _quality_targets(differences: Mapping[str, Mapping[str, Difference | None]]) -> Iterator[Target]:
    for score, margin in MARGINS.items():
        d = differences["ours − fastText"][score]
        found = "not measured: the set is absent" if d is None else f"{d.mean:+.3g}, from {d.low:+.3g} to {d.high:+.3g}"
        yield Target(f"{SHOWN[score]}: ours − fastText", f"mean above −{margin:g}", found, bool(d and d.mean > -margin))
    d = differences["subwords − plain skip-gram"][SYNTACTIC]
    found = "not measured: the set is absent" if d is None else f"{d.mean:+.1f}, from {d.low:+.1f} to {d.high:+.1f}"
    yield Target(
        "syntactic analogies: subwords − plain", f"at least {LIFT:+g} points", found, bool(d and d.mean >= LIFT)
    )


def _speed_table(rounds: Sequence[Round]) -> dict[str, Any]:
    rows = []
    for method in SPEED:
        wall = Median.of([words_per_second(r[method.name]) for r in rounds])
        cpu = Median.of([words_per_cpu_second(r[method.name]) for r in rounds])
        memory = max(run.peak_memory_bytes for r in rounds for run in r[method.name])
        spread_of_rounds = f"{wall.low / 1e6:.3f}–{wall.high / 1e6:.3f}"
        rows.append([method.name, wall.median / 1e6, spread_of_rounds, cpu.median / 1e6, round(memory / 1e6)])
    note = (
        f"Medians of {len(rounds)} interleaved rounds of one epoch on one thread of {cpu_model()}. The timers enclose "
        "training alone; of fastText, which times it together with reading, a call without an epoch is taken off. "
        f"The program of sent2vec's authors (epfml/sent2vec) is published at {SENT2VEC_PUBLISHED:g} M words/s a thread."
    )
    columns = ["M raw words a second", "by the clock", "range", "per CPU-second", "MB"]
    return {"title": None, "columns": columns, "rows": rows, "note": note}


def _ratio_table(ratios: Mapping[str, Mapping[str, Median]]) -> dict[str, Any]:
    rows = [
        [name, *(cell for m in (r["wall"], r["cpu"]) for cell in (m.median, f"{m.low:.2f}–{m.high:.2f}"))]
        for name, r in ratios.items()
    ]
    return {
        "title": None,
        "columns": ["ratio", "by the clock", "range", "CPU time", "range"],
        "rows": rows,
        "note": None,
    }


def _score_table(scores: Mapping[str, Mapping[str, Sequence[float | None]]]) -> dict[str, Any]:
    rows = []
    for name, found in scores.items():
        cells = []
        for score in SHOWN:
            s, form = spread(_known(found[score])), "{:.1f}" if score.startswith("google") else "{:.3f}"
            cells.append(None if s.mean is None else form.format(s.mean) + (f" ± {form.format(s.sd)}" if s.sd else ""))
        rows.append([name, len(next(iter(found.values()))), *cells])
    return {
        "title": "Mean ± sd over seeds",
        "columns": ["program", "seeds", *SHOWN.values()],
        "rows": rows,
        "note": f"Subwords: n-grams of {NGRAMS.min_n} to {NGRAMS.max_n} characters, {NGRAMS.buckets:,} buckets; "
        f"fastText at its default learning rate, {FASTTEXT_RATE:g}.",
    }


def _difference_table(differences: Mapping[str, Mapping[str, Difference | None]]) -> dict[str, Any]:
    rows = []
    for title, found in differences.items():
        for score, d in found.items():
            if d is not None:
                digits = 1 if score.startswith("google") else 3
                mean, low, high = (f"{number:+.{digits}f}" for number in (d.mean, d.low, d.high))
                rows.append([title, SHOWN[score], mean, f"{low} to {high}"])
    return {"title": None, "columns": ["", "score", "difference", "95 % interval (Welch)"], "rows": rows, "note": None}


def model_parameters(params: Params) -> dict[str, Any]:
    """What of params.yaml the methods share."""
    return {"model": dataclasses.asdict(params.model), "train": dataclasses.asdict(params.train)}
