"""Hierarchical softmax, full softmax and subwords by the torch engine: the reference's and the CPU engine's steps."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import (
    SOFTMAX_MODES,
    SUBWORD_MODES,
    TREE_MODES,
    WORDS_PER_TOPIC,
    Case,
    model_config,
    random_case,
    relative_error,
    run_engine,
    run_reference,
    shaped_case,
    start_table,
    topic_sentences,
    train_config,
    use_short_segments,
    write_data,
)
from tests.strategies import cases
from tests.torch_runs import needs_gpu, peak_bytes, run_torch
from wordlab import sampling, training
from wordlab.config import load_params
from wordlab.embeddings import Embeddings
from wordlab.errors import ResourceError
from wordlab.kernels.cpu import CpuEngine
from wordlab.sections.cuda import CudaConfig
from wordlab.torch_engine import choice, draws, softmax, sums
from wordlab.torch_engine.engine import TorchEngine, engine_bytes
from wordlab.torch_engine.gpu import Gpu, choose_kernels
from wordlab.torch_engine.layout import Layout
from wordlab.torch_engine.sums import Places, Sums

MODES = TREE_MODES + SOFTMAX_MODES + SUBWORD_MODES
SOME_MODES = TREE_MODES[::3] + SOFTMAX_MODES[::3] + SUBWORD_MODES[::5]
CUDA = CudaConfig(batch_tokens=0, deterministic=True, products="float32")
SHAPES = (
    # dim, window, block_tokens, block_negatives, blocks of a micro-batch, tokens of the corpus
    (1, 1, 1, 1, 1, 30),
    (3, 9, 32, 1, 2, 150),
    (16, 9, 1, 5, 7, 40),
    (100, 2, 7, 33, 40, 150),
)


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_in_float64_the_steps_are_the_references(
    mode: tuple[str, ...], shape: tuple[int, ...], deterministic: bool
) -> None:
    """To the rounding of the fixed-point sums, a millionth of a millionth, where the mode is deterministic."""
    case = shaped_case(mode, shape)
    start = start_table(case)
    found = run_torch(case, start, dtype=torch.float64, deterministic=deterministic)
    right = run_reference(case, start)
    assert relative_error(found, right, start) < (1e-9 if deterministic else 1e-13)
    assert found.loss == pytest.approx(right.loss, rel=1e-9 if deterministic else 1e-12)
    assert found.weight == pytest.approx(right.weight, rel=1e-12)


@given(case=cases(MODES))
@settings(max_examples=60, deadline=None)
def test_steps_are_the_references_on_any_small_case(case: Case) -> None:
    start = start_table(case)
    found, right = run_torch(case, start, dtype=torch.float64, deterministic=False), run_reference(case, start)
    assert relative_error(found, right, start) < 1e-12
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-11)


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_in_float32_the_steps_are_the_references_and_the_cpu_engines(mode: tuple[str, ...]) -> None:
    """In full softmax the CPU engine rounds more: it keeps the logarithm of the sum of all powers, not the sum."""
    case = shaped_case(mode, (100, 5, 32, 16, 2, 400))
    start = start_table(case)
    found = run_torch(case, start)
    assert relative_error(found, run_reference(case, start), start) < 5e-6
    right = run_engine(case, start)
    assert relative_error(found, right, start) < (5e-5 if mode[3] == "softmax" else 1e-5)
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-5)


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("mode", SOME_MODES, ids="-".join)
def test_short_stretches_and_chunks_make_the_same_steps(
    mode: tuple[str, ...], deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven decisions or n-grams at a time, words one by one: memory is bounded so, and steps are the reference's."""
    case = shaped_case(mode, (16, 5, 32, 16, 2, 150))
    start = start_table(case)
    monkeypatch.setattr(sums, "STRETCH_NUMBERS", 7 * 16)
    monkeypatch.setattr(softmax, "CHUNK_NUMBERS", 64)
    found = run_torch(case, start, dtype=torch.float64, deterministic=deterministic)
    assert relative_error(found, run_reference(case, start), start) < (1e-9 if deterministic else 1e-13)


@pytest.mark.parametrize("mode", SOME_MODES, ids="-".join)
def test_segments_continue_one_another(mode: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    use_short_segments(monkeypatch, 100)
    case = random_case(model_config(*mode), train_config(epochs=3), 230, epoch=2, first_position=77, tokens_total=1000)
    start = start_table(case)
    found, right = run_torch(case, start, segment_tokens=100, dtype=torch.float64), run_reference(case, start)
    assert relative_error(found, right, start) < 1e-9
    assert found.weight == pytest.approx(right.weight)


@pytest.mark.parametrize("mode", SOME_MODES, ids="-".join)
def test_the_table_is_all_that_an_engine_knows(mode: tuple[str, ...]) -> None:
    """Another engine that takes it over goes on to the same bits, which is what checkpoints need."""
    case = shaped_case(mode, (16, 5, 32, 16, 2, 150))
    options = {"device": "cpu", "paths": case.paths, "subwords": case.subwords, "segment_tokens": 1 << 12}
    tables = []
    for stops in (False, True):
        engine = TorchEngine(case.model, case.train, case.tables, 1, **options)
        for epoch in range(3):
            if stops:
                kept = engine.read_table().copy()
                engine = TorchEngine(case.model, case.train, case.tables, 1, **options)
                engine.load_table(kept)
            engine.train_segment(case.ids, case.ends, 0, 0, epoch, 3 * len(case.ids))
        tables.append(engine.read_table())
    assert np.array_equal(*tables)


@pytest.mark.parametrize("mode", SOME_MODES, ids="-".join)
def test_equal_runs_have_equal_bits_and_other_seeds_have_others(mode: tuple[str, ...]) -> None:
    case = shaped_case(mode, (16, 5, 32, 16, 2, 400))
    start = start_table(case)
    tables = [run_torch(replace(case, seed=seed), start).table for seed in (1, 1, 2)]
    assert np.array_equal(tables[0], tables[1]) and not np.array_equal(tables[0], tables[2])


def test_deterministic_sums_do_not_depend_on_the_order_of_what_is_added() -> None:
    """The same in another order and in two parts: the same bits, which floating-point sums do not give."""
    generator = torch.Generator().manual_seed(3)
    places = torch.randint(0, 5, (400,), generator=generator)
    steps, curvature = torch.randn((400, 16), generator=generator), torch.rand((400,), generator=generator)
    tables = []
    for order in (torch.arange(400), torch.randperm(400, generator=generator)):
        table = torch.ones((9, 16))
        added = Sums(5, table, True)
        for part in order.split(300):
            added.add(places[part], steps[part], curvature[part])
        added.move(table, torch.tensor([1, 2, 4, 5, 7]), 0.5)
        tables.append(table)
    assert torch.equal(tables[0], tables[1])
    right = torch.zeros((5, 16), dtype=torch.float64).index_add_(0, places, steps.double())
    bends = torch.zeros(5, dtype=torch.float64).index_add_(0, places, curvature.double())
    expected = torch.ones((9, 16), dtype=torch.float64)
    expected[[1, 2, 4, 5, 7]] += right / (1 + 0.5 * bends)[:, None]
    assert torch.allclose(tables[0].double(), expected, rtol=1e-6, atol=1e-6)


def test_places_number_each_row_once_and_forget_the_numbers_before() -> None:
    places = Places(10, torch.device("cpu"))
    assert places.number([torch.tensor([7, 2]), torch.tensor([[7], [0]])]).tolist() == [0, 2, 7]
    assert places.of(torch.tensor([[2, 7], [0, 7]])).tolist() == [[1, 2], [0, 2]]
    assert places.number([torch.tensor([9, 7])]).tolist() == [7, 9]
    assert places.of(torch.tensor([9, 7, 9])).tolist() == [1, 0, 1]


@needs_gpu
@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_on_a_gpu_the_steps_are_the_references(mode: tuple[str, ...], deterministic: bool) -> None:
    case = shaped_case(mode, (100, 5, 32, 16, 2, 1000))
    start = start_table(case)
    options = {"device": "cuda", "deterministic": deterministic}
    found, right = run_torch(case, start, **options), run_reference(case, start)
    assert relative_error(found, right, start) < 1e-5
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-5)
    if deterministic:
        assert np.array_equal(found.table, run_torch(case, start, **options).table)


# ---- memory


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("words", [40, 3000])
@pytest.mark.parametrize("mode", SOME_MODES, ids="-".join)
def test_memory_is_foreseen(
    mode: tuple[str, ...], words: int, deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What training holds at once is less than what is foreseen, and more than a twelfth of it."""
    monkeypatch.setattr(sums, "STRETCH_NUMBERS", 1 << 18)
    model, train = model_config(*mode, dim=100, window=5), train_config(batch_tokens=512, block_tokens=32)
    model = replace(model, subwords=replace(model.subwords, buckets=2000))
    case = random_case(model, train, 2000, vocab_size=words)
    parts = case.paths, case.subwords
    options = {"deterministic": deterministic, "segment_tokens": 1 << 11, "paths": parts[0], "subwords": parts[1]}

    def work() -> None:
        engine = TorchEngine(case.model, case.train, case.tables, 1, device="cpu", **options)
        engine.train_segment(case.ids[: 1 << 11], case.ends, 0, 0, 0, case.total)
        foreseen.append(engine_bytes(engine.layout, 1 << 11, "torch", deterministic, *parts))

    foreseen: list[int] = []
    held = peak_bytes(work)
    assert held < foreseen[0] < 12 * held


# ---- plan and stage


@pytest.mark.parametrize(
    "objective, units, reason",
    [
        ("hs", "none", "model.objective hs"),
        ("softmax", "jamo", "model.objective softmax"),
        ("ns", "characters", "model.subwords"),
    ],
)
def test_there_are_no_fused_kernels_and_the_reason_is_told(objective: str, units: str, reason: str) -> None:
    layout = Layout.of(model_config(objective=objective), train_config(), 10, "float32")
    found = choose_kernels(Gpu("Z1", (9, 0), 10, 5), layout, units, True)
    assert found == ("torch", f"there are no fused kernels for {reason}")


def test_a_gpu_too_small_for_the_n_grams_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_gpu", lambda: Gpu("Z1", (9, 0), 9 * 10**9, 10**6))
    data, model = write_data(tmp_path, topic_sentences(20)), model_config(units="characters")
    with pytest.raises(
        ResourceError, match=r"40 vectors of words, and 17 of n-grams, of 16 numbers need .* but Z1 has"
    ):
        choice.plan_gpu("cuda", data, model, train_config(), CUDA)


@given(st.integers(0, (1 << 63) - 1), st.lists(st.integers(0, (1 << 31) - 1), unique=True, max_size=20))
@settings(max_examples=30, deadline=None)
def test_the_first_n_gram_rows_are_those_of_the_cpu_engine(seed: int, buckets: list[int]) -> None:
    numbers = np.array(sorted(buckets), np.int32)
    right, found = np.empty((len(numbers), 5), np.float32), torch.empty((len(numbers), 5))
    sampling.initial_ngram_vectors(seed, numbers, right)
    draws.initial_ngram_vectors(seed, torch.from_numpy(numbers), found)
    assert np.array_equal(found.numpy(), right)


def test_an_engine_with_n_grams_begins_as_the_cpu_engine_does() -> None:
    case = shaped_case(("skipgram", "exact", "cut", "ns", "characters"), (100, 5, 32, 16, 2, 30))
    parts = {"paths": case.paths, "subwords": case.subwords}
    found = TorchEngine(case.model, case.train, case.tables, 5, device="cpu", **parts)
    right = CpuEngine(case.model, case.train, case.tables, 5, 1, **parts)
    with contextlib.closing(right):
        for name in ("input_vectors", "word_vectors", "ngram_vectors", "output_vectors"):
            assert np.array_equal(getattr(found, name), getattr(right, name)), name
    assert not np.array_equal(found.input_vectors, found.word_vectors) and len(found.ngram_vectors) == 17


@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
@pytest.mark.parametrize(
    "objective, units", [("hs", "none"), ("softmax", "none"), ("ns", "characters"), ("hs", "characters")]
)
def test_a_planned_training_runs_through_and_saves_its_model(
    objective: str, units: str, arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of stage train but the device, which is the CPU here: plan, curve, model folder, what was learned."""
    monkeypatch.setattr(choice, "find_gpu", lambda: Gpu("Z1", (9, 0), 9 * 10**9, 8 * 10**9))
    monkeypatch.setattr(choice, "DEVICE", "cpu")
    words = [f"{'even' if word_id < WORDS_PER_TOPIC else 'queer'}{word_id}" for word_id in range(2 * WORDS_PER_TOPIC)]
    data = write_data(tmp_path, topic_sentences(400), shards=3, words=words)
    model, train = model_config(arch, objective=objective, units=units), train_config(epochs=3)
    model = replace(model, subwords=replace(model.subwords, buckets=2000))
    plan, reason = choice.plan_gpu("cuda", data, model, train, CUDA)
    assert plan is not None and plan.kernels == "torch" and "there are no fused kernels for" in reason
    assert plan.train.batch_tokens == plan.first_batch_tokens <= train.batch_tokens
    engine, trained = training.train_model(data, model, train, 1, 1, False, gpu=plan)
    knows_nothing = np.log(len(data.vocab) if objective == "softmax" else 2)
    assert trained.curve[-1].loss < 0.95 * knows_nothing
    assert trained.curve[-1].loss < trained.curve[0].loss
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    params = replace(params, model=model, train=train)
    folder = tmp_path / "data/train/seed-1"
    training.save_model(folder, engine, data, params, 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["engine"]["name"] == "torch" and manifest["engine"]["kernels"] == "torch"
    vectors = np.load(folder / "input_vectors.npy")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = unit @ unit.T
    topic = np.arange(len(unit)) // WORDS_PER_TOPIC
    same = topic[:, None] == topic[None, :]
    assert likeness[same].mean() > likeness[~same].mean() + 0.5
    nodes = np.load(folder / ("node_vectors.npy" if objective == "hs" else "output_vectors.npy"))
    assert nodes.shape == (len(data.vocab) - (objective == "hs"), model.dim) and np.abs(nodes).sum(axis=1).all()
    assert np.array_equal(vectors, engine.input_vectors)
    assert (folder / "ngram_rows.npy").exists() == (units != "none")
    if units != "none":
        unknown = Embeddings.load(folder).vector("even")
        likeness = unit @ unknown / np.linalg.norm(unknown)
        assert likeness[topic == 0].mean() > likeness[topic == 1].mean() + 0.5


def test_a_micro_batch_of_its_own_is_not_chosen_where_all_words_share_rows() -> None:
    """The rule for it counts words that meet themselves; every path begins at the root, and n-grams are shared."""
    counts, train = np.full(1000, 7), train_config(batch_tokens=64)
    tables = random_case(model_config(), train, 30, vocab_size=1000).tables
    models = [model_config(objective=objective) for objective in ("ns", "hs", "softmax")]
    models.append(model_config(units="characters"))
    sizes = [choice.batch_for_gpu(model, train, CUDA, counts, tables).batch_tokens for model in models]
    assert sizes[0] > 500 and sizes[1:] == [64, 64, 64]
    chosen = replace(CUDA, batch_tokens=256)
    assert choice.batch_for_gpu(model_config(objective="hs"), train, chosen, counts, tables).batch_tokens == 256
