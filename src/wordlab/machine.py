"""Facts about the machine a run has: whether memory and disk suffice, its device, and what to note down about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from wordlab.errors import ResourceError
from wordlab.limits import Bound, disk_bounds, in_units, lines, memory_bounds, statistic
from wordlab.stage import available_cores

NVIDIA_DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidia0"), Path("/dev/dxg"))
"""One of these is there wherever an NVIDIA GPU can be used (the last: under Windows). Looking costs nothing, while
importing torch to ask costs more than a second."""
NOTED_LIBRARIES = ("numpy", "numba", "torch", "pyarrow", "scipy", "gensim")


def available_memory_bytes(root: Path = Path("/")) -> int:
    """Memory this process could take now without swapping, under the tightest of all bounds (`limits`)."""
    return memory_bounds(root)[0].free_bytes


def peak_memory_bytes() -> int:
    """Most memory this process has held at once, mapped files that were in memory included.

    The kernel's VmHWM; `ru_maxrss` of getrusage would begin at the peak of the process that started this one.
    """
    return statistic(Path("/proc/self/status"), "VmHWM:") * 1024


def choose_device(wanted: str, root: Path = Path("/")) -> tuple[str, str]:
    """The device to train on, "cpu" or "cuda", and a sentence saying why, to be shown to the user.

    "cuda" means that it is asked for and a driver is here. Whether torch can use it is found out by
    `torch_engine.choice.plan_gpu`. Until that engine has been measured on a GPU, `auto` is the CPU.
    wanted: `run.device` of params.yaml, one of auto, cpu, cuda.
    Raises ResourceError if `cuda` is wanted and there is no GPU.
    """
    cores = f"{available_cores()} cores of {cpu_model(root)}"
    if wanted == "cpu":
        return "cpu", f"training on the CPU, {cores}: run.device is cpu"
    gpu = nvidia_gpu(root)
    if gpu and wanted == "cuda":
        return "cuda", f"training on {gpu}: run.device is cuda"
    if gpu:
        return "cpu", (
            f"training on the CPU, {cores}, and NOT on {gpu}, which is here: the GPU engine has not been measured on a "
            "GPU yet (docs/cuda.md). To try it: dvc exp run -S run.device=cuda"
        )
    if wanted == "cuda":
        raise ResourceError(
            "params.yaml: run.device is cuda, which cannot be had: no NVIDIA GPU is here. "
            "Set run.device to auto or cpu, for instance: dvc exp run -S run.device=cpu"
        )
    return "cpu", f"training on the CPU, {cores}: no NVIDIA GPU is here"


def nvidia_gpu(root: Path) -> str | None:
    """Name of the first NVIDIA GPU, as far as the driver tells without torch; None where there is none."""
    if not any((root / file.relative_to("/")).exists() for file in NVIDIA_DRIVER):
        return None
    for information in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        for line in lines(information):
            if line.startswith("Model:"):
                return line.removeprefix("Model:").strip()
    return "an NVIDIA GPU"


def cpu_model(root: Path = Path("/")) -> str:
    """Name of the processor, as the kernel gives it."""
    for line in lines(root / "proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def provenance() -> dict[str, Any]:
    """Where and with what a run was made, for metrics/run/seed-N.json. Nothing in it may decide a result."""
    return {
        "git": _git_state(),
        "cpu": cpu_model(),
        "cores": available_cores(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: installed_version(name) for name in NOTED_LIBRARIES},
    }


def installed_version(package: str) -> str | None:
    """Version of an installed package, without importing it; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any]:
    """Revision of the code and whether tracked files differ from it; both None outside a git repository."""
    revision, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "dirty": None if changes is None else changes != ""}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def require_memory(need_bytes: int, what: str, remedy: str, mapped_bytes: int = 0) -> None:
    """Raise ResourceError if `need_bytes` of memory are not free. `remedy`: what to use or lower instead.

    mapped_bytes: files that will be mapped as well; they count where the address space is limited.
    """
    free_bytes, bounds = available_memory_bytes(), memory_bounds()
    if need_bytes > free_bytes:
        raise _too_little(f"{what} need", need_bytes, "memory", free_bytes, bounds[0], remedy)
    for bound in bounds:
        if bound.counts_mapped and need_bytes + mapped_bytes > bound.free_bytes:
            wanted = need_bytes + mapped_bytes
            raise _too_little(f"{what} need", wanted, "address space", bound.free_bytes, bound, remedy)


def _too_little(who_need: str, need_bytes: int, of: str, free_bytes: int, bound: Bound, remedy: str) -> ResourceError:
    return ResourceError(
        f"{who_need} {in_units(need_bytes)} of {of}, but {in_units(free_bytes)} are free ({bound.source}). "
        f"{bound.wider}, or use {remedy}."
    )


def free_disk_bytes(path: Path) -> int:
    """Bytes this user may still write where `path` is or would be, under the tightest of all bounds (`limits`)."""
    return disk_bounds(path)[0].free_bytes


def require_disk(need_bytes: int, path: Path, remedy: str) -> None:
    """Raise ResourceError if `need_bytes` do not fit on the disk of `path`. `remedy`: what to use instead."""
    free_bytes = free_disk_bytes(path)
    if need_bytes > free_bytes:
        bound = disk_bounds(path)[0]
        raise ResourceError(
            f"{path} will need about {in_units(need_bytes)}, but its disk has {in_units(free_bytes)} left "
            f"({bound.source}). {bound.wider}, or use {remedy}."
        )
