"""Feed hostile files to every reader.

    python -m tests.fuzz                                    a million executions a reader
    python -m tests.fuzz --reader zip --executions 20000    one reader, fewer
    python -m tests.fuzz --reader zip --input 17            one input again, with its traceback

    python -m tests.fuzz --reader zip --file X              any file
    python -m tests.fuzz --result FILE.json                 also write what was found, as `make fuzz` does; readers that
                                                            were not run keep there what they had

Prints a line a reader. Ends with status 1 if anything was found that is
neither a valid object nor a WordlabError; the inputs then lie in .wordlab/fuzz.
"""

from __future__ import annotations

import os

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # the others reserve addresses by the gigabyte
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import datetime
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz import (
    arrow_files,
    checkpoint_files,
    corpus_files,
    format_files,
    guided,
    packed_files,
    result_files,
    text_files,
    value_files,
    vector_files,
)
from tests.fuzz.campaign import Result, run_campaign
from tests.fuzz.reader import Reader, make_input
from wordlab.artifacts import read_json, write_json
from wordlab.machine import provenance

READERS = {
    reader.name: reader
    for modules in (
        (vector_files, format_files, arrow_files, checkpoint_files),
        (packed_files, text_files, value_files, result_files, corpus_files),
    )
    for module in modules
    for reader in module.READERS
}
KEPT = Path(".wordlab/fuzz")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feed hostile files to every reader.")
    parser.add_argument("--executions", type=int, default=1_000_000, help="for each reader")
    parser.add_argument("--guided", type=int, help="for each binary reader, guided by coverage; default: a tenth")
    parser.add_argument("--seconds", type=float, default=1800, help="most time for each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", choices=READERS, action="append", help="default: all")
    parser.add_argument("--input", type=int, help="read this one input of --reader again, in this process")
    parser.add_argument("--file", type=Path, help="read this file with --reader, in this process")
    parser.add_argument("--result", type=Path, help="write JSON here")
    arguments = parser.parse_args()
    readers = [READERS[name] for name in arguments.reader or READERS]
    if arguments.input is not None or arguments.file:
        again(readers[0], arguments.seed, arguments.input, arguments.file)
        return
    guided_executions = arguments.executions // 10 if arguments.guided is None else arguments.guided
    results = {}
    for reader in readers:
        found = run_campaign(reader, arguments.executions, arguments.seed, arguments.seconds, KEPT)
        by_coverage = guided.run_guided(reader, guided_executions, arguments.seed, arguments.seconds, KEPT)
        results[reader.name] = found, by_coverage
        print(line(reader, found, by_coverage), flush=True)
        for finding, number in (*found.findings.items(), *(by_coverage.findings.items() if by_coverage else ())):
            print(f"    input {number}: {finding}", flush=True)
        if arguments.result:  # after each reader: a campaign takes long
            write_json(arguments.result, with_result(arguments.result, reader, found, by_coverage, arguments.seed))
    if any(found.findings or (other and other.findings) for found, other in results.values()):
        sys.exit(1)


def again(reader: Reader, seed: int, number: int, file: Path | None) -> None:
    """Read a file, or make an input once more and read that, with whatever traceback comes."""
    with tempfile.TemporaryDirectory() as folder:
        for part in ("seeds", "files"):
            Path(folder, part).mkdir()
        seeds = reader.seeds(Path(folder, "seeds"))
        data = file.read_bytes() if file else make_input(reader, seeds, seed, number)
        print(f"{len(data)} bytes, they begin: {data[:200]!r}", flush=True)
        print(reader.open(Path(folder, "files"))(data))


def line(reader: Reader, found: Result, by_coverage: Result | None) -> str:
    guided_text = f", {by_coverage.executions:,} guided" if by_coverage else ""
    findings = len(found.findings) + (len(by_coverage.findings) if by_coverage else 0)
    return (
        f"{reader.name:16} {found.executions:>9,} executions{guided_text} in {found.seconds:.0f} s, "
        f"{len(found.outcomes)} outcomes, {findings} findings"
    )


def with_result(path: Path, reader: Reader, found: Result, by_coverage: Result | None, seed: int) -> dict[str, Any]:
    """What the file at `path` holds, with this reader's result in the place of an earlier one. Others keep theirs."""
    known = read_json(path, "Remove it.")["readers"] if path.exists() else {}
    known[reader.name] = {
        "date": datetime.date.today().isoformat(),
        "machine": provenance(),
        "seed": seed,
        "guided_by": guided.why_not() or "atheris",
        "what": reader.what,
        "seeds": found.seeds,
        "systematic": found.systematic,
        "executions": found.executions,
        "guided": by_coverage.executions if by_coverage else None,
        "seconds": round(found.seconds + (by_coverage.seconds if by_coverage else 0)),
        "read": sum(count for label, count in found.outcomes.items() if label.startswith("read")),
        "outcomes": dict(found.outcomes.most_common()),
        "findings": {**found.findings, **(by_coverage.findings if by_coverage else {})},
    }
    return {"benchmark": "fuzz", "readers": known, "tables": [table(known)]}


def table(readers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A row for each reader there is, and their sum."""
    numbers = ("seeds", "systematic", "executions", "guided", "seconds", "read")
    rows = [
        [one["what"], *(one[number] for number in numbers), len(one["outcomes"]), len(one["findings"])]
        for one in (readers[name] for name in READERS if name in readers)
    ]
    columns = ["files", *numbers[:3], "guided by coverage", *numbers[4:], "distinct outcomes", "findings"]
    return {"columns": columns, "rows": [*rows, ["all", *(sum(row[i] or 0 for row in rows) for i in range(1, 9))]]}


if __name__ == "__main__":
    main()
