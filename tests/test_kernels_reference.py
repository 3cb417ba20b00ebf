"""The reference engine: against numerical derivatives, against every pair by itself, against worked examples."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine import ARCHES, EDGES, NOISE_MODES, expected_step, model_config, reference, stream_key, train_config
from wordlab.huffman import Paths
from wordlab.sampling import NOISE, WINDOW, alias_table
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.subwords import Subwords

LR = 0.1
THREE_WORDS = [[0, 1, 2]]
REPEATS = [[0, 1, 0, 0, 2, 1, 3], [3], [1, 1]]
"""Words that stand twice in one bag, a target in its own bag, a sentence without a pair."""
SCORES = [1.1, -2.2, 3.3, -4.4]


def make_batch(
    sentences: Sequence[Sequence[int]],
    noise: NDArray[np.float64],
    block_tokens: int = 100,
    seed: int = 1,
    objective: str = "ns",
    subwords: Subwords | None = None,
) -> reference.Batch:
    """One micro-batch of these sentences, nothing subsampled. objective hs: with the paths of a tree of the words."""
    ids = np.array([word_id for sentence in sentences for word_id in sentence], np.int32)
    numbers = np.repeat(np.arange(len(sentences)), [len(sentence) for sentence in sentences]).astype(np.int32)
    blocks = [(b, min(b + block_tokens, len(ids))) for b in range(0, len(ids), block_tokens)]
    keys = stream_key(seed, 0, WINDOW), stream_key(seed, 0, NOISE)
    paths = Paths.of_counts(np.arange(len(noise), 0, -1)) if objective == "hs" else None
    noise_tables = alias_table(noise / noise.sum())
    return reference.Batch(ids, numbers, np.arange(len(ids)), blocks, *keys, *noise_tables, paths, subwords)


def random_tables(words: int, dim: int, ngrams: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(words + 1 + ngrams, dim)), rng.normal(size=(words + 1, dim))


def all_pairs(
    batch: reference.Batch, model: ModelConfig, train: TrainConfig, vocab_size: int
) -> Iterator[reference.Pair]:
    for start, stop in batch.blocks:
        yield from reference.pairs_of_block(batch, start, stop, model, train, vocab_size)


def steps_of(
    tables: tuple[NDArray[np.float64], ...], batch: reference.Batch, model: ModelConfig, train: TrainConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    moved = tuple(table.copy() for table in tables)
    reference.train_batch(*moved, batch, model, train, LR)
    return moved[0] - tables[0], moved[1] - tables[1]


def numerical_gradient(function: Callable[[], float], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivative of `function` by each entry of a table that it reads, by central differences."""
    gradient, small = np.empty_like(table), 1e-5
    for place in np.ndindex(table.shape):
        kept = table[place]
        table[place] = kept + small
        above = function()
        table[place] = kept - small
        gradient[place] = (above - function()) / (2 * small)
        table[place] = kept
    return gradient


def summed_loss(pairs: list[reference.Pair], tables: tuple[Any, Any], weigh: Callable[[Any], float]) -> float:
    """Sum over pairs of weight * loss, times what `weigh` says of a pair."""
    inputs, outputs = tables
    return sum(
        weigh(pair)
        * pair.weight
        * reference.pair_loss(float(inputs[list(pair.bag)].mean(axis=0) @ outputs[pair.output]), pair.label)
        for pair in pairs
    )


@pytest.mark.parametrize("sentences", [THREE_WORDS, REPEATS], ids=["three words", "repeated words"])
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
def test_step_is_the_numerical_gradient(arch: str, edges: str, sentences: list[list[int]]) -> None:
    """Undamped, every entry of both tables moves by -lr times the derivative of the summed loss; padding rows too."""
    model, train = model_config(arch, edges=edges, dim=3, window=2, negatives=2), train_config(damping=0.0)
    batch = make_batch(sentences, np.array([1.0, 2, 3, 4]), block_tokens=2)
    tables = random_tables(4, 3)
    pairs = list(all_pairs(batch, model, train, 4))
    assert {pair.label for pair in pairs} == {0, 1}
    for step, table in zip(steps_of(tables, batch, model, train), tables, strict=True):
        gradient = numerical_gradient(lambda: summed_loss(pairs, tables, lambda pair: 1.0), table)
        np.testing.assert_allclose(step, -LR * gradient, rtol=1e-6, atol=1e-10)


FOUR_WORDS = Subwords(
    np.array([0, 2, 5, 6, 6]),
    np.array([0, 1, 1, 2, 1, 0], np.int32),
    np.array([3, 5, 8], np.int32),
    np.array([0.5, 0.25, 0.75, 1], np.float32),
    0.3,
)
"""N-gram rows of four words: two, three with one of them twice, one, none; most are shared."""


@pytest.mark.parametrize("sentences", [THREE_WORDS, REPEATS], ids=["three words", "repeated words"])
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("gradient", ["exact", "word2vec"])
@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
def test_the_step_of_subwords_is_the_numerical_gradient(
    arch: str, gradient: str, edges: str, sentences: list[list[int]]
) -> None:
    """Of a word's own row and its n-grams' alike; undivided, by the size of each bag larger, as fastText has it."""
    model = model_config(arch, gradient, edges, dim=3, window=2, negatives=2)
    train = train_config(damping=0.0)
    batch = make_batch(sentences, np.array([1.0, 2, 3, 4]), block_tokens=2, subwords=FOUR_WORDS)
    tables = random_tables(4, 3, ngrams=3)
    pairs = list(all_pairs(batch, model, train, 4))
    assert any(row > 4 for pair in pairs for row in pair.bag), "n-grams are in bags"
    step_in, step_out = steps_of(tables, batch, model, train)
    weigh = (lambda pair: len(pair.bag)) if gradient == "word2vec" else (lambda pair: 1.0)
    right_in = numerical_gradient(lambda: summed_loss(pairs, tables, weigh), tables[0])
    right_out = numerical_gradient(lambda: summed_loss(pairs, tables, lambda pair: 1.0), tables[1])
    np.testing.assert_allclose(step_in, -LR * right_in, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(step_out, -LR * right_out, rtol=1e-6, atol=1e-10)


def test_a_bag_of_words_has_all_rows_of_all_of_them() -> None:
    """CBOW's mean goes over rows, so that a long word weighs more, as in fastText."""
    batch = make_batch([[0, 1]], np.ones(4), subwords=FOUR_WORDS)
    rows = [batch.rows_of(word, 4) for word in (1, 4, 3, 0)]
    assert rows == [[1, 6, 7, 6], [4], [3], [0, 5, 6]], "the padding row, 4, has no n-grams"


def log_chance(word: int, hidden: NDArray[np.float64], outputs: NDArray[np.float64], paths: Paths | None) -> float:
    """ln of the chance of a word: by its path's decisions, without paths by the softmax over all words."""
    if paths is None:
        scores = outputs[:-1] @ hidden
        return float(scores[word] - np.log(np.exp(scores).sum()))
    span = slice(paths.start[word], paths.start[word + 1])
    signs = 1 - 2 * paths.code[span]
    return float(-np.log1p(np.exp(-signs * (outputs[paths.node[span]] @ hidden))).sum())


@pytest.mark.parametrize("sentences", [THREE_WORDS, REPEATS], ids=["three words", "repeated words"])
@pytest.mark.parametrize("objective", ["hs", "softmax"])
@pytest.mark.parametrize("edges", ["cut", "drop"])
@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
def test_a_softmax_step_is_the_numerical_gradient(
    arch: str, edges: str, objective: str, sentences: list[list[int]]
) -> None:
    """Undamped, the tables move by -lr times the derivative of -ln of the chances of the words to be predicted.

    The bags and words are those of negative sampling's true pairs, so window and edges are not taken on trust.
    """
    model = model_config(arch, "exact", edges, objective, dim=3, window=2)
    noise, train = np.array([1.0, 2, 3, 4]), train_config(damping=0.0)
    batch = make_batch(sentences, noise, block_tokens=2, objective=objective)
    tables = random_tables(4, 3)
    pairs = all_pairs(make_batch(sentences, noise, 2), dataclasses.replace(model, objective="ns"), train, 4)
    wanted = [(list(pair.bag), pair.output) for pair in pairs if pair.label == 1]

    def loss() -> float:
        inputs, outputs = tables
        return -sum(log_chance(word, inputs[bag].mean(axis=0), outputs, batch.paths) for bag, word in wanted)

    for step, table in zip(steps_of(tables, batch, model, train), tables, strict=True):
        np.testing.assert_allclose(step, -LR * numerical_gradient(loss, table), rtol=1e-6, atol=1e-10)
    found = reference.train_batch(*(table.copy() for table in tables), batch, model, train, LR)
    assert found[0] == pytest.approx(loss())


@pytest.mark.parametrize("sentences", [THREE_WORDS, REPEATS], ids=["three words", "repeated words"])
@pytest.mark.parametrize("edges", EDGES)
def test_the_c_programs_cbow_gradient_is_the_bag_size_too_large(edges: str, sentences: list[list[int]]) -> None:
    """`word2vec` multiplies what each bag does to its input rows by the bag's size; output rows move as in `exact`."""
    model = model_config("cbow", "word2vec", edges, dim=3, window=2, negatives=2)
    train = train_config(damping=0.0)
    batch = make_batch(sentences, np.array([1.0, 2, 3, 4]), block_tokens=2)
    tables = random_tables(4, 3)
    pairs = list(all_pairs(batch, model, train, 4))
    by_size = numerical_gradient(lambda: summed_loss(pairs, tables, lambda pair: len(pair.bag)), tables[0])
    exact = numerical_gradient(lambda: summed_loss(pairs, tables, lambda pair: 1.0), tables[1])
    step_in, step_out = steps_of(tables, batch, model, train)
    np.testing.assert_allclose(step_in, -LR * by_size, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(step_out, -LR * exact, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("arch, gradient", ARCHES)
def test_damping_divides_a_step_by_its_numerical_curvature(arch: str, gradient: str) -> None:
    """1 + c * curvature, where curvature is lr times the trace of the loss's second derivative by the row.

    The rule takes a bag's row as if its step in the mean were its own: that trace times the size of the bag, or its
    square where the gradient is undivided. The one bag here has two words.
    """
    model = model_config(arch, gradient, "drop", dim=3, window=1, negatives=2)
    batch = make_batch([[0, 1, 2]], np.array([1.0, 1, 1, 1]))
    tables = random_tables(4, 3)
    pairs = list(all_pairs(batch, model, train_config(), 4))
    free = steps_of(tables, batch, model, train_config(damping=0.0))
    damped = steps_of(tables, batch, model, train_config(damping=0.7))
    factor = 1 if arch == "skipgram" else 2 if gradient == "exact" else 4
    for which, scale in enumerate((factor, 1)):
        trace = scale * numerical_trace(pairs, tables, which)
        expected = free[which] / (1 + 0.7 * LR * trace)[:, None]
        np.testing.assert_allclose(damped[which], expected, rtol=1e-4, atol=1e-8)


def numerical_trace(pairs: list[reference.Pair], tables: tuple[Any, Any], which: int) -> NDArray[np.float64]:
    """Sum of the second derivatives of the summed loss by the entries of each row, (V + 1,)."""
    table, small = tables[which], 1e-4
    here = summed_loss(pairs, tables, lambda pair: 1.0)
    trace = np.zeros(len(table))
    for row, k in np.ndindex(table.shape):
        kept = table[row, k]
        around = 0.0
        for shift in (small, -small):
            table[row, k] = kept + shift
            around += summed_loss(pairs, tables, lambda pair: 1.0)
        table[row, k] = kept
        trace[row] += (around - 2 * here) / small**2
    return trace


@pytest.mark.parametrize("mode", NOISE_MODES, ids="-".join)
def test_mean_over_all_noise_words_is_the_step_of_separate_pairs(
    mode: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All combinations of a block's noise words and of window widths, each by its chance: exact, nothing drawn.

    `expected_step` gives every pair `negatives` noise words of its own, and knows no blocks.
    """
    noise = np.array([0.5, 0.3, 0.2])
    sentences, tokens = [[0, 1, 0, 2]], 4
    model = model_config(*mode, dim=2, window=2, negatives=3)
    train = train_config(damping=0.0, block_negatives=2)
    tables = random_tables(3, 2)
    batch = make_batch(sentences, noise)
    mean = np.zeros((8, 2))
    for words in itertools.product(range(3), repeat=2):
        monkeypatch.setattr(reference, "noise_word", lambda key, position, n, *tables, words=words: words[n])
        for widths in itertools.product((1, 2), repeat=tokens):
            monkeypatch.setattr(
                reference, "window_width", lambda key, position, window, widths=widths: widths[position]
            )
            step = np.concatenate(steps_of(tables, batch, model, train))
            mean += noise[list(words)].prod() / 2**tokens * step
    expected = expected_step(np.concatenate(tables), sentences, model, noise, LR)
    np.testing.assert_allclose(mean, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "edges, expected",
    [
        ("cut", [(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3)]),
        ("drop", [(1, 0), (1, 2)]),
        ("pad", [(0, 1), (0, 9), (1, 0), (1, 2), (2, 1), (2, 9), (3, 4), (3, 9), (4, 3), (4, 9)]),
    ],
)
def test_pairs_at_the_ends_of_sentences(edges: str, expected: list[tuple[int, int]]) -> None:
    """a b c | d e | f, window 1, by hand: no pair crosses an end, and a word alone has none. 9 is the padding row."""
    model = model_config(edges=edges, window=1)
    batch = make_batch([[0, 1, 2], [3, 4], [5]], np.ones(9))
    pairs = [pair for pair in all_pairs(batch, model, train_config(), 9) if pair.label == 1]
    assert [(pair.bag[0], pair.output) for pair in pairs] == expected
    assert all(len(pair.bag) == 1 and pair.weight == 1 for pair in pairs)


@pytest.mark.parametrize(
    "edges, expected",
    [
        ("cut", [((1,), 0), ((0, 2), 1), ((1,), 2), ((4,), 3), ((3,), 4)]),
        ("drop", [((0, 2), 1)]),
        ("pad", [((1, 9), 0), ((0, 2), 1), ((1, 9), 2), ((4, 9), 3), ((3, 9), 4)]),
    ],
)
def test_bags_at_the_ends_of_sentences(edges: str, expected: list[tuple[tuple[int, ...], int]]) -> None:
    """The same sentences for CBOW: the bag predicts the word in its middle."""
    model = model_config("cbow", edges=edges, window=1)
    batch = make_batch([[0, 1, 2], [3, 4], [5]], np.ones(9))
    pairs = [pair for pair in all_pairs(batch, model, train_config(), 9) if pair.label == 1]
    assert [(pair.bag, pair.output) for pair in pairs] == expected


@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
def test_noise_words_share_the_negatives_and_are_never_the_true_word(arch: str) -> None:
    """Each prediction has its block's noise words, weighted negatives / block_negatives, less those that coincide."""
    model = model_config(arch, window=1, negatives=5)
    train = train_config(block_negatives=4)
    batch = make_batch([[0, 1, 2, 0, 1, 2]], np.ones(3), block_tokens=3)
    for start, stop in batch.blocks:
        pairs = list(reference.pairs_of_block(batch, start, stop, model, train, 3))
        trues = [i for i, pair in enumerate(pairs) if pair.label == 1]
        noise = None
        for first, last in zip(trues, [*trues[1:], len(pairs)], strict=True):
            true, others = pairs[first], pairs[first + 1 : last]
            assert all(pair.weight == 5 / 4 and pair.bag == true.bag for pair in others)
            assert true.output not in {pair.output for pair in others}
            whole = [*(pair.output for pair in others), *[true.output] * (4 - len(others))]
            assert noise is None or sorted(whole) == noise, "another block's noise words"
            noise = sorted(whole)


def test_loss_agrees_with_the_masked_loss_of_d2l() -> None:
    """Dive into Deep Learning, 15.4.2: two rows of equal scores, the second of them masked from its third entry on."""
    labels = [[1, 0, 0, 0], [0, 1, 0, 0]]
    masks = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=float)
    losses = np.array([[reference.pair_loss(s, y) for s, y in zip(SCORES, row, strict=True)] for row in labels])
    rows = [reference.mean_loss(row, mask) for row, mask in zip(losses, masks, strict=True)]
    assert [round(loss, 4) for loss in rows] == [0.9352, 1.8462]


@pytest.mark.parametrize("label", [0, 1])
def test_loss_is_minus_the_log_of_the_chance(label: int) -> None:
    for score in np.linspace(-20, 20, 41):
        chance = 1 / (1 + np.exp(-score))
        assert reference.pair_loss(score, label) == pytest.approx(-np.log(chance if label else 1 - chance), rel=1e-6)


def test_loss_and_sigmoid_stand_any_score() -> None:
    """No overflow, no warning, and a loss that grows as the score does."""
    assert (reference.sigmoid(1e4), reference.sigmoid(-1e4)) == (1.0, 0.0)
    assert (reference.pair_loss(-1e4, 1), reference.pair_loss(1e4, 1)) == (1e4, 0.0)
    assert reference.sigmoid(0.0) == 0.5


@pytest.mark.parametrize("arch, gradient", ARCHES)
def test_untrained_loss_is_exactly_ln_2(arch: str, gradient: str) -> None:
    """Output rows are zero at the start, so every prediction has a chance of one half."""
    inputs, _ = random_tables(3, 4)
    batch = make_batch([[0, 1, 2, 1]], np.ones(3))
    loss, weight = reference.train_batch(
        inputs, np.zeros((4, 4)), batch, model_config(arch, gradient, dim=4), train_config(), LR
    )
    assert loss / weight == pytest.approx(np.log(2), rel=1e-15)


def test_micro_batches_read_the_rows_that_the_one_before_wrote() -> None:
    """Two blocks in one micro-batch use the same rows; in two micro-batches the second sees the first one's steps."""
    model, train = model_config(dim=3, window=1), train_config(damping=0.0)
    tables = random_tables(3, 3)
    whole = make_batch([[0, 1], [0, 1]], np.ones(3), block_tokens=2)
    together = steps_of(tables, whole, model, train)
    moved = tuple(table.copy() for table in tables)
    for block in whole.blocks:
        part = reference.Batch(**(vars(whole) | {"blocks": [block]}))
        reference.train_batch(*moved, part, model, train, LR)
    assert np.abs(moved[0] - tables[0] - together[0]).max() > 1e-3
