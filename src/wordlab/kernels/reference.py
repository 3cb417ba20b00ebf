"""The reference engine: the same rule as the CPU engine's, in float64 and plain loops. Slow, plainly right.

It shares with the fast engines only the random choices (`wordlab.sampling`). Every formula of the update rule stands
here once, as a person would write it down; the tests hold the fast engines against it, and hold it against numerical
derivatives of `pair_loss`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wordlab.huffman import Paths
from wordlab.sampling import noise_word, window_width
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.word_ngrams import ngram_bucket

if TYPE_CHECKING:  # it imports Arrow, which a machine with a GPU may lack
    from wordlab.subwords import Subwords


@dataclass(frozen=True)
class Pair:
    """One prediction problem of a target: a bag of input rows against one output row, weighted."""

    bag: tuple[int, ...]
    """Input rows whose mean is the hidden vector: words', V the padding row, and from V + 1 on those of n-grams."""
    words: tuple[int, ...]
    """Beside each row of the bag the row of the word that it is a part of: itself, or that of the n-gram's word."""
    output: int
    """Output row: a word's, V the padding row's; in hierarchical softmax an inner node's."""
    label: int
    """1: a true pair, 0: a noise word; of a decision, 1: branch 0, 0: branch 1."""
    weight: float


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), without overflow."""
    return 1.0 / (1.0 + np.exp(-x)) if x >= 0 else np.exp(x) / (1.0 + np.exp(x))


def pair_loss(score: float, label: int) -> float:
    """Logistic loss of one prediction: -ln sigmoid(score) for a true pair, -ln sigmoid(-score) for a noise word."""
    return float(np.logaddexp(0.0, -score if label == 1 else score))


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance of every word, shape (V,): e^score over the sum of all, without overflow."""
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())


def softmax_loss(scores: NDArray[np.float64], word: int) -> float:
    """Loss of predicting a word by full softmax: -ln of its chance."""
    return float(np.logaddexp.reduce(scores) - scores[word])


def mean_loss(losses: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Loss as every engine reports it: weighted mean over predictions. A mask is a weight of 0 or 1."""
    return float((losses * weights).sum() / weights.sum())


def window_of(sentence: NDArray[np.int32], target: int, width: int, edges: str) -> tuple[list[int], int] | None:
    """Places of the context tokens of a target and the number of padded ones; None where the target is left out."""
    wanted = [t for t in range(target - width, target + width + 1) if t != target]
    there = [t for t in wanted if 0 <= t < len(sentence) and sentence[t] == sentence[target]]
    missing = len(wanted) - len(there)
    if not there or (edges == "drop" and missing):
        return None
    return there, missing if edges == "pad" else 0


@dataclass(frozen=True)
class Batch:
    """Where one micro-batch finds its tokens and random choices."""

    word_id: NDArray[np.int32]
    sentence: NDArray[np.int32]
    position: NDArray[np.int64]
    """Place in the corpus, in tokens before subsampling."""
    blocks: list[tuple[int, int]]
    """First token and end of each block."""
    window_key: np.uint64
    noise_key: np.uint64
    accept: NDArray[np.uint64]
    alias: NDArray[np.int32]
    paths: Paths | None = None
    """Hierarchical softmax: the words' paths."""
    subwords: Subwords | None = None
    """The words' n-gram rows."""
    sentence_bags: list[tuple[int, ...]] | None = None
    """sent2vec: every token's bag; a token without one is left out."""

    def rows_of(self, word: int, vocab_size: int) -> list[int]:
        """Input rows of a word: its own and its n-grams'."""
        if self.subwords is None or word >= vocab_size:
            return [word]
        first, last = self.subwords.start[word : word + 2]
        return [word, *(vocab_size + 1 + int(row) for row in self.subwords.row[first:last])]

    def share_of_others(self, word: int) -> float:
        """By how much other words' curvature of a word's rows counts for it."""
        return float(self.subwords.others[word]) if self.subwords and word < len(self.subwords.others) else 1.0


def sentence_bag(
    sentence: NDArray[np.int32], target: int, dropped: NDArray[np.uint8], model: ModelConfig, vocab_size: int
) -> tuple[int, ...]:
    """sent2vec: all words of a sentence but the one at place `target`, and all word n-grams that do not hold it.

    dropped: for each word, whether the n-grams that hold it are left out. Empty for a sentence of one word.
    """
    bag = [int(word) for place, word in enumerate(sentence) if place != target]
    for length in range(2, model.sent2vec.word_ngrams + 1):
        for first in range(len(sentence) - length + 1):
            places = range(first, first + length)
            if target not in places and not any(dropped[place] for place in places):
                bag.append(vocab_size + 1 + ngram_bucket(sentence[first : first + length], model.sent2vec.buckets))
    return tuple(bag)


def inputs_and_outputs(batch: Batch, target: int, model: ModelConfig, vocab_size: int) -> tuple[list[int], list[int]]:
    """The words (in sent2vec rows) of a target's bag, and what it shall predict; without any it is left out."""
    word = int(batch.word_id[target])
    if batch.sentence_bags is not None:
        bag = list(batch.sentence_bags[target])
        return bag, [word] if bag else []
    width = int(window_width(batch.window_key, batch.position[target], model.window))
    window = window_of(batch.sentence, target, width, model.window_edges)
    if window is None:
        return [], []
    places, missing = window
    context = [int(batch.word_id[t]) for t in places] + [vocab_size] * missing
    return ([word], context) if model.arch == "skipgram" else (context, [word])


def pairs_of_block(
    batch: Batch, start: int, stop: int, model: ModelConfig, train: TrainConfig, vocab_size: int
) -> Iterator[Pair]:
    """All prediction problems of one block: decisions of paths, or true pairs and noise words.

    The noise words of a block are shared by its pairs, each with its share of `negatives`.
    """
    noise_words = getattr(train.block_negatives, model.arch)
    noise = [
        int(noise_word(batch.noise_key, batch.position[start], n, batch.accept, batch.alias))
        for n in range(noise_words)
    ]
    share = model.negatives / noise_words
    for target in range(start, stop):
        inputs, outputs = inputs_and_outputs(batch, target, model, vocab_size)
        rows = [(row, word) for word in inputs for row in batch.rows_of(word, vocab_size)]
        bag, words = tuple(row for row, _ in rows), tuple(word for _, word in rows)
        for other in outputs:
            if model.objective == "softmax":
                yield Pair(bag, words, other, 1, 1.0)
            elif batch.paths is not None:
                for k in range(batch.paths.start[other], batch.paths.start[other + 1]):
                    yield Pair(bag, words, int(batch.paths.node[k]), 1 - int(batch.paths.code[k]), 1.0)
            else:
                yield Pair(bag, words, other, 1, 1.0)
                for noise_id in noise:
                    if noise_id != other:
                        yield Pair(bag, words, noise_id, 0, share)


def train_batch(
    input_vectors: NDArray[np.float64],
    output_vectors: NDArray[np.float64],
    batch: Batch,
    model: ModelConfig,
    train: TrainConfig,
    lr: float,
) -> tuple[float, float]:
    """One micro-batch, in place. Tables: V rows, the padding row; input_vectors then has the n-grams' rows.

    Every row moves by -lr * gradient summed over the micro-batch, divided by 1 + damping * curvature, where curvature
    is lr * sum of weight * sigma (1 - sigma) * |other row|^2, times a row's share in the bag for its rows; in full
    softmax, of the chance p alone, not of p (1 - p): docs/engine.md. What a word moves one of its n-grams' rows by is
    damped by its own curvature and by a share of what the other words add there.
    Returns the weighted sum of losses and the sum of weights.
    """
    vocab_size = len(output_vectors) - 1
    undivided = model.cbow_gradient == "word2vec" and model.arch != "sent2vec"
    steps, bends = np.zeros_like(output_vectors), np.zeros(len(output_vectors))
    input_steps: dict[tuple[int, int], NDArray[np.float64]] = {}
    input_bends = np.zeros(len(input_vectors))
    loss = predictions = 0.0
    for start, stop in batch.blocks:
        for pair in pairs_of_block(batch, start, stop, model, train, vocab_size):
            hidden = input_vectors[list(pair.bag)].mean(axis=0)
            if model.objective == "softmax":
                scores = output_vectors[:vocab_size] @ hidden
                chances = list(softmax(scores))
                outputs = list(range(vocab_size))
                labels = [int(output == pair.output) for output in outputs]
                loss += softmax_loss(scores, pair.output)
            else:
                score = float(hidden @ output_vectors[pair.output])
                chances, outputs, labels = [sigmoid(score)], [pair.output], [pair.label]
                loss += pair.weight * pair_loss(score, pair.label)
            step_of_hidden, bend_of_hidden = np.zeros_like(hidden), 0.0
            for chance, label, output in zip(chances, labels, outputs, strict=True):
                row_of_output = output_vectors[output]
                step = lr * pair.weight * (label - chance)
                bend = lr * pair.weight * (chance if model.objective == "softmax" else chance * (1 - chance))
                steps[output] += step * hidden
                bends[output] += bend * (hidden @ hidden)
                step_of_hidden += step * row_of_output
                bend_of_hidden += bend * (row_of_output @ row_of_output)
            share = 1.0 if undivided else 1.0 / len(pair.bag)
            for row, word in zip(pair.bag, pair.words, strict=True):
                input_steps[row, word] = input_steps.get((row, word), 0.0) + share * step_of_hidden
                input_bends[row] += share * bend_of_hidden
            predictions += pair.weight
    output_vectors += steps / (1.0 + train.damping.of_outputs(model) * bends)[:, None]
    damping = train.damping.of_inputs(model)
    for (row, word), step_of_row in input_steps.items():
        others = (input_bends[row] - input_bends[word]) * batch.share_of_others(word)
        input_vectors[row] += step_of_row / (1.0 + damping * (input_bends[word] + others))
    return loss, predictions
