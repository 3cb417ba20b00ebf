"""Speed, quality and preprocessing against peers, and whether they reach what they must.

    python -m benchmarks.bench [BENCHMARK | all] [options]

Benchmarks: preprocessing, throughput, wikipedia, speed, serving, formats, evaluation, quality, methods; and size, which
takes 25 GB of disk and is not among `all`. They need the outputs of `make run`, `serving` a model at most, `wikipedia`,
`formats`, `evaluation` and `size` nothing. Writes benchmarks/results/<benchmark>.json; ends with status 1 where a
target is missed. docs/benchmarks.md says what the timers enclose.
"""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import evaluating, formats, methods, preprocessing, quality, serving, size, speed, throughput, wikipedia
from benchmarks.corpus import BenchCorpus
from benchmarks.jobs import BenchmarkError
from benchmarks.models import TRAINING_SOURCES, Evaluator, sources
from benchmarks.readme import cell
from wordlab.artifacts import write_json
from wordlab.config import Params, load_params
from wordlab.errors import WordlabError
from wordlab.machine import provenance
from wordlab.stage import available_cores, run_stage

METHOD_SEEDS = 3
"""Seeds of `methods` at most: fastText takes half an hour for one."""


def main() -> None:
    options = parse_options()
    params = load_params()
    names = (
        [name for name in BENCHMARKS if name not in BY_NAME_ALONE]
        if options.benchmark == "all"
        else [options.benchmark]
    )
    chosen = {name: BENCHMARKS[name] for name in names}
    missed: list[str] = []
    for name, benchmark in chosen.items():
        start = {
            "date": datetime.date.today().isoformat(),
            "load_average_at_start": list(os.getloadavg()),
            "code": sources(TRAINING_SOURCES),
        }
        found = benchmark(options, params)
        if found is None:
            continue
        if sources(TRAINING_SOURCES) != start["code"]:
            raise BenchmarkError(f"src/wordlab was edited while {name} ran: it measured two programs. Run it again.")
        write_json(options.results / f"{name}.json", {"benchmark": name, **start, "machine": provenance(), **found})
        missed += tell(found)
    if missed:
        raise WordlabError("missed: " + "; ".join(missed))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("benchmark", nargs="?", default="all", choices=[*BENCHMARKS, "all"])
    for name, text in (
        ("download", "corpus and evaluation sets"),
        ("tokenize", "token shards"),
        ("vocab", "vocabulary"),
        ("encode", "encoded corpus"),
        ("train", "trained models"),
    ):
        parser.add_argument(f"--{name}", type=Path, default=Path("data") / name, metavar="FOLDER", help=text)
    parser.add_argument(
        "--scratch", type=Path, default=Path("bench-out"), metavar="FOLDER", help="models, text, shards"
    )
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5, help="all but quality: rounds (5)")
    parser.add_argument("--seeds", type=int, default=10, help="quality: seeds 1 to this (10)")
    parser.add_argument(
        "--processes", type=int, default=available_cores(), help="quality: models at a time (all cores)"
    )
    parser.add_argument(
        "--programs",
        choices=["ours", "gensim", "both"],
        default="both",
        help="quality: train these alone, compare nothing",
    )
    return parser.parse_args()


def run_quality(options: argparse.Namespace, params: Params) -> dict[str, Any] | None:
    """Train what is not in the scratch folder yet; the comparison, or None where one program alone was wanted."""
    corpus = BenchCorpus.open(options.vocab, options.encode, params.vocab)
    trainer = quality.Trainer(
        params=params,
        corpus=corpus,
        text=corpus.write_text(options.scratch),
        evaluator=Evaluator.open(options.download, params),
        scratch=options.scratch,
        processes=options.processes,
    )
    seeds = range(1, options.seeds + 1)
    ours = quality.train_ours(trainer, seeds) if options.programs != "gensim" else None
    gensim = quality.train_gensim(trainer, seeds) if options.programs != "ours" else None
    if not ours or not gensim:
        return None
    return {"corpus": describe(corpus, params), **quality.compare(ours, gensim, seeds, params)}


def run_speed(options: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Interleaved rounds of all programs on the encoded corpus."""
    corpus = BenchCorpus.open(options.vocab, options.encode, params.vocab)
    rounds = speed.run_rounds(corpus, corpus.write_text(options.scratch), params, options.rounds)
    return {"corpus": describe(corpus, params), **speed.summarize(rounds, params)}


def run_methods(options: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Subwords and hierarchical softmax beside fastText and gensim: rounds of all, then models of some seeds."""
    corpus = BenchCorpus.open(options.vocab, options.encode, params.vocab)
    text = corpus.write_text(options.scratch)
    rounds = methods.run_rounds(corpus, text, params, options.rounds)
    evaluator, seeds = Evaluator.open(options.download, params), min(options.seeds, METHOD_SEEDS)
    models = methods.train_models(corpus, text, params, evaluator, options.scratch, seeds, options.processes)
    return {
        "corpus": describe(corpus, params),
        **methods.model_parameters(params),
        **methods.summarize(rounds, models),
    }


def run_preprocessing(options: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Interleaved rounds from text to encoded shards."""
    tasks = preprocessing.make_tasks(options.download, options.tokenize, options.scratch, params)
    rounds = preprocessing.run_rounds(tasks, options.scratch, options.rounds)
    return preprocessing.summarize(tasks, rounds)


def run_throughput(options: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Rounds of each part of preprocessing beside what it is held against."""
    bench = throughput.Bench.open(options.download, options.tokenize, options.vocab, options.scratch, params)
    return throughput.summarize(bench, throughput.run_rounds(bench, options.rounds))


def run_wikipedia(options: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Interleaved rounds of XML to text, beside WikiExtractor, and what is kept of it."""
    return wikipedia.measure(options.scratch, params, options.rounds)


def run_serving(options: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Opening and asking a large model, beside gensim; its index, and that of a trained model where there is one."""
    trained = options.train / f"seed-{params.seeds[0]}"
    return serving.summarize(serving.measure(options.scratch, options.rounds, trained))


def run_formats(options: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Interleaved rounds of files read and written, of a model made for it."""
    return formats.summarize(formats.run_rounds(options.scratch, options.rounds))


def run_evaluation(options: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Interleaved rounds of analogy questions, of a model made for it."""
    return evaluating.summarize(evaluating.run_rounds(options.scratch, options.rounds))


def run_size(options: argparse.Namespace, params: Params) -> dict[str, Any]:
    """Memory of each stage on a small and on a large corpus, which are made for it."""
    return size.summarize(size.measure(options.scratch))


def describe(corpus: BenchCorpus, params: Params) -> dict[str, Any]:
    """What was trained on."""
    data = corpus.data
    return {
        "name": params.corpus,
        "fingerprint": corpus.fingerprint,
        "num_tokens": data.corpus.num_tokens,
        "num_sentences": data.corpus.num_sentences,
        "num_words": len(data.vocab),
    }


BENCHMARKS: dict[str, Callable[[argparse.Namespace, Params], dict[str, Any] | None]] = {
    "preprocessing": run_preprocessing,
    "throughput": run_throughput,
    "wikipedia": run_wikipedia,
    "speed": run_speed,
    "serving": run_serving,
    "quality": run_quality,
    "methods": run_methods,
    "formats": run_formats,
    "evaluation": run_evaluation,
    "size": run_size,
}
BY_NAME_ALONE = ("size",)
"""What takes too much disk and time to be among `all`."""


def tell(found: dict[str, Any]) -> list[str]:
    """Print tables and targets; return the targets that were missed."""
    for table in found["tables"]:
        rows = [[str(c) for c in table["columns"]], *([cell(value) for value in row] for row in table["rows"])]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        print("\n" + (table["title"] or "").replace("**", ""))
        for row in rows:
            print("  " + "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())
        if table["note"]:
            print("  " + table["note"])
    print()
    for target in found["targets"]:
        verdict = "reached" if target["met"] else "MISSED "
        print(f"{verdict}  {target['name']}: {target['found']} (wanted: {target['wanted']})")
    return [target["name"] for target in found["targets"] if not target["met"]]


if __name__ == "__main__":
    run_stage(main)
