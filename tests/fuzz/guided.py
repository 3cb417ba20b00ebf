"""The same readers with inputs that coverage guides: atheris, libFuzzer for Python, where it is installed.

It sees the lines of wordlab, but for modules with compiled functions, and of the parts of Python's library that read
archives, not the compiled code of Arrow. It runs in a process of its own, which it ends when it has found something;
what it found is then in a file.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.fuzz import mutations
from tests.fuzz.campaign import Result, outcome, prepare
from tests.fuzz.reader import Reader

INSTRUMENTED = ["wordlab", "zipfile", "tarfile", "gzip"]
MOST_FINDINGS = 20


def why_not() -> str | None:
    """Why there is no guidance here; None where there is."""
    if importlib.util.find_spec("atheris") is None:
        return "atheris is not installed (pip install atheris==3.0.0): inputs are not guided by coverage"
    return None


def run_guided(reader: Reader, executions: int, seed: int, seconds: float, kept: Path) -> Result | None:
    """Run so many executions guided by coverage; None for a reader or machine without."""
    if not reader.guided or executions == 0:
        return None
    if why_not():
        print(f"    {why_not()}", file=sys.stderr)
        return None
    result = Result()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "corpus"
        corpus.mkdir()
        while result.executions < executions and len(result.findings) < MOST_FINDINGS:
            left = seconds - (time.monotonic() - started)
            if left < 1 or not _run_once(reader, executions - result.executions, seed, left, folder, kept, result):
                break
            seed += 1
    result.seconds = time.monotonic() - started
    return result


def _run_once(
    reader: Reader, executions: int, seed: int, seconds: float, folder: Path, kept: Path, result: Result
) -> bool:
    """One process of atheris. Returns whether another one makes sense."""
    report = folder / "report"
    report.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "tests.fuzz.guided", reader.name, str(report), str(folder / "corpus")),
        *(f"-runs={executions}", f"-seed={seed}", f"-max_total_time={int(seconds)}", "-timeout=30", "-rss_limit_mb=0"),
        *(f"-max_len={mutations.MOST_BYTES}", f"-artifact_prefix={folder}/", "-print_final_stats=1", "-len_control=0"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    counted = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    executed = int(counted[1]) if counted else 0
    result.executions += executed
    found = json.loads(report.read_text()) if report.exists() else None
    if found is None and done.returncode != 0:
        crashed = sorted(folder.glob("crash-*")) + sorted(folder.glob("timeout-*")) + sorted(folder.glob("oom-*"))
        if not crashed:
            raise RuntimeError(f"atheris ended with status {done.returncode}: {done.stderr[-2000:]}")
        found = {"finding": f"{crashed[0].name.partition('-')[0]} of the process", "input": str(crashed[0])}
    if found is None:
        return False
    kept.mkdir(parents=True, exist_ok=True)
    place = kept / f"{reader.name}-guided-{seed}"
    place.write_bytes(Path(found["input"]).read_bytes())
    for crashed_file in folder.glob("*-*"):
        crashed_file.unlink()
    result.findings.setdefault(found["finding"] + f" (kept as {place})", seed)
    return executed > 0


def _fuzz(name: str, report: Path, options: list[str]) -> None:
    """The process of atheris. Modules are imported here, so that they can be instrumented."""
    import atheris

    import wordlab.subwords  # noqa: F401 - numba compiles no function that is instrumented

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.__main__ import READERS
    reader = READERS[name]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        scratch = Path(folder, "scratch")
        scratch.mkdir()
        seeds = reader.seeds(scratch)
        corpus = Path(options[0])
        for number, data in enumerate(seeds):
            (corpus / f"seed-{number:04d}").write_bytes(data[: mutations.MOST_BYTES])
        execute = prepare(reader, seeds, Path(folder))

        def test_one_input(data: bytes) -> None:
            label, is_finding = outcome(execute, data)
            if is_finding:
                kept = report.with_name("finding")
                kept.write_bytes(data)
                report.write_text(json.dumps({"finding": label, "input": str(kept)}))
                raise AssertionError(label)

        def mutate(data: bytes, most_bytes: int, seed: int) -> bytes:
            """Half of the changes are libFuzzer's, half those that know the format."""
            rng = Random(seed)
            if rng.random() < 0.5:
                changed = bytes(atheris.Mutate(data, most_bytes))
            else:
                changed = mutations.mutated(rng, data, seeds, reader.tokens)
            if reader.finish is not None and rng.random() < 0.5:
                changed = reader.finish(rng, changed)
            return changed[:most_bytes]

        atheris.Setup([sys.argv[0], *options], test_one_input, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    _fuzz(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
