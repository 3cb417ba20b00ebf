"""Small things for tests of any module.

make_model_folder(path)     a model folder as stage train writes it (data/train/seed-N), of any size, in milliseconds
refused(path)               what Embeddings.load says of a file that it does not take
error_of(capsys, ...)       what the command `wordlab ...` says when it fails
environment_of(folder)      for git and DVC, kept to a folder
make_root(folder, files)    a /proc and /sys of one's own, for tests of what a machine has
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wordlab import cli
from wordlab.artifacts import write_manifest
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError
from wordlab.vocab import Vocab

CONFIG = {
    "model": {"arch": "skipgram", "objective": "ns", "dim": 4, "window": 5, "negatives": 5},
    "train": {"epochs": 1, "lr": {"skipgram": 0.05, "cbow": 0.05}},
    "vocab": {"min_count": 1},
}


def make_model_folder(
    path: Path,
    words: Sequence[str] = ("the", "king", "queen", "man", "woman"),
    vectors: NDArray[np.float32] | None = None,
    seed: int = 1,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write a model folder and return its path. vectors: float32, shape (V, dim); random rows of 4 without it."""
    if vectors is None:
        vectors = np.random.default_rng(seed).normal(size=(len(words), 4)).astype(np.float32)
    path.mkdir(parents=True)
    np.save(path / "input_vectors.npy", vectors)
    np.save(path / "output_vectors.npy", -vectors)
    vocab = Vocab.build(list(words), np.arange(len(words), 0, -1))
    vocab.save(path / "words.arrow")
    content = {
        "seed": seed,
        "config": config or CONFIG,
        "vocabulary": vocab.fingerprint,
        "encode": "0" * 64,
        "engine": {"name": "cpu"},
    }
    write_manifest(path, "train", content)
    return path


def make_root(root: Path, files: dict[str, str]) -> Path:
    """Write these files below `root`, and a /proc/meminfo with 8,000,000 kB free; returns `root`."""
    meminfo = "MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n"
    for name, text in {"proc/meminfo": meminfo, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def refused(path: Path, data: bytes | None = None) -> str:
    """What Embeddings.load says of a file that it does not take. data: written there first."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        Embeddings.load(path)
    assert str(caught.value).endswith("Export or download it again.")
    return str(caught.value)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says when it fails, and nothing on standard output."""
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def environment_of(folder: Path) -> dict[str, str]:
    """This process's environment, with git and DVC kept to `folder`."""
    person = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    own = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "DVC_SITE_CACHE_DIR": str(folder / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "config"),
        "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    left_out = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "DVC_STAGE")
    return {name: value for name, value in os.environ.items() if name not in left_out} | person | own
