"""`wordlab compare` and `wordlab results --csv` as a user meets them; the figure and the table of all experiments."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import matplotlib
import pytest

from tests.experiments import make_results
from tests.helpers import error_of
from wordlab import cli
from wordlab.comparison import compare
from wordlab.comparison_plot import difference_figure, save_figure
from wordlab.errors import ConfigError
from wordlab.experiments import open_experiment
from wordlab.tidy_results import as_csv

OURS = {seed: {"google_analogy": 35 + seed / 3, "men": 0.5 + seed**2 / 100, "rg65": None} for seed in (1, 2, 3)}
THEIRS = {seed: {"google_analogy": 37 + seed / 4, "men": 0.5 + seed / 40, "rg65": None} for seed in (1, 2, 3)}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of results outside any repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    make_results(tmp_path / "ours", OURS)
    make_results(tmp_path / "theirs", THEIRS)
    return tmp_path


def test_compare_prints_text_markdown_or_json(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["compare", "ours", "theirs"])
    text = capsys.readouterr().out
    assert "theirs against ours" in text and "MEN: theirs and ours cannot be told apart with 3 seeds" in text
    cli.main(["compare", "ours", "theirs", "--markdown"])
    assert "**theirs against ours**" in capsys.readouterr().out
    cli.main(["compare", "ours", "theirs", "--json", "--scores", "men,rg65"])
    tree = json.loads(capsys.readouterr().out)
    assert [one["score"] for one in tree["pairs"][0]["scores"]] == ["men", "rg65"]


def test_the_first_is_the_base_unless_all_pairs_are_wanted(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_results(folders / "third", OURS)
    for more, pairs in (([], 2), (["--all-pairs"], 3)):
        cli.main(["compare", "ours", "theirs", "third", "--json", *more])
        assert len(json.loads(capsys.readouterr().out)["pairs"]) == pairs


def test_compare_tells_what_it_cannot_do(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere is no DVC experiment, no git revision and no folder of results." in error_of(
        capsys, "compare", "ours", "nowhere"
    )
    assert "there must be two experiments or more" in error_of(capsys, "compare", "ours")
    assert "x.pdf has no suffix that a figure can have. Name it .svg or .png." in error_of(
        capsys, "compare", "ours", "theirs", "--plot", "x.pdf"
    )


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_figure_is_written_the_same_every_time(
    folders: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    cli.main(["compare", "ours", "theirs", "--plot", f"a{suffix}"])
    cli.main(["compare", "ours", "theirs", "--plot", f"b{suffix}"])
    assert Path(f"a{suffix}").read_bytes() == Path(f"b{suffix}").read_bytes()
    assert capsys.readouterr().err.count("the differences with their intervals") == 2
    if suffix == ".svg":
        drawn = Path("a.svg").read_text(encoding="utf-8")
        for text in ("Google analogies", "MEN", "theirs − ours", "difference in points of accuracy", "difference in ρ"):
            assert f">{text}<" in drawn
        assert "RG-65" not in drawn, "there is no difference to show"


def test_the_figure_shows_intervals_where_they_are(folders: Path) -> None:
    found = compare([open_experiment("ours"), open_experiment("theirs")])
    accuracy, rho = difference_figure(found).axes
    intervals = [line for line in accuracy.lines if line.get_linewidth() == 2.2]
    t = found.pairs[0].scores[0].t
    assert t is not None and [tuple(line.get_xdata()) for line in intervals] == [(t.low, t.high)]
    assert [label.get_text() for label in rho.get_yticklabels()] == ["MEN"]


def test_a_figure_of_nothing_says_so(folders: Path) -> None:
    with matplotlib.rc_context():
        found = compare([open_experiment("ours"), open_experiment("theirs")], scores=["rg65"])
        assert [text.get_text() for text in difference_figure(found).texts] == ["no difference to show"]
        with pytest.raises(ConfigError):
            save_figure(found, Path("x.gif"))


# ---- all experiments as one table


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_named_experiments_go_to_a_file(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "ours" / "params.yaml").write_text(
        "seeds: [1, 2, 3]\nmodel: {dim: 300, gone: 1}\nencode: {list: [a, ü]}\n"
    )
    cli.main(["results", "--csv", "all.csv", "ours", "theirs"])
    assert capsys.readouterr().err == "all.csv: 6 models of 2 experiments\n"
    rows = rows_of((folders / "all.csv").read_text(encoding="utf-8"))
    assert [row["experiment"] for row in rows] == ["ours"] * 3 + ["theirs"] * 3
    assert rows[0]["params.model.dim"] == "4", "what the results say they were made with, not what lies there now"
    assert rows[0]["params.encode.list"] == '["a", "ü"]' and rows[3]["params.encode.list"] == ""
    assert "params.model.gone" not in rows[0]


def test_columns_of_a_kind_stand_side_by_side(folders: Path) -> None:
    make_results(folders / "more", {1: {"men": 0.5, "new": 0.5}})
    header = as_csv([open_experiment("ours"), open_experiment("more")]).splitlines()[0].split(",")
    kinds = [name.partition(".")[0] for name in header]
    assert len(header) == len(set(header)) and kinds == sorted(kinds, key=kinds.index) and "scores.new" in header
    assert header[:3] == ["experiment", "revision", "seed"]


def test_what_has_no_results_is_told_and_left_out(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(capsys, "results", "--csv", "all.csv")
    assert "left out: workspace: . holds no results" in error
    assert "there is no experiment with results here. Run: dvc repro" in error
    assert "names of experiments go with --csv." in error_of(capsys, "results", "ours")
