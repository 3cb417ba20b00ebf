"""Facts about the machine a run has: free memory and disk, its device, and what to note down about it."""

from __future__ import annotations

import shutil
from pathlib import Path

from wordlab.errors import ResourceError

MEMINFO = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")


def available_memory_bytes(meminfo: Path = MEMINFO, cgroups: Path = CGROUPS) -> int:
    """Memory a program could take now without swapping: the kernel's estimate, or what its control group leaves.

    File pages that a control group has cached count as free, since the kernel gives them up first.
    """
    limits = [_meminfo_bytes(meminfo)]
    for limit, usage, statistics, cached in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),  # version 2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        most, used = _number(cgroups / limit), _number(cgroups / usage)
        if most is not None and used is not None:
            limits.append(max(0, most - used + _statistic(cgroups / statistics, cached)))
    return min(limits)


def _meminfo_bytes(meminfo: Path) -> int:
    return _statistic(meminfo, "MemAvailable:") * 1024


def _statistic(path: Path, key: str) -> int:
    """The number after `key` in a file of one key and number a line; 0 where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [key]), 0)


def _number(path: Path) -> int | None:
    """The number a control file holds; None where the file is missing or says `max`."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


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
