"""The script that puts measured numbers into README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import readme
from benchmarks.tree import STAGES, modules, tree
from wordlab.errors import ArtifactError

PAGE = "# Title\n\n<!-- bench/speed:start -->\nold\n<!-- bench/speed:end -->\n\nend\n"
TABLE = {
    "title": "Speed.",
    "columns": ["program", "words/s", "ratio"],
    "rows": [["ours", 3_100_000, 9.125], ["gensim", 340_000, 1.0]],
    "note": "Medians of 5 rounds.",
}
SHOWN = """Speed.

| program | words/s | ratio |
| --- | ---: | ---: |
| ours | 3,100,000 | 9.12 |
| gensim | 340,000 | 1.00 |

Medians of 5 rounds.
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "benchmarks/results/speed.json").write_text(json.dumps({"tables": [TABLE]}))
    (tmp_path / "README.md").write_text(PAGE)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["readme", *arguments])
    readme.main()


def test_a_block_is_replaced_and_the_rest_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch)
    expected = PAGE.replace("old\n", SHOWN)
    assert (project / "README.md").read_text() == expected
    run(monkeypatch)
    assert (project / "README.md").read_text() == expected


def test_check_fails_on_a_stale_page_and_changes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match=r"README\.md shows other numbers than its sources\. Run: python -m"):
        run(monkeypatch, "--check")
    assert (project / "README.md").read_text() == PAGE
    run(monkeypatch)
    run(monkeypatch, "--check")


def test_a_session_is_shown_as_it_was_recorded(project: Path) -> None:
    (project / "benchmarks/results/dvc.txt").write_text("$ dvc repro\nData and pipelines are up to date.\n\n")
    text = readme.filled("<!-- session/dvc:start -->\n<!-- session/dvc:end -->", Path("README.md"))
    assert "```console\n$ dvc repro\nData and pipelines are up to date.\n```\n<!--" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- bench/speed:start -->\n", "has <!-- bench/speed:start --> without its partner"),
        ("<!-- bench/none:start -->\n<!-- bench/none:end -->", r"none\.json is missing\. Run: make bench"),
        ("<!-- session/none:start -->\n<!-- session/none:end -->", r"none\.txt is missing\. Run: python -m"),
        (
            "<!-- other:start -->\n<!-- other:end -->",
            "a block 'other'; there are results, tree, modules, bench/FILE and session/FILE",
        ),
    ],
)
def test_what_cannot_be_filled_is_told(project: Path, text: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        readme.filled(text, Path("README.md"))


def test_a_ragged_table_is_refused(project: Path) -> None:
    ragged = {"tables": [{"columns": ["a", "b"], "rows": [["x"]]}]}
    (project / "benchmarks/results/speed.json").write_text(json.dumps(ragged))
    with pytest.raises(ArtifactError, match="a row of 1 cells under 2 columns"):
        readme.filled(PAGE, Path("README.md"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346"), (7, "7"), (None, "–"), ("a b", "a b")],
)
def test_cells(value: object, text: str) -> None:
    assert readme.cell(value) == text


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A repository of nine stages and five modules."""
    files = {f"stages/{stage}.py": f'"""About {stage}."""' for stage in STAGES}
    files["stages/vocab.py"] = '"""Stage `vocab`: count."""\nfrom wordlab.zebra import stripe'
    files["src/wordlab/__init__.py"] = ""
    files["src/wordlab/apple.py"] = '"""Needed by none. Yet.\n\nMore."""\nimport wordlab.pear'
    files["src/wordlab/pear.py"] = '"""Fruit (Eve et al. 1). More."""\nimport wordlab.apple'
    files["src/wordlab/wolf.py"] = ""
    files["src/wordlab/zebra.py"] = '"""First line\nsecond."""\nimport wordlab.deep.yak\nimport wordlab.wolf'
    files["src/wordlab/deep/__init__.py"] = '"""Animals: many."""'
    files["src/wordlab/deep/yak.py"] = ""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_tree_has_the_stages_what_they_call_and_packages(files: Path) -> None:
    lines = [line.split(maxsplit=1) for line in tree(files).splitlines()]
    assert ["vocab.py", "count"] in lines and ["train.py", "About train"] in lines
    (start,) = (i for i, line in enumerate(lines) if line[0] == "src/wordlab/")
    assert lines[start + 1 : start + 4] == [["zebra.py", "First line"], ["deep/", "Animals: many"], lines[-5]]


def test_all_modules_stand_under_the_stage_that_needs_them_first_after_what_they_import(files: Path) -> None:
    assert modules(files).splitlines() == [
        "## What `vocab` needs",
        "",
        "- [deep/yak.py](../src/wordlab/deep/yak.py): ",
        "- [wolf.py](../src/wordlab/wolf.py): ",
        "- [zebra.py](../src/wordlab/zebra.py): First line",
        "",
        "## Beside the pipeline",
        "",
        "- [pear.py](../src/wordlab/pear.py): Fruit (Eve et al. 1)",
        "- [apple.py](../src/wordlab/apple.py): Needed by none",
    ]
