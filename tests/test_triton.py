"""The fused kernels take the reference's steps: under Triton's interpreter on a CPU, compiled where there is a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engine import (
    NOISE_MODES,
    model_config,
    random_case,
    relative_error,
    run_reference,
    shaped_case,
    start_table,
    train_config,
)
from tests.torch_runs import GPU, run_torch
from wordlab.torch_engine.gpu import try_kernels
from wordlab.torch_engine.layout import Layout
from wordlab.torch_engine.runners import TritonRunner

if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
pytest.importorskip("triton", reason="Triton is not installed: pip install triton (docs/cuda.md)")
DEVICE = "cuda" if GPU else "cpu"

SHAPES = (
    # dim, window, block_tokens, block_negatives, blocks of a micro-batch, tokens of the corpus
    (1, 1, 1, 1, 1, 8),
    (20, 9, 17, 18, 1, 40),
    (100, 5, 32, 40, 2, 100),
)


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mode", NOISE_MODES, ids="-".join)
def test_the_kernels_take_the_steps_of_the_reference(
    mode: tuple[str, str, str], shape: tuple[int, ...], deterministic: bool
) -> None:
    """Several micro-batches, subsampling on, ragged sentences, sizes beside the powers of two."""
    case = shaped_case(mode, shape)
    start = start_table(case)
    found = run_torch(case, start, device=DEVICE, kernels="triton", deterministic=deterministic)
    right = run_reference(case, start)
    assert relative_error(found, right, start) < 1e-5
    assert (found.loss, found.weight) == pytest.approx((right.loss, right.weight), rel=1e-5)


@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
def test_short_segments_follow_one_another(arch: str) -> None:
    """What the kernels keep from micro-batch to micro-batch is clean when the next segment begins."""
    case = random_case(model_config(arch), train_config(batch_tokens=32), 100)
    start = start_table(case)
    options = {"segment_tokens": 45, "device": DEVICE, "kernels": "triton"}
    fast, deterministic = (run_torch(case, start, deterministic=which, **options) for which in (False, True))
    plain = run_torch(case, start, segment_tokens=45)
    for found in (fast, deterministic):
        assert np.linalg.norm(found.table - plain.table) < 1e-5 * np.linalg.norm(plain.table - start)


@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
@pytest.mark.parametrize("products, least, most", [("tf32", 0, 5e-3), ("tf32x3", 0, 1e-5), ("bf16", 1e-4, 2e-2)])
def test_coarser_products_err_by_their_rounding(arch: str, products: str, least: float, most: float) -> None:
    """The interpreter computes tf32 in float32, so that only a GPU shows its rounding, and bf16 wrongly."""
    if products == "bf16" and not GPU:
        pytest.skip("Triton's interpreter cannot multiply bf16, and torch finds no NVIDIA GPU on this machine")
    case = shaped_case((arch, "exact", "cut"), (64, 3, 16, 16, 2, 60))
    start = start_table(case, size=0.1)
    found = run_torch(case, start, device=DEVICE, kernels="triton", products=products)
    assert least <= relative_error(found, run_reference(case, start), start) < most


def test_deterministic_kernels_give_equal_bits() -> None:
    case = shaped_case(("skipgram", "exact", "pad"), (20, 2, 16, 8, 2, 60))
    start = start_table(case)
    tables = [run_torch(case, start, device=DEVICE, kernels="triton").table for _ in range(2)]
    assert np.array_equal(*tables)


HOPPER_SHARED_BYTES = 227 * 1024


@pytest.mark.slow
def test_compiled_for_a_hopper_gpu_the_kernels_keep_what_they_need_in_registers(tmp_path: Path) -> None:
    """What does not fit goes to the stack, which lies in the GPU's memory. Compiling needs no GPU."""
    without = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment = {**without, "PYTHONPATH": os.pathsep.join(sys.path), "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.compile_kernels"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 18
    for taken in found:
        long = taken["kernel"][-1] == 304
        assert taken["stack"] <= (500 if long else 0) and taken["shared"] <= HOPPER_SHARED_BYTES, taken


def tried_layout(mode: tuple[str, str, str] = ("skipgram", "exact", "cut")) -> Layout:
    """Of a training with a large vocabulary."""
    case = shaped_case(mode, (20, 3, 17, 18, 4, 100))
    return Layout.of(case.model, case.train, 10**6, "float32")


@pytest.mark.parametrize("deterministic", [False, True], ids=["fast", "deterministic"])
@pytest.mark.parametrize("mode", [("skipgram", "exact", "cut"), ("cbow", "word2vec", "pad")], ids="-".join)
def test_before_a_training_the_kernels_are_tried_at_its_sizes(mode: tuple[str, str, str], deterministic: bool) -> None:
    assert try_kernels(tried_layout(mode), deterministic, DEVICE) is None


def test_kernels_that_take_other_steps_than_plain_torch_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TritonRunner, "_prepare", lambda self, batches: None)
    told = "the fused kernels' steps differ from those of plain torch by 1e+00 of their length here"
    assert try_kernels(tried_layout(), True, DEVICE) == told


def test_a_compiler_that_fails_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Triton raises is no RuntimeError: of shared memory that does not suffice, of its assembler."""
    from triton.runtime.errors import OutOfResources

    def fail(*given: object) -> None:
        raise OutOfResources(300_000, 232_448, "shared memory")

    monkeypatch.setattr(TritonRunner, "_micro_batch", fail)
    told = try_kernels(tried_layout(), True, DEVICE)
    assert told is not None and told.startswith("Triton does not run here, ") and "shared memory, Required: 300" in told
