"""The tree that README.md shows, and docs/modules.md: the files, each with the first line of its docstring.

Modules come in the order of the pipeline: first what `download` needs, then what `tokenize` needs besides, and so on;
within that, a module comes after those it imports. The tree has those that a stage's script itself imports, and the
packages; the page has all.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

STAGES = ("download", "tokenize", "vocab", "encode", "train", "evaluate", "report", "peers", "versus")
LOOK_AHEAD = ("wordlab.preflight", "wordlab.preflight_peers")
"""Modules that know what all stages will need: by what they import, `download` would need everything."""
WIDTH = 25
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
    """The drawing of the folders, a line a file, ending in a newline."""
    lines = [entry(name, purpose) for name, purpose in ROOT_FILES.items()]
    lines.append(entry("stages/", "thin scripts, one a stage"))
    lines += [entry(f"  {stage}.py", purpose_of(root / f"stages/{stage}.py")) for stage in STAGES]
    lines.append(entry("src/wordlab/", "the library: what the stages call, and packages; docs/modules.md has all"))
    called = {name for stage in STAGES for name in imported(root / f"stages/{stage}.py")}
    shown = [name for names in by_stage(root).values() for name in names if name in called]
    lines += [entry(f"  {path_of(name)}", purpose_of(file_of(name, root))) for name in shown if name.count(".") == 1]
    packages = sorted((root / "src/wordlab").glob("*/__init__.py"))
    lines += [entry(f"  {path.parent.name}/", purpose_of(path)) for path in packages]
    lines += [entry(name, purpose) for name, purpose in OTHER_FOLDERS.items()]
    return "\n".join(lines) + "\n"


def modules(root: Path = Path()) -> str:
    """All modules in Markdown, by the stage that is the first to need each, ending in a newline."""
    parts = []
    for stage, names in by_stage(root).items():
        heading = f"## What `{stage}` needs" + (" besides" if parts else "") if stage else "## Beside the pipeline"
        lines = [f"- [{path_of(n)}](../src/wordlab/{path_of(n)}): {purpose_of(file_of(n, root))}" for n in names]
        parts.append("\n".join([heading, "", *lines]) + "\n")
    return "\n".join(parts)


def path_of(module: str) -> str:
    """Of wordlab.peers.job: peers/job.py."""
    return module.removeprefix("wordlab.").replace(".", "/") + ".py"


def file_of(module: str, root: Path) -> Path:
    return root / "src/wordlab" / path_of(module)


def entry(name: str, purpose: str) -> str:
    return f"{name:<{WIDTH}} {purpose}".rstrip()


def purpose_of(path: Path) -> str:
    """First sentence of a file's docstring, as far as its first line goes, without its period or `Stage x:`."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    sentence = re.split(r"(?<!et al)\. ", docstring.partition("\n")[0])[0]
    return re.sub(r"^Stage `?\w+`?: ", "", sentence).rstrip(".:")


def by_stage(root: Path) -> dict[str, list[str]]:
    """Stage -> names of the modules that it is the first to need, packages left out; "": those that none needs."""
    files = {
        ".".join(path.relative_to(root / "src").with_suffix("").parts): path
        for path in sorted((root / "src/wordlab").rglob("*.py"))
        if path.name != "__init__.py"
    }
    seen: set[str] = set()

    def with_needs(name: str) -> list[str]:
        """The module after those it imports, as far as they have not been seen before."""
        if name in seen or name not in files:
            return []
        seen.add(name)
        return [found for other in imported(files[name]) for found in with_needs(other)] + [name]

    ordered = {
        stage: [n for name in imported(root / f"stages/{stage}.py") if name not in LOOK_AHEAD for n in with_needs(name)]
        for stage in STAGES
    }
    ordered[""] = [found for name in files for found in with_needs(name)]
    return {stage: names for stage, names in ordered.items() if names}


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports, by full name; `from package import name` yields both package and package.name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
