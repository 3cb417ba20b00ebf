"""Tables, page and figures: what they say, with three seeds, with one, and with nothing to say."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from stages import evaluate, report
from tests.helpers import CONFIG
from tests.html_text import Page
from tests.project import make_project, vectors_of, write_params
from wordlab import plots
from wordlab.artifacts import read_manifest
from wordlab.config import load_params
from wordlab.embeddings import unit_rows
from wordlab.errors import ArtifactError
from wordlab.report_page import read_curve, write_report
from wordlab.reporting import format_interval, format_mean, headline, results_table
from wordlab.stage import run_stage
from wordlab.statistics import spread
from wordlab.word_map import cluster_words, map_of, place_words


def evaluated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seeds: tuple[int, ...] = (1, 2, 3), **project: object
) -> Path:
    """A project whose seeds are evaluated, as the current folder."""
    monkeypatch.chdir(make_project(folder, seeds, **project))  # type: ignore[arg-type]
    for seed in seeds:
        monkeypatch.setattr(sys, "argv", ["evaluate", "--seed", str(seed)])
        evaluate.main()
    return folder


def run_report(monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the stage; returns the page."""
    monkeypatch.setattr(sys, "argv", ["report"])
    run_stage(report.main)
    return Path("data/report/index.html").read_text(encoding="utf-8")


def test_numbers_wear_their_unit() -> None:
    assert format_mean(spread([34.0, 34.5, 35.0]), "percent") == "34.50 % ± 0.50"
    assert format_interval(spread([34.0, 34.5, 35.0]), "percent") == "33.26 to 35.74"
    assert format_mean(spread([0.66, 0.67]), "rho") == "0.665 ± 0.007"
    assert (format_mean(spread([0.667]), "rho"), format_interval(spread([0.667]), "rho")) == ("0.667", "")
    assert (format_mean(spread([]), "rho"), format_interval(spread([]), "rho")) == ("–", "")


def test_the_table_for_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(tmp_path, monkeypatch)
    run_report(monkeypatch)
    lines = results_table().splitlines()
    assert lines[0] == "skipgram on enwik8, ns, 4 dimensions, window 5, 1 epoch, 3 seeds: 1, 2, 3"
    model = {"subwords": {"units": "characters", "min_n": 3, "max_n": 6}}
    subwords = {"seed": 1, "config": {**CONFIG, "model": {**CONFIG["model"], **model}}}
    assert "enwik8, ns, n-grams of 3 to 6 characters, 4 dimensions" in headline([subwords], "enwik8")
    assert lines[2].split("  ")[0] == "score"
    assert re.fullmatch(r"Google analogies +100\.00 % ± 0\.00 +100\.00 to 100\.00 +80\.0 %", lines[3])
    assert re.fullmatch(r"MEN +-?0\.\d{3} ± 0\.\d{3} +-?\d\.\d{3} to -?\d\.\d{3} +83\.3 %", lines[8])
    assert re.fullmatch(r"Rare Words +– +0\.0 %  no score: only 0 of 2 have all words in the vocabulary", lines[9])
    assert re.fullmatch(r"RG-65 +– +absent: no location of the file could be reached", lines[10])
    assert lines[12] == (
        "training a seed: 2.20 M raw words/s, 12.0 s, 20.0 CPU seconds, 302 MiB at the peak (cpu, 2 threads)"
    )
    assert lines[13].startswith("neighbors of France, seed 1: ")


def test_a_summary_of_other_results_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(tmp_path, monkeypatch)
    with pytest.raises(ArtifactError, match=r"metrics/summary.json is missing\. Run: dvc repro report"):
        results_table()
    run_report(monkeypatch)
    write_params(tmp_path, [1, 2])
    with pytest.raises(ArtifactError) as error:
        results_table()
    assert str(error.value) == (
        "metrics/summary.json does not belong to the results of the seeds. Run: dvc repro report"
    )


def test_the_stage_writes_summary_page_table_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(tmp_path, monkeypatch)
    run_report(monkeypatch)
    assert "Google analogies" in capsys.readouterr().out
    files = read_manifest(tmp_path / "data" / "report", "report", verify=True)["files"]
    figures = {f"{name}.{kind}" for name in ("loss", "scores", "map") for kind in ("svg", "png")}
    assert set(files) == {"index.html", "results.md", *figures}
    assert json.loads((tmp_path / "metrics" / "summary.json").read_text())["men"]["seeds"] == 3
    table = (tmp_path / "data" / "report" / "results.md").read_text()
    assert "| score | mean ± sd | 95 % interval | coverage |" in table
    assert "| Google analogies | 100.00 % ± 0.00 | 100.00 to 100.00 | 80.0 % |" in table
    assert "| RG-65 | – | absent: no location of the file could be reached |  |" in table


def test_the_page_says_everything_and_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(tmp_path, monkeypatch)
    html = run_report(monkeypatch)
    page = Page(html)
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in page.references)
    assert "url(" not in html
    assert "@import" not in html
    assert page.images == [
        "Scores with their spread over seeds",
        "Training loss over tokens",
        "The most frequent words on a plane",
    ]
    for text in (
        "skipgram on enwik8",
        "over 3 seeds, with the 95 % t interval of the mean",
        "Google analogies, semantic",
        "absent: no location of the file could be reached",
        "gram8-plural 100.00 % ± 0.00 100.00 % ± 0.00 100.0 %",
        "strelsau not in the vocabulary",
        "raw words/s 2.20 M 2.10 M to 2.30 M",
        "peak memory 302 MiB 301 MiB to 303 MiB",
        "model.window 5",
        "tokenize.sentencepiece.vocab size 16000",
        "encode.shard tokens 16777216",
        "download.evaluation sets google-analogies, wordsim353, men, rare-words, rg65",
        "vocabulary 13 words",
        "words are compared in upper case",
        "git revision abc1234",
        "versions.numpy 2.0",
    ):
        assert text in page.text, text


def test_the_same_results_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(tmp_path, monkeypatch, seeds=(1, 2))
    run_report(monkeypatch)
    before = {path: path.read_bytes() for path in [*Path("data/report").iterdir(), Path("metrics/summary.json")]}
    run_report(monkeypatch)
    assert {path: path.read_bytes() for path in before} == before


def test_one_seed_is_reported_without_a_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(tmp_path, monkeypatch, seeds=(5,))
    page = Page(run_report(monkeypatch))
    assert "One seed: there is no spread to report." in page.text
    assert not re.search(r"± \d", page.text)
    summary = json.loads(Path("metrics/summary.json").read_text())
    assert summary["google_analogy"] == {
        "mean": 100.0, "sd": None, "low": None, "high": None, "seeds": 1, "coverage": 80.0
    }  # fmt: skip


def test_a_run_without_speed_and_curves_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(tmp_path, monkeypatch, seeds=(1,))
    Path("metrics/run/seed-1.json").unlink()
    Path("metrics/curves/seed-1.tsv").unlink()
    page = Page(run_report(monkeypatch))
    assert "Training speed was not recorded." in page.text
    assert "Training loss over tokens" not in page.images
    assert not Path("data/report/loss.png").exists()


def test_a_model_that_knows_no_word_of_any_set_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["서울", "부산", "<b>", "$x$", "a&b", "한강"]
    evaluated(tmp_path, monkeypatch, seeds=(1, 2), words=words, neighbors=["서울", '"<b>"'])
    page = Page(run_report(monkeypatch))
    assert "no score: only 0 of 5 have all words in the vocabulary" in page.text
    assert "서울 " in page.text
    assert "<b>" in page.text
    assert json.loads(Path("metrics/summary.json").read_text())["men"]["mean"] is None
    assert "<b>" not in Path("data/report/map.svg").read_text()


def test_a_stale_or_missing_seed_stops_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(tmp_path, monkeypatch, seeds=(1,))
    write_params(tmp_path, [1, 4])
    with pytest.raises(SystemExit) as stop:
        run_report(monkeypatch)
    assert stop.value.code == 1
    assert "error: metrics/seed-4.json is missing. Run: dvc repro" in capsys.readouterr().err
    assert not Path("data/report").exists()
    assert not Path("metrics/summary.json").exists()


def test_a_damaged_loss_curve_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "seed-1.tsv"
    for content in ("", "step\tloss\n1\t2\n", "tokens\tloss\n1\tx\n", "tokens\tloss\n1\t2\t3\n1\t2\n"):
        path.write_text(content)
        with pytest.raises(ArtifactError, match=r"seed-1.tsv is damaged: .*\. Run: dvc repro"):
            read_curve(1, path)


def test_an_unwritable_report_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(tmp_path, monkeypatch, seeds=(1,))
    Path("metrics/summary.json.tmp").mkdir()
    params = load_params()
    with pytest.raises(ArtifactError, match=r"metrics/summary.json could not be written: Is a directory\."):
        write_report(params.seeds, params.corpus, 5, Path("data"), Path("metrics"))
    assert not Path("data/report").exists()


def test_the_map_puts_similar_words_close_together() -> None:
    centres = np.random.default_rng(0).normal(size=(4, 20))
    rows = np.repeat(centres, 10, axis=0) + 0.1 * np.random.default_rng(1).normal(size=(40, 20))
    units = unit_rows(rows.astype(np.float32))
    places, topic = place_words(units), np.repeat(np.arange(4), 10)
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    same = topic[:, None] == topic
    assert distances[same].max() < distances[~same].min()
    assert (place_words(units) == places).all()
    clusters = np.array(cluster_words(units))
    assert all(set(clusters[topic == a]).isdisjoint(clusters[topic == b]) for a in range(4) for b in range(a))


@pytest.mark.parametrize("num_words", [1, 2, 7, 8, 30])
def test_a_map_of_any_size_is_drawn(num_words: int) -> None:
    words = [f"w{i}" for i in range(num_words)]
    for rows in (unit_rows(vectors_of(words, 1)), np.zeros((num_words, 3), np.float32)):
        with plots.style():
            assert plots.render(plots.map_figure(map_of(words, rows)), "map")["png"].startswith(b"\x89PNG")


def test_words_that_overlap_are_moved_apart() -> None:
    places, sizes = np.zeros((20, 2)), np.tile([30.0, 10.0], (20, 1))
    moved = plots.move_apart(places, sizes)
    heights = np.sort(moved[:, 1])
    assert np.diff(heights).min() > 8
