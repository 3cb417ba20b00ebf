"""What is free, which device, what is noted down: read from made-up /proc and /sys trees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import make_root
from wordlab import machine
from wordlab.errors import ResourceError
from wordlab.limits import Bound

GB = 10**9


# ---- memory and disk


def test_peak_memory_counts_what_was_given_back() -> None:
    code = (
        "from wordlab.machine import peak_memory_bytes as peak; before = peak(); block = b'x' * 100_000_000; "
        "del block; print(peak() - before)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(machine.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert 90_000_000 < int(done.stdout) < 130_000_000


def test_too_little_memory_or_disk_is_told_in_numbers_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Bound(2 * GB, "memory.max of control group /job, 3 GB", "Give the container or job more memory")
    monkeypatch.setattr(machine, "memory_bounds", lambda root=None: [group, Bound(9 * GB, "this machine", "Close")])
    machine.require_memory(2 * GB, "the vectors", "a lower model.dim")
    with pytest.raises(ResourceError) as caught:
        machine.require_memory(5_550_000_000, "the vectors", "a lower model.dim")
    assert str(caught.value) == (
        "the vectors need 5.55 GB of memory, but 2 GB are free (memory.max of control group /job, 3 GB). "
        "Give the container or job more memory, or use a lower model.dim."
    )
    monkeypatch.setattr(machine, "disk_bounds", lambda path: [Bound(999, "the user's quota", "Remove files")])
    with pytest.raises(ResourceError) as caught:
        machine.require_disk(1000, Path("x.bin"), "another disk")
    assert str(caught.value) == (
        "x.bin will need about 1 kB, but its disk has 999 B left (the user's quota). Remove files, or use another disk."
    )


def test_mapped_files_count_where_the_address_space_is_limited_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounds = [Bound(GB, "this machine", "Close"), Bound(2 * GB, "ulimit -v, 5 GB", "Raise ulimit -v", True)]
    monkeypatch.setattr(machine, "memory_bounds", lambda root=None: bounds)
    machine.require_memory(GB, "the shards", "less", mapped_bytes=GB)
    with pytest.raises(ResourceError, match=r"need 3 GB of address space, but 2 GB are free \(ulimit -v, 5 GB\)"):
        machine.require_memory(GB, "the shards", "less", mapped_bytes=2 * GB)
    machine.require_memory(GB, "the shards", "less")
    monkeypatch.setattr(machine, "memory_bounds", lambda root=None: bounds[:1])
    machine.require_memory(GB, "the shards", "less", mapped_bytes=100 * GB)


# ---- device


CPU = {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Imaginary 9000\n"}
GPU = {"proc/driver/nvidia/version": "x", "proc/driver/nvidia/gpus/0000:01/information": "Model: \t\t NVIDIA Z1\n"}


def test_without_a_gpu_auto_is_the_cpu_and_says_so(tmp_path: Path) -> None:
    device, reason = machine.choose_device("auto", make_root(tmp_path, CPU))
    assert device == "cpu" and reason.startswith("training on the CPU, ")
    assert reason.endswith("cores of Imaginary 9000: no NVIDIA GPU is here")


def test_a_gpu_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    device, reason = machine.choose_device("cuda", make_root(tmp_path, CPU | GPU))
    assert (device, reason) == ("cuda", "training on NVIDIA Z1: run.device is cuda")


def test_auto_says_that_a_gpu_is_here_and_how_to_try_it(tmp_path: Path) -> None:
    """Until the engine has been measured on one."""
    device, reason = machine.choose_device("auto", make_root(tmp_path, CPU | GPU))
    assert device == "cpu"
    assert "NOT on NVIDIA Z1, which is here" in reason and "-S run.device=cuda" in reason


def test_cuda_without_a_gpu_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        machine.choose_device("cuda", make_root(tmp_path, CPU))
    assert str(caught.value) == (
        "params.yaml: run.device is cuda, which cannot be had: no NVIDIA GPU is here. "
        "Set run.device to auto or cpu, for instance: dvc exp run -S run.device=cpu"
    )


def test_a_gpu_the_driver_does_not_name_is_a_gpu(tmp_path: Path) -> None:
    _, reason = machine.choose_device("cuda", make_root(tmp_path, {"dev/nvidia0": ""}))
    assert "training on an NVIDIA GPU" in reason


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
