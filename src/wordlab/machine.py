"""Facts about the machine a run has: free memory and disk, its device, and what to note down about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from wordlab.errors import ResourceError
from wordlab.stage import available_cores

NVIDIA_DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidia0"), Path("/dev/dxg"))
"""One of these is there wherever an NVIDIA GPU can be used (the last: under Windows). Looking costs nothing, while
importing torch to ask costs more than a second."""
NOTED_LIBRARIES = ("numpy", "numba", "torch", "pyarrow", "scipy", "gensim")


def available_memory_bytes(root: Path = Path("/")) -> int:
    """Memory this process could take now without swapping: the kernel's estimate, or what its control groups leave.

    Pages of files that a control group holds count as free, since the kernel gives them up first.
    root: where proc/ and sys/ are; another one in tests.
    """
    free_bytes = [_statistic(root / "proc/meminfo", "MemAvailable:") * 1024]
    for group, most, used, cached in _memory_groups(root):
        most_bytes, used_bytes = _number(group / most), _number(group / used)
        if most_bytes is not None and used_bytes is not None:
            free_bytes.append(max(0, most_bytes - used_bytes + _statistic(group / "memory.stat", cached)))
    return min(free_bytes)


def _memory_groups(root: Path) -> list[tuple[Path, str, str, str]]:
    """Folders of this process's memory control groups, innermost first, with the names of the files that count."""
    versions = {
        "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    groups = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, inside = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in versions:
                mount, most, used, cached = versions[controller]
                group = Path(inside.lstrip("/"))
                # A container may see the path its host uses, which is not below its own mount: the mount itself counts.
                groups += [(root / mount / folder, most, used, cached) for folder in (group, *group.parents)]
    return groups


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _statistic(path: Path, key: str) -> int:
    """The number after `key` in a file of one key and number a line; 0 where there is none."""
    return next((int(line.split()[1]) for line in _lines(path) if line.split()[:1] == [key]), 0)


def _number(path: Path) -> int | None:
    """The number a control file holds; None where the file is missing or says `max`."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def peak_memory_bytes() -> int:
    """Most memory this process has held at once, mapped files that were in memory included.

    The kernel's VmHWM; `ru_maxrss` of getrusage would begin at the peak of the process that started this one.
    """
    return _statistic(Path("/proc/self/status"), "VmHWM:") * 1024


def choose_device(wanted: str, root: Path = Path("/")) -> tuple[str, str]:
    """The device to train on, "cpu" or "cuda", and a sentence saying why, to be shown to the user.

    wanted: `run.device` of params.yaml, one of auto, cpu, cuda.
    Raises ResourceError if `cuda` is wanted and cannot be had.
    """
    cores = f"{available_cores()} cores of {cpu_model(root)}"
    if wanted == "cpu":
        return "cpu", f"training on the CPU, {cores}: run.device is cpu"
    gpu = _nvidia_gpu(root)
    if wanted == "cuda":
        found = f"{gpu} is here, but this version of wordlab trains on the CPU only" if gpu else "no NVIDIA GPU is here"
        raise ResourceError(
            f"params.yaml: run.device is cuda, which cannot be had: {found}. "
            "Set run.device to auto or cpu, for instance: dvc exp run -S run.device=cpu"
        )
    if gpu:
        return "cpu", f"training on the CPU, {cores}, and NOT on {gpu}: this version of wordlab trains on the CPU only"
    return "cpu", f"training on the CPU, {cores}: no NVIDIA GPU is here"


def _nvidia_gpu(root: Path) -> str | None:
    """Name of the first NVIDIA GPU, as far as the driver tells without torch; None where there is none."""
    if not any((root / file.relative_to("/")).exists() for file in NVIDIA_DRIVER):
        return None
    for information in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        for line in _lines(information):
            if line.startswith("Model:"):
                return line.removeprefix("Model:").strip()
    return "an NVIDIA GPU"


def cpu_model(root: Path = Path("/")) -> str:
    """Name of the processor, as the kernel gives it."""
    for line in _lines(root / "proc/cpuinfo"):
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
        "libraries": {name: _version(name) for name in NOTED_LIBRARIES},
    }


def _version(package: str) -> str | None:
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


def require_memory(need_bytes: int, what: str, remedy: str) -> None:
    """Raise ResourceError if `need_bytes` of memory are not free. `remedy`: what to use or lower instead."""
    free_bytes = available_memory_bytes()
    if need_bytes > free_bytes:
        raise ResourceError(
            f"{what} need {in_units(need_bytes)} of memory, but {in_units(free_bytes)} are free. "
            f"Close other programs, or use {remedy}."
        )


def free_disk_bytes(path: Path) -> int:
    """Bytes this user may still write on the disk where `path` is or would be."""
    path = Path(path).absolute()
    place = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(place).free


def require_disk(need_bytes: int, path: Path, remedy: str) -> None:
    """Raise ResourceError if `need_bytes` do not fit on the disk of `path`. `remedy`: what to use instead."""
    free_bytes = free_disk_bytes(path)
    if need_bytes > free_bytes:
        raise ResourceError(
            f"{path} will need about {in_units(need_bytes)}, but its disk has {in_units(free_bytes)} left. "
            f"Free some space, or use {remedy}."
        )


def in_units(size_bytes: float) -> str:
    """A number of bytes for people: 640 B, 1.2 GB. Decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"
