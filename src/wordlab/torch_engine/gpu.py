"""Is there a GPU that torch can use, what is free on it, and which kernels run there?"""

from __future__ import annotations

import importlib.util
import subprocess
import warnings
from dataclasses import dataclass

import torch

TRITON_CAPABILITY = (7, 0)
"""Oldest GPUs that Triton compiles for: Volta."""
TRITON_DEPTH = 512
"""Longest vectors of the fused kernels: a block's targets must fit into a multiprocessor's registers."""
TRITON_BLOCK = 128
"""Most targets and context places of a block, for the same reason."""


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


def choose_kernels(gpu: Gpu, depth: int, block: int, arch: str, objective: str, units: str) -> tuple[str, str]:
    """The kernels to train with, "triton" or "torch", and why.

    depth: numbers in a row of the table.   block: targets and context places of a block.
    arch, objective, units: model.arch, model.objective and model.subwords.units.
    """
    if arch == "sent2vec":
        return "torch", "there are no fused kernels for model.arch sent2vec"
    if objective != "ns":
        return "torch", f"there are no fused kernels for model.objective {objective}"
    if units != "none":
        return "torch", "there are no fused kernels for model.subwords"
    if importlib.util.find_spec("triton") is None:
        return "torch", "Triton is not installed"
    if gpu.capability < TRITON_CAPABILITY:
        needed, found = (".".join(map(str, capability)) for capability in (TRITON_CAPABILITY, gpu.capability))
        return "torch", f"Triton needs compute capability {needed}, and this GPU has {found}"
    if depth > TRITON_DEPTH:
        return "torch", f"vectors of {depth} numbers are too long for the fused kernels, which take {TRITON_DEPTH}"
    if block > TRITON_BLOCK:
        return "torch", f"blocks of {block} places are too long for the fused kernels, which take {TRITON_BLOCK}"
    failed = _try_triton()
    if failed:
        return "torch", f"Triton does not run here, the driver may be too old for it: {failed}"
    return "triton", "fused kernels"


def _try_triton() -> str | None:
    """Compile and run the smallest kernel; what went wrong, or None."""
    try:
        from wordlab.torch_engine.triton_probe import probe

        return None if probe() else "a kernel gave wrong numbers"
    except (ImportError, RuntimeError, OSError, AttributeError, subprocess.SubprocessError) as error:
        return str(error).strip().split("\n")[0][:200] or type(error).__name__
