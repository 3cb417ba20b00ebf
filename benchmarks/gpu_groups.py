"""The part `check` in several processes at once. Most of its time is the compiler's, which works on one core; and what
stops a GPU's context, an access out of range, takes no more along than the methods of its own process.

    python -m benchmarks.gpu_groups NUMBER GROUPS --kernels triton,torch --device cuda --out FILE    one of them
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import cases, check

CORES_EACH = 2
MOST_GROUPS = 8


def check_in_groups(
    kernels: tuple[str, ...], device: str, tiny: bool, folder: Path, until: float, groups: int | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """What was found of every method and variant, those that are used most first; and what went wrong.

    folder: for the processes' findings.   until: time.monotonic() at which they are stopped.
    groups: as many as the cores suffice for, if None.
    """
    cores = len(os.sched_getaffinity(0))
    groups = groups or max(1, min(MOST_GROUPS, cores // CORES_EACH))
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, cores // groups))}
    wanted = [*("--kernels", ",".join(kernels)), *("--device", device), *(["--tiny"] if tiny else [])]
    files = [folder / f"check-{number}.jsonl" for number in range(groups)]
    processes = []
    for number, file in enumerate(files):
        command = [sys.executable, "-m", "benchmarks.gpu_groups", str(number), str(groups), *wanted]
        processes.append(subprocess.Popen([*command, "--out", str(file)], env=environment))
    wrong = []
    for number, process in enumerate(processes):
        status = ended(process, until)
        if status:
            wrong.append(f"check, process {number} of {groups}: {status}")
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines(keepends=True)]
    found = [json.loads(line) for line in lines if line.endswith("\n")]  # a line that was cut off is no finding
    return sorted(found, key=lambda entry: entry["case"]), wrong


def ended(process: subprocess.Popen[bytes], until: float) -> str:
    """Wait for the process; how it went wrong, or nothing."""
    try:
        status = process.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "stopped at its time limit"
    return f"ended with status {status}" if status else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int)
    parser.add_argument("groups", type=int)
    parser.add_argument("--kernels", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    listed = list(enumerate(cases(tuple(chosen.kernels.split(",")), chosen.device, chosen.tiny)))
    with chosen.out.open("w") as file:
        for number, (method, variants) in listed[chosen.number :: chosen.groups]:
            for entry in check(method, variants, chosen.device):
                file.write(json.dumps({"case": number, **entry}) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
