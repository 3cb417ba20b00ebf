"""sent2vec by the torch engine: the reference's and the CPU engine's steps, its random choices, memory, whole runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import (
    SENTENCES,
    WORDS_PER_TOPIC,
    Case,
    CpuEngine,
    make_case,
    model_config,
    random_case,
    relative_error,
    run_engine,
    run_reference,
    sentence_case,
    start_table,
    topic_sentences,
    train_config,
    use_short_segments,
    write_data,
)
from tests.sentence_rule import dropped_words
from tests.strategies import cases
from tests.torch_runs import needs_gpu, peak_bytes, run_torch
from wordlab import sampling, training, word_ngrams
from wordlab.config import load_params
from wordlab.embeddings import Embeddings, unit_rows
from wordlab.errors import ResourceError
from wordlab.kernels import sentence_plan
from wordlab.sections.cuda import CudaConfig
from wordlab.sections.model import Sent2vecConfig
from wordlab.torch_engine import choice, draws, layout, sentence_segments
from wordlab.torch_engine.engine import TorchEngine, engine_bytes
from wordlab.torch_engine.gpu import Gpu, choose_kernels
from wordlab.torch_engine.layout import Layout

CUDA = CudaConfig(batch_tokens=0, deterministic=True, products="float32")
SHAPES = (
    # dim, word_ngrams, dropout, buckets, block_tokens, block_negatives, batch_tokens, tokens of the corpus
    (1, 1, 0, 1, 1, 1, 1, 30),
    (3, 2, 1, 5, 7, 5, 21, 60),
    (16, 3, 4, 1, 50, 33, 50, 150),
    (48, 5, 2, 1000, 17, 12, 51, 200),
    (100, 2, 2, 10_000, 32, 40, 512, 700),
    (30, 8, 1, 300, 32, 16, 64, 400),
)


# ---- steps


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_float64_the_steps_are_the_references(shape: tuple[int, ...], deterministic: bool) -> None:
    """To the rounding of the fixed-point sums, a millionth of a millionth, where the mode is deterministic."""
    case = sentence_case(shape)
    start = start_table(case)
    found = run_torch(case, start, dtype=torch.float64, deterministic=deterministic)
    right = run_reference(case, start)
    assert relative_error(found, right, start) < (1e-9 if deterministic else 1e-12)
    assert found.loss == pytest.approx(right.loss, rel=1e-9 if deterministic else 1e-12)
    assert found.weight == pytest.approx(right.weight, rel=1e-12)


@given(case=cases((SENTENCES,)))
@settings(max_examples=100, deadline=None)
def test_steps_are_the_references_on_any_small_case(case: Case) -> None:
    start = start_table(case)
    found, right = run_torch(case, start, dtype=torch.float64, deterministic=False), run_reference(case, start)
    assert relative_error(found, right, start) < 1e-12
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_in_float32_the_steps_are_the_cpu_engines(shape: tuple[int, ...]) -> None:
    case = sentence_case(shape)
    start = start_table(case)
    found, right = run_torch(case, start), run_engine(case, start)
    assert relative_error(found, right, start) < 2e-5
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-5)


@pytest.mark.parametrize("length, batch_tokens", [(19, 20), (20, 20), (21, 20), (64, 640), (65, 640), (200, 640)])
def test_a_long_sentence_is_cut_into_pieces_with_bags_of_their_own(length: int, batch_tokens: int) -> None:
    """After 64 words, or as many as a micro-batch has, where those are fewer; one word alone is left out."""
    rng = np.random.default_rng(length)
    sentences = [rng.integers(0, 30, length), [1, 2, 3]]
    train = train_config(block_tokens=5, batch_tokens=batch_tokens)
    case = make_case(model_config(*SENTENCES, dim=5), train, sentences, np.ones(30), np.ones(30))
    start = start_table(case)
    found, right = run_torch(case, start, dtype=torch.float64), run_reference(case, start)
    assert relative_error(found, right, start) < 1e-9
    assert found.weight == pytest.approx(right.weight)


@pytest.mark.parametrize("gradient", ["exact", "word2vec"])
def test_segments_continue_one_another(gradient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever model.cbow_gradient says, the gradient is divided by the bag's size."""
    use_short_segments(monkeypatch, 100)
    model = model_config("sent2vec", gradient)
    case = random_case(model, train_config(epochs=3), 330, epoch=2, first_position=77, tokens_total=1000)
    start = start_table(case)
    found, right = run_torch(case, start, segment_tokens=100, dtype=torch.float64), run_reference(case, start)
    assert relative_error(found, right, start) < 1e-9
    assert found.weight == pytest.approx(right.weight)


def test_whole_trainings_end_where_the_cpu_engines_end() -> None:
    """Five epochs, from the first vectors, with n-gram rows that begin as zeros."""
    own = Sent2vecConfig(word_ngrams=3, dropout=1, buckets=500)
    case = random_case(model_config(*SENTENCES, dim=20, sent2vec=own), train_config(epochs=5), 2000)
    engine = TorchEngine(case.model, case.train, case.tables, 5, device="cpu", deterministic=False)
    right = CpuEngine(case.model, case.train, case.tables, 5, 1)
    assert np.array_equal(engine.input_vectors, right.input_vectors) and not engine.ngram_vectors.any()
    for epoch in range(5):
        losses = [e.train_segment(case.ids, case.ends, 0, 0, epoch, case.total) for e in (engine, right)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name in ("input_vectors", "word_vectors", "ngram_vectors", "output_vectors"):
        found, wanted = getattr(engine, name), getattr(right, name)
        assert found.shape == wanted.shape and wanted.any()
        assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted), name
    right.close()


@pytest.mark.parametrize("sentences, keep", [([[0], [1], [0]], [1, 1]), ([[0, 1, 1, 0]], [1e-9, 1e-9])])
def test_where_no_target_has_a_bag_nothing_moves(sentences: list[list[int]], keep: list[float]) -> None:
    case = make_case(model_config(*SENTENCES), train_config(), sentences, keep, [1, 1])
    start = start_table(case)
    found = run_torch(case, start)
    assert (found.loss, found.weight) == (0, 0) and np.array_equal(found.table, start)


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
def test_a_broken_row_shows_in_the_loss(deterministic: bool) -> None:
    """A diverged model must not report a fine loss: of a word, of an n-gram, of an output row."""
    own = Sent2vecConfig(word_ngrams=2, dropout=0, buckets=1)
    case = make_case(model_config(*SENTENCES, sent2vec=own), train_config(), [[0, 1, 2, 0, 1, 2, 3]], [1] * 4, [1] * 4)
    for row in (0, 5, 10):
        start = start_table(case)
        start[row, 3] = np.nan
        assert not np.isfinite(run_torch(case, start, deterministic=deterministic).loss), row


def test_equal_runs_have_equal_bits_and_other_seeds_have_others() -> None:
    case = sentence_case(SHAPES[4])
    start = start_table(case)
    tables = [run_torch(replace(case, seed=seed), start).table for seed in (1, 1, 2)]
    assert np.array_equal(tables[0], tables[1]) and not np.array_equal(tables[0], tables[2])


def test_the_table_is_all_that_an_engine_knows() -> None:
    """Another engine that takes it over goes on to the same bits, which is what checkpoints need."""
    case = sentence_case(SHAPES[4])
    tables = []
    for stops in (False, True):
        engine = TorchEngine(case.model, case.train, case.tables, 1, device="cpu", segment_tokens=256)
        for epoch in range(3):
            if stops:
                kept = engine.read_table().copy()
                engine = TorchEngine(case.model, case.train, case.tables, 1, device="cpu", segment_tokens=256)
                engine.load_table(kept)
            for begin in (0, 256):
                engine.train_segment(case.ids, case.ends, begin, begin, epoch, 3 * len(case.ids))
        tables.append(engine.read_table())
    assert np.array_equal(*tables)


@needs_gpu
@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_a_gpu_the_steps_are_the_references(shape: tuple[int, ...], deterministic: bool) -> None:
    case = sentence_case(shape)
    start = start_table(case)
    options = {"device": "cuda", "deterministic": deterministic}
    found, right = run_torch(case, start, **options), run_reference(case, start)
    assert relative_error(found, right, start) < 2e-5
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-5)
    if deterministic:
        assert np.array_equal(found.table, run_torch(case, start, **options).table)


# ---- random choices and numbers that stand in two places


def test_numbers_are_those_of_the_cpu_engine() -> None:
    assert layout.LONGEST_SENTENCE == sentence_plan.LONGEST_SENTENCE
    assert sentence_segments.DROPOUT_DRAWS == word_ngrams.DROPOUT_DRAWS
    assert draws.DROPOUT == sampling.DROPOUT


@given(
    st.lists(st.lists(st.integers(0, (1 << 31) - 1), min_size=1, max_size=9), min_size=1, max_size=5),
    st.integers(1, 1 << 30),
    st.integers(1, 8),
)
@settings(max_examples=100, deadline=None)
def test_n_grams_have_the_buckets_of_the_cpu_engine(sentences: list[list[int]], buckets: int, longest: int) -> None:
    """Of every run of a sentence, and of none that goes on into the next."""
    bags = layout.SentenceBags(longest, buckets, 0)
    ids = torch.tensor([word for words in sentences for word in words])
    left = torch.tensor([len(words) - place for words in sentences for place in range(len(words))])
    rows = sentence_segments.run_rows(ids, left, torch.zeros(len(ids), dtype=torch.bool), bags, 7)
    right = [
        [words[first]]
        + [
            7 + word_ngrams.ngram_bucket(np.array(words[first : first + size], np.int32), buckets)
            if first + size <= len(words)
            else -1
            for size in range(2, longest + 1)
        ]
        for words in sentences
        for first in range(len(words))
    ]
    assert rows.tolist() == right


@given(
    st.lists(st.integers(2, 64), min_size=1, max_size=6),
    st.integers(0, 70),
    st.integers(0, (1 << 63) - 1),
    st.sampled_from([0, 5, 1 << 33, 1 << 55]),
)
@settings(max_examples=100, deadline=None)
def test_the_words_left_out_are_those_of_the_cpu_engine(
    lengths: list[int], count: int, seed: int, position: int
) -> None:
    words = torch.tensor(lengths)
    first = words.cumsum(0) - words
    key, size = draws.stream_key(seed, 3, draws.DROPOUT), int(words.sum())
    found = sentence_segments.draw_dropped(key, position + first, first, words, count, size)
    right = [
        first_word + place
        for first_word, length in zip(first.tolist(), lengths, strict=True)
        for place in dropped_words(seed, 3, position + first_word, length, count)
    ]
    assert found.nonzero().squeeze(1).tolist() == right


# ---- plan, memory, and all of stage train


def test_there_are_no_fused_kernels_and_the_reason_is_told() -> None:
    layout = Layout.of(model_config(*SENTENCES), train_config(), 10, "float32")
    found = choose_kernels(Gpu("Z1", (9, 0), 10, 5), layout, "none", True)
    assert found == ("torch", "there are no fused kernels for model.arch sent2vec")


def test_micro_batches_are_those_of_the_cpu_unless_they_are_set() -> None:
    counts, train = np.full(1000, 7), train_config(batch_tokens=64)
    tables = random_case(model_config(), train, 30, vocab_size=1000).tables
    model = model_config(*SENTENCES)
    assert choice.batch_for_gpu(model, train, CUDA, counts, tables).batch_tokens == 64
    chosen = replace(CUDA, batch_tokens=256)
    assert choice.batch_for_gpu(model, train, chosen, counts, tables).batch_tokens == 256


def test_a_gpu_too_small_for_the_n_grams_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_gpu", lambda: Gpu("Z1", (9, 0), 9 * 10**9, 10**6))
    data, model = write_data(tmp_path, topic_sentences(20)), model_config(*SENTENCES)
    wanted = r"40 vectors of words, and 19 of n-grams, of 16 numbers need .* but Z1 has .* fewer model\.sent2vec\.buck"
    with pytest.raises(ResourceError, match=wanted):
        choice.plan_gpu("cuda", data, model, train_config(), CUDA)


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("own", [(1, 0, 1), (2, 2, 2000), (8, 1, 20_000)], ids=str)
@pytest.mark.parametrize("words, block_tokens, batch_tokens", [(40, 32, 512), (3000, 1, 64), (300, 512, 512)])
def test_memory_is_foreseen(
    words: int, block_tokens: int, batch_tokens: int, own: tuple[int, int, int], deterministic: bool
) -> None:
    """What training holds at once is less than what is foreseen, and more than a twelfth of it."""
    config = Sent2vecConfig(word_ngrams=own[0], dropout=own[1], buckets=own[2])
    model = model_config(*SENTENCES, dim=100, sent2vec=config)
    train = train_config(block_tokens=block_tokens, batch_tokens=batch_tokens)
    case = random_case(model, train, 2000, vocab_size=words)
    options = {"deterministic": deterministic, "segment_tokens": 1 << 11}

    def work() -> None:
        engine = TorchEngine(case.model, case.train, case.tables, 1, device="cpu", **options)
        engine.train_segment(case.ids[: 1 << 11], case.ends, 0, 0, 0, case.total)
        foreseen.append(engine_bytes(engine.layout, 1 << 11, "torch", deterministic))

    foreseen: list[int] = []
    held = peak_bytes(work)
    assert held < foreseen[0] < 12 * held


def test_a_planned_training_runs_through_and_saves_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of stage train but the device, which is the CPU here: plan, curve, model folder, what was learned."""
    monkeypatch.setattr(choice, "find_gpu", lambda: Gpu("Z1", (9, 0), 9 * 10**9, 8 * 10**9))
    monkeypatch.setattr(choice, "DEVICE", "cpu")
    words = [f"w{number}" for number in range(2 * WORDS_PER_TOPIC)]
    data = write_data(tmp_path, [*topic_sentences(600), [0, 1] * 200], words=words, shards=2)
    model = model_config(*SENTENCES, sent2vec=Sent2vecConfig(word_ngrams=2, dropout=1, buckets=500))
    train = train_config(epochs=4)
    plan, reason = choice.plan_gpu("cuda", data, model, train, CUDA)
    assert plan is not None and plan.kernels == "torch" and "no fused kernels for model.arch sent2vec" in reason
    assert plan.train.batch_tokens == plan.first_batch_tokens <= train.batch_tokens
    engine, trained = training.train_model(data, model, train, 1, 1, False, gpu=plan)
    assert trained.curve[-1].loss < 0.95 * np.log(2) and trained.curve[-1].loss < trained.curve[0].loss
    params = replace(load_params(Path(__file__).parents[1] / "params.yaml"), model=model, train=train)
    folder = tmp_path / "data/train/seed-1"
    training.save_model(folder, engine, data, params, 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["engine"]["name"] == "torch" and manifest["cut_sentences"] == 1
    rows = np.load(folder / "word_ngram_rows.npy")
    assert rows.shape == (500, 16) and np.abs(rows).sum() > 0
    vectors = Embeddings.load(folder)
    texts = [" ".join(f"w{first + place}" for place in (0, 3, 5, 2)) for first in (0, WORDS_PER_TOPIC)]
    unit = unit_rows(np.stack([vectors.sentence_vector(text) for text in texts]))
    topics = unit_rows(np.stack([vectors.vector(f"w{first + 7}") for first in (0, WORDS_PER_TOPIC)]))
    likeness = unit @ topics.T
    assert likeness[0, 0] > likeness[0, 1] + 0.5 and likeness[1, 1] > likeness[1, 0] + 0.5
