"""A copy of this repository's pipeline with a corpus of its own, for tests that run it under DVC."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.helpers import environment_of
from wordlab.artifacts import sha256_file

PARTS = (".dvc/", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml", "src/", "stages/")
"""Of the repository, what such a copy has."""
WORDS = (
    *("tiger", "cat", "book", "paper", "computer", "keyboard", "internet", "plane", "car", "train", "telephone"),
    *("television", "radio", "media", "bread", "butter", "cucumber", "potato", "doctor", "nurse", "professor"),
    *("student", "stock", "phone", "market", "egg", "king", "queen"),
)
REPORTS_SPEED = ("metrics/run/", "data/report/")
"""Seconds and words/s stand in these."""


@dataclass(frozen=True)
class Project:
    """A copy of this repository's pipeline with a corpus of its own."""

    root: Path
    environment: dict[str, str]

    def run(self, *command: str, status: int = 0) -> str:
        """What a command prints, both streams together. It goes through a file: a queue's worker keeps a pipe open."""
        log = self.root.parent / "log.txt"
        with log.open("w+") as output:
            done = subprocess.run(
                command, cwd=self.root, env=self.environment, stdout=output, stderr=subprocess.STDOUT, timeout=300
            )
            output.seek(0)
            text = output.read()
        assert (done.returncode == 0) == (status == 0), text
        return text

    def dvc(self, *arguments: str, status: int = 0) -> str:
        return self.run("dvc", *arguments, status=status)

    def repro(self, *arguments: str) -> list[str]:
        """Run `dvc repro`; return the stages that were executed or taken from the cache."""
        lines = self.dvc("repro", *arguments).splitlines()
        return [
            line.split("'")[1] for line in lines if line.startswith("Running stage") or "is cached - skipping" in line
        ]

    def set(self, key: str, value: Any) -> None:
        """Set one value of params.yaml; key as in `-S`."""
        path = self.root / "params.yaml"
        tree = yaml.safe_load(path.read_text())
        *sections, name = key.split(".")
        section = tree
        for part in sections:
            section = section[part]
        section[name] = value
        path.write_text(yaml.safe_dump(tree, sort_keys=False))

    def bytes_of_results(self) -> dict[str, str]:
        """SHA-256 of every file whose bytes a run promises to repeat."""
        folders = [self.root / "data", self.root / "metrics"]
        files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
        paths = {file.relative_to(self.root).as_posix(): file for file in files}
        return {name: sha256_file(file) for name, file in paths.items() if not name.startswith(REPORTS_SPEED)}


def environment(base: Path) -> dict[str, str]:
    """This process's environment, with DVC kept to `base`, no network, and no other wordlab on the path."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    found = environment_of(base) | proxies
    return {name: value for name, value in found.items() if name not in ("PYTHONPATH", "WORDLAB_MIRROR")}


def write_corpus(path: Path, seed: int) -> None:
    """800 sentences, about 6,000 tokens, of a few words that WordSim-353 knows, some far more frequent than others."""
    draw = random.Random(seed)
    weights = [1 / rank for rank in range(1, len(WORDS) + 1)]
    sentences = (" ".join(draw.choices(WORDS, weights, k=draw.randint(3, 12))) for _ in range(800))
    path.write_text("".join(f"{sentence}.\n" for sentence in sentences))


SMALL: dict[str, Any] = {
    "seeds": [1, 2],
    "corpus": "own.txt",
    "download.evaluation_sets": ["wordsim353", "men"],
    "tokenize.normalizer": "plain",
    "tokenize.shard_bytes": 16384,
    "vocab.min_count": 1,
    "model.dim": 8,
    "train.epochs": 2,
    "train.batch_tokens": 64,
    "evaluate.neighbors": ["king"],
    "report.map_words": 10,
    "run.threads": 1,
    "run.workers": 1,
}
"""Parameters for a run of seconds: a text in three shards, two seeds, vectors of eight numbers."""


def shrink(project: Project) -> None:
    """Set these parameters."""
    for key, value in SMALL.items():
        project.set(key, value)
