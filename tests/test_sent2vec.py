"""sent2vec: the bags by hand, the rule against numerical derivatives, the kernel against the rule."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from tests.engine import (
    SENTENCES,
    WORDS_PER_TOPIC,
    Case,
    CpuEngine,
    assert_same_step,
    estimated_memory,
    make_case,
    model_config,
    random_case,
    reference,
    reference_batches,
    run_engine,
    run_reference,
    sentence_case,
    start_table,
    topic_sentences,
    train_config,
    use_short_segments,
    with_threads,
    write_data,
)
from tests.strategies import cases
from wordlab.artifacts import read_manifest
from wordlab.checkpoint_file import read_checkpoint, write_checkpoint
from wordlab.config import load_params
from wordlab.embeddings import Embeddings, unit_rows
from wordlab.sections.model import Sent2vecConfig
from wordlab.training import long_sentences, save_model, train_model
from wordlab.word_ngrams import ngram_bucket

ROOT = Path(__file__).parents[1]

SHAPES = (
    # dim, word_ngrams, dropout, buckets, block_tokens, block_negatives, batch_tokens, tokens of the corpus
    (1, 1, 0, 1, 1, 1, 1, 30),
    (3, 2, 1, 5, 7, 5, 21, 60),
    (16, 2, 0, 100, 16, 16, 32, 150),
    (16, 3, 4, 1, 50, 33, 50, 150),
    (48, 5, 2, 1000, 17, 12, 51, 200),
    (100, 2, 2, 10_000, 32, 40, 512, 700),
    (100, 8, 1, 300, 32, 16, 64, 400),
    (301, 2, 3, 100, 16, 5, 32, 200),
    (1030, 2, 2, 50, 8, 4, 8, 30),
)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_engine_takes_the_steps_of_the_reference(shape: tuple[int, ...]) -> None:
    assert_same_step(sentence_case(shape, threads=2))


@given(case=cases((SENTENCES,)))
@settings(max_examples=100, deadline=None)
def test_engine_takes_the_steps_of_the_reference_on_any_small_case(case: Case) -> None:
    assert_same_step(case, tolerance=1e-4)


def test_segments_continue_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard longer than a segment is worked off in several calls, positions and learning rate going on."""
    use_short_segments(monkeypatch, 100)
    case = random_case(model_config(*SENTENCES), train_config(epochs=3), 330, epoch=2, first_position=77, threads=3)
    assert_same_step(case)


@pytest.mark.parametrize("length", [19, 20, 21, 50])
def test_a_long_sentence_is_cut_into_pieces_with_bags_of_their_own(length: int) -> None:
    """After as many words as a micro-batch has targets, where that is fewer than 64; one word alone is left out."""
    rng = np.random.default_rng(length)
    sentences = [rng.integers(0, 30, length), [1, 2, 3]]
    train = train_config(block_tokens=5, batch_tokens=20)
    assert_same_step(make_case(model_config(*SENTENCES, dim=5), train, sentences, np.ones(30), np.ones(30)))


@pytest.mark.parametrize("length, targets", [(64, 64), (65, 64), (66, 66), (1000, 1000)])
def test_no_bag_has_more_than_64_words(length: int, targets: int) -> None:
    """Lines without an end, as of text8. A lone word after the cut has no bag, and is no target."""
    ids = np.arange(length) % 30
    train = train_config(block_tokens=32, batch_tokens=1024)
    case = make_case(model_config(*SENTENCES, dim=5, negatives=1), train, [ids], np.ones(31), [*[0] * 30, 1])
    assert run_engine(case, start_table(case)).weight == pytest.approx(2 * targets, rel=1e-6)


def test_bits_are_the_same_on_any_number_of_threads() -> None:
    """More threads than cores too, the loss as well as the vectors."""
    own = Sent2vecConfig(word_ngrams=3, dropout=2, buckets=500)
    case = random_case(
        model_config(*SENTENCES, dim=20, sent2vec=own), train_config(block_tokens=8, batch_tokens=256), 6000, 300
    )
    start = start_table(case, size=0.05)
    first = run_engine(case, start)
    assert not np.array_equal(first.table, start)
    for threads in (1, 2, 3, 4, 7):
        again = run_engine(with_threads(case, threads), start)
        assert again.table.tobytes() == first.table.tobytes(), threads
        assert (again.loss, again.weight) == (first.loss, first.weight)


@pytest.mark.parametrize("change", [{"seed": 2}, {"epoch": 1}, {"first_position": 1}], ids=str)
def test_other_seeds_epochs_and_positions_draw_other_words_to_drop(change: dict[str, int]) -> None:
    """With every word kept and no noise word but one, dropout is the only choice that is left."""
    train = train_config(epochs=2, lr_floor=1.0)
    rng = np.random.default_rng(1)
    sentences = [rng.integers(1, 20, 9) for _ in range(30)]
    case = make_case(model_config(*SENTENCES), train, sentences, np.ones(20), [1, *[0] * 19], tokens_total=1000)
    start = start_table(case)
    assert not np.array_equal(run_engine(case, start).table, run_engine(replace(case, **change), start).table)
    without = replace(case, model=replace(case.model, sent2vec=replace(case.model.sent2vec, dropout=0)))
    assert np.array_equal(run_engine(without, start).table, run_engine(replace(without, **change), start).table)


def test_a_broken_row_shows_in_the_loss() -> None:
    """A diverged model must not report a fine loss: of a word, of an n-gram, of an output row."""
    own = Sent2vecConfig(word_ngrams=2, dropout=0, buckets=1)
    case = make_case(model_config(*SENTENCES, sent2vec=own), train_config(), [[0, 1, 2, 0, 1, 2, 3]], [1] * 4, [1] * 4)
    for row in (0, 5, 10):
        start = start_table(case)
        start[row, 3] = np.nan
        assert not np.isfinite(run_engine(case, start).loss), row


def test_words_of_one_word_sentences_move_nothing() -> None:
    case = make_case(model_config(*SENTENCES), train_config(), [[0], [1], [0]], [1, 1], [1, 1])
    start = start_table(case)
    result = run_engine(case, start)
    assert np.array_equal(result.table, start)
    assert (result.loss, result.weight) == (0, 0)


def test_bags_are_never_subsampled() -> None:
    """A word that is no target all the same moves with every bag that it is in, and its n-grams with it."""
    own = Sent2vecConfig(word_ngrams=2, dropout=0, buckets=1000)
    model = model_config(*SENTENCES, sent2vec=own)
    case = make_case(model, train_config(), [[0, 1, 2, 3]] * 5, [0, 1, 0, 0], [0, 0, 0, 1])
    start = start_table(case)
    moved = np.flatnonzero(np.any(run_engine(case, start).table != start, axis=1))
    ngram = 2 * 4 + 2 + ngram_bucket(np.array([2, 3]), 1000)
    assert moved.tolist() == [0, 2, 3, 5 + 1, 5 + 3, ngram], "all but the target's own row and n-grams"


def test_a_new_model_has_n_gram_rows_of_zeros() -> None:
    """So that a bucket that no n-gram of the corpus falls into adds nothing to a sentence vector."""
    case = random_case(model_config(*SENTENCES, dim=10), train_config(), 100)
    engine = CpuEngine(case.model, case.train, case.tables, 1, 1)
    engine.close()
    assert engine.ngram_vectors.shape == (19, 10) and not engine.ngram_vectors.any()
    assert engine.input_vectors.shape == (40, 10) and engine.input_vectors.all()


def test_a_model_without_n_grams_has_no_rows_for_them() -> None:
    own = Sent2vecConfig(word_ngrams=1, dropout=2, buckets=1 << 30)
    case = random_case(model_config(*SENTENCES, dim=10, sent2vec=own), train_config(), 100)
    engine = CpuEngine(case.model, case.train, case.tables, 1, 1)
    engine.close()
    assert engine.ngram_vectors.shape == (0, 10) and len(engine.read_table()) == 82


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("shape", [(16, 16, 16, 1), (301, 1, 1, 64), (8, 1024, 1024, 1), (100, 32, 16, 32)])
def test_memory_is_not_underestimated(shape: tuple[int, ...], threads: int) -> None:
    dim, block_tokens, block_negatives, blocks = shape
    train = train_config(block_tokens=block_tokens, block_negatives=block_negatives, batch_tokens=blocks * block_tokens)
    own = Sent2vecConfig(word_ngrams=3, dropout=2, buckets=20_000)
    model = model_config(*SENTENCES, dim=dim, sent2vec=own)
    case = make_case(model, train, [[0, 1]], np.ones(5000), np.ones(5000), threads=threads)
    CpuEngine(model, train, case.tables, 1, threads).close()  # compiles
    tracemalloc.start()
    try:
        CpuEngine(model, train, case.tables, 1, threads).close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= estimated_memory(case) + (1 << 20)


def test_bags_by_hand() -> None:
    """a b c d: the bag of b has the other words, and of the n-grams those that do not hold it."""
    words, nothing = np.array([0, 1, 2, 3], np.int32), np.zeros(4, np.uint8)
    model = model_config(*SENTENCES, sent2vec=Sent2vecConfig(word_ngrams=3, dropout=0, buckets=10**6))

    def row(*ngram: int) -> int:
        return 4 + 1 + ngram_bucket(np.array(ngram), 10**6)

    assert reference.sentence_bag(words, 1, nothing, model, 4) == (0, 2, 3, row(2, 3))
    assert reference.sentence_bag(words, 0, nothing, model, 4) == (1, 2, 3, row(1, 2), row(2, 3), row(1, 2, 3))
    third = np.array([0, 0, 1, 0], np.uint8)
    assert reference.sentence_bag(words, 3, third, model, 4) == (0, 1, 2, row(0, 1))
    assert reference.sentence_bag(words[:1], 0, nothing, model, 4) == ()


@pytest.mark.parametrize("gradient", ["exact", "word2vec"])
@pytest.mark.parametrize("sentences", [[[0, 1, 2]], [[0, 1, 0, 0, 2, 1, 3], [3], [1, 1]]], ids=["three", "repeated"])
def test_step_is_the_numerical_gradient(sentences: list[list[int]], gradient: str) -> None:
    """Undamped, every row moves by -lr times the derivative of the summed loss, whatever model.cbow_gradient says."""
    model = model_config("sent2vec", gradient, dim=3, negatives=2)
    train = train_config(damping=0.0, block_negatives=3, block_tokens=4, batch_tokens=100, lr_floor=1.0)
    case = make_case(model, train, sentences, np.ones(4), [1.0, 2, 3, 4])
    start = start_table(case).astype(np.float64)
    ((lr, batch),) = reference_batches(case, 0, len(case.ids))
    pairs = [p for block in batch.blocks for p in reference.pairs_of_block(batch, *block, model, train, 4)]
    assert {pair.label for pair in pairs} == {0, 1}

    def loss(table: NDArray[np.float64]) -> float:
        inputs, outputs = np.concatenate([table[:5], table[10:]]), table[5:10]
        scores = [float(inputs[list(pair.bag)].mean(axis=0) @ outputs[pair.output]) for pair in pairs]
        return sum(p.weight * reference.pair_loss(score, p.label) for p, score in zip(pairs, scores, strict=True))

    step = run_reference(case, start).table - start
    for place in np.ndindex(start.shape):
        above, below = start.copy(), start.copy()
        above[place], below[place] = start[place] + 1e-5, start[place] - 1e-5
        slope = (loss(above) - loss(below)) / 2e-5
        assert step[place] == pytest.approx(-lr * slope, rel=1e-6, abs=1e-9), place


def test_a_training_goes_on_from_a_checkpoint_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table with its n-gram rows is all there is to keep: any number of threads ends the same."""
    use_short_segments(monkeypatch, 200)
    own = Sent2vecConfig(word_ngrams=2, dropout=1, buckets=300)
    case = random_case(model_config(*SENTENCES, sent2vec=own), train_config(batch_tokens=32), 1000)

    def trained(engine: CpuEngine, begins: range) -> NDArray[np.float32]:
        for begin in begins:
            engine.train_segment(case.ids, case.ends, begin, begin, 0, case.total)
        engine.close()
        return engine.read_table().copy()

    whole = trained(CpuEngine(case.model, case.train, case.tables, 1, 1), range(0, 1000, 200))
    half = trained(CpuEngine(case.model, case.train, case.tables, 1, 2), range(0, 400, 200))
    write_checkpoint(tmp_path / "one", {"training": 1}, {"segments": 2}, half)
    state, table = read_checkpoint(tmp_path / "one", {"training": 1})
    again = CpuEngine(case.model, case.train, case.tables, 1, 3)
    again.load_table(table)
    assert state == {"segments": 2} and not np.array_equal(half, whole)
    assert trained(again, range(400, 1000, 200)).tobytes() == whole.tobytes()


def test_a_training_saves_rows_of_n_grams_and_how_text_was_tokenized(tmp_path: Path) -> None:
    """From sentences to vectors of sentences: topics that never meet in a sentence end up apart."""
    words = [f"w{number}" for number in range(2 * WORDS_PER_TOPIC)]
    data = write_data(tmp_path, [*topic_sentences(600), [0, 1] * 200], words=words)
    params = load_params(ROOT / "params.yaml")
    own = Sent2vecConfig(word_ngrams=2, dropout=1, buckets=500)
    model = replace(params.model, arch="sent2vec", dim=8, sent2vec=own)
    train = replace(
        params.train,
        epochs=6,
        lr=replace(params.train.lr, sent2vec=0.5),
        damping=replace(params.train.damping, sent2vec=2.0),
    )
    engine, _ = train_model(data, model, train, 1, 2, show_progress=False)
    folder = tmp_path / "model"
    save_model(folder, engine, data, replace(params, model=model, train=train), 1)
    manifest = read_manifest(folder, "train", verify=True)
    assert manifest["cut_sentences"] == long_sentences(data, engine.train) == 1
    assert manifest["config"]["tokenize"]["tokenizer"] == params.tokenize.tokenizer
    vectors = Embeddings.load(folder)
    assert vectors.word_ngram_rows is not None and vectors.word_ngram_rows.shape == (500, 8)
    assert np.array_equal(vectors.word_ngram_rows, engine.ngram_vectors)  # type: ignore[attr-defined]
    texts = ["W1 w2 w3.", "w4, w5, w6", "w11 w12 w13", "w14 w15 w16"]
    found = vectors.sentence_vectors(texts)
    unit = unit_rows(found - found.mean(axis=0))
    assert np.all(np.sign(unit @ unit.T) == [[1, 1, -1, -1]] * 2 + [[-1, -1, 1, 1]] * 2)
