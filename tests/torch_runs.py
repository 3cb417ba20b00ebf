"""The torch engine on the cases of tests.engine, for test_torch_engine.py and test_triton.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile

from tests.engine import Case, Result
from wordlab.torch_engine.engine import TorchEngine

torch.set_num_threads(1)  # a test's tensors are too small to share, and threads that wait for one another slow it
GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not GPU, reason="torch finds no NVIDIA GPU on this machine")


def run_torch(
    case: Case, start: NDArray[np.float32], segment_tokens: int = 1 << 12, device: str = "cpu", **options: Any
) -> Result:
    """One epoch of the torch engine over the shard, segment after segment; as `tests.engine.run_engine`."""
    engine = TorchEngine(
        *(case.model, case.train, case.tables, case.seed),
        **{
            "device": device,
            "segment_tokens": segment_tokens,
            "paths": case.paths,
            "subwords": case.subwords,
            **options,
        },
    )
    total = np.zeros(2)
    rows, dim = engine.layout.nothing, case.model.dim
    engine.table[:] = 0
    engine.table[:rows, :dim] = torch.from_numpy(start).to(engine.table)
    for begin in range(0, len(case.ids), segment_tokens):
        position = case.first_position + begin
        total += engine.train_segment(case.ids, case.ends, begin, position, case.epoch, case.total)
    engine.close()
    table = engine.table.cpu().numpy()
    assert not table[rows].any(), "the row of nothing moved"
    assert not table[:, dim:].any(), "the columns that fill a row up moved"
    return Result(table[:rows, :dim].copy(), *total)


def peak_bytes(work: Any) -> int:
    """Most bytes of tensors that are there at once while `work` runs, as torch's allocator reports them."""
    now = most = 0
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most
