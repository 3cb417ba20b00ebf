"""What a study keeps of its models: loss curves, neighbours, the map; what is drawn of it, and how it is added."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import test_studies
from tests.helpers import environment_of
from tests.html_text import Page
from tests.project import WORDS
from tests.test_studies import FILE, curve_of, experiments_of
from wordlab import cli, study_command, study_models
from wordlab.artifacts import read_json, write_atomic
from wordlab.errors import ArtifactError
from wordlab.experiments import load_experiment
from wordlab.loss_curves import LossCurve, parse_curve, thinned
from wordlab.result_sources import folder_source
from wordlab.study import load_study
from wordlab.study_html import as_html
from wordlab.study_loss_plot import loss_figures, loss_parts, scale_of
from wordlab.study_plot import page_figures
from wordlab.study_results import StudyResult, collect, read_result, result_path, with_like_losses, write_result

project, result = test_studies.project, test_studies.result


@pytest.mark.parametrize(("steps", "points"), [(1, 1), (40, 40), (41, 21), (80, 40), (220, 37), (1000, 40)])
def test_a_thinned_curve_has_the_means_of_successive_steps(steps: int, points: int) -> None:
    curve = LossCurve(3, np.arange(1.0, steps + 1) * 10, np.random.default_rng(1).random(steps))
    found = thinned(curve, 40)
    assert (found.seed, len(found.loss), found.tokens[-1]) == (3, points, steps * 10)
    sizes = np.diff(found.tokens, prepend=0) / 10
    assert len(set(sizes[:-1])) <= 1 and sizes[-1] <= sizes[0]
    assert (found.loss * sizes).sum() == pytest.approx(curve.loss.sum())
    first = int(sizes[0])
    assert found.loss[0] == pytest.approx(curve.loss[:first].mean())


def test_the_file_keeps_curves_of_all_seeds_and_is_small(project: Path, result: StudyResult) -> None:
    text = result_path(FILE).read_text(encoding="utf-8")
    arm = read_json(result_path(FILE), "")["arms"][1]["models"]
    curve = parse_curve(3, curve_of(1, 3), "")
    assert arm["curves"]["steps"] == 3 and arm["curves"]["tokens"][:2] == [3000, 6000]
    assert arm["curves"]["loss"]["3"][0] == pytest.approx(curve.loss[:3].mean(), abs=1e-4)
    assert arm["curves"]["loss"]["3"][-1] == pytest.approx(curve.loss[-1], abs=1e-4)
    assert '"tokens": [3000, 6000, 9000,' in text, "numbers are on one line"
    assert [curve.seed for curve in result.arms[1].models.curves] == [1, 2, 3]
    assert arm["neighbors"] == {"seed": 1, "words": {"king": [["queen", 0.9], ["man", 0.5]], "rome": None}}
    assert arm["absent"] == {}


def test_lists_of_numbers_are_on_one_line_and_all_else_is_as_json_is(project: Path) -> None:
    tree = {"a": [1, 2.5, None], "text": "[\n1\n]", "names": ["x", "[\n2 ]"], "deep": [[1, 2], [3, 4]], "none": []}
    write_result(project / "one.json", tree)
    text = (project / "one.json").read_text()
    assert json.loads(text) == tree and '"a": [1, 2.5, null]' in text and "\n    [1, 2],\n" in text


def test_the_map_is_of_the_base_arms_words_and_drawn_from_the_file(project: Path, result: StudyResult) -> None:
    drawn = result.base_map.drawn
    assert drawn is not None and list(drawn.words) == list(WORDS) and result.base_map.seed == 1
    assert drawn.places.shape == (len(WORDS), 2) and np.ptp(drawn.places, axis=0).min() > 0
    shutil.rmtree(project / "arms")
    figure = page_figures(result, b"").map
    assert figure is not None and b">france<" in figure


def test_curves_that_cannot_be_are_not_drawn(project: Path) -> None:
    study = load_study(FILE)
    experiments_of(study, project / "arms")
    rows = {
        "ns-window2": b"1\t1\t1e300\n2\t2\tnan\n3\t3\t-inf\n",
        "ns-window5": b"1\tnan\t1\n",
        "hs-window2": b"1\t1e300\t1\n",
        "hs-window5": b"",
    }
    for name, content in rows.items():
        for seed in study.file.seeds:
            path = project / "arms" / name / "metrics" / "curves" / f"seed-{seed}.tsv"
            write_atomic(path, b"step\ttokens\tloss\n" + content)
    arms = [load_experiment(arm.name, folder_source(project / "arms" / arm.name), None) for arm in study.arms]
    write_result(result_path(FILE), collect(study, arms))
    result = read_result(result_path(FILE))
    assert [len(arm.models.curves) for arm in result.arms] == [3, 0, 0, 0]
    assert np.isnan(result.arms[0].models.curves[0].loss).all()
    text = Page(as_html(result, page_figures(result, b"<svg/>"))).text
    assert text.count("seed-1.tsv holds no step, or one that cannot be") == 3


def test_of_large_vectors_only_the_beginning_is_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (arm, *_) = experiments_of(load_study(FILE), project / "arms")
    monkeypatch.setattr(study_models, "MAP_WORDS", 4)
    asked: list[tuple[str, int | None]] = []
    read = type(arm.source).read_data

    def watched(self: object, path: str, most: int | None = None) -> bytes | None:
        asked.append((Path(path).name, most))
        return read(arm.source, path, most)

    monkeypatch.setattr(type(arm.source), "read_data", watched)
    assert study_models.map_of_base(arm)["words"] == list(WORDS[:4])
    rows = np.load(project / "arms" / "ns-window2" / "data" / "train" / "seed-1" / "input_vectors.npy")
    header = 128  # bytes, as numpy writes it
    assert [most for name, most in asked if name == "input_vectors.npy"] == [1024, header + rows[:4].nbytes]
    assert (study_models._first_rows(arm, 1, 4)[1] == rows[:4]).all()


def test_figures_have_a_panel_an_arm_and_a_line_a_seed_and_one_scale(result: StudyResult) -> None:
    first, second = list(loss_figures(result))
    assert [(name, [arm.name for arm in arms]) for name, arms, _ in (first, second)] == [
        ("ns", ["ns-window2", "ns-window5"]),
        ("hs", ["hs-window2", "hs-window5"]),
    ]
    panels = [axes for axes in first[2].axes if axes.get_visible()]
    assert [len(axes.lines) for axes in panels] == [3, 3]
    assert panels[0].get_ylim() == panels[1].get_ylim() != second[2].axes[0].get_ylim()
    low, high = panels[0].get_ylim()
    assert low < result.arms[0].models.curves[0].loss.min() and high > result.arms[1].models.curves[2].loss[2]
    legend = [text.get_text() for text in first[2].legends[0].get_texts()]
    assert legend == ["seed 1", "seed 2", "seed 3"]


def test_the_scale_leaves_out_where_nothing_was_learned_and_what_is_no_number(result: StudyResult) -> None:
    loss = np.array([100.0, 50.0, *np.linspace(5, 4, 36), np.nan, np.inf])
    curve = LossCurve(1, np.arange(1.0, 41), loss)
    assert scale_of([curve]) == pytest.approx((3.94, 5.06))
    assert scale_of([]) is None and scale_of([LossCurve(1, curve.tokens, np.full(40, 3.0))]) is None
    arm = replace(result.arms[0], models=replace(result.arms[0].models, curves=(curve,)))
    (figure,) = [figure for *_, figure in loss_figures(replace(result, arms=(arm,)))]
    assert figure.axes[0].get_ylim() == pytest.approx((3.94, 5.06))


def test_many_arms_are_shown_in_several_figures(result: StudyResult) -> None:
    arms = tuple(replace(result.arms[0], name=f"arm{number}") for number in range(25))
    many = replace(result, arms=arms)
    assert [len(part) for _, part in loss_parts(many)] == [12, 12, 1]
    assert list(with_like_losses(arms)) == [""]
    odd = list(loss_figures(many))[2][2]
    assert [axes.get_visible() for axes in odd.axes] == [True, False]


def test_the_page_shows_neighbors_arm_by_arm_and_says_how_curves_were_thinned(result: StudyResult) -> None:
    text = Page(as_html(result, page_figures(result, b"<svg/>"))).text
    assert "king ns-window2 queen 0.91 man 0.50 ns-window5 queen 0.90 man 0.50 hs-window2" in text
    assert "rome ns-window2 not in the vocabulary" in text
    assert "In the model of seed 1, with their cosines" in text
    assert "a point is the mean of up to 3 steps" in text
    last = [curve_of(0, seed).split()[-1] for seed in (1, 2, 3)]
    assert f"ns-window2 {np.mean([float(one) for one in last]):.4f} ± 0.0100 0.3" in text
    assert "The 13 most frequent words in the model of ns-window2, seed 1: t-SNE" in text
    assert "Not there" not in text


def test_what_is_not_there_is_told_and_ends_nothing(project: Path) -> None:
    study = load_study(FILE)
    experiments_of(study, project / "arms")
    (project / "arms" / "ns-window2" / "metrics" / "curves" / "seed-2.tsv").unlink()
    write_atomic(project / "arms" / "ns-window5" / "metrics" / "curves" / "seed-1.tsv", curve_of(1, 1, steps=50))
    shutil.rmtree(project / "arms" / "hs-window2" / "metrics" / "curves")
    write_atomic(project / "arms" / "hs-window5" / "metrics" / "curves" / "seed-3.tsv", b"tokens\tloss\nx\t1\n")
    for seed in (1, 2, 3):
        path = project / "arms" / "hs-window5" / "metrics" / f"seed-{seed}.json"
        path.write_text(path.read_text().replace('"queen"', "7"))
    shutil.rmtree(project / "arms" / "ns-window2" / "data")
    arms = [load_experiment(arm.name, folder_source(project / "arms" / arm.name), None) for arm in study.arms]
    write_result(result_path(FILE), collect(study, arms))
    result = read_result(result_path(FILE))
    text = Page(as_html(result, page_figures(result, b"<svg/>"))).text
    for told in (
        "Not there, of ns-window2: seed 2: its curve was not kept.",
        "Not there, of ns-window5: seed 2, 3: the curve has other steps than that of seed 1.",
        "Not there, of hs-window2: seed 1, 2, 3: its curve was not kept.",
        "seed-3.tsv is damaged: could not convert string to float: 'x'.",
        "Not there, of hs-window5: ",
        "seed-1.json lists none that can be read.",
        "data/train/seed-1/manifest.json does not exist.",
    ):
        assert told in text, told


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("manifest.json", b"{", "holds another model than the one that was scored"),
        ("manifest.json", b"{}", "holds another model than the one that was scored"),
        ("words.arrow", b"ARROW1", "ns-window2/data/train/seed-1/words.arrow is "),
        ("input_vectors.npy", b"\x80pickled", "does not begin as numpy writes an array"),
        ("input_vectors.npy", "shape", "holds float32 of shape (3, 2), and there are 13 words"),
        ("input_vectors.npy", "short", "input_vectors.npy ends too early"),
    ],
)
def test_damaged_vectors_give_no_map_but_a_reason(project: Path, name: str, damage: bytes | str, told: str) -> None:
    (arm, *_) = experiments_of(load_study(FILE), project / "arms")
    path = project / "arms" / "ns-window2" / "data" / "train" / "seed-1" / name
    if damage == "shape":
        np.save(path, np.zeros((3, 2), np.float32))
    else:
        path.write_bytes(path.read_bytes()[:-4] if isinstance(damage, str) else damage)
    found = study_models.map_of_base(arm)
    assert found.keys() == {"absent"} and told in found["absent"] and "/tmp/tmp" not in found["absent"]


def as_format_1(path: Path) -> None:
    """Make a result file what the first version wrote."""
    tree = read_json(path, "")
    tree["format"] = 1
    del tree["map"], tree["origin"]
    for arm in tree["arms"]:
        del arm["models"]
    write_result(path, tree)


def test_a_file_of_the_first_format_is_shown_with_what_it_has(project: Path, result: StudyResult) -> None:
    as_format_1(result_path(FILE))
    older = read_result(result_path(FILE))
    assert older.comparison == result.comparison
    text = Page(as_html(older, page_figures(older, b"<svg/>"))).text
    assert text.count("Not there, of all arms: the result file is of format 1, which kept none.") == 2
    assert "Not there, of ns-window2: the result file is of format 1, which kept none." in text
    assert "All parameters" not in text


def test_the_page_says_how_all_was_made(project: Path) -> None:
    study = load_study(FILE)
    experiments_of(study, project / "arms")
    text = Path("params.yaml").read_text().replace("seeds: [1]", "seeds: [1, 2, 3]")
    for arm in study.arms:
        (project / "arms" / arm.name / "params.yaml").write_text(text)
    other = project / "arms" / "hs-window5" / "metrics" / "run" / "seed-3.json"
    other.write_text(json.dumps({"device": "cuda", "seconds": 1.5, "libraries": {"numpy": "9.9"}, "cpu": "<b>"}))
    arms = [load_experiment(arm.name, folder_source(project / "arms" / arm.name), None) for arm in study.arms]
    write_result(result_path(FILE), collect(study, arms))
    result = read_result(result_path(FILE))
    text = Page(as_html(result, page_figures(result, b"<svg/>"))).text
    for told in (
        "All parameters: those of ns-window2, and of the other arms but for their settings",
        "train.batch tokens 512",
        "Rules of the evaluation case ignored",
        "device cpu, cuda",
        "libraries.numpy 9.9",
        "cpu <b>",
        "fingerprint.encode e",
    ):
        assert told in text, told


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ("git", *arguments), cwd=folder, env=environment_of(folder), check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def recorded(project: Path, result: StudyResult) -> dict[str, Path]:
    """The result file names commits of a project elsewhere, one for each arm, and is of the first format."""
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    git(elsewhere, "init", "-q")
    tree = read_json(result_path(FILE), "")
    for arm in tree["arms"]:
        shutil.rmtree(elsewhere / "metrics", ignore_errors=True)
        shutil.copytree(
            project / "arms" / arm["name"] / "metrics", elsewhere / "metrics", copy_function=shutil.copyfile
        )
        (elsewhere / "params.yaml").write_text("seeds: [1, 2, 3]\n")
        git(elsewhere, "add", ".")
        git(elsewhere, "commit", "-qm", arm["name"])
        arm["commit"] = git(elsewhere, "rev-parse", "HEAD")
    write_result(result_path(FILE), tree)
    as_format_1(result_path(FILE))
    return {"elsewhere": elsewhere}


def test_an_older_file_is_filled_from_the_commits_it_names(
    project: Path, recorded: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_json(result_path(FILE), "")
    cli.main(["study", "fill", str(FILE), "--project", "elsewhere"])
    after = read_json(result_path(FILE), "")
    assert after["format"] == 2 and list(after)[-3:] == ["map", "origin", "remarks"]
    assert len(after["arms"][2]["models"]["curves"]["loss"]) == 3
    assert after["arms"][2]["models"]["neighbors"]["words"]["king"][0] == ["queen", 0.89]
    assert "absent" in after["map"], "there is no DVC here, and so no vectors"
    for arm in after["arms"]:
        del arm["models"]
    added = {key: after[key] for key in ("map", "origin")}
    assert {**after, "format": 1} == {**before, **added}, "scores and comparisons are as they were"
    assert "scores and comparisons are as they were" in capsys.readouterr().err
    assert Path("docs/studies/toy.html").read_text().count("Training loss over tokens") == 2


def test_filling_keeps_what_is_no_longer_at_hand(project: Path, result: StudyResult, recorded: dict[str, Path]) -> None:
    cli.main(["study", "fill", str(FILE), "--project", "elsewhere"])
    tree = read_json(result_path(FILE), "")
    tree["map"] = read_json(result_path(FILE), "")["map"] | {"absent": "once"}
    elsewhere = recorded["elsewhere"]
    for arm in tree["arms"]:
        shutil.rmtree(elsewhere / "metrics" / "curves", ignore_errors=True)
        for seed in (1, 2, 3):
            name = f"metrics/seed-{seed}.json"
            shutil.copyfile(project / "arms" / arm["name"] / name, elsewhere / name)
        git(elsewhere, "add", "-A")
        git(elsewhere, "commit", "-qm", "without curves")
        arm["commit"] = git(elsewhere, "rev-parse", "HEAD")
    write_result(result_path(FILE), tree)
    cli.main(["study", "fill", str(FILE), "--project", "elsewhere"])
    assert [len(arm.models.curves) for arm in read_result(result_path(FILE)).arms] == [3] * 4


def test_filling_takes_nothing_from_other_experiments(project: Path, recorded: dict[str, Path]) -> None:
    with pytest.raises(ArtifactError, match=r"has no commit [0-9a-f]{12}, which is experiment toy-ns-window2-.*--proj"):
        study_command.fill(FILE, project)
    tree = read_json(result_path(FILE), "")
    tree["arms"][0]["scores"]["men"]["2"] += 0.01
    write_result(result_path(FILE), tree)
    before = result_path(FILE).read_bytes()
    with pytest.raises(ArtifactError, match=r"toy-ns-window2-\w+ has other values of men than the result file"):
        study_command.fill(FILE, recorded["elsewhere"])
    assert result_path(FILE).read_bytes() == before
