"""Threads that work on one micro-batch together: an atomic counter and a barrier, for use inside numba functions.

The threads are plain Python threads inside functions compiled with nogil=True. A barrier of this kind takes a fraction
of a microsecond where a fork and join of numba's own takes ten, and a micro-batch lasts about a hundred.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from wordlab.compiled import inner

ARRIVED, PHASE, NEXT = 0, 8, 16
"""Slots of the shared int64 state, each in a cache line of its own."""
STATE_SIZE = 24
SPINS_BEFORE_YIELD = 20_000

_yield_processor = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
def _atomic_add(typingctx: Any, address: Any, amount: Any) -> Any:
    """Add to the int64 at an address; returns the value before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(types.intp, types.int64), codegen


@intrinsic
def _atomic_load(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(types.intp), codegen


@intrinsic
def _atomic_store(typingctx: Any, address: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store_atomic(args[1], pointer, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@inner
def take_next(state: Any) -> Any:
    """The next number 0, 1, 2, ... since the last barrier; every thread gets different ones."""
    return _atomic_add(state + 8 * NEXT, 1)


@inner
def wait_for_all(state: Any, threads: Any) -> Any:
    """Return when all threads have called; `take_next` starts again from 0 then. state: address of the shared state."""
    phase = _atomic_load(state + 8 * PHASE)
    if _atomic_add(state + 8 * ARRIVED, 1) == threads - 1:
        _atomic_store(state + 8 * ARRIVED, 0)
        _atomic_store(state + 8 * NEXT, 0)
        _atomic_store(state + 8 * PHASE, phase + 1)
        return
    spins = 0
    while _atomic_load(state + 8 * PHASE) == phase:
        spins += 1
        if spins > SPINS_BEFORE_YIELD:
            _yield_processor()


def new_state() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Shared state of one team of threads, to be passed on by its address."""
    return np.zeros(STATE_SIZE, np.int64)
