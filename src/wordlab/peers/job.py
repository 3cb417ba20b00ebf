"""One model to be trained by one program: what to do, as JSON, and what came of it.

Stage `peers` and the benchmarks describe their runs in this way, so that a program is given the same in both.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wordlab.sections.model import ModelConfig
from wordlab.sections.reading import parse_section
from wordlab.sections.train import TrainConfig
from wordlab.sections.vocab import VocabConfig

PATHS = ("vocab_folder", "encode_folder", "text")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process is to do. Paths are absolute."""

    program: str
    model: ModelConfig
    train: TrainConfig
    sampling: VocabConfig
    seed: int
    threads: int
    vocab_folder: Path
    encode_folder: Path
    text: Path
    """The same corpus as text, one sentence a line; a program that needs files of its own writes them beside it."""
    save: Path | None = None
    """Where to write the input vectors, .npy, rows in the order of the vocabulary; None: nowhere."""
    native: Path | None = None
    """Where fastText is to write its own file, which has the rows of n-grams; None: nowhere."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Job:
        tree = json.loads(text)
        typed = {
            "model": parse_section(ModelConfig, tree["model"], "model"),
            "train": parse_section(TrainConfig, tree["train"], "train"),
            "sampling": parse_section(VocabConfig, tree["sampling"], "sampling"),
            **{name: Path(tree[name]) for name in PATHS},
            **{name: Path(tree[name]) if tree[name] else None for name in ("save", "native")},
        }
        return cls(**{**tree, **typed})

    @property
    def lr(self) -> float:
        """Starting learning rate of the job's architecture."""
        return float(getattr(self.train.lr, self.model.arch))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run took. The timer encloses training alone, as far as the program lets it."""

    wall_seconds: float
    cpu_seconds: float
    """User and system time of all threads of the process."""
    raw_words: int
    """Tokens of the vocabulary read, all epochs, before subsampling."""
    trained_words: float
    """Those that survived subsampling; but for gensim, which counts them, in expectation."""
    peak_memory_bytes: int
    subsampling_seconds: float = 0.0
    """Time for subsampling that wall_seconds leaves out (benchmarks' racing program alone)."""


Train = Callable[[], tuple[Measured, NDArray[np.float32]]]
"""Trains once; returns what it took and the input vectors, rows in the order of the vocabulary. A program's module has
`prepare(job) -> Train`, which does what the timer leaves out."""
