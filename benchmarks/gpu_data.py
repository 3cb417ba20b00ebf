"""What the GPU benchmark trains on: the bundle's corpus, and a corpus generated on the device.

This file and its neighbours gpu*.py, but for gpu_bundle.py, import nothing that the bare machine may lack: torch,
NumPy, PyYAML and the standard library.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordlab.errors import WordlabError
from wordlab.sections.model import ModelConfig
from wordlab.sections.reading import parse_section
from wordlab.sections.train import BlockNegatives, Damping, LearningRates, TrainConfig

SENTENCE_TOKENS = 25
"""Length of a generated sentence: about the mean of the one-billion-word benchmark."""
_CHUNK = 1 << 26


@dataclass(frozen=True, eq=False)
class Tables:
    """A vocabulary's sampling tables."""

    keep_probability: NDArray[np.float32]
    noise_probability: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Corpus:
    """One shard. ids: int32 (n,), NumPy or on the device.   ends: int64, where sentences end."""

    ids: Any
    ends: NDArray[np.int64]
    tables: Tables


@dataclass(frozen=True, eq=False)
class Bundle:
    """The prepared folder."""

    folder: Path
    content: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        path = folder / "bundle.json"
        if not path.exists():
            raise WordlabError(
                f"{path} does not exist. Where the pipeline has run, make the folder with: "
                f"python -m benchmarks.gpu_bundle {folder}"
            )
        return cls(folder, json.loads(path.read_text(encoding="utf-8")))

    def model(self, **changes: Any) -> ModelConfig:
        model: ModelConfig = parse_section(ModelConfig, {**self.content["model"], **changes}, "model")
        return model

    def train(self, **changes: Any) -> TrainConfig:
        """The pipeline's training parameters. lr, block_negatives, damping: one number for all architectures."""
        values = {**self.content["train"], **changes}
        for name, kind in (("lr", LearningRates), ("block_negatives", BlockNegatives), ("damping", Damping)):
            if not isinstance(values[name], dict):
                values[name] = dict.fromkeys((field.name for field in dataclasses.fields(kind)), values[name])
        known = {field.name for field in dataclasses.fields(TrainConfig)}
        own = {name: value for name, value in values.items() if name in known}
        train: TrainConfig = parse_section(TrainConfig, own, "train")
        return train

    def words(self) -> list[str]:
        return (self.folder / "words.txt").read_text(encoding="utf-8").split("\n")

    def corpus(self, most_tokens: int | None = None) -> Corpus:
        """The encoded corpus, or its first sentences."""
        ids = np.load(self.folder / "ids.npy").astype(np.int32)
        ends = np.cumsum(np.load(self.folder / "lengths.npy").astype(np.int64))
        if most_tokens is not None:
            ends = ends[: max(1, int(np.searchsorted(ends, most_tokens)))]
        ids = ids[: ends[-1]]
        return Corpus(ids, ends, Tables(np.load(self.folder / "keep.npy"), np.load(self.folder / "noise.npy")))

    def zipf(self, tokens: int, device: str, words: int | None = None) -> Corpus:
        """A corpus with one-billion-word proportions, drawn on the device."""
        keep, noise = (np.load(self.folder / f"zipf-{name}.npy")[:words] for name in ("keep", "noise"))
        tables = Tables(keep, noise / noise.sum())
        ends = np.arange(SENTENCE_TOKENS, tokens + SENTENCE_TOKENS, SENTENCE_TOKENS, dtype=np.int64)
        return Corpus(zipf_ids(tokens, len(keep), device), ends, tables)


def zipf_ids(tokens: int, words: int, device: str) -> torch.Tensor:
    """int32 (tokens,): word r with a chance in proportion to 1 / (r + 1)."""
    share = 1.0 / torch.arange(1, words + 1, dtype=torch.float64, device=device)
    cumulated = (share / share.sum()).cumsum(0)
    generator = torch.Generator(device).manual_seed(1)
    ids = torch.empty(tokens, dtype=torch.int32, device=device)
    for first in range(0, tokens, _CHUNK):
        part = ids[first : first + _CHUNK]
        uniform = torch.rand(len(part), dtype=torch.float64, device=device, generator=generator)
        part.copy_(torch.searchsorted(cumulated, uniform).clamp_(max=words - 1))
    return ids


def same_word(tables: Tables, ids_share: NDArray[np.float64]) -> float:
    """Chance that two kept tokens are the same word; ids_share: each word's share of the tokens."""
    kept = ids_share * tables.keep_probability.astype(np.float64)
    return float(((kept / kept.sum()) ** 2).sum())
