"""Is what the GPU computes right? Every method against kernels/reference.py, on a machine that may have no numba.

reference.py takes its random choices from wordlab.sampling, whose functions are compiled by numba. They are plain
Python too: without numba they run uncompiled here, a few thousand draws. gpu_groups.py runs this in several processes.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_data import Tables
from wordlab.sections.model import ModelConfig, Sent2vecConfig, SubwordsConfig
from wordlab.sections.train import BlockNegatives, Damping, LearningRates, TrainConfig
from wordlab.torch_engine.engine import TorchEngine
from wordlab.torch_engine.gpu import failures
from wordlab.torch_engine.runners import Runner
from wordlab.torch_engine.self_test import LARGEST_ERROR

Method = tuple[str, str, str, str, str, int]
"""Objective, subwords' units, arch, gradient, edges, dim."""
Variant = tuple[str, bool, str]
"""Kernels, deterministic, products."""
METHODS: tuple[Method, ...] = (
    ("ns", "none", "skipgram", "exact", "cut", 128),
    ("ns", "none", "cbow", "word2vec", "cut", 128),
)
"""Those that the speed is measured of."""
EDGES = ("cut", "drop", "pad")
WORDS, GRAMS, TOKENS = 150, 60, 700
GROWTH = {"ns": 1, "hs": 1, "softmax": 10}
"""Full softmax overshoots here, on the most frequent word: rounding errors grow from one micro-batch to the next."""


def without_compiler() -> None:
    """Let wordlab.sampling be imported where numba is missing: its functions stay plain Python."""
    if importlib.util.find_spec("numba") is None and "wordlab.compiled" not in sys.modules:

        def plain(*functions: Any, **options: Any) -> Any:
            return functions[0] if functions else lambda function: function

        stand_in = types.ModuleType("wordlab.compiled")
        stand_in.njit = stand_in.inner = stand_in.kernel = plain  # type: ignore[attr-defined]
        sys.modules["wordlab.compiled"] = stand_in


def configuration(
    objective: str, units: str, arch: str, gradient: str, edges: str, dim: int
) -> tuple[ModelConfig, TrainConfig]:
    sentences = Sent2vecConfig(word_ngrams=3, dropout=2, buckets=GRAMS)  # read by arch sent2vec alone
    model = ModelConfig(
        arch=arch, objective=objective, dim=dim, window=5, window_edges=edges, negatives=5, cbow_gradient=gradient,
        subwords=SubwordsConfig(units=units, min_n=3, max_n=6, buckets=1), sent2vec=sentences,
    )  # type: ignore[arg-type]  # fmt: skip
    lr = 0.02 if objective == "softmax" else 0.1  # more of it overshoots
    train = TrainConfig(
        epochs=2, lr=LearningRates(skipgram=lr, cbow=lr, sent2vec=lr), lr_floor=1e-4, block_tokens=32,
        block_negatives=BlockNegatives(skipgram=40, cbow=40, sent2vec=40), batch_tokens=128,
        damping=Damping(skipgram=0.5, cbow=0.5, sent2vec=0.5, hs=1),
    )  # fmt: skip
    return model, train


def case() -> tuple[np.ndarray, np.ndarray, Tables]:
    """Text of frequent and rare words in ragged sentences, with its sampling tables."""
    rng = np.random.default_rng(5)
    ends = np.cumsum(rng.integers(1, 30, TOKENS))
    ends = ends[: np.searchsorted(ends, TOKENS)].astype(np.int64)
    ids = np.minimum(rng.zipf(1.5, ends[-1]) - 1, WORDS - 1).astype(np.int32)
    noise = rng.uniform(size=WORDS)
    return ids, ends, Tables(rng.uniform(0.3, 1, WORDS).astype(np.float32), noise / noise.sum())


def paths_of(model: ModelConfig) -> Any:
    """The words' paths, for hierarchical softmax: of a tree in which lower ids are more frequent."""
    if model.objective != "hs":
        return None
    without_compiler()
    from wordlab.huffman import Paths

    return Paths.of_counts(np.arange(WORDS, 0, -1))


@dataclass(frozen=True)
class Grams:
    """Stands for wordlab.subwords.Subwords, which needs Arrow: n-gram rows of words, a few each, drawn at random."""

    start: np.ndarray
    row: np.ndarray
    buckets: np.ndarray
    others: np.ndarray
    longest: int


def grams_of(model: ModelConfig) -> Any:
    """The words' n-gram rows, some of them shared and some twice in a word."""
    if model.subwords.units == "none":
        return None
    rng = np.random.default_rng(9)
    number = rng.integers(0, 9, WORDS)
    row = rng.integers(0, GRAMS, number.sum()).astype(np.int32)
    start = np.concatenate([[0], np.cumsum(number)]).astype(np.int64)
    others = rng.uniform(1 / (1 + number), 1).astype(np.float32)
    return Grams(start, row, np.arange(GRAMS, dtype=np.int32), others, int(number.max()))


def start_rows(model: ModelConfig) -> np.ndarray:
    """Rows to begin with: words, padding, output rows, padding, n-grams; float32 (rows, dim)."""
    rows = 2 * WORDS + 2 + (GRAMS if model.subwords.units != "none" else model.word_ngram_rows)
    return (0.3 * np.random.default_rng(7).normal(size=(rows, model.dim))).astype(np.float32)


def reference_step(model: ModelConfig, train: TrainConfig, start: np.ndarray) -> tuple[np.ndarray, float, float]:
    """What reference.py makes of the case: table, loss, weight."""
    without_compiler()
    from wordlab import sampling
    from wordlab.kernels import reference

    ids, ends, tables = case()
    parts = paths_of(model), grams_of(model)
    with np.errstate(over="ignore"):
        keep, window, noise = (
            np.uint64(sampling.stream_key(1, 0, stream)) for stream in (sampling.KEEP, sampling.WINDOW, sampling.NOISE)
        )
        thresholds = sampling.keep_thresholds(tables.keep_probability)
        kept = np.flatnonzero([sampling.is_kept(keep, t, thresholds[word]) for t, word in enumerate(ids)])
        accept, alias = sampling.alias_table(tables.noise_probability)
        sentence = np.searchsorted(ends, kept, side="right").astype(np.int32)
        size = train.block_tokens
        blocks = [(b, min(b + size, len(kept))) for b in range(0, len(kept), size)]
        groups = [blocks[b : b + train.batch_tokens // size] for b in range(0, len(blocks), train.batch_tokens // size)]
        bags = None
        if model.arch == "sent2vec":
            from tests.sentence_rule import work_off  # the rule in plain Python, as the tests have it

            is_kept, dropout = (
                np.isin(np.arange(len(ids)), kept),
                np.uint64(sampling.stream_key(1, 0, sampling.DROPOUT)),
            )
            kept, bags, groups = work_off(ids, ends.tolist(), is_kept.tolist(), model, train, WORDS, dropout, 0)
            kept, sentence = np.array(kept), np.zeros(len(kept), np.int32)
        rows = WORDS + 1
        words, outputs, grams = np.split(start.astype(np.float64), [rows, 2 * rows])
        inputs = np.concatenate([words, grams])
        total = np.zeros(2)
        for number, group in enumerate(groups):
            read = len(ids) * number / len(groups)
            lr = getattr(train.lr, model.arch) * max(1 - read / (train.epochs * len(ids)), train.lr_floor)
            batch = reference.Batch(ids[kept], sentence, kept, group, window, noise, accept, alias, *parts, bags)
            total += reference.train_batch(inputs, outputs, batch, model, train, float(np.float32(lr)))
    return np.concatenate([inputs[:rows], outputs, inputs[rows:]]), total[0], total[1]


def cases(kernels: tuple[str, ...], device: str, tiny: bool) -> Iterator[tuple[Method, list[Variant]]]:
    """Methods with the variants to try, what is used most first.

    Triton compiles anew for most of them, some seconds each, so that not everything can be tried with everything.
    """
    exact = [(kernel, deterministic, "float32") for kernel in kernels for deterministic in (True, False)]
    coarse = [("triton", True, "tf32x3"), ("triton", True, "tf32"), ("triton", True, "bf16")]
    coarse += [("torch", True, "tf32"), ("torch", True, "bf16")]
    if device == "cuda":
        for method in METHODS:
            yield method, exact + [variant for variant in coarse if variant[0] in kernels]
    for (arch, gradient), edges in product((("skipgram", "exact"), ("cbow", "exact"), ("cbow", "word2vec")), EDGES):
        yield ("ns", "none", arch, gradient, edges, 20 if tiny else 100), exact
    plain = [("torch", deterministic, "float32") for deterministic in (True, False)]
    others = (
        ("hs", "none"),
        ("softmax", "none"),
        ("ns", "characters"),
        ("hs", "characters"),
        ("softmax", "characters"),
    )
    for other, bag in product(others, (("skipgram", "exact", "cut"), ("cbow", "word2vec", "pad"))):
        yield (*other, *bag, 20 if tiny else 100), plain
    yield ("ns", "none", "sent2vec", "exact", "cut", 20 if tiny else 100), plain


def check(method: Method, variants: list[Variant], device: str) -> Iterator[dict[str, Any]]:
    """Errors of one method's variants; one that fails is noted, after a try without a CUDA graph."""
    model, train = configuration(*method)
    start = start_rows(model)
    right, loss, weight = reference_step(model, train, start)
    for kernel, deterministic, products in variants:
        entry = {
            **dict(zip(("objective", "units", "arch", "gradient", "edges", "dim"), method, strict=True)),
            "kernels": kernel, "deterministic": deterministic, "products": products,
        }  # fmt: skip
        options = {"kernels": kernel, "deterministic": deterministic, "products": products}
        for Runner.captures in (True, False):
            try:
                table, found_loss, found_weight = engine_step(model, train, start, device, **options)
            except failures() as error:
                traceback.print_exc()
                entry |= {"error": float("inf"), "fine": False, "failed": f"{type(error).__name__}: {error}"[:500]}
                continue
            error = float(np.linalg.norm(table - right) / np.linalg.norm(right - start))
            largest = GROWTH[model.objective] * LARGEST_ERROR[products]
            fine = error < largest and abs(found_weight / weight - 1) < 1e-4
            fine = fine and abs(found_loss / loss - 1) < max(1e-4, largest)
            entry |= {"error": error, "fine": bool(fine), "graph": Runner.captures}
            break
        yield entry


def engine_step(
    model: ModelConfig, train: TrainConfig, start: np.ndarray, device: str, **options: Any
) -> tuple[np.ndarray, float, float]:
    """What the torch engine makes of the case: table, loss, weight."""
    ids, ends, tables = case()
    engine = TorchEngine(
        model,
        train,
        tables,
        1,
        device=device,
        segment_tokens=1 << 12,
        paths=paths_of(model),
        subwords=grams_of(model),
        **options,
    )
    rows, dim = start.shape
    engine.table[:rows, :dim] = torch.from_numpy(start).to(device)
    loss, weight = engine.train_segment(ids, ends, 0, 0, 0, len(ids))
    return engine.table[:rows, :dim].cpu().double().numpy(), loss, weight
