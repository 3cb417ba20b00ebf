"""What is free, which device, what is noted down: read from made-up /proc and /sys trees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wordlab import machine
from wordlab.errors import ResourceError

GB = 10**9


def make_root(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    8000000 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


# ---- memory and disk


def test_free_memory_is_the_kernels_estimate(tmp_path: Path) -> None:
    assert machine.available_memory_bytes(make_root(tmp_path, {})) == 8_000_000 * 1024


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
    assert machine.available_memory_bytes(make_root(tmp_path, files)) == expected


def test_this_machine_has_memory_and_disk() -> None:
    assert machine.available_memory_bytes() > 10_000_000
    assert machine.free_disk_bytes(Path("not/there/yet")) == pytest.approx(machine.free_disk_bytes(Path()), rel=0.1)


def test_peak_memory_counts_what_was_given_back() -> None:
    code = (
        "from wordlab.machine import peak_memory_bytes as peak; before = peak(); block = b'x' * 100_000_000; "
        "del block; print(peak() - before)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(machine.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert 90_000_000 < int(done.stdout) < 130_000_000


def test_too_little_memory_or_disk_is_told_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 2 * GB)
    machine.require_memory(2 * GB, "the vectors", "a lower model.dim")
    with pytest.raises(ResourceError) as caught:
        machine.require_memory(5_550_000_000, "the vectors", "a lower model.dim")
    assert str(caught.value) == (
        "the vectors need 5.55 GB of memory, but 2 GB are free. Close other programs, or use a lower model.dim."
    )
    monkeypatch.setattr(machine, "free_disk_bytes", lambda path: 999)
    with pytest.raises(ResourceError, match=r"x\.bin will need about 1 kB, but its disk has 999 B left"):
        machine.require_disk(1000, Path("x.bin"), "another disk")


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (10**15, "1e+03 TB")]
)
def test_sizes_for_people(size_bytes: int, text: str) -> None:
    assert machine.in_units(size_bytes) == text


# ---- device


CPU = {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Imaginary 9000\n"}
GPU = {"proc/driver/nvidia/version": "x", "proc/driver/nvidia/gpus/0000:01/information": "Model: \t\t NVIDIA Z1\n"}


def test_without_a_gpu_auto_is_the_cpu_and_says_so(tmp_path: Path) -> None:
    device, reason = machine.choose_device("auto", make_root(tmp_path, CPU))
    assert device == "cpu" and reason.startswith("training on the CPU, ")
    assert reason.endswith("cores of Imaginary 9000: no NVIDIA GPU is here")


def test_with_a_gpu_auto_says_loudly_that_it_is_not_used(tmp_path: Path) -> None:
    device, reason = machine.choose_device("auto", make_root(tmp_path, CPU | GPU))
    assert device == "cpu"
    assert "NOT on NVIDIA Z1: this version of wordlab trains on the CPU only" in reason


def test_cuda_without_a_gpu_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        machine.choose_device("cuda", make_root(tmp_path, CPU))
    assert str(caught.value) == (
        "params.yaml: run.device is cuda, which cannot be had: no NVIDIA GPU is here. "
        "Set run.device to auto or cpu, for instance: dvc exp run -S run.device=cpu"
    )


def test_cuda_with_a_gpu_is_an_error_too_in_this_version(tmp_path: Path) -> None:
    with pytest.raises(
        ResourceError, match="cannot be had: NVIDIA Z1 is here, but this version of wordlab trains on the CPU only"
    ):
        machine.choose_device("cuda", make_root(tmp_path, CPU | GPU))


def test_a_gpu_the_driver_does_not_name_is_a_gpu(tmp_path: Path) -> None:
    _, reason = machine.choose_device("auto", make_root(tmp_path, {"dev/nvidia0": ""}))
    assert "NOT on an NVIDIA GPU" in reason


def test_cpu_is_the_cpu_whatever_is_there(tmp_path: Path) -> None:
    device, reason = machine.choose_device("cpu", make_root(tmp_path, CPU | GPU))
    assert device == "cpu" and "GPU" not in reason and reason.endswith("run.device is cpu")


# ---- provenance


def test_provenance_names_code_machine_and_libraries() -> None:
    noted = machine.provenance()
    assert json.loads(json.dumps(noted)) == noted
    assert noted["cpu"] and noted["cores"] >= 1 and noted["memory_bytes"] > 10**8
    assert noted["libraries"]["numpy"] == np.__version__
    assert noted["libraries"].keys() == {"numpy", "numba", "torch", "pyarrow", "scipy", "gensim"}


def test_provenance_tells_revision_and_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.provenance()["git"] == {"revision": None, "dirty": None}
    me = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], [*me, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *arguments], check=True)
    noted = machine.provenance()["git"]
    assert len(noted["revision"]) == 40 and noted["dirty"] is False
    (tmp_path / "file").write_text("two")
    assert machine.provenance()["git"] == {"revision": noted["revision"], "dirty": True}


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "NOTED_LIBRARIES", ("no-such-package",))
    assert machine.provenance()["libraries"] == {"no-such-package": None}
