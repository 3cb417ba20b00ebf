"""dvc.yaml says what each stage really uses: modules, parameters, outputs."""

from __future__ import annotations

import ast
import dataclasses
import re
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from wordlab.config import Params

ROOT = Path(__file__).parents[1]
PIPELINE: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = ["download", "tokenize", "vocab", "encode", "train", "evaluate", "report"]
CHANGE_NO_RESULT = {
    f"src/wordlab/{name}.py"
    for name in (
        "claims",
        "cluster",
        "code_identity",
        "compile_cache",
        "config",
        "errors",
        "limits",
        "machine",
        "needs",
        "parent",
        "preflight",
        "preflight_models",
        "preflight_peers",
        "preflight_text",
        "preflight_words",
        "stage",
        "versions",
        *(f"sections/{path.stem}" for path in (ROOT / "src/wordlab/sections").glob("*.py")),
    )
}
"""Modules that say how a stage talks, that let it begin or stop it, or hand on parameters that DVC compares itself. A
new parameter, a better message or another estimate of memory must not tokenize a corpus again. What these import, they
import for themselves: a stage that needs it too imports it too."""
READS_LESS = {"peers": {"train": "train.epochs", "peers": "peers.lr"}}
"""Stage -> section that its modules hand on as a whole -> what of it decides its result. The programs know nothing of
our blocks; peers.programs says which are run."""
OTHER_PROGRAMS = ["peers", "versus"]
"""Stages that are there for the programs of peers.programs alone, which lists none."""
HOW_NOT_WHAT = {"run.threads", "run.workers", "run.executor", "run.dask_address"}
KEY_BY_KEY = ("run", "download", "tokenize", "peers")
"""Sections of which stages declare single keys."""
PACKAGE_DATA = {
    "src/wordlab/catalog.py": "src/wordlab/catalog.yaml",
    "src/wordlab/html_page.py": "src/wordlab/page.html",
    "src/wordlab/report_page.py": "src/wordlab/report.html",
}


@cache
def imported(module: str) -> frozenset[str]:
    """The repository's modules that a file imports, by path from the root."""
    names: list[str] = []
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module}: imports are absolute here"
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    paths = {f"src/{name.replace('.', '/')}.py" for name in names}
    return frozenset(path for path in paths if (ROOT / path).is_file())


def needed(stage: str) -> set[str]:
    """All modules a stage uses, directly or not, its own script included."""
    found: set[str] = set()
    pending = [f"stages/{stage}.py"]
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += imported(module) if module not in CHANGE_NO_RESULT else []
    return found


def files_of(entries: list[Any]) -> list[str]:
    """Paths in a list of deps, outs, metrics or plots."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def parameters_read(stage: str) -> Iterator[str]:
    """`section` or `section.key` of every `params.section...` in the modules of a stage; keys of some sections only."""
    for module in sorted(needed(stage) - CHANGE_NO_RESULT):
        for found in re.finditer(r"\bparams\.(\w+)(?:\.(\w+))?", (ROOT / module).read_text(encoding="utf-8")):
            if found[1] in READS_LESS.get(stage, {}) and found[2] != "threads_each":
                yield READS_LESS[stage][found[1]]
            elif found[1] in {field.name for field in dataclasses.fields(Params)}:
                yield f"{found[1]}.{found[2]}" if found[1] in KEY_BY_KEY and found[2] else found[1]


def test_the_pipeline_has_the_seven_stages_in_order() -> None:
    assert list(PIPELINE) == STAGES + OTHER_PROGRAMS
    for stage, described in PIPELINE.items():
        assert described["cmd"].startswith(f"exec python -m stages.{stage}")
        assert described["desc"]


@pytest.mark.parametrize("stage", STAGES + OTHER_PROGRAMS)
def test_a_stage_depends_on_the_modules_it_imports_and_on_no_others(stage: str) -> None:
    wanted = needed(stage) - CHANGE_NO_RESULT
    wanted |= {data for module, data in PACKAGE_DATA.items() if module in wanted}
    listed = {path for path in files_of(PIPELINE[stage]["deps"]) if path.startswith(("src/", "stages/"))}
    missing, needless = sorted(wanted - listed), sorted(listed - wanted)
    assert not missing and not needless, f"stage {stage} in dvc.yaml: add {missing}, remove {needless}"


def test_packages_hold_no_code_that_the_lists_would_miss() -> None:
    for path in (ROOT / "src").rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        code = [node for node in body if not isinstance(node, ast.Expr | ast.Assign)]
        assert not code, f"{path}: deps in dvc.yaml do not list packages"


@pytest.mark.parametrize("stage", STAGES + OTHER_PROGRAMS)
def test_a_stage_declares_every_parameter_it_reads(stage: str) -> None:
    declared = set(PIPELINE[stage]["params"])
    read = set(parameters_read(stage)) - HOW_NOT_WHAT
    unread = declared - read
    undeclared = {key for key in read if key not in declared and key.partition(".")[0] not in declared}
    assert not undeclared, f"stage {stage} reads {sorted(undeclared)}, which dvc.yaml does not declare"
    # the script of `download` is handed whole rows; everything else that is declared is read by name
    assert unread <= {"download"}, f"stage {stage} declares {sorted(unread)}, which it does not read"


def test_a_seed_more_is_no_change_for_the_others() -> None:
    assert not {"seeds", "seed"} & {param.partition(".")[0] for param in PIPELINE["train"]["params"]}
    assert not {"seeds", "seed"} & {param.partition(".")[0] for param in PIPELINE["evaluate"]["params"]}


def test_paths_carry_the_seed_and_never_the_configuration() -> None:
    for stage in ("train", "evaluate"):
        described = PIPELINE[stage]
        for path in files_of(described["outs"] + described["metrics"] + described.get("plots", [])):
            assert re.findall(r"\$\{.*?\}", path) == ["${item.seed}"]


def test_files_kept_in_git_are_declared_so_that_their_stages_stay_in_the_run_cache() -> None:
    """`outs: {cache: false}` would take a stage out of DVC's run cache; only the link to an own corpus does."""
    uncached = {
        path for described in PIPELINE.values() for out in described["outs"] if isinstance(out, dict) for path in out
    }
    assert uncached == {"data/source"}


def keys_of(section: type, prefix: str = "") -> Iterator[str]:
    """Names of all parameters, as `-S` takes them."""
    hints = typing.get_type_hints(section)
    for name, hint in hints.items():
        if dataclasses.is_dataclass(hint):
            yield from keys_of(typing.cast(type, hint), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("key", list(keys_of(Params)))
def test_every_parameter_has_its_place_in_the_documentation(key: str) -> None:
    pages = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert any(f"`{name}`" in pages for name in (key, key.removeprefix("tokenize."), key.partition(".")[2]))
