"""The tree that README.md shows, drawn from the files themselves: each with the first line of its docstring.

Modules come in the order of the pipeline: first what `download` needs, then what `tokenize` needs besides, and so on;
within that, a module comes after those it imports.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

STAGES = ("download", "tokenize", "vocab", "encode", "train", "evaluate", "report", "peers", "versus")
WIDTH = 24
ROOT_FILES = {
    "dvc.yaml": "the pipeline: seven stages, one way, and two for other programs",
    "params.yaml": "every value that can change a result, with its unit",
}
OTHER_FOLDERS = {
    "benchmarks/": "speed and quality against other programs; results as JSON that this page quotes",
    "data/, metrics/": "stage X writes data/X/; metrics are small files kept in git",
    "docs/": "the pages listed below",
    "studies/": "experiments that answer a question together, one small file each",
    "tests/": "test_X.py tests X.py; test_pipeline.py runs all stages on a small text",
}


def tree(root: Path = Path()) -> str:
    """The whole drawing, a line a file, ending in a newline."""
    lines = [entry(name, purpose) for name, purpose in ROOT_FILES.items()]
    lines.append(entry("stages/", "thin scripts, one a stage"))
    lines += [entry(f"  {stage}.py", purpose_of(root / f"stages/{stage}.py")) for stage in STAGES]
    lines.append(entry("src/wordlab/", "the library"))
    for module in in_pipeline_order(root):
        path = root / "src" / Path(*module.split("."))
        name = module.removeprefix("wordlab.").replace(".", "/")
        lines.append(entry(f"  {name}.py", purpose_of(path.with_suffix(".py"))))
    lines += [entry(name, purpose) for name, purpose in OTHER_FOLDERS.items()]
    return "\n".join(lines) + "\n"


def entry(name: str, purpose: str) -> str:
    return f"{name:<{WIDTH}} {purpose}".rstrip()


def purpose_of(path: Path) -> str:
    """First sentence of a file's docstring, as far as its first line goes, without its period or `Stage x:`."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.sub(r"^Stage `?\w+`?: ", "", docstring.partition("\n")[0]).partition(". ")[0].rstrip(".:")


def in_pipeline_order(root: Path) -> list[str]:
    """Names of all modules of wordlab, packages themselves left out."""
    source = root / "src"
    names = {
        ".".join(path.relative_to(source).with_suffix("").parts): path
        for path in sorted((source / "wordlab").rglob("*.py"))
        if path.name != "__init__.py"
    }
    imports = {name: [other for other in imported(path) if other in names] for name, path in names.items()}
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        if name in ordered or name in visiting:
            return
        visiting.add(name)
        for other in imports[name]:
            add(other)
        ordered[name] = None

    visiting: set[str] = set()
    for stage in STAGES:
        for name in imported(root / f"stages/{stage}.py"):
            if name in names:
                add(name)
    for name in names:
        add(name)
    return list(ordered)


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports, by full name; `from package import name` yields both package and package.name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
