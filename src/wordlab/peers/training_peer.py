"""Stage `peers` for one program and seed: train it on our encoded corpus, keep its model as ours are kept, score it.

data/peers/PROGRAM is a folder of results like the project's own: `data/train/seed-N`, `data/evaluate/seed-N`,
`metrics/seed-N.json` and `metrics/run/seed-N.json`. So everything that reads a model or compares results reads it too:
`wordlab neighbors --model data/peers/gensim/data/train/seed-1`, `wordlab compare data/peers/gensim .`
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.artifacts import output_folder, write_json, write_manifest
from wordlab.config import Params
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, ConfigError, PeerError
from wordlab.evaluation_run import evaluate_folder
from wordlab.machine import provenance
from wordlab.peers.corpus_text import write_corpus_text
from wordlab.peers.job import Job, Measured
from wordlab.peers.programs import require_able, version_of
from wordlab.peers.running import run_job
from wordlab.recorded_config import recorded_config
from wordlab.sections.model import ModelConfig
from wordlab.shards import EncodedCorpus
from wordlab.stage import say
from wordlab.subwords import ngrams_of
from wordlab.vocab import Vocab

TEXT, NATIVE, VECTORS = "corpus.txt", "native.bin", "input_vectors.npy"


def require_possible(program: str, params: Params) -> str:
    """The program's name with its version. Raises ConfigError where it cannot be run, or compared."""
    if program not in params.peers.programs:
        raise ConfigError(f"params.yaml: peers.programs does not list {program}. Add it, then run: dvc repro")
    require_able(program, params.model)
    if params.evaluate.vectors != "input":
        raise ConfigError(
            f"params.yaml: evaluate.vectors is {params.evaluate.vectors}, but other programs leave input vectors. "
            "Set it to input, or peers.programs to []."
        )
    return version_of(program)


def train_peer(program: str, seed: int, params: Params, data: Path) -> None:
    """Train and score one model. Raises ConfigError, ArtifactError and PeerError, before or after the training."""
    version = require_possible(program, params)
    vocab, corpus = open_words(data)
    root = data / "peers" / program
    name, folder = f"seed-{seed}", root / "data" / "train" / f"seed-{seed}"
    say(f"{version}, seed {seed}: {corpus.num_tokens:,} words, {params.train.epochs} epochs")
    with output_folder(folder) as building:
        building = building.absolute()
        write_corpus_text(vocab, corpus, building / TEXT)
        job = _job(program, seed, params, data, building)
        measured = run_job(job)
        _require_model(np.load(building / VECTORS), vocab, job, version)
        if params.model.subwords.units != "none":
            _keep_ngrams(building, vocab, params.model)
        for file in building.iterdir():  # the text, and what the program wrote for itself
            if file.suffix != ".npy":
                file.unlink()
        vocab.save(building / "words.arrow")
        write_manifest(building, "train", _described(version, seed, params, vocab, corpus))
    write_json(root / "metrics" / "run" / f"{name}.json", _run(measured, version, params))
    say(f"{version}, seed {seed}: {measured.raw_words / measured.cpu_seconds / 1e6:.2f} M words per CPU second")
    sets, answers = params.download.evaluation_sets, root / "data" / "evaluate" / name
    evaluate_folder(seed, sets, params.evaluate, data, folder, answers, root / "metrics" / f"{name}.json")


def open_words(data: Path) -> tuple[Vocab, EncodedCorpus]:
    """Vocabulary and encoded corpus. Raises ArtifactError where one is missing, damaged or of another vocabulary."""
    vocab, corpus = Vocab.load(data / "vocab" / "words.arrow"), EncodedCorpus.open(data / "encode")
    if corpus.vocabulary != vocab.fingerprint:
        raise ArtifactError(
            f"{data / 'encode'} was written with vocabulary {corpus.vocabulary[:12]}, but {data / 'vocab'} is now "
            f"{vocab.fingerprint[:12]}. Run: dvc repro encode"
        )
    return vocab, corpus


def _job(program: str, seed: int, params: Params, data: Path, building: Path) -> Job:
    rate = float(getattr(params.peers.lr, program))
    return Job(
        program=program,
        model=params.model,
        train=dataclasses.replace(params.train, lr=dataclasses.replace(params.train.lr, **{params.model.arch: rate})),
        sampling=params.vocab,
        seed=seed,
        threads=params.peers.threads_each,
        vocab_folder=(data / "vocab").absolute(),
        encode_folder=(data / "encode").absolute(),
        text=building / TEXT,
        save=building / VECTORS,
        native=None if params.model.subwords.units == "none" else building / NATIVE,
    )


def _require_model(vectors: NDArray[np.float32], vocab: Vocab, job: Job, version: str) -> None:
    if vectors.shape != (len(vocab), job.model.dim) or not np.isfinite(vectors.sum(axis=1, dtype=np.float64)).all():
        raise PeerError(
            f"{version}, seed {job.seed}, gave vectors of shape {vectors.shape}, or numbers that are not finite. Lower "
            f"peers.lr.{job.program} in params.yaml, then run: dvc repro"
        )


def _keep_ngrams(building: Path, vocab: Vocab, model: ModelConfig) -> None:
    """Take the rows of words and n-grams over from fastText's file, as stage train keeps them.

    n-grams that no word of the vocabulary has were never trained; where fastText has first, random rows for them, here
    they count as zeros, as in our models.
    """
    found = Embeddings.load(building / NATIVE)
    used = np.unique(ngrams_of(model.subwords).of_words(vocab.arrow_words()).bucket)
    assert found.subwords is not None
    rows = np.searchsorted(found.subwords.buckets, used)
    np.save(building / "word_rows.npy", found.subwords.word_rows[found.index.rows(vocab.words)])
    np.save(building / "ngram_rows.npy", found.subwords.rows[rows])
    np.save(building / "ngram_buckets.npy", used)


def _described(version: str, seed: int, params: Params, vocab: Vocab, corpus: EncodedCorpus) -> dict[str, Any]:
    """The model's manifest: as stage train writes it, with what the program was told and nothing that it was not."""
    told = ("arch", "objective", "dim", "window", "window_edges", "negatives", "subwords")
    model = {key: value for key, value in dataclasses.asdict(params.model).items() if key in told}
    rate = getattr(params.peers.lr, version.split()[0])
    train = {"epochs": params.train.epochs, "lr": {params.model.arch: rate}}
    program = {"name": version, "threads": params.peers.threads_each}
    return {
        "seed": seed,
        "config": recorded_config(params, model, train) | {"program": program},
        "vocabulary": vocab.fingerprint,
        "encode": corpus.fingerprint,
        "engine": {"name": version},
    }


def _run(measured: Measured, version: str, params: Params) -> dict[str, Any]:
    """What the training took, as metrics/run/seed-N.json has it."""
    return {
        "raw_words_per_second": round(measured.raw_words / measured.wall_seconds),
        "raw_words_per_cpu_second": round(measured.raw_words / measured.cpu_seconds),
        "seconds": round(measured.wall_seconds, 3),
        "cpu_seconds": round(measured.cpu_seconds, 3),
        "peak_memory_bytes": measured.peak_memory_bytes,
        "outcome": "finished",
        "threads": params.peers.threads_each,
        "device": "cpu",
        "engine": version,
        **provenance(),
    }
