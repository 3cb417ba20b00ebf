"""A training on the GPU: kernels, micro-batch and memory, decided from the parameters before anything is allocated."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordlab.errors import ResourceError
from wordlab.machine import in_units
from wordlab.sections.cuda import CudaConfig
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.torch_engine.engine import SEGMENT_TOKENS, TorchEngine, description_of, engine_bytes
from wordlab.torch_engine.feeding import AHEAD, Feed, feed_bytes
from wordlab.torch_engine.gpu import Gpu, choose_kernels, find_gpu
from wordlab.torch_engine.layout import Layout, Tables
from wordlab.training import TrainingData, WordParts, fit_to_vocabulary

DEVICE = "cuda"
SAME_WORD_TOKENS = 1.2
"""Tokens of a micro-batch that may be the same word as a given one, on average, where the size is chosen here."""
LARGEST_BATCH = 8192
"""No micro-batch is made larger than this by itself: it keeps a large GPU busy, and more would only cost quality."""
SPARE_BYTES = 1 << 29
"""Left free beside what is counted: code, cuBLAS, the allocator's fragments."""
SWITCHES = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG")
"""Variables of the environment by which CUDA's libraries compute matrix products in another way."""


@dataclass(frozen=True)
class Plan:
    """What will be done on the GPU."""

    device: str
    """The GPU's name."""
    layout: Layout
    train: TrainConfig
    """With the micro-batch that will be used."""
    first_batch_tokens: int
    """The micro-batch of the warm-up: that of the CPU engine."""
    kernels: str
    deterministic: bool
    resident: bool
    """The whole corpus will lie on the device."""
    need_bytes: int
    reason: str
    """A sentence for the user: device, memory, kernels and why."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bits of a model on this GPU, parameters, code and libraries aside: the engine's description,
        and the switches that are set. In fast mode the bits vary all the same."""
        told = description_of(
            self.layout, self.device, self.kernels, self.deterministic, SEGMENT_TOKENS, self.first_batch_tokens
        )
        return {**told, "cuda": torch.version.cuda, "switches": {name: os.environ.get(name) for name in SWITCHES}}

    @property
    def table_bytes(self) -> int:
        """Size of the table: of a checkpoint, but for its header."""
        return 4 * self.layout.table_rows * self.layout.depth


def plan_gpu(
    wanted: str, data: TrainingData, model: ModelConfig, train: TrainConfig, cuda: CudaConfig
) -> tuple[Plan | None, str]:
    """What to do on the GPU, or None where the CPU has to do; and a sentence for the user.

    wanted: run.device, auto or cuda. Raises ResourceError where the GPU is too small, or `cuda` cannot be had.
    """
    gpu = find_gpu()
    if isinstance(gpu, Gpu):
        parts = WordParts.of(model, data.vocab.arrow_words(), data.vocab.counts, data.tables)
        first = fit_to_vocabulary(train, data.vocab.counts, data.tables, parts.subwords)
        train = batch_for_gpu(model, train, cuda, data.vocab.counts, data.tables)
        train = fit_to_vocabulary(train, data.vocab.counts, data.tables, parts.subwords)
        plan = make_plan(gpu, data, model, train, first.batch_tokens, cuda, parts)
        return plan, plan.reason
    if wanted == "cuda":
        raise ResourceError(
            f"params.yaml: run.device is cuda, which cannot be had: {gpu}. "
            "Or set run.device to auto or cpu, for instance: dvc exp run -S run.device=cpu"
        )
    return None, f"training on the CPU, and NOT on the GPU that is here: {gpu}"


def batch_for_gpu(
    model: ModelConfig, train: TrainConfig, cuda: CudaConfig, counts: NDArray[np.int64], tables: Tables
) -> TrainConfig:
    """`train` with the micro-batch for a GPU: cuda.batch_tokens, or as many tokens as do no harm.

    Words that meet themselves in a micro-batch are what costs quality (docs/LOG.md): their expected number is
    batch_tokens * sum of p^2, p a word's share of the kept tokens. Never fewer than train.batch_tokens. That rule was
    found for words and negative sampling. Where words share rows (the top of a tree, n-grams, all output rows of full
    softmax), and where all words of a sentence have one hidden vector, it says nothing; train.batch_tokens is taken.
    """
    kept = counts * tables.keep_probability.astype(np.float64)
    share = kept / kept.sum()
    harmless = int(SAME_WORD_TOKENS / float((share**2).sum()))
    measured = model.objective == "ns" and model.subwords.units == "none" and model.arch != "sent2vec"
    most = min(harmless, LARGEST_BATCH) if measured else 0
    size = cuda.batch_tokens or max(train.batch_tokens, most)
    blocks = max(1, size // train.block_tokens)
    return dataclasses.replace(train, batch_tokens=blocks * train.block_tokens)


def make_plan(
    gpu: Gpu,
    data: TrainingData,
    model: ModelConfig,
    train: TrainConfig,
    first_batch_tokens: int,
    cuda: CudaConfig,
    parts: WordParts,
) -> Plan:
    """Kernels and memory. train: with its micro-batch fitted. Raises ResourceError where the GPU is too small."""
    layout = Layout.of(model, train, len(data.vocab), cuda.products, parts.subwords)
    kernels, reason = choose_kernels(gpu, layout, model.subwords.units, cuda.deterministic)
    if kernels == "torch" and cuda.products == "tf32x3":
        layout = dataclasses.replace(layout, products="float32")
    shard_tokens = [shard.num_tokens for shard in data.corpus.shards]
    engine = engine_bytes(layout, SEGMENT_TOKENS, kernels, cuda.deterministic, *parts) + SPARE_BYTES
    resident = engine + feed_bytes(shard_tokens, SEGMENT_TOKENS, True) <= gpu.free_bytes
    need = engine + feed_bytes(shard_tokens, SEGMENT_TOKENS, resident)
    if need > gpu.free_bytes:
        ngrams = f" of words, and {layout.ngram_rows:,} of n-grams," if layout.ngram_rows else ""
        fewer = ", fewer model.sent2vec.buckets" if model.word_ngram_rows else ""
        raise ResourceError(
            f"{2 * len(data.vocab):,} vectors{ngrams} of {model.dim} numbers need {in_units(need)} on the GPU, but "
            f"{gpu.name} has {in_units(gpu.free_bytes)} of {in_units(gpu.total_bytes)} free. Close other programs that "
            f"use it, use a smaller model.dim{fewer}, a higher vocab.min_count or a vocab.max_size, or train on the "
            "CPU: dvc exp run -S run.device=cpu"
        )
    place = "the whole corpus on the device" if resident else f"{AHEAD + 1} segments of the corpus on the device"
    sentence = (
        f"training on {gpu.name}, {in_units(need)} of the {in_units(gpu.free_bytes)} that are free, {place}; "
        f"{'Triton' if kernels == 'triton' else 'plain torch'}: {reason}; {train.batch_tokens:,} tokens from the same "
        f"vectors; {'the same bits in every run here' if cuda.deterministic else 'fast, bits vary from run to run'}"
    )
    return Plan(gpu.name, layout, train, first_batch_tokens, kernels, cuda.deterministic, resident, need, sentence)


def open_engine(plan: Plan, data: TrainingData, model: ModelConfig, seed: int) -> TorchEngine:
    """Allocate what was planned."""
    device = torch.device(DEVICE)
    feed = Feed([shard.ids for shard in data.corpus.shards], SEGMENT_TOKENS, device, plan.resident)
    parts = WordParts.of(model, data.vocab.arrow_words(), data.vocab.counts, data.tables)
    return TorchEngine(
        model,
        plan.train,
        data.tables,
        seed,
        device=device,
        kernels=plan.kernels,
        deterministic=plan.deterministic,
        products=plan.layout.products,
        segment_tokens=SEGMENT_TOKENS,
        feed=feed,
        first_batch_tokens=plan.first_batch_tokens,
        paths=parts.paths,
        subwords=parts.subwords,
    )
