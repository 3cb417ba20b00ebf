"""Whether memory stays the same when the corpus grows: each stage on 100 MB and on 8 GB, under `ulimit -d` of 2 GiB.

    python -m benchmarks.size --folder FOLDER              all that is not measured yet; some 25 GB of disk
    python -m benchmarks.size --folder FOLDER --only NAME  one stage of the list that --help shows

The corpora have the same 200,000 words (benchmarks/size_corpus.py). The stages are run as DVC runs them, by their
scripts, each with its processes under a limit on private memory that they cannot get round. Every 10 ms the anonymous
resident memory of each process is read (RssAnon and VmSwap of /proc/PID/status; mapped files are left out, since the
kernel takes their pages back as it likes). Results stay in FOLDER until all are there, so a long run can be cut in
pieces; then benchmarks/results/size.json is written. Remove FOLDER afterwards.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.size_corpus import write_corpus
from wordlab.artifacts import read_json, write_json
from wordlab.machine import cpu_model

ROOT = Path(__file__).parents[1]
SIZES = {"100 MB": 100_000_000, "8 GB": 8_000_000_000}
STAGES = ("download", "tokenize", "vocab", "encode", "train")
MEASURED = STAGES[1:]
WORDS = 200_000
LIMIT_BYTES = 2 << 30
SAMPLE_SECONDS = 0.01
FLAT = 0.1
"""Peaks may differ by so much."""
SETTINGS: dict[str, dict[str, Any]] = {
    "tokenize": {"normalizer": "plain"},
    "model": {"dim": 16, "window": 2},
    "train": {"epochs": 1},
    "vocab": {"subsample_t": 1e-5},
    "run": {"device": "cpu", "threads": 2, "workers": 2},
}
"""What differs from params.yaml; training's, for the time it takes."""


def main() -> None:
    names = [f"{stage}, {size}" for size in SIZES for stage in STAGES]
    parser = argparse.ArgumentParser(description="Memory of the stages by the size of the corpus.")
    parser.add_argument("--folder", type=Path, required=True, help="for corpora and data, outside of git")
    parser.add_argument("--only", help=f"one of: {'; '.join(names)}")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    record = arguments.folder / "measured.json"
    measured: dict[str, Any] = read_json(record, "Remove it.") if record.exists() else {}
    for size, size_bytes in SIZES.items():
        for stage in STAGES:
            name = f"{stage}, {size}"
            if name not in measured and arguments.only in (None, name):
                measured[name] = run_stage_measured(arguments.folder / size.replace(" ", ""), stage, size_bytes)
                write_json(record, measured)
                print(name, measured[name], flush=True)
    if all(name in measured for name in names):
        write_json(ROOT / "benchmarks/results/size.json", summary(measured))


def make_project(folder: Path, size_bytes: int) -> None:
    """A folder with a corpus and parameters, as the stages want it."""
    folder.mkdir(exist_ok=True)
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in SETTINGS.items():
        tree[section] |= values
    tree |= {"corpus": "corpus.txt", "seeds": [1]}
    tree["download"]["evaluation_sets"] = []
    (folder / "params.yaml").write_text(yaml.safe_dump(tree))
    if not (folder / "corpus.txt").exists():
        write_corpus(folder / "corpus.tmp", size_bytes, WORDS)
        (folder / "corpus.tmp").rename(folder / "corpus.txt")


def run_stage_measured(folder: Path, stage: str, size_bytes: int) -> dict[str, Any]:
    """Run a stage's script; the peaks of its memory in bytes: of all its processes together, and of one."""
    if stage == "download":
        make_project(folder, size_bytes)
    command = [sys.executable, "-m", f"stages.{stage}", *(["--seed", "1"] if stage == "train" else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    started, peaks, together = time.monotonic(), dict[int, int](), 0
    with subprocess.Popen(command, cwd=folder, env=environment, preexec_fn=limit_memory) as process:
        while process.poll() is None:
            now = {pid: anonymous_bytes(pid) for pid in family(process.pid)}
            together = max(together, sum(now.values()))
            peaks = {pid: max(size, peaks.get(pid, 0)) for pid, size in now.items()} | {
                pid: size for pid, size in peaks.items() if pid not in now
            }
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"stage {stage} ended with {process.returncode}")
    seconds = round(time.monotonic() - started, 1)
    return {"together": together, "largest": max(peaks.values()), "processes": len(peaks), "seconds": seconds}


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))


def family(pid: int) -> list[int]:
    """A process and all that it has started, directly or not."""
    found = [pid]
    for parent in found:
        try:
            text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:  # it has ended
            continue
        found += [int(child) for child in text.split() if command(int(child)) != command(parent)]
    return found


def command(pid: int) -> bytes:
    """What a process runs: the parent's still, where it has begun this moment and shares the parent's memory."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that no file backs; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "VmSwap:")))


def summary(measured: dict[str, Any]) -> dict[str, Any]:
    """What is committed: the figures, and a table of them."""
    small, large = SIZES
    rows: list[list[Any]] = []
    for stage in MEASURED:
        pair = [measured[f"{stage}, {size}"] for size in (small, large)]
        ratio = pair[1]["together"] / pair[0]["together"]
        peaks = [round(each["together"] / 1e6) for each in pair]
        largest = round(pair[1]["largest"] / 1e6)
        rows.append([stage, *peaks, f"{100 * ratio - 100:+.1f} %", largest, "yes" if abs(ratio - 1) <= FLAT else "NO"])
    columns = ["stage", f"peak at {small}, MB", f"at {large}, MB", "change", f"largest process at {large}, MB"]
    note = (
        "Anonymous resident memory, all processes of a stage together, under `ulimit -d` of 2 GiB for each. Text with "
        f"{WORDS:,} words; 2 workers, shards as in params.yaml; training: one epoch, 16 dimensions, 2 threads. "
        "A training that was stopped and went on is measured from its last start."
    )
    return {
        "cpu": cpu_model(),
        "settings": SETTINGS,
        "words": WORDS,
        "limit_bytes": LIMIT_BYTES,
        "measured": measured,
        "tables": [{"columns": [*columns, f"flat to {FLAT:.0%}"], "rows": rows, "note": note}],
    }


if __name__ == "__main__":
    main()
