"""Studies: their files, and what is made of their experiments. One under DVC is in test_pipeline.py."""

from __future__ import annotations

import copy
import functools
import json
import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.experiments import make_results, result_of
from tests.helpers import make_model_folder
from tests.html_text import Page
from tests.project import WORDS, vectors_of, write_params
from wordlab import cli, study_command
from wordlab.artifacts import fingerprint, read_manifest, write_atomic, write_json
from wordlab.comparison import compare
from wordlab.comparison_text import notes
from wordlab.config import parse_params
from wordlab.errors import ArtifactError, ConfigError
from wordlab.experiments import Experiment, load_experiment
from wordlab.result_sources import folder_source
from wordlab.study import LATER, Study, level_name, load_study, mark_of, with_later
from wordlab.study_html import LossFigure, PageFigures, as_html
from wordlab.study_loss_plot import loss_parts
from wordlab.study_page import AS_THEY_WERE, as_markdown, as_text, described, found_lines
from wordlab.study_plot import page_figures, study_figure
from wordlab.study_results import StudyResult, collect, read_result, result_path, write_result
from wordlab.study_run import command, require_its_parameters, run_arm

ROOT = Path(__file__).parents[1]
TOY: dict[str, Any] = {
    "question": "Which window?",
    "base": "ns-window2",
    "seeds": [1, 2, 3],
    "scores": ["men", "google_analogy"],
    "x": "model.window",
    "params": {"train.epochs": 2},
    "arms": {"ns": {"model.objective": "ns"}, "hs": {"model.objective": "hs", "train.epochs": 3}},
    "grid": {"model.window": [2, 5]},
}
FILE = Path("studies/toy.yaml")
DAMAGES: list[Callable[[dict[str, Any]], Any]] = [
    lambda tree: tree.pop("arms"),
    lambda tree: tree.update(format=3),
    lambda tree: tree.pop("map"),
    lambda tree: tree["map"]["places"].pop(),
    lambda tree: tree["origin"].pop("rules"),
    lambda tree: tree["origin"]["provenance"].update(cores=2),
    lambda tree: tree["map"]["clusters"].__setitem__(0, 8),
    lambda tree: tree["map"]["words"].__setitem__(0, 5),
    lambda tree: tree["arms"][1].pop("models"),
    lambda tree: tree["arms"][1]["models"]["curves"]["loss"]["2"].pop(),
    lambda tree: tree["arms"][1]["models"]["curves"]["tokens"].__setitem__(0, "many"),
    lambda tree: tree["arms"][1]["models"]["neighbors"]["words"].update(king=[["queen"]]),
    lambda tree: tree["arms"][1]["models"]["absent"].update(curves=3),
    lambda tree: tree["definition"].pop("x"),
    lambda tree: tree["definition"].update(x="model.dim"),
    lambda tree: tree["arms"][0]["scores"]["men"].update({"1": "high"}),
    lambda tree: tree["pairs"][0]["scores"][0].update(more=1),
    lambda tree: tree["pairs"][0]["scores"][0]["t"].pop("low"),
]
"""What makes a result file of toy one that nothing can be read from."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and the study, entered."""
    write_params(tmp_path, (1,))
    monkeypatch.chdir(tmp_path)
    write_study({})
    return tmp_path


def write_study(changes: dict[str, Any], *left_out: str) -> None:
    FILE.parent.mkdir(exist_ok=True)
    tree = {key: value for key, value in {**TOY, **changes}.items() if key not in left_out}
    FILE.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


def test_arms_are_all_combinations_and_an_arms_own_settings_count_most(project: Path) -> None:
    study = load_study(FILE)
    assert [arm.name for arm in study.arms] == ["ns-window2", "ns-window5", "hs-window2", "hs-window5"]
    last = study.arms[-1].params
    assert (last.model.objective, last.model.window, last.train.epochs, last.seeds) == ("hs", 5, 3, (1, 2, 3))
    assert study.arms[0].params.train.epochs == 2 and study.base is study.arms[0]


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("model.objective", "hs", "hs"),
        ("model.dim", 300, "dim300"),
        ("vocab.max_size", 12500000, "max-size12500000"),
        ("vocab.subsample_t", 1e-5, "subsample-t1e-05"),
        ("train.lr.cbow", 0.075, "cbow0.075"),
        ("tokenize.lowercase", True, "lowercase-true"),
        ("corpus", "data of mine/A.txt", "data-of-mine-a.txt"),
    ],
)
def test_values_of_the_grid_become_parts_of_names(key: str, value: Any, name: str) -> None:
    assert level_name(key, value) == name


def test_an_experiments_name_follows_from_its_parameters_and_from_nothing_else(project: Path) -> None:
    before = [arm.experiment for arm in load_study(FILE).arms]
    assert all(re.fullmatch(rf"toy-{arm.name}-[0-9a-f]{{6}}", arm.experiment) for arm in load_study(FILE).arms)
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("threads: 0", "threads: 3"))
    write_study({"question": "What else?", "params": {"train.epochs": 2.0}})
    assert [arm.experiment for arm in load_study(FILE).arms] == before
    params.write_text(params.read_text().replace("dim: 100", "dim: 99"))
    assert not set(before) & {arm.experiment for arm in load_study(FILE).arms}
    params.write_text(params.read_text().replace("dim: 99", "dim: 100"))
    write_study({"seeds": [1, 2, 4]})
    assert not set(before) & {arm.experiment for arm in load_study(FILE).arms}


@pytest.mark.parametrize(
    ("changes", "left_out", "message"),
    [
        ({}, "base", "studies/toy.yaml: base is missing. Add it, or restore the file: git checkout studies/toy.yaml"),
        ({"sed": [1]}, "seeds", "studies/toy.yaml: unknown key sed. Did you mean seeds?"),
        ({"seeds": "1"}, "", "studies/toy.yaml: seeds is '1', but must be a list, in square brackets."),
        ({"seeds": [1, 1]}, "", "studies/toy.yaml: arm ns-window2: seeds is [1, 1], but must be different from one"),
        ({"base": "ns-window3"}, "", "base is 'ns-window3', which is no arm. Did you mean ns-window5?"),
        ({"scores": []}, "", "studies/toy.yaml: scores is [], but must be a list of one score or more."),
        ({"scores": ["mem"]}, "", "no evaluation set gives a score 'mem'. Did you mean men?"),
        ({"question": " "}, "", "studies/toy.yaml: question is ' ', but must be a sentence."),
        (
            {"params": {"model.windw": 3}},
            "",
            "there is no parameter model.windw in params.yaml. Did you mean model.win",
        ),
        ({"params": {"modl.dim": 3}}, "", "there is no parameter modl.dim in params.yaml. Did you mean model?"),
        ({"params": {"model": {}}}, "", "params: model is {}, but must be a single value or a list of such."),
        ({"params": {"model": 1}}, "", "arm ns-window2: model is a section. Name one parameter of it: arch, objective"),
        ({"params": {"model.dim": 0}}, "", "toy.yaml: arm ns-window2: model.dim is 0, but must be from 1 to 4096."),
        ({"params": [1]}, "", "studies/toy.yaml: params is [1], but must be a mapping of names to values."),
        ({"params": {3: 1}}, "", "studies/toy.yaml: a name in params is 3, but must be text."),
        ({"arms": {"NS": {}}}, "", "the name of an arm is 'NS-window2', but must be small letters and digits"),
        (
            {"arms": {"ns": {}, "same": {}}},
            "",
            "arms ns-window2 and same-window2 are the same. Take one out, or rename",
        ),
        ({"grid": {}, "arms": {"ns": {}}}, "", "is 1, but must be from 2 to 200."),
        ({"grid": {"model.window": []}}, "", "grid: model.window is [], but must be a list of one value or more."),
        ({"grid": {"model.window": [[1]]}}, "", "grid: model.window is [1], but must be a list of single values."),
        ({"grid": {"model.dim": list(range(1, 300))}}, "", "is 598, but must be from 2 to 200."),
        ({"x": "model.dim"}, "", "x is 'model.dim', which arm ns-window2 does not set. Did you mean model."),
        ({"x": "model.objective"}, "", "model.objective of arm ns-window2 is 'ns', but must be a number, since"),
    ],
)
def test_what_is_wrong_in_a_study_is_told_as_of_params_yaml(
    project: Path, changes: dict[str, Any], left_out: str, message: str
) -> None:
    write_study(changes, left_out)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_study(FILE)


def test_a_study_that_is_not_there_or_has_no_name_is_told(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"studies/tow\.yaml was not found\. Did you mean studies/toy\.yaml\?"):
        load_study(Path("studies/tow.yaml"))
    with pytest.raises(ConfigError, match=r"name without \.yaml is 'To y', but must be small letters"):
        load_study(Path("studies/To y.yaml"))


def test_an_experiment_of_other_parameters_is_no_arm_whatever_its_name(project: Path) -> None:
    study = load_study(FILE)
    folder = make_results(project / "run", {seed: {"men": 0.5} for seed in TOY["seeds"]})
    text = Path("params.yaml").read_text().replace("seeds: [1]", "seeds: [1, 2, 3]").replace("epochs: 5", "epochs: 2")
    for window, right in (("2", True), ("3", False)):
        (folder / "params.yaml").write_text(text.replace("window: 5", f"window: {window}"))
        experiment = load_experiment("ns-window2", folder_source(folder), None)
        if right:
            require_its_parameters(study.arms[0], experiment)
        else:
            with pytest.raises(ArtifactError, match="was run with other parameters than its name stands for"):
                require_its_parameters(study.arms[0], experiment)


def test_experiments_of_earlier_versions_are_found_though_params_yaml_has_more_since(project: Path) -> None:
    study = load_study(FILE)
    arm = study.arms[0]
    tree = yaml.safe_load(Path("params.yaml").read_text())
    older, changed = copy.deepcopy(tree), copy.deepcopy(tree)
    for key in LATER:
        *sections, last = key.split(".")
        branch = functools.reduce(lambda found, section: found[section], sections, older)
        del branch[last]
    assert with_later(older) == tree and older != tree
    changed["tokenize"]["filters"]["unit"] = "documents"
    assert mark_of(parse_params(changed)) != mark_of(parse_params(tree)) == mark_of(parse_params(with_later(older)))
    folder = make_results(project / "run", {seed: {"men": 0.5} for seed in TOY["seeds"]})
    older.update(seeds=[1, 2, 3])
    older["train"]["epochs"], older["model"]["window"] = 2, 2
    (folder / "params.yaml").write_text(yaml.safe_dump(older))
    require_its_parameters(arm, load_experiment(arm.name, folder_source(folder), None))


def test_the_damping_of_the_tree_counts_where_there_is_one(project: Path) -> None:
    tree = yaml.safe_load(Path("params.yaml").read_text())
    older, other = copy.deepcopy(tree), copy.deepcopy(tree)
    del older["train"]["damping"]["hs"]
    other["train"]["damping"]["hs"] = 3
    marks = [mark_of(parse_params(with_later(one))) for one in (tree, older, other)]
    assert marks[0] == marks[1] == marks[2]
    for one in (tree, older, other):
        one["model"]["objective"] = "hs"
    marks = [mark_of(parse_params(with_later(one))) for one in (tree, older, other)]
    assert len(set(marks)) == 3
    tree["train"]["damping"]["hs"] = tree["train"]["damping"]["skipgram"]
    assert mark_of(parse_params(tree)) == marks[1], "it was that of the architecture"


def test_settings_go_to_dvc_as_they_are_written(project: Path) -> None:
    write_study({"params": {"corpus": "a, b's.txt", "evaluate.neighbors": ["king", "ü"], "train.lr_floor": 1e-5}})
    changes = command(load_study(FILE).arms[2])
    given = dict(change.split("=", 1) for change in changes[changes.index("-S") + 1 :: 2])
    assert given["seeds"] == "[1, 2, 3]" and given["corpus"] == '"a, b\'s.txt"'
    assert given["evaluate.neighbors"] == '["king", "ü"]' and given["train.lr_floor"] == "1e-05"


# ---- from results to a page


def experiments_of(study: Study, folder: Path) -> list[Experiment]:
    """Results of all arms, in which a wider window is better by a point and by a little, as folders."""
    found = []
    for number, arm in enumerate(study.arms):
        values = {
            seed: {
                "google_analogy": 30 + number + seed * (1 + number) % 4 / 10,
                "men": 0.5 + number / 90 + seed**2 / 1000 * number,
            }
            for seed in study.file.seeds
        }
        shutil.rmtree(folder / arm.name, ignore_errors=True)
        model = make_model_folder(folder / arm.name / "data" / "train" / "seed-1", WORDS, vectors_of(WORDS, number))
        scored = {**result_of(1, {})["fingerprints"], "model": fingerprint(read_manifest(model, "train"))}
        near = {"king": [["queen", 0.912 - number / 100], ["man", 0.5]], "rome": None}
        make_results(folder / arm.name, values, neighbors=near, fingerprints=scored)
        for seed in study.file.seeds:
            write_atomic(folder / arm.name / "metrics" / "curves" / f"seed-{seed}.tsv", curve_of(number, seed))
            run = {"raw_words_per_second": 2e6, "seconds": 10.0 + seed, "device": "cpu", "threads": 2}
            write_json(folder / arm.name / "metrics" / "run" / f"seed-{seed}.json", run)
        found.append(load_experiment(arm.name, folder_source(folder / arm.name), None))
    return found


def curve_of(arm: int, seed: int, steps: int = 100) -> bytes:
    """A loss that falls from one step to the next by a thousandth."""
    lines = (f"{step}\t{step * 1000}\t{0.5 + arm / 10 + seed / 100 - step / 1000:.6f}" for step in range(1, steps + 1))
    return "\n".join(["step\ttokens\tloss", *lines, ""]).encode()


@pytest.fixture
def result(project: Path) -> StudyResult:
    study = load_study(FILE)
    write_result(result_path(FILE), collect(study, experiments_of(study, project / "arms")))
    return read_result(result_path(FILE))


def test_the_file_gives_back_the_comparison_that_was_computed(project: Path, result: StudyResult) -> None:
    """All numbers, so that nothing on the page needs the experiments."""
    arms = experiments_of(load_study(FILE), project / "arms")
    wanted = compare(arms, scores=TOY["scores"])
    assert (len(result.comparison.pairs), result.comparison.tests) == (3, wanted.tests)
    for ours, theirs in zip(result.comparison.pairs, wanted.pairs, strict=True):
        assert (ours.base, ours.other, ours.what.changed) == (theirs.base, theirs.other, theirs.what.changed)
        for a, b in zip(ours.scores, theirs.scores, strict=True):
            assert (a.score, a.verdict, a.paired, a.seeds_needed) == (b.score, b.verdict, b.paired, b.seeds_needed)
            assert a.difference == pytest.approx(b.difference, rel=1e-5)
            assert (a.t and a.t.low) == pytest.approx(b.t and b.t.low, rel=1e-5)
    assert result.arms[3].scores["men"] == arms[3].values("men")


def test_the_page_has_everything_and_is_the_same_from_the_file_alone(project: Path, result: StudyResult) -> None:
    (project / "arms").rename(project / "gone")
    page = as_markdown(result, FILE, Path("docs/studies/toy.svg"))
    assert page == as_markdown(read_result(result_path(FILE)), FILE, Path("docs/studies/toy.svg"))
    for text in (
        "# Study: toy\n",
        "**Which window?**",
        "[toy.yaml](../../studies/toy.yaml)",
        "![scores of all arms](toy.svg)",
        "- Google analogies, best by its mean: hs-window5, 33.00 % ± 0.00; worst: ns-window2, 30.20 % ± 0.10",
        "**hs-window5 against ns-window2**",
        "corrected for all 6 of them (Holm)",
        "- MEN: ",
        "| hs-window5 | 3 | hs | 5 | 90.0 % | 90.0 % | toy-hs-window5-",
        "2.00 | 12.0 |",
        "4 arms, 3 seeds each: 1, 2, 3",
        "- trained on: cpu, 2 threads",
    ):
        assert text in page, text
    assert "**" not in as_text(result) and "hs-window5 against ns-window2" in as_text(result)


def test_the_figure_has_a_line_for_what_differs_in_x_alone_or_a_row_for_each_arm(result: StudyResult) -> None:
    men, google = study_figure(result).axes
    lines = {line.get_label(): list(line.get_xdata()) for line in men.lines if not line.get_label().startswith("_")}
    assert lines == {"epochs2, ns": [2, 5], "epochs3, hs": [2, 5]}
    assert google.get_ylabel() == "Google analogies, %" and google.get_xlabel() == "model.window"
    rows = study_figure(replace(result, definition=replace(result.definition, x=""))).axes[0]
    assert [label.get_text() for label in rows.get_yticklabels()] == [arm.name for arm in result.arms]


def test_show_writes_page_and_figures_and_tells_of_a_study_that_has_changed(
    project: Path, result: StudyResult, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["study", "show", str(FILE), "--plot", "own.png"])
    shown = capsys.readouterr()
    assert "AGAINST NS-WINDOW2" in shown.out and "has changed" not in shown.err
    first = [Path(name).read_bytes() for name in ("docs/studies/toy.md", "docs/studies/toy.svg", "own.png")]
    write_study({"question": "Another?"})
    cli.main(["study", "show", str(FILE), "--plot", "own.png"])
    assert f"{FILE} has changed since these results. To bring them up to date" in capsys.readouterr().err
    assert first == [Path(name).read_bytes() for name in ("docs/studies/toy.md", "docs/studies/toy.svg", "own.png")]


def test_a_damaged_file_is_refused(project: Path, result: StudyResult) -> None:
    whole = result_path(FILE).read_text()
    for damage in DAMAGES:
        tree = json.loads(whole)
        damage(tree)
        write_json(result_path(FILE), tree)
        with pytest.raises(ArtifactError, match=r"toy\.json is damaged, .* Run: wordlab study run studies/toy\.yaml$"):
            read_result(result_path(FILE))


def test_other_code_is_told(project: Path) -> None:
    """What two arms were made by may differ, if the study was interrupted for a change; of reports it may."""
    study = load_study(FILE)
    names = [arm.label for arm in experiments_of(study, project / "arms")]
    stage = "  {}:\n    deps:\n    - path: src/wordlab/{}.py\n      hash: md5\n      md5: {}\n      size: 1\n"
    arms = []
    for name, train, report in zip(names, "abaa", "aaba", strict=True):
        lock = f"stages:\n{stage.format('train@1', 'engine', train)}{stage.format('report', 'plots', report)}"
        (project / "arms" / name / "dvc.lock").write_text(lock)
        arms.append(load_experiment(name, folder_source(project / "arms" / name), None))
    (remark,) = collect(study, arms)["remarks"]
    assert remark.startswith(
        "ns-window5 was made by other code than ns-window2: src/wordlab/engine.py. To make it again"
    )


# ---- what is in this repository


@pytest.mark.parametrize("path", sorted(ROOT.glob("studies/*.yaml")), ids=lambda path: path.stem)
def test_the_studies_here_can_be_run(path: Path) -> None:
    study = load_study(path, ROOT / "params.yaml")
    assert len(study.file.seeds) >= 6, "fewer pairs cannot reach 0.05 in a permutation test"


def test_the_pages_here_are_what_their_files_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    pages = {path.stem for path in Path("docs/studies").glob("*.md")} - {"d2l-ptb"}  # test_d2l.py has that
    assert pages == {path.stem for path in Path("studies/results").glob("*.json")}
    for name in pages:
        figure = Path(f"docs/studies/{name}.svg")
        result = read_result(Path(f"studies/results/{name}.json"))
        wanted = as_markdown(result, Path(f"studies/{name}.yaml"), figure)
        assert Path(f"docs/studies/{name}.md").read_text(encoding="utf-8") == wanted, f"wordlab study show {name}"
        html = Path(f"docs/studies/{name}.html").read_text(encoding="utf-8")
        assert html == as_html(result, figures_in(html, result, figure.read_bytes())), f"wordlab study show {name}"


def figures_in(html: str, result: StudyResult, scores: bytes) -> PageFigures:
    """The figures of a page, which are not drawn anew: another version of matplotlib draws them otherwise."""
    images = dict(re.findall(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)">', html))
    losses = []
    for group, arms in loss_parts(result):
        names = tuple(arm.name for arm in arms)
        losses.append(LossFigure(group, names, b64decode(images[f"Training loss over tokens of {', '.join(names)}"])))
    drawn = [b64decode(image) for name, image in images.items() if name.endswith("words on a plane")]
    return PageFigures(scores, tuple(losses), drawn[0] if drawn else None)


def test_the_page_in_html_is_one_file_with_everything(project: Path, result: StudyResult) -> None:
    html = as_html(result, page_figures(result, b"<svg/>"))
    page = Page(html)
    assert page.images == [
        "Scores of all arms, with their 95 % intervals",
        "Training loss over tokens of ns-window2, ns-window5",
        "Training loss over tokens of hs-window2, hs-window5",
        "The 13 most frequent words on a plane",
    ]
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in page.references)
    assert "url(" not in html and "@import" not in html and "<script" not in html and "width=device-width" in html
    for line in (*found_lines(result), *described(result), *notes(result.comparison), AS_THEY_WERE):
        assert line in page.text, line
    for text in ("experiment toy-hs-window5-", "objective hs", "where", "cpu, 2 threads", "seed 3"):
        assert text in page.text, text
    (value,) = {result.arms[1].scores["men"][3]}
    assert f"{value:.4f}" in page.text


def test_names_of_arms_are_no_markup(project: Path, result: StudyResult) -> None:
    models = replace(result.arms[0].models, neighbors={"<u>": (("<i>", 0.5),)}, absent={"curves": "<i>"})
    arms = tuple(replace(arm, name="<u>", models=models) for arm in result.arms[:1]) + result.arms
    spoiled = replace(result, name="<script>alert(1)</script>", remarks=("<b>&",), arms=arms)
    html = as_html(spoiled, PageFigures(b"<svg/>", (LossFigure("<u>", ("<i>",), b"<svg/>"),), None))
    assert "<u>" not in html and "<i>" not in html
    assert "<script" not in html and "<b>&<" not in html and "&lt;script&gt;" in html


def test_arms_that_were_not_run_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    with pytest.raises(ArtifactError, match=r"4 of the 4 arms of toy have not been run: ns-window2, ns-window5, hs-"):
        study_command.open_arms(load_study(FILE))
    with pytest.raises(ConfigError, match=r"params\.yaml is in no commit of git here"):
        study_command.run(FILE, dry=False)
    with pytest.raises(ArtifactError, match=r"toy\.json is missing\. Run: wordlab study run studies/toy\.yaml"):
        study_command.show(FILE, None)


def test_an_arm_that_fails_ends_the_study_with_what_to_do(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    with pytest.raises(
        ArtifactError, match=r"arm ns-window2 failed: `dvc exp run` ended with status \d+, for the reason"
    ):
        run_arm(load_study(FILE).arms[0], project)
    assert "not inside of a DVC repository" in capfd.readouterr().err
