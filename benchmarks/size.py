"""Whether memory stays the same when the corpus grows: each stage on 100 MB and on 8 GB, under `ulimit -d` of 2 GiB;
and stage `vocab` on dictionaries with 33 million distinct words.

    python -m benchmarks.bench size --scratch FOLDER        all that is not measured yet, and the result; 25 GB of disk
    python -m benchmarks.size --folder FOLDER --only NAME   one part of the list that --help shows

The corpora have the same 200,000 words (benchmarks/size_corpus.py), and the dictionaries are written as they are
(benchmarks/size_words.py). The stages are run as DVC runs them, by their scripts, each with its processes under a limit
on private memory that they cannot get round. Every 10 ms the anonymous resident memory of each process is read (RssAnon
and VmSwap of /proc/PID/status; mapped files are left out, since the kernel takes their pages back as it likes). Results
stay in FOLDER/size until all are there, so a long run can be cut in pieces. Remove the folder afterwards.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.jobs import BenchmarkError
from benchmarks.size_corpus import write_corpus
from benchmarks.size_words import SHARDS, check_found, write_dictionaries
from benchmarks.targets import Target
from wordlab.artifacts import read_json, read_manifest, write_json
from wordlab.stage import say

ROOT = Path(__file__).parents[1]
SIZES = {"100 MB": 100_000_000, "8 GB": 8_000_000_000}
STAGES = ("download", "tokenize", "vocab", "encode", "train")
MEASURED = STAGES[1:]
WORDS = 200_000
WORDS_PART = "vocab, many words"
LIMIT_BYTES = 2 << 30
SAMPLE_SECONDS = 0.01
SHORT_RUNS = 3
"""Of a stage on the small corpus, of which the highest counts: a peak of a few milliseconds falls between two samples
more easily where it comes once than where it comes with every shard."""
FLAT = 0.1
"""Peaks may differ by so much."""
DISTINCT = 30_000_000
"""Distinct words that stage vocab has to count."""
SETTINGS: dict[str, dict[str, Any]] = {
    "tokenize": {"normalizer": "plain"},
    "model": {"dim": 16, "window": 2},
    "train": {"epochs": 1},
    "vocab": {"subsample_t": 1e-5},
    "run": {"device": "cpu", "threads": 2, "workers": 2},
}
"""What differs from params.yaml; training's, for the time it takes."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of the stages by the size of the corpus.")
    parser.add_argument("--folder", type=Path, required=True, help="the --scratch of the benchmark, outside of git")
    parser.add_argument("--only", choices=parts(), metavar="NAME", help=f"one of: {'; '.join(parts())}")
    arguments = parser.parse_args()
    measure(arguments.folder, arguments.only)


def parts() -> list[str]:
    """What is measured, in an order in which each part finds what it reads."""
    return [WORDS_PART, *(f"{stage}, {size}" for size in SIZES for stage in STAGES)]


def measure(scratch: Path, only: str | None = None) -> dict[str, dict[str, Any]]:
    """Measure all parts, or one, that are not measured yet; all that are, by name."""
    folder = scratch.absolute() / "size"
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "measured.json"
    measured: dict[str, Any] = read_json(record, "Remove it.") if record.exists() else {}
    for name in parts() if only is None else [only]:
        if name not in measured:
            measured[name] = measure_part(folder, name)
            write_json(record, measured)
            say(f"{name}: {measured[name]}")
    return measured


def measure_part(folder: Path, name: str) -> dict[str, Any]:
    if name == WORDS_PART:
        return run_words(folder / "words")
    stage, size = name.split(", ")
    place = folder / size.replace(" ", "")
    if stage == "download":
        make_project(place, SIZES[size])
    if size != next(iter(SIZES)):
        return run_stage_measured(place, stage)
    run_stage_measured(place, stage)  # compiles what is not compiled yet, which takes memory of its own
    runs = [run_stage_measured(place, stage) for _ in range(SHORT_RUNS)]
    return {key: max(run[key] for run in runs) for key in runs[0]}


def run_words(folder: Path) -> dict[str, Any]:
    """Stage vocab on dictionaries with many distinct words, whose result has to be exact."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tree = write_params(folder)
    wanted = write_dictionaries(folder / "data/tokenize", tree["vocab"]["min_count"])
    found = run_stage_measured(folder, "vocab")
    check_found(read_manifest(folder / "data/vocab", "vocab"), wanted)
    return found | wanted


def make_project(folder: Path, size_bytes: int) -> None:
    """A folder with a corpus and parameters, as the stages want it."""
    folder.mkdir(exist_ok=True)
    write_params(folder)
    if not (folder / "corpus.txt").exists():
        write_corpus(folder / "corpus.tmp", size_bytes, WORDS)
        (folder / "corpus.tmp").rename(folder / "corpus.txt")


def write_params(folder: Path) -> dict[str, Any]:
    """Write params.yaml; what is in it."""
    tree: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in SETTINGS.items():
        tree[section] |= values
    tree |= {"corpus": "corpus.txt", "seeds": [1]}
    tree["download"]["evaluation_sets"] = []
    (folder / "params.yaml").write_text(yaml.safe_dump(tree))
    return tree


def run_stage_measured(folder: Path, stage: str) -> dict[str, Any]:
    """Run a stage's script; the peaks of its memory in bytes: of all its processes together, of one, and of each added
    up, which no chance of two peaks at once can raise."""
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
        raise BenchmarkError(f"stage {stage} ended with {process.returncode}")
    seconds = round(time.monotonic() - started, 1)
    return {
        "together": together,
        "largest": max(peaks.values()),
        "added_up": sum(peaks.values()),
        "processes": len(peaks),
        "seconds": seconds,
    }


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


def summarize(measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Figures, tables of them, and what must be reached."""
    small, large = SIZES
    rows: list[list[Any]] = []
    targets = []
    for stage in MEASURED:
        pair = [measured[f"{stage}, {size}"] for size in (small, large)]
        ratio = pair[1]["together"] / pair[0]["together"]
        change, is_flat = f"{100 * ratio - 100:+.1f} %", abs(ratio - 1) <= FLAT
        peaks = [round(each["together"] / 1e6) for each in pair]
        rows.append([stage, *peaks, change, round(pair[1]["largest"] / 1e6), "yes" if is_flat else "NO"])
        wanted = f"{FLAT:.0%} at most between {small} and {large}"
        targets.append(Target(f"memory of stage {stage} is flat", wanted, change, is_flat))
    words = measured[WORDS_PART]
    found = f"{words['distinct']:,} words, {round(words['together'] / 1e6)} MB"
    wanted = f"{DISTINCT:,} distinct words below {LIMIT_BYTES / 1e6:,.0f} MB, counts exact"
    enough = words["distinct"] >= DISTINCT and words["together"] < LIMIT_BYTES
    targets.append(Target("vocab counts many distinct words", wanted, found, enough))
    return {
        "settings": SETTINGS,
        "words": WORDS,
        "limit_bytes": LIMIT_BYTES,
        "measured": measured,
        "tables": [flat_table(rows), words_table(words)],
        "targets": [dataclasses.asdict(target) for target in targets],
    }


def flat_table(rows: list[list[Any]]) -> dict[str, Any]:
    small, large = SIZES
    columns = ["stage", f"peak at {small}, MB", f"at {large}, MB", "change", f"largest process at {large}, MB"]
    note = (
        "Anonymous resident memory, all processes of a stage together, under `ulimit -d` of 2 GiB for each. Text with "
        f"{WORDS:,} words; 2 workers, shards as in params.yaml; training: one epoch, 16 dimensions, 2 threads. "
        f"At {small} the highest of {SHORT_RUNS} runs; a training that was stopped is measured from its last start."
    )
    return {"title": None, "columns": [*columns, f"flat to {FLAT:.0%}"], "rows": rows, "note": note}


def words_table(words: dict[str, Any]) -> dict[str, Any]:
    columns = ["shards", "words in their dictionaries", "distinct words", "in the vocabulary", "peak of `vocab`, MB"]
    row = [SHARDS, words["rows"], words["distinct"], words["num_words"], round(words["together"] / 1e6)]
    note = (
        "Dictionaries as of a text that never ceases to bring new words, written without their tokens. The same limit "
        "and workers; the counts that `vocab` found were those with which the words had been drawn."
    )
    return {"title": None, "columns": columns, "rows": [row], "note": note}


if __name__ == "__main__":
    main()
