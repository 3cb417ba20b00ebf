"""The loop that textbooks teach, by the protocol of Dive into Deep Learning 15.4, timed honestly.

Penn Treebank; words seen 10 times or more, all others left out; tokens kept with the chance sqrt(1e-4 / f); window 5, 5
noise words for each context word, none of them one of the target's own contexts; batches of 512 centre words, padded to
the longest; two embeddings of 100 numbers, Xavier's first values; Adam at 0.002; masked logistic loss. Pairs and noise
words are drawn once, before the clock starts. The book divides the centre words of all epochs by the seconds of the
last; here words and seconds are those of the same batches.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gpu_data import Corpus, Tables
from wordlab.errors import WordlabError

if TYPE_CHECKING:
    from benchmarks.gpu_bench import Bench

BATCH, WINDOW, NOISE, DIM, RATE, LEAST, SAMPLE = 512, 5, 5, 100, 0.002, 10, 1e-4


@dataclass(frozen=True, eq=False)
class Text:
    """A text as the book reads it."""

    words: list[str]
    """By falling count, the unknown word first."""
    sentences: list[np.ndarray]
    """Ids of each line's known words, int64; there may be none in a line."""
    counts: np.ndarray
    """Of the words in these sentences; 0 for the unknown one."""

    @classmethod
    def read(cls, path: Path) -> Text:
        lines = [line.split() for line in path.read_text(encoding="utf-8").split("\n")]
        counts = Counter(word for line in lines for word in line)
        known = sorted((w for w, n in counts.items() if n >= LEAST and w != "<unk>"), key=lambda w: (-counts[w], w))
        index = {word: number for number, word in enumerate(["<unk>", *known])}
        sentences = [np.array([index[word] for word in line if index.get(word, 0)], np.int64) for line in lines]
        return cls(list(index), sentences, np.bincount(np.concatenate(sentences), minlength=len(index)))

    @property
    def keep_probability(self) -> np.ndarray:
        """Mikolov et al. (2013b), equation 5, as the book has it: min(1, sqrt(1e-4 / f)). 1 for the unknown word."""
        return np.minimum(1, np.sqrt(SAMPLE * self.counts.sum() / np.maximum(1, self.counts)))

    @property
    def noise_chance(self) -> np.ndarray:
        """In proportion to counts^0.75."""
        return self.counts**0.75 / (self.counts**0.75).sum()


@dataclass(frozen=True, eq=False)
class Examples:
    """Centre words with their contexts and noise words, drawn once."""

    centres: np.ndarray
    """Shape (E,)."""
    contexts: list[np.ndarray]
    noise: np.ndarray
    """Shape (E, NOISE times the longest context); of each row as many count as NOISE times its context's length."""

    @classmethod
    def draw(cls, text: Text, rng: np.random.Generator) -> Examples:
        """Subsample, draw windows, then noise words that are no context of their centre."""
        kept = [sentence[rng.random(len(sentence)) < text.keep_probability[sentence]] for sentence in text.sentences]
        found = list(_pairs([sentence for sentence in kept if len(sentence) > 1], rng))
        contexts = [context for _, context in found]
        longest = max(map(len, contexts), default=1)
        padded = np.full((len(found), longest), -1)
        for row, context in zip(padded, contexts, strict=True):
            row[: len(context)] = context
        noise = rng.choice(len(text.words), (len(found), NOISE * longest), p=text.noise_chance)
        while (wrong := _any_equal(noise, padded)).any():
            noise[wrong] = rng.choice(len(text.words), int(wrong.sum()), p=text.noise_chance)
        return cls(np.array([centre for centre, _ in found], np.int64), contexts, noise)

    def batches(self, rng: np.random.Generator) -> Iterator[list[Tensor]]:
        """All examples in a new order, as the book's collate function pads them: centre, words, mask, labels."""
        order = rng.permutation(len(self.centres))
        for first in range(0, len(order), BATCH):
            chosen = order[first : first + BATCH]
            width = max(len(self.contexts[number]) for number in chosen) * (1 + NOISE)
            words, mask, labels = (np.zeros((len(chosen), width), np.int64) for _ in range(3))
            for row, number in enumerate(chosen):
                context = self.contexts[number]
                size = len(context)
                words[row, :size] = context
                words[row, size : size * (1 + NOISE)] = self.noise[number, : size * NOISE]
                mask[row, : size * (1 + NOISE)] = 1
                labels[row, :size] = 1
            yield [torch.from_numpy(array) for array in (self.centres[chosen][:, None], words, mask, labels)]


def _pairs(sentences: list[np.ndarray], rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """(centre word, its context words) of every token."""
    for sentence in sentences:
        for place, width in enumerate(rng.integers(1, WINDOW + 1, len(sentence))):
            context = np.r_[sentence[max(0, place - width) : place], sentence[place + 1 : place + 1 + width]]
            yield int(sentence[place]), context


def _any_equal(noise: np.ndarray, contexts: np.ndarray) -> np.ndarray:
    """Where a noise word is a context of its own row; a column of contexts at a time."""
    found = np.zeros(noise.shape, bool)
    for column in contexts.T:
        found |= noise == column[:, None]
    return found


class Loop:
    """The book's model and one step of its loop."""

    def __init__(self, words: int, device: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.centre_vectors, self.context_vectors = (nn.Embedding(words, DIM).to(device) for _ in range(2))
        for embedding in (self.centre_vectors, self.context_vectors):
            nn.init.xavier_uniform_(embedding.weight)
        both = [*self.centre_vectors.parameters(), *self.context_vectors.parameters()]
        self.optimizer = torch.optim.Adam(both, lr=RATE)

    def losses(self, batch: list[Tensor]) -> Tensor:
        """Of each example, the mean over its predictions that no mask leaves out; shape (examples,)."""
        centre, context, mask, labels = (tensor.to(self.device) for tensor in batch)
        scores = torch.bmm(self.centre_vectors(centre), self.context_vectors(context).permute(0, 2, 1)).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(
            scores, labels.float(), weight=mask.float(), reduction="none"
        )
        return loss.mean(dim=1) * mask.shape[1] / mask.sum(dim=1)

    def step(self, batch: list[Tensor]) -> Tensor:
        """Train on a batch; its losses before that."""
        self.optimizer.zero_grad()
        losses = self.losses(batch)
        losses.sum().backward()
        self.optimizer.step()
        return losses.detach()


def textbook_loop(path: Path, device: str, seconds: float, bench: Bench) -> dict[str, Any]:
    """Centre words a second of the textbook's loop and of this engine, and their ratio."""
    text, rng = Text.read(path), np.random.default_rng(1)
    examples = Examples.draw(text, rng)
    batches = [batch for batch in examples.batches(rng) if len(batch[0]) == BATCH]
    if not batches:
        raise WordlabError(f"{path} gives {len(examples.centres)} centre words, less than a batch of {BATCH}")
    loop, losses = _time_loop(batches, Loop(len(text.words), device, 1), seconds)
    centres = len(examples.centres)
    engine, engine_seconds = _engine(text.sentences, text.keep_probability, text.noise_chance, bench, centres)
    return {
        "protocol": "D2L 15.4: batch 512, window 5, 5 noise words, 100 dimensions, Adam 0.002",
        "words": len(text.words), "centre_words": centres, "loss_first": losses[0], "loss_last": losses[1],
        "loop_words_per_second": loop, "engine_words_per_second": engine, "engine_epoch_seconds": engine_seconds,
        "ratio": engine / loop,
    }  # fmt: skip


def _time_loop(batches: list[list[Tensor]], loop: Loop, seconds: float) -> tuple[float, tuple[float, float]]:
    """Centre words a second, and the loss at the start and at the end."""
    done, losses, started = 0, [], 0.0
    while done < len(batches) * 5 and (not started or time.perf_counter() - started < seconds):
        if done == 5:  # the first ones set libraries up
            losses[-1].item()
            started = time.perf_counter()
        losses.append(loop.step(batches[done % len(batches)]).mean())
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
