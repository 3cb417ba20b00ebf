"""The loop that textbooks teach, by the protocol of Dive into Deep Learning 15.4, timed honestly.

Penn Treebank; words seen 10 times or more; tokens kept with the chance sqrt(1e-4 / f); window 5, 5 noise words for each
context word; batches of 512 centre words, padded to the longest; two embeddings of 100 numbers, Xavier's first values;
Adam at 0.002; masked logistic loss. Pairs and noise words are drawn once, before the clock starts. The book divides the
centre words of all epochs by the seconds of the last; here words and seconds are those of the same batches.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gpu_data import Corpus, Tables
from wordlab.errors import WordlabError

if TYPE_CHECKING:
    from benchmarks.gpu_parts import Bench

BATCH, WINDOW, NOISE, DIM, RATE, LEAST, SAMPLE = 512, 5, 5, 100, 0.002, 10, 1e-4


def textbook_loop(path: Path, device: str, seconds: float, bench: Bench) -> dict[str, Any]:
    """Centre words a second of the textbook's loop and of this engine, and their ratio."""
    sentences = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    counts = Counter(word for sentence in sentences for word in sentence)
    kept_words = sorted((w for w, n in counts.items() if n >= LEAST), key=lambda w: (-counts[w], w))
    index = {word: number for number, word in enumerate(["<unk>", *(w for w in kept_words if w != "<unk>")])}
    corpus = [np.array([index.get(word, 0) for word in sentence], np.int64) for sentence in sentences]
    rng = np.random.default_rng(1)
    number = np.maximum(1, np.bincount(np.concatenate(corpus), minlength=len(index)))
    keep = np.minimum(1, np.sqrt(SAMPLE / (number / number.sum())))
    kept = [sentence[rng.random(len(sentence)) < keep[sentence]] for sentence in corpus]
    noise_chance = number**0.75 / (number**0.75).sum()
    pairs = _pairs([sentence for sentence in kept if len(sentence) > 1], rng)
    loop, losses = _train(pairs, noise_chance, len(index), device, seconds, rng)
    engine, engine_seconds = _engine(corpus, keep, noise_chance, bench, sum(map(len, kept)))
    return {
        "protocol": "D2L 15.4: batch 512, window 5, 5 noise words, 100 dimensions, Adam 0.002",
        "words": len(index), "centre_words": len(pairs), "loss_first": losses[0], "loss_last": losses[1],
        "loop_words_per_second": loop, "engine_words_per_second": engine, "engine_epoch_seconds": engine_seconds,
        "ratio": engine / loop,
    }  # fmt: skip


def _pairs(sentences: list[np.ndarray], rng: np.random.Generator) -> list[tuple[int, np.ndarray]]:
    """(centre word, its context words) of every token."""
    found = []
    for sentence in sentences:
        for place, width in enumerate(rng.integers(1, WINDOW + 1, len(sentence))):
            context = np.r_[sentence[max(0, place - width) : place], sentence[place + 1 : place + 1 + width]]
            found.append((int(sentence[place]), context))
    return found


def _batches(pairs: list[tuple[int, np.ndarray]], chance: np.ndarray, rng: np.random.Generator) -> list[list[Tensor]]:
    """Batches as the book's collate function pads them: centre, context and noise words, mask, labels."""
    longest = max(len(context) for _, context in pairs)
    order = rng.permutation(len(pairs))
    noise = rng.choice(len(chance), (len(pairs), NOISE * longest), p=chance)
    batches = []
    for first in range(0, len(order) - BATCH + 1, BATCH):
        chosen = [pairs[number] for number in order[first : first + BATCH]]
        width = max(len(context) for _, context in chosen) * (1 + NOISE)
        words, mask, labels = (np.zeros((BATCH, width), np.int64) for _ in range(3))
        for row, (_, context) in enumerate(chosen):
            size = len(context)
            words[row, :size] = context
            words[row, size : size * (1 + NOISE)] = noise[order[first + row], : size * NOISE]
            mask[row, : size * (1 + NOISE)] = 1
            labels[row, :size] = 1
        centre = np.array([word for word, _ in chosen])[:, None]
        batches.append([torch.from_numpy(array) for array in (centre, words, mask, labels)])
    return batches


def _train(
    pairs: list[tuple[int, np.ndarray]], chance: np.ndarray, words: int, device: str, seconds: float,
    rng: np.random.Generator,
) -> tuple[float, tuple[float, float]]:  # fmt: skip
    """Centre words a second, and the loss at the start and at the end."""
    torch.manual_seed(1)
    centre_vectors, context_vectors = (nn.Embedding(words, DIM).to(device) for _ in range(2))
    for embedding in (centre_vectors, context_vectors):
        nn.init.xavier_uniform_(embedding.weight)
    optimizer = torch.optim.Adam([*centre_vectors.parameters(), *context_vectors.parameters()], lr=RATE)
    batches = _batches(pairs, chance, rng)
    if not batches:
        raise WordlabError(f"the bundle's ptb.train.txt gives {len(pairs)} centre words, less than a batch of {BATCH}")
    done, losses, started = 0, [], 0.0
    while done < len(batches) * 5 and (not started or time.perf_counter() - started < seconds):
        if done == 5:  # the first ones set libraries up
            losses[-1].item()
            started = time.perf_counter()
        centre, context, mask, labels = (tensor.to(device) for tensor in batches[done % len(batches)])
        optimizer.zero_grad()
        scores = torch.bmm(centre_vectors(centre), context_vectors(context).permute(0, 2, 1)).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(
            scores, labels.float(), weight=mask.float(), reduction="none"
        )
        loss = loss.mean(dim=1) * mask.shape[1] / mask.sum(dim=1)
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach().mean())
        done += 1
    last = float(losses[-1])
    return (done - 5) * BATCH / (time.perf_counter() - started), (float(losses[0]), last)


def _engine(
    corpus: list[np.ndarray], keep: np.ndarray, chance: np.ndarray, bench: Bench, kept: int
) -> tuple[float, float]:
    """Centre words a second of this engine on the same text with the same subsampling, and the seconds of an epoch."""
    ids = np.concatenate(corpus).astype(np.int32)
    ends = np.cumsum([len(sentence) for sentence in corpus]).astype(np.int64)
    shard = Corpus(torch.from_numpy(ids).to(bench.device), ends, Tables(keep.astype(np.float32), chance))
    epochs = 2 if bench.tiny else 20
    settings = {"dim": DIM, "window": WINDOW, "negatives": NOISE, "epochs": epochs, "batch_tokens": 512}
    engine = bench.engine(shard, (bench.kernels[0], True, "float32"), 1, settings)
    engine.train_segment(shard.ids, ends, 0, 0, 0, len(ids))
    started = time.perf_counter()
    for epoch in range(1, epochs):
        engine.train_segment(shard.ids, ends, 0, 0, epoch, len(ids))
    seconds = (time.perf_counter() - started) / (epochs - 1)
    return kept / seconds, seconds
