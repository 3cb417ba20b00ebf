"""Is there a GPU that torch can use, what is free on it, and which kernels run there?"""

from __future__ import annotations

import importlib.util
import subprocess
import warnings
from dataclasses import dataclass

import torch

from wordlab.torch_engine.layout import Layout
from wordlab.torch_engine.runners import power_of_two

TRITON_CAPABILITY = (7, 0)
"""Oldest GPUs that Triton compiles for: Volta."""
TRITON_DEPTH = 512
"""Longest vectors of the fused kernels: a block's targets must fit into a multiprocessor's registers."""
TRITON_BLOCK = 128
"""Most targets and context places of a block, for the same reason."""
TRITON_NUMBERS = 1 << 14
"""Most numbers of a block's targets together. With more, the compiler takes half a minute for kernels without use."""


@dataclass(frozen=True)
class Gpu:
    """What torch tells about the GPU it would use."""

    name: str
    capability: tuple[int, int]
    total_bytes: int
    free_bytes: int


def find_gpu() -> Gpu | str:
    """The GPU, or a sentence saying why torch has none."""
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} is a build without CUDA. Install the CUDA build, for instance: "
            "pip install --force-reinstall torch"
        )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        reason = " ".join(str(warning.message).split("\n")[0].strip() for warning in said[:1])
        return (
            f"torch {torch.__version__} was built for CUDA {torch.version.cuda} and finds no GPU it can use. "
            f"{reason or 'No driver, or no device that this process may see (CUDA_VISIBLE_DEVICES).'} "
            "Look with: nvidia-smi"
        )
    free, total = torch.cuda.mem_get_info()
    return Gpu(torch.cuda.get_device_name(), torch.cuda.get_device_capability(), total, free)


def choose_kernels(gpu: Gpu, layout: Layout, units: str, deterministic: bool) -> tuple[str, str]:
    """The kernels to train with, "triton" or "torch", and why. units: model.subwords.units.

    Where nothing speaks against the fused kernels, they are tried: some seconds for the compiler, the first time.
    """
    if layout.sentences is not None:
        return "torch", "there are no fused kernels for model.arch sent2vec"
    if layout.objective != "ns":
        return "torch", f"there are no fused kernels for model.objective {layout.objective}"
    if units != "none":
        return "torch", "there are no fused kernels for model.subwords"
    if importlib.util.find_spec("triton") is None:
        return "torch", "Triton is not installed"
    if gpu.capability < TRITON_CAPABILITY:
        needed, found = (".".join(map(str, capability)) for capability in (TRITON_CAPABILITY, gpu.capability))
        return "torch", f"Triton needs compute capability {needed}, and this GPU has {found}"
    if layout.depth > TRITON_DEPTH:
        long = f"vectors of {layout.depth} numbers are too long for the fused kernels"
        return "torch", f"{long}, which take {TRITON_DEPTH}"
    block = max(layout.block_tokens, layout.context)
    if block > TRITON_BLOCK:
        return "torch", f"blocks of {block} places are too long for the fused kernels, which take {TRITON_BLOCK}"
    numbers = power_of_two(layout.block_tokens) * power_of_two(layout.depth)
    if numbers > TRITON_NUMBERS:
        fewer = f"{TRITON_NUMBERS} together, all rounded up to powers of two"
        return "torch", f"{layout.block_tokens} vectors of {layout.depth} are too much for the fused kernels: {fewer}"
    failed = try_kernels(layout, deterministic)
    return ("torch", failed) if failed else ("triton", "fused kernels")


def try_kernels(layout: Layout, deterministic: bool, device: str = "cuda") -> str | None:
    """Why the fused kernels are not to be used here, after trying them on a few blocks; None: they are right."""
    from wordlab.torch_engine.self_test import LARGEST_ERROR, error_of_kernels

    try:
        error = error_of_kernels(layout, deterministic, device)
    except failures() as failure:
        words = str(failure).strip().split("\n")[0][:200] or type(failure).__name__
        return f"Triton does not run here, the driver may be too old for it: {words}"
    if not error < LARGEST_ERROR[layout.products]:  # a NaN is not less
        return f"the fused kernels' steps differ from those of plain torch by {error:.0e} of their length here"
    return None


def failures() -> tuple[type[Exception], ...]:
    """What is raised where a kernel cannot be compiled, loaded or launched."""
    known = (ImportError, RuntimeError, OSError, AttributeError, TypeError, ValueError, subprocess.SubprocessError)
    try:
        from triton.errors import TritonError
    except (ImportError, RuntimeError, OSError, AttributeError):
        return known  # a Triton that cannot be imported raises these
    return (*known, TritonError)
