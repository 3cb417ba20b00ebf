"""Kill, break and disturb every stage and the whole pipeline; compare bytes; write benchmarks/results/soak.json.

    python -m tests.soak.run [kills | boundaries | faults | pipeline | cycles ...]      default: all of them

A part that is not run keeps its figures in the file. Ends with status 1 if anything did not come out right.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.soak import faults, kills
from tests.soak.cycles import kill_pipeline, run_cycles
from tests.soak.syscalls import unavailable
from tests.soak.workbench import STAGES, Stage, Tally, Workbench
from wordlab.artifacts import read_json, write_json
from wordlab.errors import WordlabError
from wordlab.machine import provenance
from wordlab.stage import run_stage, say

RESULTS = Path("benchmarks/results/soak.json")


def main() -> None:
    options = parse_options()
    say(f"seed {options.seed}: give it with --seed to repeat this run")
    result = read_json(options.results, "") if options.results.exists() else {"benchmark": "soak", "parts": {}}
    folder = Path(options.scratch or tempfile.mkdtemp(prefix="wordlab-soak-")).resolve()
    problems: list[str] = []
    for part in options.parts:
        say(f"{part}: in {folder / part}")
        started = time.monotonic()
        found = PARTS[part](folder / part, options)
        about = {
            "date": datetime.date.today().isoformat(),
            "seed": options.seed,
            "seconds": round(time.monotonic() - started, 1),
            "machine": provenance(),
        }
        result["parts"][part] = {**about, **found}
        result["tables"] = tables(result["parts"])
        write_json(options.results, result)
        problems += found["problems"]
    for one in result["tables"]:
        say(shown(one))
    if problems:
        raise WordlabError(
            f"{len(problems)} times something was not as it should be, the first time: {problems[0]}. "
            f"All of them: {options.results}. Repeat it with --seed {options.seed}; the folders are in {folder}"
        )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.run", description=__doc__.split("\n\n")[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: a new one")
    parser.add_argument("--minutes", type=float, default=60, help="length of the cycles; default: 60")
    parser.add_argument("--points", type=int, default=50, help="random kills of each stage; default: 50")
    parser.add_argument("--most", type=int, default=1000, help="boundaries and faults of a kind and stage at most")
    parser.add_argument("--stages", nargs="*", default=[stage.name for stage in STAGES], help="default: all seven")
    parser.add_argument("--scratch", help="folder to work in, a new one; default: a temporary one")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    return options


def chosen_stages(options: argparse.Namespace) -> Iterator[Stage]:
    yield from (stage for stage in STAGES if stage.name in options.stages)


def random_kills(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    with contextlib.closing(Workbench(folder)) as bench:
        return as_result([kills.kill_at_random(bench, stage, options.points, options.seed) for stage in told(options)])


def boundary_kills(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    if reason := unavailable():
        return as_result([]) | {"skipped": {"kills before a change of files": reason}}
    with contextlib.closing(Workbench(folder)) as bench:
        return as_result(
            [kills.kill_at_boundaries(bench, stage, options.most, options.seed) for stage in told(options)]
        )


def all_faults(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    with contextlib.closing(Workbench(folder)) as bench:
        skipped = {"injected faults": unavailable(), "tmpfs": faults.may_mount(bench.work)}
        tallies: list[Tally] = []
        for stage in told(options):
            if not skipped["injected faults"]:
                tallies += [faults.inject(bench, stage, kind, options.most, options.seed) for kind in faults.INJECTED]
            if not skipped["tmpfs"]:
                tallies.append(faults.fill_tmpfs(bench, stage, min(options.most, 20), options.seed))
            tallies.append(faults.limit_file_size(bench, stage, min(options.most, 20), options.seed))
            tallies.append(faults.jump_clock(bench, stage, min(options.most, 6), options.seed))
    return as_result(tallies) | {"skipped": {what: why for what, why in skipped.items() if why}}


def told(options: argparse.Namespace) -> Iterator[Stage]:
    """The chosen stages; says which is next."""
    for stage in chosen_stages(options):
        say(f"  {stage.name}")
        yield stage


def as_result(tallies: Sequence[Tally]) -> dict[str, Any]:
    return {
        "tallies": [asdict(tally) for tally in tallies],
        "problems": [problem for tally in tallies for problem in tally.problems],
    }


def whole_pipeline(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    return asdict(kill_pipeline(folder, max(1, options.points // 10), options.seed))


def long_soak(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    return asdict(run_cycles(folder, options.seed, 60 * options.minutes))


PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "kills": random_kills,
    "boundaries": boundary_kills,
    "faults": all_faults,
    "pipeline": whole_pipeline,
    "cycles": long_soak,
}


def tables(parts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What people read: kinds against stages, then the whole pipeline and the long soak."""
    tallies = [tally for part in parts.values() for tally in part.get("tallies", [])]
    found = []
    if tallies:
        names = [stage.name for stage in STAGES]
        kinds = list(dict.fromkeys(tally["kind"] for tally in tallies))
        counts = {(tally["kind"], tally["stage"]): tally for tally in tallies}
        rows = [
            [
                kind,
                *(counts[kind, name]["tried"] if (kind, name) in counts else None for name in names),
                sum(tally["tried"] for tally in tallies if tally["kind"] == kind),
                len({problem.partition(": ")[0] for t in tallies if t["kind"] == kind for problem in t["problems"]}),
            ]
            for kind in kinds
        ]
        found.append({"columns": ["times tried", *names, "all", "not recovered"], "rows": rows})
    rows = [cycles_row(title, parts[part]) for part, title in TITLES.items() if part in parts]
    if rows:
        columns = ["under DVC", "runs to the end", "signals", "files compared", "not as they should be", "minutes"]
        found.append({"columns": columns, "rows": rows})
    return found


TITLES = {"pipeline": "`dvc repro` from a fresh clone, SIGKILL", "cycles": "parameters changed, any signal, long soak"}


def cycles_row(title: str, part: dict[str, Any]) -> list[Any]:
    signals = sum(part["signals"].values())
    return [title, part["cycles"], signals, part["files_compared"], len(part["problems"]), round(part["seconds"] / 60)]


def shown(table: dict[str, Any]) -> str:
    """A table for the terminal."""
    rows = [table["columns"], *([("–" if cell is None else str(cell)) for cell in row] for row in table["rows"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n" + "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


if __name__ == "__main__":
    run_stage(main)
