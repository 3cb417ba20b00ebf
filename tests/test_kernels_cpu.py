"""The CPU engine takes the reference's steps on the same random choices, to the same bits on any number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from tests.engine import (
    ARCHES,
    MODES,
    NOISE_MODES,
    SENTENCES,
    Case,
    CpuEngine,
    assert_same_step,
    cpu_flags,
    estimated_memory,
    expected_step,
    make_case,
    model_config,
    random_case,
    relative_error,
    run_engine,
    run_reference,
    shaped_case,
    start_table,
    train_config,
    use_short_segments,
    with_threads,
)
from tests.strategies import cases

SHAPES = (
    # dim, window, block_tokens, block_negatives, blocks of a micro-batch, tokens of the corpus
    (1, 1, 1, 1, 1, 30),
    (1, 5, 7, 5, 3, 60),
    (3, 2, 7, 5, 1, 60),
    (3, 9, 32, 1, 2, 150),
    (16, 1, 16, 16, 2, 150),
    (16, 5, 50, 33, 1, 150),
    (16, 9, 1, 5, 7, 40),
    (32, 3, 6, 4, 5, 120),
    (48, 6, 17, 12, 3, 120),
    (64, 4, 18, 3, 4, 120),
    (100, 5, 32, 16, 2, 200),
    (100, 9, 50, 5, 1, 150),
    (100, 2, 7, 33, 40, 150),
    (301, 5, 16, 5, 2, 100),
    (301, 1, 32, 16, 1, 100),
    (4, 100, 64, 3, 2, 140),
    (1030, 2, 8, 4, 1, 30),
)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_engine_takes_the_steps_of_the_reference(mode: tuple[str, ...], shape: tuple[int, ...]) -> None:
    """For sizes beside the powers of two and whole tiles, subsampling on, ragged sentences; loss and weights too."""
    case = shaped_case(mode, shape)
    assert_same_step(case)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode[3] != "ns"], ids="-".join)
def test_engine_takes_the_steps_of_the_reference_for_many_words(mode: tuple[str, ...]) -> None:
    """Several chunks of the vocabulary and long paths; blocks that meet many nodes."""
    model, train = model_config(*mode, dim=20, window=5), train_config(block_tokens=32, batch_tokens=64)
    rng = np.random.default_rng(3)
    sentences = [rng.integers(0, 300, rng.integers(2, 30)) for _ in range(8)]
    assert_same_step(make_case(model, train, sentences, np.ones(300), np.ones(300), threads=2))


@given(case=cases())
@settings(max_examples=100, deadline=None)
def test_engine_takes_the_steps_of_the_reference_on_any_small_case(case: Case) -> None:
    assert_same_step(case, tolerance=1e-4)


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_words_of_one_word_sentences_move_nothing(mode: tuple[str, ...]) -> None:
    case = make_case(model_config(*mode), train_config(), [[0], [1], [0]], [1, 1], [1, 1])
    start = start_table(case)
    result = run_engine(case, start)
    assert np.array_equal(result.table, start)
    assert (result.loss, result.weight) == (0, 0)


@pytest.mark.parametrize("arch, gradient", ARCHES)
def test_a_noise_word_that_is_the_true_word_does_nothing(arch: str, gradient: str) -> None:
    """A vocabulary of one word has only such noise words: every pair pulls, none pushes."""
    case = make_case(model_config(arch, gradient, window=1), train_config(), [[0, 0, 0, 0]], [1], [1])
    start = start_table(case)
    result = run_engine(case, start)
    assert result.weight == (6 if arch == "skipgram" else 4)
    assert relative_error(result, run_reference(case, start), start) < 1e-5


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_segments_continue_one_another(mode: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard longer than a segment is worked off in several calls, positions and learning rate going on."""
    use_short_segments(monkeypatch, 100)
    model, train = model_config(*mode), train_config(epochs=3)
    case = random_case(model, train, 330, epoch=2, first_position=77, tokens_total=1000, threads=3)
    assert_same_step(case)


@pytest.mark.parametrize("mode", NOISE_MODES, ids="-".join)
def test_mean_step_is_that_of_separate_pairs(mode: tuple[str, ...]) -> None:
    """Blocks share noise words; over many draws each pair still gets `negatives` of them by the noise distribution.

    Checked against `expected_step`, which knows no blocks, within 5 standard errors of 4,000 draws for every entry.
    """
    draws = 4000
    noise = np.array([0.4, 0.3, 0.2, 0.1])
    sentences = [[0, 1, 2, 0, 3], [1, 1, 0], [2, 3]]
    model = model_config(*mode, dim=3, window=2, negatives=4)
    train = train_config(block_tokens=4, block_negatives=3, batch_tokens=12, damping=0.0, lr_floor=1.0, epochs=draws)
    case = make_case(model, train, sentences, np.ones(4), noise)
    start = start_table(case)
    engine = CpuEngine(model, train, case.tables, 1, 1)
    steps = np.empty((draws, *start.shape))
    for epoch in range(draws):
        engine.table[:, :3] = start
        engine.train_segment(case.ids, case.ends, 0, 0, epoch, case.total)
        steps[epoch] = engine.table[:, :3] - start
    engine.close()
    expected = expected_step(start, sentences, model, noise, 0.1)
    error = np.abs(steps.mean(axis=0) - expected)
    assert np.all(error <= 5 * steps.std(axis=0) / np.sqrt(draws) + 1e-7)
    assert np.abs(expected).max() > 20 * error.max(), "the step is too small to say anything"


@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_bits_are_the_same_on_any_number_of_threads(mode: tuple[str, ...]) -> None:
    """More threads than cores too, twice in a row, the loss as well as the vectors."""
    model, train = model_config(*mode, dim=20, buckets=2000), train_config(block_tokens=8, batch_tokens=256)
    case = random_case(model, train, 6000, vocab_size=300)
    start = start_table(case, size=0.05)
    first = run_engine(case, start)
    assert not np.array_equal(first.table, start)
    for threads in (1, 2, 3, 5, 8):
        again = run_engine(with_threads(case, threads), start)
        assert again.table.tobytes() == first.table.tobytes(), threads
        assert (again.loss, again.weight) == (first.loss, first.weight)


def digest_of_steps() -> str:
    """SHA-256 over what every method makes of one case; also called by the process below."""
    digest = hashlib.sha256()
    for mode in (*MODES, SENTENCES):
        train = train_config(block_tokens=32, block_negatives=16, batch_tokens=128)
        model = model_config(*mode, dim=100, window=5, buckets=2000)
        case = random_case(model, train, 2000, vocab_size=300, threads=2)
        result = run_engine(case, start_table(case, size=0.1))
        digest.update(result.table.tobytes() + np.array([result.loss, result.weight]).tobytes())
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.skipif(
    not {"avx2", "fma", "bmi2"} <= set(cpu_flags()), reason="this CPU cannot run what is compiled for a Haswell"
)
def test_bits_are_the_same_on_an_older_kind_of_cpu() -> None:
    """Compiled for a Haswell of 2013, whose vectors are half as wide as AVX-512's, and with tiles for it."""
    root = Path(__file__).parents[1]
    program = (
        "import llvmlite.binding as llvm; llvm.get_host_cpu_features = dict; "
        "from tests.test_kernels_cpu import digest_of_steps; print(digest_of_steps())"
    )
    older = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "", "PYTHONPATH": f"{root}:{root / 'src'}"}
    run = subprocess.run([sys.executable, "-c", program], env=older, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == digest_of_steps()


@pytest.mark.parametrize("change", [{"seed": 2}, {"epoch": 1}, {"first_position": 1}], ids=str)
def test_other_seeds_epochs_and_positions_draw_otherwise(change: dict[str, int]) -> None:
    model, train = model_config(), train_config(epochs=2, lr_floor=1.0)
    case = random_case(model, train, 300, tokens_total=1000)
    start = start_table(case)
    assert not np.array_equal(run_engine(case, start).table, run_engine(replace(case, **change), start).table)


@pytest.mark.parametrize("arch, gradient", ARCHES)
def test_damping_makes_a_row_step_shorter_never_longer(arch: str, gradient: str) -> None:
    """One micro-batch: every row moves along the same line as without damping, less far the larger c is."""
    steps = []
    for damping in (0.0, 0.5, 4.0):
        train = train_config(damping=damping, batch_tokens=1024, block_tokens=16)
        case = random_case(model_config(arch, gradient), train, 300)
        start = start_table(case)
        steps.append((run_engine(case, start).table - start).astype(np.float64))
    moved = np.abs(steps[0]).max(axis=1) > 1e-3
    lengths = [np.linalg.norm(step[moved], axis=1) for step in steps]
    assert np.all(lengths[0] > lengths[1]) and np.all(lengths[1] > lengths[2])
    cosines = (steps[0][moved] * steps[2][moved]).sum(axis=1) / (lengths[0] * lengths[2])
    assert cosines.min() > 0.9999


def test_a_new_model_has_random_input_rows_and_no_output() -> None:
    case = random_case(model_config(dim=10), train_config(), 100)
    engine = CpuEngine(case.model, case.train, case.tables, 1, 1)
    engine.close()
    assert engine.input_vectors.shape == engine.output_vectors.shape == (40, 10)
    assert np.unique(engine.input_vectors).size > 390
    assert np.abs(engine.input_vectors).max() <= 1 / 20
    assert not engine.output_vectors.any()


def test_views_of_vectors_show_the_rows_that_are_trained() -> None:
    """Input rows 0 .. V - 1, a padding row, output rows V + 1 .. 2 V, a padding row; without the padding columns."""
    case = random_case(model_config(dim=10), train_config(), 100)
    engine = CpuEngine(case.model, case.train, case.tables, 1, 1)
    engine.close()
    engine.table[:] = np.arange(82)[:, None]
    assert np.array_equal(engine.input_vectors[:, 9], np.arange(40))
    assert np.array_equal(engine.output_vectors[:, 0], np.arange(41, 81))


@pytest.mark.parametrize("arch, gradient", ARCHES)
def test_an_untrained_model_has_loss_ln_2(arch: str, gradient: str) -> None:
    """Output rows are zero, so every prediction has a chance of one half until the first step: exactly ln 2."""
    train = train_config(lr=1e-10, lr_floor=0.0)
    case = random_case(model_config(arch, gradient), train, 300)
    engine = CpuEngine(case.model, case.train, case.tables, 1, 1)
    loss, weight = engine.train_segment(case.ids, case.ends, 0, 0, 0, case.total)
    engine.close()
    assert loss / weight == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("row", [0, 5], ids=["input", "output"])
@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_a_broken_row_shows_in_the_loss(mode: tuple[str, ...], row: int) -> None:
    """A diverged model must not report a fine loss: what is not a number stays so through all formulas."""
    case = make_case(model_config(*mode, window=1), train_config(), [[0, 1, 2, 0, 1, 2, 3]], [1] * 4, [1] * 4)
    start = start_table(case)
    start[row, 3] = np.nan
    assert not np.isfinite(run_engine(case, start).loss)


def test_weights_are_one_true_pair_and_its_negatives() -> None:
    """Where no noise word can coincide, a pair weighs 1 + negatives: the mean loss is one over predictions."""
    model = model_config(window=1, negatives=7)
    case = make_case(model, train_config(block_negatives=3), [[0, 1, 0], [1, 0]], [1, 1, 1], [0, 0, 1])
    assert run_engine(case, start_table(case)).weight == pytest.approx(6 * 8, rel=1e-6)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("objective", ["ns", "hs", "softmax"])
@pytest.mark.parametrize(
    "shape", [(16, 5, 16, 16, 1), (301, 1, 1, 1, 64), (8, 100, 1024, 1024, 1), (100, 5, 32, 16, 32)]
)
def test_memory_is_not_underestimated(shape: tuple[int, ...], objective: str, threads: int) -> None:
    """What an engine allocates, beside one megabyte, is within the number that is compared with free memory."""
    dim, window, block_tokens, block_negatives, blocks = shape
    train = train_config(block_tokens=block_tokens, block_negatives=block_negatives, batch_tokens=blocks * block_tokens)
    model = model_config(dim=dim, window=window, objective=objective)
    case = make_case(model, train, [[0, 1]], np.ones(5000), np.ones(5000), threads=threads)
    paths = case.paths
    CpuEngine(model, train, case.tables, 1, threads, paths).close()  # compiles
    tracemalloc.start()
    try:
        CpuEngine(model, train, case.tables, 1, threads, paths).close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= estimated_memory(case) + (1 << 20)
