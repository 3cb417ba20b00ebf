"""The torch engine takes the reference's and the CPU engine's steps on the same random choices."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import (
    ARCHES,
    NOISE_MODES,
    Case,
    make_case,
    many_draws,
    many_kept,
    many_noise_words,
    many_widths,
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
from tests.strategies import cases, distributions
from tests.torch_runs import needs_gpu, run_torch
from wordlab import sampling, training
from wordlab.config import load_params
from wordlab.errors import ArtifactError, ResourceError
from wordlab.sections.cuda import CudaConfig
from wordlab.torch_engine import choice, draws, gpu, steps
from wordlab.torch_engine import engine as torch_engine
from wordlab.torch_engine.engine import TorchEngine, engine_bytes
from wordlab.torch_engine.feeding import Feed, feed_bytes, pieces_of
from wordlab.torch_engine.gpu import Gpu, choose_kernels, find_gpu
from wordlab.torch_engine.layout import Layout

SEEDS = st.integers(0, (1 << 63) - 1)
SHAPES = (
    # dim, window, block_tokens, block_negatives, blocks of a micro-batch, tokens of the corpus
    (1, 1, 1, 1, 1, 30),
    (3, 9, 32, 1, 2, 150),
    (16, 5, 50, 33, 1, 150),
    (16, 9, 1, 5, 7, 40),
    (100, 5, 32, 16, 2, 200),
    (100, 2, 7, 33, 40, 150),
    (301, 5, 16, 5, 2, 100),
)


# ---- random choices


@settings(deadline=None)
@given(SEEDS, st.integers(0, 1_000_000), st.sampled_from([sampling.KEEP, sampling.WINDOW, sampling.NOISE]))
def test_keys_are_those_of_the_cpu_engine(seed: int, epoch: int, stream: int) -> None:
    assert draws.stream_key(seed, epoch, stream) == int(sampling.stream_key(seed, epoch, stream))


@given(st.integers(0, (1 << 64) - 1))
@settings(max_examples=30, deadline=None)
def test_numbers_are_those_of_the_cpu_engine_to_the_bit(key: int) -> None:
    found = draws.draw(key, torch.arange(200)).numpy().view(np.uint64)
    assert np.array_equal(found, many_draws(np.uint64(key), 200))


@given(st.integers(0, (1 << 64) - 1), st.integers(1, 100))
@settings(max_examples=30, deadline=None)
def test_windows_and_kept_tokens_are_those_of_the_cpu_engine(key: int, window: int) -> None:
    positions = torch.arange(100)
    widths = draws.window_width(key, positions, window).numpy()
    assert np.array_equal(widths, many_widths(np.uint64(key), 100, window))
    (threshold,) = draws.keep_thresholds(np.array([window / 100], np.float32))
    assert threshold == sampling.keep_thresholds(np.array([window / 100], np.float32))[0]
    kept = draws.is_kept(key, positions, torch.tensor(int(threshold))).numpy()
    assert np.array_equal(kept, many_kept(np.uint64(key), 100, np.uint64(threshold)))


@given(distributions(), st.integers(0, (1 << 64) - 1))
@settings(max_examples=60, deadline=None)
def test_noise_words_are_those_of_the_cpu_engine(probability: np.ndarray, key: int) -> None:
    accept, alias = draws.alias_table(probability)
    right_accept, right_alias = sampling.alias_table(probability)
    assert np.array_equal(accept, right_accept.astype(np.int64)) and np.array_equal(alias, right_alias)
    found = draws.noise_words(key, torch.arange(20), 7, torch.from_numpy(accept), torch.from_numpy(alias)).numpy()
    assert found.dtype == np.int32
    assert np.array_equal(found, many_noise_words(np.uint64(key), 20, 7, right_accept, right_alias))


@pytest.mark.parametrize("dim", [1, 3, 100])
def test_first_vectors_are_those_of_the_cpu_engine(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "_CHUNK", 250)
    right, found = np.empty((70, dim), np.float32), torch.empty((70, dim))
    sampling.initial_vectors(12, right)
    draws.initial_vectors(12, found)
    assert np.array_equal(found.numpy(), right)


# ---- steps


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mode", NOISE_MODES, ids="-".join)
def test_in_float64_the_steps_are_the_references(
    mode: tuple[str, str, str], shape: tuple[int, ...], deterministic: bool
) -> None:
    """To the rounding of the fixed-point sums, a millionth of a millionth, where the mode is deterministic."""
    case = shaped_case(mode, shape)
    start = start_table(case)
    found = run_torch(case, start, dtype=torch.float64, deterministic=deterministic)
    right = run_reference(case, start)
    assert relative_error(found, right, start) < (1e-9 if deterministic else 1e-13)
    assert found.loss == pytest.approx(right.loss, rel=1e-9 if deterministic else 1e-12)
    assert found.weight == pytest.approx(right.weight, rel=1e-12)


@pytest.mark.parametrize("mode", NOISE_MODES, ids="-".join)
def test_in_float32_the_steps_are_the_cpu_engines(mode: tuple[str, str, str]) -> None:
    case = shaped_case(mode, (100, 5, 32, 16, 2, 400))
    start = start_table(case)
    found, right = run_torch(case, start), run_engine(case, start)
    assert relative_error(found, right, start) < 1e-5
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-5)


@given(case=cases(NOISE_MODES))
@settings(max_examples=60, deadline=None)
def test_steps_are_the_references_on_any_small_case(case: Case) -> None:
    start = start_table(case)
    found, right = run_torch(case, start, dtype=torch.float64, deterministic=False), run_reference(case, start)
    assert relative_error(found, right, start) < 1e-12
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-11)


@pytest.mark.parametrize("mode", NOISE_MODES, ids="-".join)
def test_segments_continue_one_another(mode: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_short_segments(monkeypatch, 100)
    case = random_case(model_config(*mode), train_config(epochs=3), 330, epoch=2, first_position=77, tokens_total=1000)
    start = start_table(case)
    found, right = run_torch(case, start, segment_tokens=100, dtype=torch.float64), run_reference(case, start)
    assert relative_error(found, right, start) < 1e-9
    assert found.weight == pytest.approx(right.weight)


def test_whole_trainings_end_where_the_cpu_engines_end() -> None:
    """Ten epochs, from the first vectors: the two tables differ by what float32 rounds, and the rates are equal."""
    case = random_case(model_config(dim=20), train_config(epochs=10), 2000)
    engine = TorchEngine(case.model, case.train, case.tables, 5, device="cpu", deterministic=False)
    from tests.engine import CpuEngine

    right = CpuEngine(case.model, case.train, case.tables, 5, 1)
    assert np.array_equal(engine.input_vectors, right.input_vectors) and not engine.output_vectors.any()
    for epoch in range(10):
        losses = [e.train_segment(case.ids, case.ends, 0, 0, epoch, case.total) for e in (engine, right)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        assert engine.learning_rate(epoch * 100, case.total) == right.learning_rate(epoch * 100, case.total)
    for found, wanted in ((engine.input_vectors, right.input_vectors), (engine.output_vectors, right.output_vectors)):
        assert found.shape == wanted.shape
        assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)
    right.close()


@pytest.mark.parametrize("arch, gradient", ARCHES)
def test_bf16_products_err_by_their_rounding_and_no_more(arch: str, gradient: str) -> None:
    case = shaped_case((arch, gradient, "pad"), (64, 5, 32, 16, 2, 400))
    start = start_table(case, size=0.1)
    error = relative_error(run_torch(case, start, products="bf16"), run_reference(case, start), start)
    assert 1e-4 < error < 1e-2


def test_deterministic_sums_do_not_depend_on_the_order_of_the_entries() -> None:
    """The same entries in another order: the same bits, which floating-point sums do not give."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randint(0, 5, (400,), generator=generator)
    updates = torch.randn((400, 16), generator=generator), torch.rand((400,), generator=generator)
    tables = []
    for order in (torch.arange(400), torch.randperm(400, generator=generator)):
        table = torch.ones((7, 16))
        row_of_slot = torch.cat([torch.arange(5), torch.full((395,), 6)])
        steps.add_deterministic(
            table,
            rows[order],
            row_of_slot,
            steps.Updates(updates[0][order].view(4, 100, 16), updates[1][order].view(4, 100), torch.zeros(2)),
            0.5,
        )
        tables.append(table)
    assert torch.equal(tables[0], tables[1])
    sums = torch.zeros((5, 16), dtype=torch.float64).index_add_(0, rows, updates[0].double())
    bends = torch.zeros(5, dtype=torch.float64).index_add_(0, rows, updates[1].double())
    assert torch.allclose(tables[0][:5].double(), 1 + sums / (1 + 0.5 * bends)[:, None], rtol=1e-6, atol=1e-6)


def test_a_warm_up_has_small_micro_batches_and_the_rest_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that begin before its end are trained as with small ones alone, those after as with large ones alone."""
    monkeypatch.setattr(torch_engine, "WARM_UP_TOKENS", 150)
    monkeypatch.setattr(torch_engine, "WARM_UP_SHARE", 0.0)
    small, large = (random_case(model_config(), train_config(batch_tokens=size), 300) for size in (16, 64))
    start = start_table(large)
    found = run_torch(large, start, segment_tokens=100, first_batch_tokens=16)
    half, epochs = (
        replace(large, ids=large.ids[200:], ends=large.ends[large.ends > 200] - 200, first_position=200),
        large.total,
    )
    first = run_torch(replace(small, ids=small.ids[:200], tokens_total=epochs), start, segment_tokens=100)
    right = run_torch(replace(half, tokens_total=epochs), first.table, segment_tokens=100)
    assert np.array_equal(found.table, right.table)
    assert not np.array_equal(found.table, run_torch(large, start, segment_tokens=100).table)


def test_equal_runs_have_equal_bits_and_other_seeds_have_others() -> None:
    case = shaped_case(("skipgram", "exact", "cut"), (16, 5, 32, 16, 2, 400))
    start = start_table(case)
    tables = [run_torch(replace(case, seed=seed), start).table for seed in (1, 1, 2)]
    assert np.array_equal(tables[0], tables[1]) and not np.array_equal(tables[0], tables[2])


# ---- what is wrong


@pytest.mark.parametrize("ids", [[0, 1, 9], [0, -1, 1]])
def test_an_id_that_is_no_words_is_refused_before_it_is_an_index(ids: list[int]) -> None:
    case = make_case(model_config(), train_config(), [ids], [1] * 3, [1] * 3)
    with pytest.raises(ArtifactError, match=r"from (0 to 9|-1 to 1) in 3 tokens from token 0 on, but word ids are"):
        run_torch(case, start_table(case))


def test_a_segment_of_which_nothing_is_kept_moves_nothing() -> None:
    case = make_case(model_config(), train_config(), [[0, 0, 0]], [1e-9], [1])
    start = start_table(case)
    found = run_torch(case, start)
    assert (found.loss, found.weight) == (0, 0) and np.array_equal(found.table, start)


# ---- memory and ids


def tensors_of(thing: object, seen: set[int]) -> int:
    """Bytes of all tensors that can be reached from the attributes of wordlab's objects."""
    if isinstance(thing, torch.Tensor):
        new = thing.untyped_storage().data_ptr() not in seen
        seen.add(thing.untyped_storage().data_ptr())
        return thing.untyped_storage().nbytes() if new else 0
    if type(thing).__module__.startswith("wordlab"):
        return sum(tensors_of(value, seen) for value in vars(thing).values())
    return 0


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("words", [40, 3000])
def test_memory_is_foreseen(deterministic: bool, words: int) -> None:
    """What is held between segments is less than what is foreseen, and more than a fortieth of it."""
    case = random_case(model_config(dim=100, window=5), train_config(batch_tokens=512), 100, vocab_size=words)
    engine = TorchEngine(
        case.model, case.train, case.tables, 1, device="cpu", deterministic=deterministic, segment_tokens=1 << 14
    )
    held, foreseen = tensors_of(engine, set()), engine_bytes(engine.layout, 1 << 14, "torch", deterministic)
    assert held < foreseen < 40 * held


def test_pieces_cover_the_corpus_and_stay_in_their_shards() -> None:
    assert [tuple(piece) for piece in pieces_of([5, 0, 4], 2)] == [
        (0, 0, 0, 2), (0, 2, 2, 2), (0, 4, 4, 1), (2, 0, 5, 2), (2, 2, 7, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("resident", [True, False])
def test_a_feed_brings_every_segment_in_order_epoch_after_epoch(resident: bool, first: int) -> None:
    """Every id is its own position, so a wrong or overwritten segment shows. It may begin in the middle."""
    ids = np.arange(230, dtype=np.int32)
    shards = [ids[:100], ids[100:107], ids[107:]]
    feed = Feed(shards, 20, torch.device("cpu"), resident)
    pieces = pieces_of([100, 7, 123], 20)
    for turn in range(3 * len(pieces)):
        piece = pieces[(first + turn) % len(pieces)]
        assert feed.take(piece.position).tolist() == list(range(piece.position, piece.position + piece.size))
    assert feed_bytes([100, 7, 123], 20, resident) == (4 * 230 if resident else 4 * 4 * 20)
    feed.close()


def test_a_feed_that_cannot_read_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise OSError("Input/output error")

    monkeypatch.setattr(np, "copyto", broken)
    feed = Feed([np.zeros(50, np.int32)], 20, torch.device("cpu"), True)
    with pytest.raises(OSError, match="Input/output error"):
        feed.take(0)
    feed.close()


@pytest.mark.parametrize("resident", [True, False])
def test_with_a_feed_the_same_bits_are_trained(resident: bool) -> None:
    case = random_case(model_config(), train_config(), 500)
    start = start_table(case)
    feed = Feed([case.ids], 100, torch.device("cpu"), resident)
    fed = run_torch(case, start, segment_tokens=100, feed=feed)
    assert np.array_equal(fed.table, run_torch(case, start, segment_tokens=100).table)


# ---- device


def test_a_torch_without_cuda_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is a build without CUDA. Install the CUDA build" in str(find_gpu())


def test_a_driver_that_torch_cannot_use_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def unavailable() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old\nmore", stacklevel=1)
        return False

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    assert "finds no GPU it can use. The NVIDIA driver on your system is too old Look with" in str(find_gpu())


@pytest.mark.parametrize(
    "capability, dim, block, installed, failure, kernels, reason",
    [
        ((9, 0), 128, 32, True, None, "triton", "fused kernels"),
        ((9, 0), 128, 32, False, None, "torch", "Triton is not installed"),
        ((6, 1), 128, 32, True, None, "torch", "needs compute capability 7.0, and this GPU has 6.1"),
        ((9, 0), 1024, 32, True, None, "torch", "vectors of 1024 numbers are too long"),
        ((9, 0), 128, 290, True, None, "torch", "blocks of 300 places are too long"),
        ((9, 0), 500, 64, True, None, "torch", "64 vectors of 512 are too much for the fused kernels: 16384 together"),
        ((9, 0), 500, 32, True, "their words", "torch", "their words"),
    ],
)
def test_fused_kernels_are_taken_where_they_run_and_else_the_reason_is_told(
    capability: tuple[int, int], dim: int, block: int, installed: bool, failure: str | None, kernels: str,
    reason: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: "there" if installed else None)
    monkeypatch.setattr(gpu, "try_kernels", lambda layout, deterministic: failure)
    layout = Layout.of(
        model_config(dim=dim, window=5), train_config(block_tokens=block, batch_tokens=4 * block), 10, "float32"
    )
    found, why = choose_kernels(Gpu("Z1", capability, 10, 5), layout, "none", True)
    assert found == kernels and reason in why


WITHOUT = """
import sys
for name in ("numba", "pyarrow", "dvc", "triton", "scipy", "tqdm"):
    sys.modules[name] = None
import wordlab.torch_engine.engine, wordlab.torch_engine.gpu
"""


def test_the_engine_needs_nothing_but_torch_numpy_and_yaml() -> None:
    """The machine with the GPU may have neither numba nor pyarrow."""
    environment = {"PYTHONPATH": str(Path(gpu.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


# ---- on a GPU


@needs_gpu
@pytest.mark.parametrize("kernels", ["torch", "triton"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("mode", NOISE_MODES, ids="-".join)
def test_on_a_gpu_the_steps_are_the_references(mode: tuple[str, str, str], deterministic: bool, kernels: str) -> None:
    case = shaped_case(mode, (100, 5, 32, 16, 2, 3000))
    start = start_table(case)
    options = {"device": "cuda", "kernels": kernels, "deterministic": deterministic}
    found, right = run_torch(case, start, **options), run_reference(case, start)
    assert relative_error(found, right, start) < 1e-5
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-5)
    if deterministic:
        assert np.array_equal(found.table, run_torch(case, start, **options).table)


# ---- plan


GIGABYTE = 10**9
CUDA = CudaConfig(batch_tokens=0, deterministic=True, products="float32")


def plan_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gpu_found: Gpu | str,
    wanted: str = "auto",
    **changes: Any,
) -> tuple[choice.Plan | None, str]:
    monkeypatch.setattr(choice, "find_gpu", lambda: gpu_found)
    monkeypatch.setattr(choice, "choose_kernels", lambda *given: ("torch", "Triton is not installed"))
    data = write_data(tmp_path, topic_sentences(400))
    return choice.plan_gpu(wanted, data, model_config(), train_config(), replace(CUDA, **changes))


def test_the_plan_says_device_memory_kernels_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, reason = plan_on(tmp_path, monkeypatch, Gpu("Z1", (9, 0), 9 * GIGABYTE, 8 * GIGABYTE))
    assert plan is not None and plan.resident and plan.kernels == "torch" and plan.deterministic
    assert (
        reason.startswith("training on Z1, ") and "of the 8 GB that are free, the whole corpus on the device" in reason
    )
    assert "plain torch: Triton is not installed" in reason and "the same bits in every run here" in reason


def test_a_corpus_that_does_not_fit_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "feed_bytes", lambda shards, segment, resident: GIGABYTE if resident else 100)
    plan, _ = plan_on(tmp_path, monkeypatch, Gpu("Z1", (9, 0), 4 * GIGABYTE, 4 * GIGABYTE))
    assert plan is not None
    room = plan.need_bytes - GIGABYTE + 1000
    plan, reason = plan_on(tmp_path, monkeypatch, Gpu("Z1", (9, 0), 4 * GIGABYTE, room))
    assert plan is not None and not plan.resident and "4 segments of the corpus on the device" in reason


def test_a_gpu_too_small_is_told_before_anything_is_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ResourceError, match=r"40 vectors of 16 numbers need .* on the GPU, but Z1 has 1 MB of 9 GB free"
    ):
        plan_on(tmp_path, monkeypatch, Gpu("Z1", (9, 0), 9 * GIGABYTE, 10**6))


def test_where_torch_has_no_gpu_auto_takes_the_cpu_and_cuda_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, reason = plan_on(tmp_path, monkeypatch, "this torch is a build without CUDA")
    assert plan is None and "NOT on the GPU that is here: this torch is a build without CUDA" in reason
    with pytest.raises(ResourceError, match=r"run\.device is cuda, which cannot be had: this torch is a build without"):
        plan_on(tmp_path, monkeypatch, "this torch is a build without CUDA", "cuda")


def test_the_micro_batch_grows_until_words_meet_themselves() -> None:
    """1,000 words alike: two kept tokens are the same one with a chance of 1/1000."""
    tables = make_case(model_config(), train_config(), [[0]], np.ones(1000), np.ones(1000)).tables
    counts, train = np.full(1000, 7), train_config(batch_tokens=64)
    assert choice.batch_for_gpu(model_config(), train, CUDA, counts, tables).batch_tokens == 1184, (
        "whole blocks below 1.2 * 1000"
    )
    assert (
        choice.batch_for_gpu(model_config(), replace(train, batch_tokens=6400), CUDA, counts, tables).batch_tokens
        == 6400
    )
    assert (
        choice.batch_for_gpu(model_config(), train, replace(CUDA, batch_tokens=130), counts, tables).batch_tokens == 128
    )
    counts = np.full(10**6, 7)
    tables = make_case(model_config(), train_config(), [[0]], np.ones(10**6), np.ones(10**6)).tables
    assert choice.batch_for_gpu(model_config(), train, CUDA, counts, tables).batch_tokens == choice.LARGEST_BATCH


def test_a_planned_training_runs_through_and_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of stage train but the device, which is the CPU here: curve, model folder, manifest."""
    plan, _ = plan_on(tmp_path, monkeypatch, Gpu("Z1", (9, 0), 9 * GIGABYTE, 8 * GIGABYTE), batch_tokens=32)
    monkeypatch.setattr(choice, "DEVICE", "cpu")
    data = write_data(tmp_path, topic_sentences(400), shards=3)
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    engine, trained = training.train_model(data, model_config(), train_config(), 1, 1, False, gpu=plan)
    assert trained.curve[-1].loss < trained.curve[0].loss and len(trained.curve) == 3
    training.save_model(tmp_path / "data/train/seed-1", engine, data, params, 1)
    manifest = json.loads((tmp_path / "data/train/seed-1/manifest.json").read_text())
    assert manifest["engine"] == {
        "name": "torch", "block_tokens": 16, "batch_tokens": 32, "device": "cpu", "kernels": "torch",
        "deterministic": True, "products": "float32", "segment_tokens": 1 << 20, "first_batch_tokens": 32,
    }  # fmt: skip
    assert np.isfinite(np.load(tmp_path / "data/train/seed-1/input_vectors.npy")).all()
