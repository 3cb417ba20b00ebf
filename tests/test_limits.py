"""What bounds a run: read from made-up /proc and /sys trees, and from this machine."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import make_root
from wordlab import limits
from wordlab.limits import Bound, cpu_quota, disk_bounds, gpu_bound, in_units, memory_bounds

GB = 10**9

# ---- memory


def test_free_memory_is_the_kernels_estimate(tmp_path: Path) -> None:
    assert memory_bounds(make_root(tmp_path, {}))[0].free_bytes == 8_000_000 * 1024


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (  # version 2, in a container: its own group is the root of what it sees
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "3000000000\n",
                "sys/fs/cgroup/memory.current": "2000000000\n",
                "sys/fs/cgroup/memory.stat": "anon 1500000000\ninactive_file 400000000\n",
            },
            1_400_000_000,
        ),
        (  # version 2, a group in a group: the outer limit is the narrower one
            {
                "proc/self/cgroup": "0::/user.slice/job\n",
                "sys/fs/cgroup/user.slice/job/memory.max": "max\n",
                "sys/fs/cgroup/user.slice/job/memory.current": "100\n",
                "sys/fs/cgroup/user.slice/memory.max": "1000\n",
                "sys/fs/cgroup/user.slice/memory.current": "900\n",
            },
            100,
        ),
        (  # version 1; the group above has no limit
            {
                "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/job\n0::/\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "5000\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "4000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
            },
            1000,
        ),
        (  # used up and more
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "1000\n",
                "sys/fs/cgroup/memory.current": "1200\n",
            },
            0,
        ),
    ],
)
def test_limits_of_control_groups_count(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert memory_bounds(make_root(tmp_path, files))[0].free_bytes == expected


def test_the_tightest_bound_comes_first_and_says_where_it_comes_from(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/job\n",
        "sys/fs/cgroup/job/memory.max": "3000000000\n",
        "sys/fs/cgroup/job/memory.high": "2500000000\n",
        "sys/fs/cgroup/job/memory.current": "2000000000\n",
        "sys/fs/cgroup/job/memory.stat": "inactive_file 100000000\nactive_file 200000000\n",
        "proc/self/limits": "Limit     Soft Limit    Hard Limit   Units\n"
        "Max data size             unlimited            unlimited            bytes     \n"
        "Max address space         4000000000           unlimited            bytes     \n",
        "proc/self/status": "VmSize:\t 1000000 kB\nVmData:\t 500000 kB\n",
    }
    wider = "Give the container or job more memory"
    assert memory_bounds(make_root(tmp_path, files)) == [
        Bound(800_000_000, "memory.high of control group /job, 2.5 GB", wider),
        Bound(1_300_000_000, "memory.max of control group /job, 3 GB", wider),
        Bound(2_976_000_000, "ulimit -v, 4 GB", "Raise ulimit -v", counts_mapped=True),
        Bound(8_192_000_000, "this machine, 9.22 GB in all", "Close other programs"),
    ]


def test_files_in_a_groups_memory_never_make_more_free_than_its_limit(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "1000\n",
        "sys/fs/cgroup/memory.current": "500\n",
        "sys/fs/cgroup/memory.stat": "inactive_file 9000\n",
    }
    assert memory_bounds(make_root(tmp_path, files))[0].free_bytes == 1000


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_a_ulimit_of_this_process_counts(kind: int) -> None:
    code = (
        "import resource, sys; kind = int(sys.argv[1]); resource.setrlimit(kind, (3 * 10**9, resource.RLIM_INFINITY)); "
        "from wordlab.limits import memory_bounds; print([(b.free_bytes, b.source) for b in memory_bounds()])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(limits.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(kind)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = {source: free for free, source in eval(done.stdout)}
    name = "ulimit -v, 3 GB" if kind == resource.RLIMIT_AS else "ulimit -d, 3 GB"
    assert 1_000_000_000 < found[name] < 3_000_000_000


def test_this_machine_has_memory() -> None:
    assert all(bound.free_bytes > 10_000_000 for bound in memory_bounds())


# ---- processors


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "max 100000\n"}, None),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/a\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
    ],
)
def test_the_time_that_control_groups_leave_is_known(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    assert cpu_quota(make_root(tmp_path, files)) == expected


# ---- disk


def test_free_disk_is_that_of_the_file_system_a_path_will_be_on() -> None:
    bound = disk_bounds(Path("/proc/self/not/there/yet"))[0]  # a file system without room
    assert bound.free_bytes == 0 and bound.source.startswith("the file system of /proc/")
    assert disk_bounds(Path("not/there/yet"))[0].free_bytes == pytest.approx(disk_bounds(Path())[0].free_bytes, rel=0.1)


def test_a_quota_counts_where_it_is_tighter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's structure is filled as quotactl(2) says; a machine with quotas is not at hand in tests."""

    def quotactl(command: int, device: bytes, owner: int, block: Any) -> int:
        if command != 0x80000700 or device != b"/dev/disk" or owner != os.getuid():
            return -1
        block._obj.hard_blocks, block._obj.used_bytes = 1000, 400_000
        return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda _: types.SimpleNamespace(quotactl=quotactl))
    monkeypatch.setattr(limits, "_device_of", lambda place: "/dev/disk")
    assert disk_bounds(tmp_path)[0] == Bound(
        624_000, "the user's disk quota on /dev/disk, 1.02 MB", "Remove files of yours there"
    )


def test_a_machine_without_quotas_has_none() -> None:
    assert limits._quota("/dev/null", 0, os.getuid()) is None


def test_the_device_of_a_file_system_is_found_in_the_table_of_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = tmp_path.stat().st_dev
    line = f"36 35 {os.major(number)}:{os.minor(number)} / /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw"
    monkeypatch.setattr(limits, "lines", lambda path: ["22 1 0:99999 / / rw - proc proc rw", line])
    assert limits._device_of(tmp_path) == "/dev/sda1"
    monkeypatch.setattr(limits, "lines", lambda path: [line.replace("/dev/sda1", "overlay")])
    assert limits._device_of(tmp_path) is None


def test_a_limit_on_the_size_of_a_file_counts() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); from pathlib import Path; "
        "from wordlab.limits import disk_bounds; print(disk_bounds(Path())[0].source)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(limits.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "ulimit -f, 5 kB a file"


# ---- GPU


def test_without_torch_or_cuda_there_is_no_gpu_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert gpu_bound() is None
    cuda = types.SimpleNamespace(
        is_available=lambda: False, mem_get_info=lambda: (GB, 2 * GB), get_device_name=lambda: "Z1"
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    assert gpu_bound() is None
    cuda.is_available = lambda: True
    assert gpu_bound() == Bound(GB, "Z1, 2 GB in all", "Close other programs that use it")


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (10**15, "1e+03 TB")]
)
def test_sizes_for_people(size_bytes: int, text: str) -> None:
    assert in_units(size_bytes) == text
