"""The smallest Triton kernel: does compiling and running one work on this machine?"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _double(x, SIZE: tl.constexpr):
    place = x + tl.arange(0, SIZE)
    tl.store(place, 2 * tl.load(place))


def probe(device: str = "cuda") -> bool:
    """Whether a kernel doubles some numbers. Raises what Triton, its compiler or the driver raise."""
    x = torch.arange(32, device=device, dtype=torch.float32)
    _double[(1,)](x, SIZE=32)
    return x.tolist() == [2.0 * i for i in range(32)]
