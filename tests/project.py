"""A project folder as the stages before `evaluate` leave it, of toy size: for tests of evaluation and report.

make_project(folder)    params.yaml, data/download with small evaluation sets, data/train, metrics/run, metrics/curves
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.helpers import make_model_folder
from wordlab.artifacts import write_json, write_manifest

PARAMS = Path(__file__).parents[1] / "params.yaml"
WORDS = ("the", "king", "queen", "man", "woman", "france", "paris", "italy", "rome", "run", "runs", "eat", "eats")
QUESTIONS = """: capitals
France Paris Italy Rome
Italy Rome France Paris
Italy Rome Ruritania Strelsau
: gram8-plural
run runs eat eats
eat eats run runs
"""
PAIRS = "king\tqueen\t9\nman\twoman\t8.5\nking\teat\t1\nrome\titaly\t7\nking\tking\t10\nking\tstrelsau\t2\n"
SETS = {
    "google-analogies": ("questions.txt", "questions", QUESTIONS),
    "wordsim353": ("pairs.csv", "wordsim_csv", "Word 1,Word 2,Human\r\n" + PAIRS.replace("\t", ",")),
    "men": ("men.txt", "pairs_tsv", PAIRS),
    "rare-words": ("rw.txt", "pairs_tsv", "strelsau\tzenda\t3\nflavia\tzenda\t2\n"),
}
ABSENT = {"rg65": "no location of the file could be reached"}


def make_project(
    folder: Path,
    seeds: Sequence[int] = (1, 2, 3),
    words: Sequence[str] = WORDS,
    neighbors: Sequence[str] = ("France", "king", "strelsau"),
) -> Path:
    """Write the project and return its folder. Every seed's vectors are the same, but for some noise of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    write_params(folder, seeds, neighbors)
    make_evaluation_sets(folder / "data" / "download")
    for seed in seeds:
        make_model_folder(folder / "data" / "train" / f"seed-{seed}", words, vectors_of(words, seed), seed)
        write_json(folder / "metrics" / "run" / f"seed-{seed}.json", run_of(seed))
        curve = folder / "metrics" / "curves" / f"seed-{seed}.tsv"
        curve.parent.mkdir(exist_ok=True)
        steps = "".join(f"{step}\t{step * 1000}\t{3 / step + 1:.4f}\t0.05\n" for step in range(1, 20))
        curve.write_text("step\ttokens\tloss\tlr\n" + steps)
    return folder


def write_params(folder: Path, seeds: Sequence[int], neighbors: Sequence[str] = ("France",)) -> None:
    """The repository's params.yaml with these seeds, the sets above and a few neighbours."""
    text = PARAMS.read_text(encoding="utf-8")
    rows = "".join(f"    - {row}\n" for row in [*SETS, *ABSENT])
    text = re.sub(r"  evaluation_sets:.*\n(    - .*\n)+", f"  evaluation_sets:\n{rows}", text)
    text = re.sub(r"seeds: \[.*?\]", f"seeds: {list(seeds)}", text)
    text = re.sub(r"neighbors: \[.*?\]", f"neighbors: [{', '.join(neighbors)}]", text)
    text = re.sub(r"neighbors_count: \d+", "neighbors_count: 3", text)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


def make_evaluation_sets(folder: Path) -> None:
    """data/download, without a corpus."""
    shutil.rmtree(folder, ignore_errors=True)
    listed: dict[str, dict[str, str]] = {row: {"absent": reason} for row, reason in ABSENT.items()}
    for row, (name, format, content) in SETS.items():
        path = folder / "evaluation" / row / name
        path.parent.mkdir(parents=True)
        path.write_text(content, encoding="utf-8", newline="")
        listed[row] = {"path": str(path.relative_to(folder)), "format": format}
    write_manifest(folder, "download", {"corpus": {"name": "toy", "files": []}, "evaluation": listed})


def vectors_of(words: Sequence[str], seed: int) -> NDArray[np.float32]:
    """Vectors in which the analogies above hold: a topic and a role for each word, and noise that the seed draws."""
    places = np.arange(len(words))
    axes = np.eye(len(words) // 2 + 3)
    vectors = axes[2 + (places + 1) // 2] + 2 * axes[places % 2]
    noise = np.random.default_rng(seed).normal(size=vectors.shape)
    return (vectors + 0.1 * noise).astype(np.float32)


def run_of(seed: int) -> dict[str, object]:
    """What train records about a run."""
    return {
        "raw_words_per_second": 2_000_000.0 + seed * 1e5,
        "trained_words_per_second": 1_000_000.0,
        "seconds": 10.0 + seed,
        "cpu_seconds": 20.0,
        "peak_memory_bytes": (300 + seed) << 20,
        "threads": 2,
        "device": "cpu",
        "engine": "cpu",
        "versions": {"numpy": "2.0"},
        "git_revision": "abc1234",
    }
