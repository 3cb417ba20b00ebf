"""Models for the quality benchmark: trained once for each key, kept with their scores, so that a run can be continued.

    SCRATCH/models/gensim-skipgram-lr0.025-seed1-3f2a19c04b7d/
        input_vectors.npy   rows in the order of the vocabulary
        manifest.json       the key: all that determines the model, and what training took
        scores.json         the evaluator's fingerprint and the scores; made anew by another evaluator

gensim's key names its version and its parameters, ours also the sources that train: a change of our code retrains
ours alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import wordlab
from benchmarks.jobs import BenchmarkError, Job, run_together
from wordlab.artifacts import fingerprint, output_folder, read_json, read_manifest, write_json, write_manifest
from wordlab.config import Params
from wordlab.embeddings import Embeddings
from wordlab.evaluation import EvaluationSets, evaluate, load_evaluation_sets

PACKAGE = Path(wordlab.__file__).parent
TRAINING_SOURCES = (
    "training.py",
    "sampling.py",
    "compiled.py",
    "vocab.py",
    "ngrams.py",
    "subwords.py",
    "word_ngrams.py",
    "kernels",
)
EVALUATION_SOURCES = ("evaluation.py", "analogies.py", "similarity.py")


@dataclass(frozen=True)
class Evaluator:
    """The one evaluator that scores every program's vectors."""

    sets: EvaluationSets
    restrict_vocab: int
    fingerprint: str

    @classmethod
    def open(cls, download_folder: Path, params: Params) -> Evaluator:
        """Read the evaluation sets of data/download. Raises ArtifactError where they are missing or damaged."""
        listed = read_manifest(download_folder, "download").get("evaluation", {})
        sets = load_evaluation_sets(download_folder, listed, params.download.evaluation_sets)
        restrict = params.evaluate.restrict_vocab
        return cls(sets, restrict, fingerprint([sets.fingerprint, restrict, sources(EVALUATION_SOURCES)]))

    def scores(self, words: list[str], vectors: np.ndarray[Any, Any]) -> dict[str, float | None]:
        """Score name -> value, analogies in percent, correlations as ρ. One BLAS thread, as in stage evaluate."""
        with threadpool_limits(1):
            found = evaluate(Embeddings(words, vectors), self.sets, self.restrict_vocab).scores
        return {name: score["value"] for name, score in found.items()}


def sources(names: tuple[str, ...]) -> str:
    """SHA-256 over source files of the package."""
    digest = hashlib.sha256()
    for name in names:
        place = PACKAGE / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def model_key(job: Job, corpus: str) -> dict[str, Any]:
    """All that determines the vectors of a job. corpus: fingerprint of words and ids."""
    common = {
        "program": job.program,
        "corpus": corpus,
        "arch": job.model.arch,
        "lr": job.lr,
        "seed": job.seed,
        "epochs": job.train.epochs,
        "subsample_t": job.sampling.subsample_t,
        "noise_power": job.sampling.noise_power,
    }
    model = dataclasses.asdict(job.model)
    if job.program != "ours":
        values = {name: model[name] for name in ("dim", "window", "negatives")}
        values |= {"objective": job.model.objective} if job.model.objective != "ns" else {}
        values |= {"subwords": model["subwords"]} if job.model.subwords.units != "none" else {}
        values |= {"threads": job.threads} if job.program == "fasttext" else {}
        return {**common, "version": importlib.metadata.version(job.program), **values}
    train = {name: value for name, value in dataclasses.asdict(job.train).items() if name != "lr"}
    return {**common, "code": sources(TRAINING_SOURCES), "model": model, "train": train}


def model_folder(job: Job, corpus: str, scratch: Path) -> Path:
    """Where the model of a job is kept."""
    short = fingerprint(model_key(job, corpus))[:12]
    return scratch / "models" / f"{job.program}-{job.model.arch}-lr{job.lr:g}-seed{job.seed}-{short}"


def trained_folder(job: Job, corpus: str, scratch: Path) -> Path:
    """Where the model of a job is kept; trained now, unless that was done before. Raises BenchmarkError."""
    folder = model_folder(job, corpus, scratch)
    if not (folder / "manifest.json").exists():
        _train(job, model_key(job, corpus), folder)
    return folder


def scored(job: Job, corpus: str, words: list[str], scratch: Path, evaluator: Evaluator) -> dict[str, Any]:
    """Scores of a job's model: trained and scored now, unless that was done before.

    Returns {"scores": score name -> value or None, "training": what it took}. Raises BenchmarkError if training fails.
    """
    folder = trained_folder(job, corpus, scratch)
    scores_path = folder / "scores.json"
    known = read_json(scores_path, "Remove it and run again.") if scores_path.exists() else {}
    if known.get("evaluator") != evaluator.fingerprint:
        scores = evaluator.scores(words, np.load(folder / "input_vectors.npy"))
        known = {"evaluator": evaluator.fingerprint, "scores": scores}
        write_json(scores_path, known)
    training = read_json(folder / "manifest.json", "Remove its folder and run again.")["training"]
    return {"scores": known["scores"], "training": training}


def _train(job: Job, key: dict[str, Any], folder: Path) -> None:
    """Train in a process of its own and keep the vectors, complete or not at all."""
    with output_folder(folder) as building:
        path = building.absolute() / "input_vectors.npy"
        (measured,) = run_together([dataclasses.replace(job, save=path)])
        if not np.isfinite(np.load(path)).all():
            raise BenchmarkError(
                f"{job.program}, {job.model.arch}, lr {job.lr:g}, seed {job.seed} gave vectors that are not finite. "
                "Lower train.lr or raise train.damping in params.yaml."
            )
        write_manifest(building, "bench-model", {"key": key, "training": dataclasses.asdict(measured)})
