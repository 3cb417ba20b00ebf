"""Comparisons of experiments: what is computed, what is refused, and what is said."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from tests.experiments import BASE, BETTER, experiment, make_answers, only, result_of
from wordlab.artifacts import write_json
from wordlab.comparison import ALPHA, Comparison, ScoreDifference, _judged, compare
from wordlab.comparison_json import as_json
from wordlab.comparison_sentences import sentence
from wordlab.comparison_text import as_markdown, as_text
from wordlab.differences import MOST_SEEDS, holm, seeds_needed
from wordlab.errors import ConfigError
from wordlab.experiments import Experiment, open_experiment
from wordlab.resampling import question_interval
from wordlab.tables import Table


def said(found: Comparison) -> list[str]:
    return [sentence(pair, one) for pair in found.pairs for one in pair.scores]


def test_equal_seeds_are_compared_one_by_one(tmp_path: Path) -> None:
    found = compare([experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", BETTER)])
    pair = only(found)
    assert (pair.base, pair.other, found.tests) == ("main", "new", 2)
    analogy, men = pair.scores
    for one, score in ((analogy, "google_analogy"), (men, "men")):
        expected = scipy.stats.ttest_rel(BETTER[score], BASE[score])
        interval = expected.confidence_interval(0.95)
        assert one.paired and one.t is not None and one.effect_name == "d_z"
        assert one.t.p == pytest.approx(expected.pvalue)
        assert (one.t.low, one.t.high) == pytest.approx((interval.low, interval.high))
        assert one.difference == pytest.approx(np.mean(BETTER[score]) - np.mean(BASE[score]))
        flips = scipy.stats.permutation_test(
            (np.subtract(BETTER[score], BASE[score]),), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert one.permutation is not None and one.permutation.p == pytest.approx(flips.pvalue)
    assert analogy.t and men.t
    assert [analogy.corrected_p, men.corrected_p] == pytest.approx(holm([analogy.t.p, men.t.p]))
    assert (analogy.verdict, men.verdict) == ("higher", "undecided")
    assert men.effect is not None and men.seeds_needed == seeds_needed(men.effect, True, 0.05 / 2)


def test_other_seeds_are_compared_by_their_means(tmp_path: Path) -> None:
    other = {name: values[:4] for name, values in BETTER.items()}
    found = compare([experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", other, seeds=(4, 5, 6, 7))])
    one = only(found).scores[0]
    expected = scipy.stats.ttest_ind(other["google_analogy"], BASE["google_analogy"], equal_var=False)
    assert not one.paired and one.t is not None and one.t.p == pytest.approx(expected.pvalue)
    assert one.effect_name == "g" and (one.base.seeds, one.other.seeds) == (6, 4)
    assert "  not paired, since the seeds differ (Welch), 6 and 4 seeds" in as_text(found).splitlines()


def test_as_many_seeds_are_no_pairs_where_they_are_others(tmp_path: Path) -> None:
    others = experiment(tmp_path, "new", BETTER, seeds=range(4, 10))
    assert not any(one.paired for one in only(compare([experiment(tmp_path, "main", BASE), others])).scores)


def test_a_seed_without_a_value_leaves_no_pairs(tmp_path: Path) -> None:
    holes = {**BETTER, "men": (0.595, None, 0.596, 0.594, 0.593, 0.595)}
    analogy, men = only(compare([experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", holes)])).scores
    assert analogy.paired and not men.paired and (men.base.seeds, men.other.seeds) == (6, 5)


def test_every_experiment_is_compared_with_the_first_or_every_two(tmp_path: Path) -> None:
    three = [experiment(tmp_path, name, scores) for name, scores in (("a", BASE), ("b", BETTER), ("c", BASE))]
    found = compare(three)
    assert [(pair.base, pair.other) for pair in found.pairs] == [("a", "b"), ("a", "c")] and found.tests == 2
    assert [one.verdict for one in found.pairs[1].scores] == ["equal", "equal"], "no spread, no test"
    found = compare(three, all_pairs=True)
    assert [(pair.base, pair.other) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.tests == 4
    raw = [one.t.p if one.t else None for pair in found.pairs for one in pair.scores]
    assert [one.corrected_p for pair in found.pairs for one in pair.scores] == holm(raw)


def test_fewer_scores_need_less_correction(tmp_path: Path) -> None:
    two = [experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", BETTER)]
    one = only(compare(two, scores=["men"])).scores
    assert [each.score for each in one] == ["men"] and one[0].t and one[0].corrected_p == one[0].t.p
    with pytest.raises(ConfigError, match=r"no experiment has a score mem\. Did you mean men\?"):
        compare(two, scores=["mem"])


def test_two_experiments_are_needed_each_once(tmp_path: Path) -> None:
    one = experiment(tmp_path, "main", BASE)
    for experiments in ([], [one], [one, one]):
        with pytest.raises(ConfigError, match="there must be two experiments or more, each once; found: "):
            compare(experiments)


# ---- over questions


def answered(folder: Path, name: str, right: dict[int, Sequence[int]]) -> Experiment:
    """An experiment whose only score is what these answers give."""
    experiment(folder, name, {"google_analogy": [100 * float(np.mean(one)) for one in right.values()]})
    make_answers(folder / name, right)
    return open_experiment(name, folder)


def test_the_interval_over_questions_is_that_of_the_answers(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    sides = [{seed: (draw.random(60) < part).astype(int).tolist() for seed in (1, 2, 3)} for part in (0.3, 0.5)]
    ours, theirs = (answered(tmp_path, name, side) for name, side in zip("ab", sides, strict=True))
    one = only(compare([ours, theirs])).scores[0]
    graded = [
        [side.answers(seed, "google-analogies").graded("google_analogy") for seed in (1, 2, 3)]
        for side in (theirs, ours)
    ]
    expected = question_interval(graded[0], graded[1], paired=True)  # type: ignore[arg-type]
    assert one.questions == expected is not None and one.no_questions == ""
    assert expected.low < (one.difference or 0) < expected.high and (expected.questions, expected.seeds) == (60, 3)
    apart = compare([ours, theirs])
    assert as_json(apart) == as_json(compare([ours, theirs])), "the same every time"


def test_answers_that_do_not_give_the_score_are_not_resampled(tmp_path: Path) -> None:
    right = {1: [1, 0, 1, 1], 2: [1, 1, 0, 0]}
    ours = answered(tmp_path, "a", right)
    experiment(tmp_path, "b", {"google_analogy": [75.0, 51.0]})
    make_answers(tmp_path / "b", right)
    one = only(compare([ours, open_experiment("b", tmp_path)])).scores[0]
    assert one.questions is None and one.no_questions == "the answers of b, seed 2, do not give this score"


def test_without_answers_the_reason_is_told(tmp_path: Path) -> None:
    found = compare([experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", BETTER)])
    why = only(found).scores[0].no_questions
    assert why.endswith("/data/evaluate/seed-1 does not exist")
    assert f"  no interval over questions for 2 scores: {why}" in as_text(found).splitlines()


# ---- what is said


def test_sentences_of_clear_and_unclear_differences(tmp_path: Path) -> None:
    found = compare([experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", BETTER)])
    better, undecided = said(found)
    assert re.fullmatch(
        r"Google analogies: new beats main by 2\.02 points \(95 % interval 1\.8\d to 2\.\d\d\)\.", better
    )
    assert undecided == (
        "MEN: new and main cannot be told apart with 6 seeds (difference 0.0000, 95 % interval −0.0019 to +0.0019); "
        "even 1,000 seeds would hardly show a difference as small as this one."
    )
    worse = said(compare([experiment(tmp_path, "main", BETTER), experiment(tmp_path, "new", BASE)]))[0]
    assert worse == better.replace("new beats main", "main beats new"), "the amount and its interval are the same"


def test_a_difference_that_correction_makes_doubtful(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    base = {f"set{n}": draw.normal(0.5, 0.01, 6).round(4).tolist() for n in range(8)}
    other = {**base, **{f"set{n}": draw.normal(0.5, 0.01, 6).round(4).tolist() for n in range(1, 8)}}
    other["set0"] = [
        value + change for value, change in zip(base["set0"], (1e-2, 2e-3, 9e-3, 1e-3, 7e-3, 5e-3), strict=True)
    ]
    found = compare([experiment(tmp_path, "main", base), experiment(tmp_path, "new", other)])
    one = only(found).scores[0]
    assert one.effect is not None and found.tests == 8
    assert one.seeds_needed == seeds_needed(one.effect, True, 0.05 / 8) != seeds_needed(one.effect, True, 0.05)
    assert one.verdict == "doubtful" and one.t and one.t.p and one.t.p <= 0.05 < (one.corrected_p or 0)
    assert re.fullmatch(
        r"set0: new seems to beat main by 0\.0057 \(95 % interval 0\.00\d\d to 0\.00\d\d\), which may be chance among "
        r"so many comparisons \(corrected p = 0\.\d+\); about \d+ seeds would show it, if it is what it looks\.",
        said(found)[0],
    )


@pytest.mark.parametrize(
    ("base", "other", "verdict", "end"),
    [
        ((0.5,), (0.6,), "one seed", "new is ahead of main by 0.1000, but with 1 seed on a side nothing is known of "
                                     "the spread; three or more would tell."),
        ((0.5, 0.5), (0.5, 0.5), "equal", "new and main are equal with every seed."),
        ((0.5, 0.6, 0.7), (0.4, 0.5, 0.6), "constant", "main is ahead of new by 0.1000 with every seed alike; without "
                                                       "any spread no test applies."),
        ((0.5, 0.6), (0.4, 0.7), "undecided", "three seeds or more would say how many are needed."),
        ((None, None), (0.4, 0.7), "no score", "no comparison, since a side has no score."),
        ((None, 0.5), (0.4, 0.7), "one seed", "but with 1 and 2 seeds on a side nothing is known of the spread; "
                                              "three or more would tell."),
    ],
)  # fmt: skip
def test_sentences_of_poor_data(tmp_path: Path, base: Any, other: Any, verdict: str, end: str) -> None:
    found = compare([experiment(tmp_path, "main", {"men": base}), experiment(tmp_path, "new", {"men": other})])
    assert only(found).scores[0].verdict == verdict
    assert said(found)[0].startswith("MEN: ") and said(found)[0].endswith(end)
    json.dumps(as_json(found), allow_nan=False)
    as_markdown(found)


def test_scores_that_nobody_has_share_a_sentence_and_are_no_tests(tmp_path: Path) -> None:
    nothing = {"google_analogy": (None, None), "men": (None, None)}
    text = as_text(compare([experiment(tmp_path, "main", nothing), experiment(tmp_path, "new", nothing)]))
    assert "- Google analogies, MEN: no comparison, since a side has no score.\n" in text
    assert "p-values" not in text and text.count("no comparison") == 1


def test_less_is_better_for_distances(tmp_path: Path) -> None:
    both = [
        experiment(tmp_path, name, {"ko_distance": values})
        for name, values in (("a", (0.5, 0.52, 0.51)), ("b", (0.4, 0.41, 0.42)))
    ]
    for result in itertools.chain(*(one.results for one in both)):
        result["scores"]["ko_distance"]["unit"] = "distance"
    assert said(compare(both))[0].startswith("ko distance: b beats a by 0.1000")


def test_what_would_not_hold_on_other_questions_is_said(tmp_path: Path) -> None:
    """Two of twenty questions decide, with every seed alike but for one answer."""
    base = {seed: [1, 1, 0, 0] * 25 for seed in (1, 2, 3)}
    other = {seed: [1, 1, 0, 0] * 25 for seed in (1, 2, 3)}
    for seed in other:
        other[seed][2] = other[seed][3] = 1
    other[3][6] = 1
    found = compare([answered(tmp_path, "main", base), answered(tmp_path, "new", other)])
    assert said(found) == [
        "Google analogies: new beats main by 2.33 points (95 % interval 0.90 to 3.77), on these questions; "
        "on others of their kind it might not."
    ]


def test_few_pairs_are_told_what_permutations_cannot_show(tmp_path: Path) -> None:
    few = {name: values[:3] for name, values in BASE.items()}
    more = {name: values[:3] for name, values in BETTER.items()}
    text = as_text(compare([experiment(tmp_path, "main", few), experiment(tmp_path, "new", more)]))
    assert "0.25 (least 0.25)" in text
    assert text.endswith(
        "With 3 pairs of seeds a permutation test cannot come below 0.25; 6 could reach 0.05, without supposing a "
        "distribution.\n"
    )
    assert "permutation test cannot" not in as_text(
        compare([experiment(tmp_path, "a", BASE), experiment(tmp_path, "b", BETTER)])
    )


def test_the_terminal_shows_means_changes_and_differences(tmp_path: Path) -> None:
    text = as_text(compare([experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", BETTER)]))
    lines = text.splitlines()
    assert lines[0] == "main: skipgram on toy, ns, 4 dimensions, window 5, 1 epoch, 6 seeds: 1, 2, 3, 4, 5, 6"
    means = next(line for line in lines if line.startswith("Google analogies  "))
    assert means.split("  ")[-1] == "37.97 % ± 0.39 (37.55 to 38.38)"
    assert "new against main" in lines and "  paired by seed, 6 seeds" in lines and "  no parameter differs" in lines
    row = next(line for line in lines if "d_z = " in line)
    assert re.fullmatch(
        r"Google analogies +\+2\.02 +\+1\.8\d to \+2\.\d\d  <0\.0001 +<0\.0001 +0\.031 +– +d_z = \+\d+\.\d", row
    )


def test_markdown_has_the_same_tables(tmp_path: Path) -> None:
    found = compare([experiment(tmp_path, "a|b", BASE), experiment(tmp_path, "new", BETTER)])
    text = as_markdown(found)
    assert "| mean ± sd (95 % interval) | a\\|b | new |\n|---|---:|---:|\n" in text
    assert text.count("| Google analogies |") == 2 and "\n\n\n" not in text
    assert all(f"- {one}\n" in text for one in said(found))


def test_tables_are_aligned() -> None:
    table = Table(("name", "n"), (("a", "10"), ("long name", "7")))
    assert table.as_text() == ["name        n", "a          10", "long name   7"]


def test_json_has_everything(tmp_path: Path) -> None:
    found = compare([experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", BETTER)])
    tree = json.loads(json.dumps(as_json(found), allow_nan=False))
    one = tree["pairs"][0]["scores"][0]
    assert tree["experiments"][0]["scores"]["men"]["values"]["1"] == 0.594 and tree["tests"] == 2
    assert set(one) == {*ScoreDifference.__dataclass_fields__, "sentence"}
    assert one["sentence"] == said(found)[0] and one["t"]["degrees_of_freedom"] == 5
    assert one["difference"] == 2.01667
    men = tree["experiments"][1]["scores"]["men"]
    assert (men["unit"], men["coverage"], men["answered"], men["asked"]) == ("rho", 90.0, 90, 100)


def test_seeds_that_would_do_are_never_above_the_most_that_are_looked_at(tmp_path: Path) -> None:
    """Of a score that is decided they are as many as would do; of another, more than have not told."""
    found = compare([experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", BETTER)])
    decided = found.pairs[0].scores[0]
    assert decided.verdict == "higher" and decided.seeds_needed is not None
    assert decided.seeds_needed == seeds_needed(decided.effect or 0.0, decided.paired, ALPHA / found.tests)
    small = replace(decided, effect=0.1, t=replace(decided.t, p=0.06), base=replace(decided.base, seeds=MOST_SEEDS))
    small = replace(small, other=small.base)
    assert (seeds_needed(0.1, True, ALPHA) or 0) < MOST_SEEDS
    undecided = _judged(small, corrected=0.06, tests=1)
    assert undecided.verdict == "undecided" and undecided.seeds_needed is None
    fewer = replace(small, base=replace(small.base, seeds=MOST_SEEDS - 1))
    assert _judged(fewer, corrected=0.06, tests=1).seeds_needed == MOST_SEEDS


def test_results_file_helpers_are_what_evaluate_writes(tmp_path: Path) -> None:
    """The toy results of this file have the keys of real ones, so that these tests are about what there is."""
    from tests.experiments import evaluate_seeds
    from tests.project import make_project

    project = make_project(tmp_path, seeds=(1,))
    evaluate_seeds(project, (1,))
    real = json.loads((project / "metrics" / "seed-1.json").read_text())
    toy = result_of(1, {"men": 0.5})
    assert toy.keys() <= real.keys() and toy["scores"]["men"].keys() <= real["scores"]["men"].keys()
    assert toy["fingerprints"].keys() == real["fingerprints"].keys()
    write_json(tmp_path / "copy.json", toy)
