"""What bounds a run on this machine: its memory, control groups, ulimits; file systems, quotas; the GPU's memory.

Each bound says how much is left under it, where it comes from and what would widen it, so that an error can name the
one that counts. A container or a batch job often has a fraction of what the machine has, and the kernel kills without a
word whoever takes more.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 1 << 60
"""Version 1 of control groups writes "no limit" as a number of this order."""
_ULIMITS = {
    "Max address space": ("ulimit -v", "VmSize:", True),
    "Max data size": ("ulimit -d", "VmData:", False),
}
_QUOTAS = (("user", 0, os.getuid), ("group", 1, os.getgid))
_GET_QUOTA = 0x800007
_QUOTA_BLOCK = 1024


@dataclass(frozen=True)
class Bound:
    """One limit, and how much of it is left."""

    free_bytes: int
    source: str
    """Where it comes from: `this machine, 24 GB in all`, `memory.max of control group /job, 4 GB`, ..."""
    wider: str
    """What gives more: a clause that begins a sentence."""
    counts_mapped: bool = False
    """Whether files that are mapped into memory count too, as they do under a limit of the address space."""


def memory_bounds(root: Path = Path("/")) -> list[Bound]:
    """Every bound of the memory this process could take now without swapping, the tightest first.

    The kernel's own estimate, control groups (`memory.max`, `memory.high`, version 1's `memory.limit_in_bytes`; this
    process's group and all it lies in) and ulimits. Pages of files that a group holds count as free, since the kernel
    gives them up first.
    root: where proc/ and sys/ are; another one in tests.
    """
    machine = Bound(
        statistic(root / "proc/meminfo", "MemAvailable:") * 1024,
        f"this machine, {in_units(statistic(root / 'proc/meminfo', 'MemTotal:') * 1024)} in all",
        "Close other programs",
    )
    return sorted([machine, *_group_bounds(root), *_ulimit_bounds(root)], key=lambda bound: bound.free_bytes)


def _group_bounds(root: Path) -> list[Bound]:
    bounds = []
    for mount, group, limits, used, cached in _memory_groups(root):
        used_bytes = _number(mount / group / used)
        reclaimable = sum(statistic(mount / group / "memory.stat", key) for key in cached)
        for limit in limits:
            most_bytes = _number(mount / group / limit)
            if most_bytes is None or used_bytes is None or most_bytes >= UNLIMITED:
                continue
            source = f"{limit} of control group /{group.as_posix().strip('.')}, {in_units(most_bytes)}"
            free_bytes = min(most_bytes, max(0, most_bytes - used_bytes + reclaimable))
            bounds.append(Bound(free_bytes, source, "Give the container or job more memory"))
    return bounds


def _memory_groups(root: Path) -> list[tuple[Path, Path, tuple[str, ...], str, tuple[str, ...]]]:
    """This process's memory control groups, innermost first: mount, group, files of limits, of use, keys of cache."""
    versions = {
        "": ("sys/fs/cgroup", ("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file")),
        "memory": (
            "sys/fs/cgroup/memory",
            ("memory.limit_in_bytes",),
            "memory.usage_in_bytes",
            ("total_inactive_file", "total_active_file"),
        ),
    }
    groups = []
    for line in lines(root / "proc/self/cgroup"):
        _, controllers, inside = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in versions:
                mount, *files = versions[controller]
                group = Path(inside.lstrip("/"))
                # A container may see the path its host uses, which is not below its own mount: the mount itself counts.
                groups += [(root / mount, folder, *files) for folder in (group, *group.parents)]
    return groups  # type: ignore[return-value]


def _ulimit_bounds(root: Path) -> list[Bound]:
    bounds = []
    for line in lines(root / "proc/self/limits"):
        for name, (command, used, counts_mapped) in _ULIMITS.items():
            soft = line.removeprefix(name).split()[:1]
            if line.startswith(name) and soft and soft[0].isdigit():
                left = int(soft[0]) - statistic(root / "proc/self/status", used) * 1024
                source = f"{command}, {in_units(int(soft[0]))}"
                bounds.append(Bound(max(0, left), source, f"Raise {command}", counts_mapped))
    return bounds


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that control groups leave this process; None without a limit.

    Beyond it, threads are stopped for a while again and again, which training's barriers make felt.
    """
    quotas = []
    for line in lines(root / "proc/self/cgroup"):
        _, controllers, inside = line.split(":", 2)
        group = Path(inside.lstrip("/"))
        for folder in (group, *group.parents):
            if controllers == "":
                words = " ".join(lines(root / "sys/fs/cgroup" / folder / "cpu.max")).split()
            elif "cpu" in controllers.split(","):
                place = root / "sys/fs/cgroup/cpu" / folder
                words = [*lines(place / "cpu.cfs_quota_us"), *lines(place / "cpu.cfs_period_us")]
            else:
                continue
            if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
                quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def disk_bounds(path: Path) -> list[Bound]:
    """Every bound of what this user may still write where `path` is or would be, the tightest first.

    Free space of its file system, the user's and the group's quota, and `ulimit -f`, which bounds a single file.
    """
    place = existing_place(path)
    total, _, free_bytes = shutil.disk_usage(place)
    bounds = [Bound(free_bytes, f"the file system of {place}, {in_units(total)} in all", "Free some space there")]
    device = _device_of(place)
    for kind, number, owner in _QUOTAS:
        quota = _quota(device, number, owner()) if device else None
        if quota is not None:
            hard_bytes, used_bytes = quota
            source = f"the {kind}'s disk quota on {device}, {in_units(hard_bytes)}"
            bounds.append(Bound(max(0, hard_bytes - used_bytes), source, "Remove files of yours there"))
    for line in lines(Path("/proc/self/limits")):
        soft = line.removeprefix("Max file size").split()[:1]
        if line.startswith("Max file size") and soft and soft[0].isdigit():
            bounds.append(Bound(int(soft[0]), f"ulimit -f, {in_units(int(soft[0]))} a file", "Raise ulimit -f"))
    return sorted(bounds, key=lambda bound: bound.free_bytes)


def existing_place(path: Path) -> Path:
    """The path itself if it exists, else the innermost folder above it that does."""
    path = Path(path).absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _device_of(place: Path) -> str | None:
    """The block device of the file system that holds `place`, as quotas want it; None where there is none."""
    number = place.stat().st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in lines(Path("/proc/self/mountinfo")):
        fields, _, rest = line.partition(" - ")
        if fields.split()[2:3] == [wanted] and rest.split()[1:2] and rest.split()[1].startswith("/dev/"):
            return rest.split()[1]
    return None


class _QuotaBlock(ctypes.Structure):
    """`struct if_dqblk` of the kernel."""

    _fields_ = (
        ("hard_blocks", ctypes.c_uint64),
        ("soft_blocks", ctypes.c_uint64),
        ("used_bytes", ctypes.c_uint64),
        *((name, ctypes.c_uint64) for name in ("hard_inodes", "soft_inodes", "inodes", "block_time", "inode_time")),
        ("valid", ctypes.c_uint32),
    )


def _quota(device: str, kind: int, owner: int) -> tuple[int, int] | None:
    """Hard limit and use of a quota in bytes; None where there is none or it cannot be asked for."""
    block = _QuotaBlock()
    failed = ctypes.CDLL(None).quotactl((_GET_QUOTA << 8) | kind, os.fsencode(device), owner, ctypes.byref(block))
    if failed or not block.hard_blocks:
        return None
    return block.hard_blocks * _QUOTA_BLOCK, block.used_bytes


def gpu_bound() -> Bound | None:
    """Free memory of the GPU that torch takes first; None without torch or CUDA. Imports torch: more than a second."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    source = f"{torch.cuda.get_device_name()}, {in_units(total_bytes)} in all"
    return Bound(free_bytes, source, "Close other programs that use it")


def held_bytes(process: str = "self") -> int:
    """Memory of its own that a process holds now, mapped files left out."""
    return statistic(Path("/proc") / process / "status", "RssAnon:") * 1024


def lines(path: Path) -> list[str]:
    """Lines of a file of the kernel; none where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def statistic(path: Path, key: str) -> int:
    """The number after `key` in a file of one key and number a line; 0 where there is none."""
    return next((int(line.split()[1]) for line in lines(path) if line.split()[:1] == [key]), 0)


def _number(path: Path) -> int | None:
    """The number a control file holds; None where the file is missing or says `max`."""
    text = "".join(lines(path)).strip()
    return int(text) if text.isdigit() else None


def in_units(size_bytes: float) -> str:
    """A number of bytes for people: 640 B, 1.2 GB. Decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"
