"""Put measured numbers into the pages, so that no hand does.

    python -m benchmarks.readme            replace what is between the markers
    python -m benchmarks.readme --check    change nothing; fail if something would change

Pages are README.md and those in docs/, or the ones that are named. A block of a page lies between `<!-- NAME:start -->`
and `<!-- NAME:end -->`, and its NAME says where it comes from:

    results          metrics/, as stage `report` shows it: scores with their spread, speed, neighbours
    tree, modules    the files of this repository, from their docstrings (benchmarks/tree.py)
    bench/FILE       "tables" of benchmarks/results/FILE.json: a list of {"title", "columns", "rows", "note"};
                     rows hold text and numbers, numbers are shown with three digits; title and note may be left out
    session/FILE     benchmarks/results/FILE.txt, commands with what they printed (benchmarks/session.py records them)
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.tree import modules, tree
from wordlab.artifacts import read_json, write_atomic
from wordlab.config import load_params
from wordlab.errors import ArtifactError
from wordlab.reporting import markdown_table
from wordlab.results import load_results, load_runs
from wordlab.stage import run_stage

RESULTS = Path("benchmarks/results")
BLOCK = re.compile(r"<!-- (?P<name>[\w/.-]+):start -->\n(?P<old>.*?)<!-- (?P=name):end -->", re.DOTALL)
MARKER = re.compile(r"<!-- [\w/.-]+:(?:start|end) -->")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readme", description="Put measured numbers into the pages."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something would change")
    parser.add_argument("pages", nargs="*", type=Path, help="default: README.md and docs/*.md")
    arguments = parser.parse_args()
    for page in arguments.pages or [Path("README.md"), *sorted(Path("docs").glob("*.md"))]:
        old = page.read_text(encoding="utf-8")
        new = filled(old, page)
        if new != old and arguments.check:
            raise ArtifactError(f"{page} shows other numbers than its sources. Run: python -m benchmarks.readme")
        if new != old:
            write_atomic(page, new.encode())
            print(f"{page}: brought up to date", file=sys.stderr)


def filled(text: str, page: Path) -> str:
    """The page with every block made anew. Raises ArtifactError for an unpaired marker or a missing source."""
    blocks = list(BLOCK.finditer(text))
    inside = {marker for block in blocks for marker in MARKER.findall(block[0])}
    unpaired = [marker for marker in MARKER.findall(text) if marker not in inside]
    if unpaired:
        raise ArtifactError(f"{page} has {unpaired[0]} without its partner. Write start and end, each on its own line.")
    return BLOCK.sub(
        lambda block: f"<!-- {block['name']}:start -->\n{content(block['name'], page)}<!-- {block['name']}:end -->",
        text,
    )


def content(name: str, page: Path) -> str:
    """Markdown of one block, ending in a newline."""
    kind, _, file = name.partition("/")
    if name == "results":
        params = load_params()
        metrics = Path("metrics")
        return markdown_table(load_results(params.seeds, metrics), load_runs(params.seeds, metrics), params.corpus)
    if name == "tree":
        return f"```\n{tree()}```\n"
    if name == "modules":
        return modules()
    if kind == "bench" and file:
        path = RESULTS / f"{file}.json"
        return "\n".join(table(one, path) for one in tables(path))
    if kind == "session" and file:
        return f"```console\n{session(RESULTS / f'{file}.txt')}```\n"
    raise ArtifactError(f"{page} has a block {name!r}; there are results, tree, modules, bench/FILE and session/FILE.")


def tables(path: Path) -> list[dict[str, Any]]:
    """The tables a benchmark has left for people to read."""
    result = read_json(path, "Run: make bench")
    if not isinstance(result, dict) or not isinstance(result.get("tables"), list):
        raise ArtifactError(f'{path} holds no list "tables". Run: make bench')
    return result["tables"]


def table(described: dict[str, Any], path: Path) -> str:
    """One table in Markdown; columns of numbers are set to the right."""
    columns, rows = described["columns"], described["rows"]
    for row in rows:
        if len(row) != len(columns):
            raise ArtifactError(
                f"{path} has a row of {len(row)} cells under {len(columns)} columns: {row}. Run: make bench"
            )
    numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    lines = [[str(column) for column in columns], ["---:" if right else "---" for right in numeric]]
    lines += [[cell(value) for value in row] for row in rows]
    parts = [f"{described['title']}\n"] if described.get("title") else []
    parts += ["| " + " | ".join(line) + " |" for line in lines]
    parts += [f"\n{described['note']}"] if described.get("note") else []
    return "\n".join(parts) + "\n"


def cell(value: object) -> str:
    """Text as it is, whole numbers in groups, other numbers with three digits, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    assert isinstance(value, float), value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def session(path: Path) -> str:
    """A recorded session's text, ending in a newline."""
    try:
        return path.read_text(encoding="utf-8").rstrip() + "\n"
    except OSError:
        raise ArtifactError(f"{path} is missing. Run: python -m benchmarks.session") from None


if __name__ == "__main__":
    run_stage(main)
