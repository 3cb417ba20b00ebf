"""Measure the CUDA engine. One command for a bare machine: see benchmarks/gpu.sh and docs/cuda.md.

    benchmarks/gpu.sh first                  check, speed, quality, profile: under ten minutes
    benchmarks/gpu.sh second                 determinism, disk, textbook, tune, study: under ten minutes
    benchmarks/gpu.sh check speed            parts by name
    benchmarks/gpu.sh --device cpu --tiny all

Needs Python 3.11, torch, NumPy, PyYAML; Triton for the fused kernels. The bundle is made by benchmarks/gpu_bundle.py.
Results of earlier calls in the result file stay, but for the parts that are measured again.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_bench import Bench
from benchmarks.gpu_data import Bundle
from benchmarks.gpu_parts import PARTS
from benchmarks.gpu_speed import speed_line
from benchmarks.gpu_tables import tables
from wordlab.errors import WordlabError
from wordlab.torch_engine.gpu import TRITON_CAPABILITY, Gpu, find_gpu
from wordlab.torch_engine.runners import Runner

GROUPS = {
    "first": ["check", "speed", "quality", "profile"],
    "second": ["determinism", "disk", "textbook", "tune", "study"],
    "all": list(PARTS),
}
NEED_A_GPU = ("profile", "tune")
STARTING_SECONDS = 12
"""What a part's process may take to import torch and set the GPU up."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*GROUPS, *PARTS], help="what to measure, in this order")
    parser.add_argument("--bundle", type=Path, default=Path("gpu-bundle"), help="prepared folder (default: gpu-bundle)")
    parser.add_argument("--result", type=Path, default=Path("benchmarks/results/gpu.json"), help="result file")
    parser.add_argument("--earlier", type=Path, help="a result file to go on from (default: the result file itself)")
    parser.add_argument("--seconds", type=float, default=560, help="leave out what would take longer (default: 560)")
    parser.add_argument("--scratch", type=Path, help="folder for 8 GB of ids (default: a temporary one)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="everything in small, to try the program itself")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    try:
        (run_part if chosen.one else run)(chosen)
    except WordlabError as error:
        raise SystemExit(f"error: {error}") from None


def run(chosen: argparse.Namespace) -> None:
    """Each part in a process of its own, so that one that fails or hangs takes no other with it."""
    begun = time.monotonic()
    bundle = Bundle.open(chosen.bundle)
    facts = machine(chosen.device, bundle)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    names = list(dict.fromkeys(name for part in chosen.parts for name in GROUPS.get(part, [part])))
    names = [name for name in names if not (name in NEED_A_GPU and chosen.device == "cpu")]
    results = read(chosen.earlier or chosen.result)
    for name in ("left_out", "failed", *names):
        results.pop(name, None)
    results["machine"], results["tiny"] = facts, chosen.tiny
    write(chosen.result, results)
    for name in names:
        seconds = min(PARTS[name][1], begun + chosen.seconds - time.monotonic())
        if seconds < STARTING_SECONDS:
            note(chosen.result, "left_out", name)
            continue
        print(f"---- {name}, at most {seconds:.0f} s", flush=True)
        command = [
            sys.executable,
            "-m",
            "benchmarks.gpu",
            name,
            "--one",
            "--seconds",
            f"{seconds - STARTING_SECONDS:.0f}",
        ]
        command += ["--bundle", str(chosen.bundle), "--result", str(chosen.result), "--device", chosen.device]
        command += ["--scratch", str(chosen.scratch)] if chosen.scratch else []
        command += ["--tiny"] if chosen.tiny else []
        started = time.monotonic()
        try:
            status: int | str = subprocess.run(command, timeout=seconds + STARTING_SECONDS).returncode
        except subprocess.TimeoutExpired:
            status = "stopped at its time limit"
        if status != 0:
            note(chosen.result, "failed", f"{name}: {status}")
        taken = read(chosen.result).get("part_seconds", {})
        write(
            chosen.result,
            {**read(chosen.result), "part_seconds": {**taken, name: round(time.monotonic() - started, 1)}},
        )
    results = read(chosen.result)
    write(chosen.result, {**results, "tables": tables(results)})
    print_table(results)


def run_part(chosen: argparse.Namespace) -> None:
    """One part, in this process; results are added to the result file."""
    results = read(chosen.result)
    kernels = working(kernels_to_try(chosen.device), results)
    Runner.captures = all(entry.get("graph", True) for entry in results.get("check", []))
    part, _ = PARTS[chosen.parts[0]]
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        until = time.monotonic() + chosen.seconds
        bench = Bench(
            Bundle.open(chosen.bundle),
            chosen.device,
            chosen.tiny,
            kernels,
            Path(scratch),
            until,
            results,
            chosen.result,
        )
        part(bench)
        bench.save()


def kernels_to_try(device: str) -> tuple[str, ...]:
    """All that may run on the device, the best first: what does not is noted where it fails."""
    if device == "cpu" or version("triton") is None:
        return ("torch",)
    gpu = find_gpu()
    if not isinstance(gpu, Gpu):
        raise WordlabError(f"no GPU to measure. {gpu}. Or try the program itself: --device cpu --tiny")
    return ("triton", "torch") if gpu.capability >= TRITON_CAPABILITY else ("torch",)


def working(kernels: tuple[str, ...], results: dict[str, Any]) -> tuple[str, ...]:
    """Those of the kernels whose steps in what the other parts measure were found right, where `check` has run."""
    measured = {"objective": "ns", "units": "none", "edges": "cut", "deterministic": True, "products": "float32"}
    wrong = {
        entry["kernels"]
        for entry in results.get("check", [])
        if not entry["fine"] and all(entry[name] == value for name, value in measured.items())
    }
    return tuple(kernel for kernel in kernels if kernel not in wrong) or kernels


def read(path: Path) -> dict[str, Any]:
    """A result file's content; empty where there is none."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def note(path: Path, key: str, what: str) -> None:
    """Add a line to a list of the result file."""
    results = read(path)
    write(path, {**results, key: [*results.get(key, []), what]})


def machine(device: str, bundle: Bundle) -> dict[str, Any]:
    """What is measured on, for the result file. Raises WordlabError where there is no GPU."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": version("triton"),
        "numba": version("numba"),
        "commit": commit(),
        "bundle": bundle.content.get("git"),
        "date": time.strftime("%Y-%m-%d"),
        "device": device,
        "cores": len(os.sched_getaffinity(0)),
    }
    if device == "cuda":
        gpu = find_gpu()
        if not isinstance(gpu, Gpu):
            raise WordlabError(f"no GPU to measure. {gpu}. Or try the program itself: --device cpu --tiny")
        facts |= {
            "gpu": gpu.name,
            "capability": gpu.capability,
            "gpu_bytes": gpu.total_bytes,
            "free_bytes": gpu.free_bytes,
            "multiprocessors": multiprocessors(),
            "cuda": torch.version.cuda,
            "driver": driver(),
        }
    return facts


def driver() -> str | None:
    """The driver's version."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split("\n")[0].strip() or None if done.returncode == 0 else None


def multiprocessors() -> int:
    return int(torch.cuda.get_device_properties(0).multi_processor_count)


def version(package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str | None:
    """The repository's commit, or what a file COMMIT says where the tree came without its history."""
    if Path("COMMIT").exists():
        return Path("COMMIT").read_text().strip()
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=30)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def print_table(results: dict[str, Any]) -> None:
    """The main figures, in a few lines."""
    print("\n==== results")
    checked = results.get("check", [])
    if checked:
        print(f"correct: {sum(entry['fine'] for entry in checked)} of {len(checked)} comparisons with the reference")
    for found in sorted(results.get("speed", []), key=lambda found: -found["raw_words_per_second"])[:6]:
        print(speed_line(found, results["copy_bytes_per_second"]))
    groups: dict[str, list[dict[str, Any]]] = {}
    for found in results.get("quality", []):
        name = f"{found['kernels']} {found['products']} {'det.' if found['deterministic'] else 'fast'}"
        groups.setdefault(f"{name} {found['settings']}", []).append(found)
    for name, group in groups.items():
        scores = group[0]["scores"]
        means = [f"{sum(found['scores'].get(s, float('nan')) for found in group) / len(group):.3f}" for s in scores]
        print(f"quality: {name}, {len(group)} models: {' / '.join(means)} ({', '.join(scores)})")
    for found in results.get("determinism", []):
        mode, resumed = "det." if found["deterministic"] else "fast", found.get("resumed")
        print(f"same bits: {found['kernels']} {mode} {found['same']}, from a checkpoint {resumed}")
    for name, found in results.get("disk", {}).items():
        if isinstance(found, dict) and "of_on_device" in found:
            print(f"disk: {name}: {100 * found['of_on_device']:.0f} % of the speed from the device")
    if "textbook" in results:
        print(f"textbook loop: this engine is {results['textbook']['ratio']:,.0f} times as fast")
    for key in ("left_out", "failed"):
        for what in results.get(key, []):
            print(f"{key.replace('_', ' ')}: {what}")


if __name__ == "__main__":
    main()
