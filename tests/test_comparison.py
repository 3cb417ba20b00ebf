"""Comparisons of experiments: what is computed, what is refused, and what is said."""

from __future__ import annotations

import copy
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

from tests.experiments import make_results, result_of
from tests.helpers import CONFIG
from wordlab.artifacts import sha256_file, write_json, write_manifest
from wordlab.comparison import ALPHA, Comparison, PairComparison, ScoreDifference, _judged, compare
from wordlab.comparison_json import as_json
from wordlab.comparison_sentences import sentence
from wordlab.comparison_text import as_markdown, as_text
from wordlab.differences import MOST_SEEDS, holm, seeds_needed
from wordlab.errors import ArtifactError, ConfigError
from wordlab.experiments import Experiment, open_experiment
from wordlab.resampling import question_interval
from wordlab.tables import Table

BASE = {"google_analogy": (35.9, 36.4, 35.5, 36.0, 35.7, 36.2), "men": (0.594, 0.595, 0.593, 0.596, 0.594, 0.595)}
BETTER = {"google_analogy": (38.0, 38.3, 37.4, 38.4, 37.6, 38.1), "men": (0.595, 0.594, 0.596, 0.594, 0.593, 0.595)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def experiment(
    folder: Path, name: str, scores: dict[str, Sequence[float | None]], seeds: Sequence[int] = (), **changes: Any
) -> Experiment:
    """Write and open the results of seeds 1, 2, ... or of `seeds`."""
    seeds = seeds or range(1, 1 + len(next(iter(scores.values()))))
    by_seed = {seed: {score: values[n] for score, values in scores.items()} for n, seed in enumerate(seeds)}
    make_results(folder / name, by_seed, **changes)
    return open_experiment(name, folder)


def only(found: Comparison) -> PairComparison:
    assert len(found.pairs) == 1
    return found.pairs[0]


def said(found: Comparison) -> list[str]:
    return [sentence(pair, one) for pair in found.pairs for one in pair.scores]


def test_equal_seeds_are_compared_one_by_one(folder: Path) -> None:
    found = compare([experiment(folder, "main", BASE), experiment(folder, "new", BETTER)])
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


def test_other_seeds_are_compared_by_their_means(folder: Path) -> None:
    other = {name: values[:4] for name, values in BETTER.items()}
    found = compare([experiment(folder, "main", BASE), experiment(folder, "new", other, seeds=(4, 5, 6, 7))])
    one = only(found).scores[0]
    expected = scipy.stats.ttest_ind(other["google_analogy"], BASE["google_analogy"], equal_var=False)
    assert not one.paired and one.t is not None and one.t.p == pytest.approx(expected.pvalue)
    assert one.effect_name == "g" and (one.base.seeds, one.other.seeds) == (6, 4)
    assert "  not paired, since the seeds differ (Welch), 6 and 4 seeds" in as_text(found).splitlines()


def test_as_many_seeds_are_no_pairs_where_they_are_others(folder: Path) -> None:
    others = experiment(folder, "new", BETTER, seeds=range(4, 10))
    assert not any(one.paired for one in only(compare([experiment(folder, "main", BASE), others])).scores)


def test_a_seed_without_a_value_leaves_no_pairs(folder: Path) -> None:
    holes = {**BETTER, "men": (0.595, None, 0.596, 0.594, 0.593, 0.595)}
    analogy, men = only(compare([experiment(folder, "main", BASE), experiment(folder, "new", holes)])).scores
    assert analogy.paired and not men.paired and (men.base.seeds, men.other.seeds) == (6, 5)


def test_every_experiment_is_compared_with_the_first_or_every_two(folder: Path) -> None:
    three = [experiment(folder, name, scores) for name, scores in (("a", BASE), ("b", BETTER), ("c", BASE))]
    found = compare(three)
    assert [(pair.base, pair.other) for pair in found.pairs] == [("a", "b"), ("a", "c")] and found.tests == 2
    assert [one.verdict for one in found.pairs[1].scores] == ["equal", "equal"], "no spread, no test"
    found = compare(three, all_pairs=True)
    assert [(pair.base, pair.other) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.tests == 4
    raw = [one.t.p if one.t else None for pair in found.pairs for one in pair.scores]
    assert [one.corrected_p for pair in found.pairs for one in pair.scores] == holm(raw)


def test_fewer_scores_need_less_correction(folder: Path) -> None:
    two = [experiment(folder, "main", BASE), experiment(folder, "new", BETTER)]
    one = only(compare(two, scores=["men"])).scores
    assert [each.score for each in one] == ["men"] and one[0].t and one[0].corrected_p == one[0].t.p
    with pytest.raises(ConfigError, match=r"no experiment has a score mem\. Did you mean men\?"):
        compare(two, scores=["mem"])


def test_two_experiments_are_needed_each_once(folder: Path) -> None:
    one = experiment(folder, "main", BASE)
    for experiments in ([], [one], [one, one]):
        with pytest.raises(ConfigError, match="there must be two experiments or more, each once; found: "):
            compare(experiments)


# ---- what is compared


def evaluated(**keys: Any) -> dict[str, Any]:
    return {**CONFIG, "corpus": "toy", "evaluate": {"restrict_vocab": 30000, "rules": "wordlab", **keys}}


def test_other_limits_of_the_vocabulary_matter_to_analogies_alone(folder: Path) -> None:
    ours, theirs = (
        experiment(folder, "main", BASE),
        experiment(folder, "new", BETTER, config=evaluated(restrict_vocab=0)),
    )
    what = only(compare([ours, theirs])).what
    assert what.scores == ("men",)
    assert what.left_out == {"google_analogy": "evaluate.restrict_vocab is 30000 and 0"}
    text = as_text(compare([ours, theirs]))
    assert "  not compared: google_analogy: evaluate.restrict_vocab is 30000 and 0\n" in text
    gensim = [
        experiment(folder, name, BASE, config=evaluated(restrict_vocab=size, rules="gensim"))
        for name, size in (("a", 10), ("b", 20))
    ]
    with pytest.raises(ArtifactError, match=r"no score that can be compared: evaluate\.restrict_vocab is 10 and 20\."):
        compare(gensim)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config": evaluated(rules="gensim")}, "evaluate.rules is 'wordlab' and 'gensim'"),
        ({"config": evaluated(unknown="wrong")}, "evaluate.unknown is 'skip' and 'wrong'"),
        ({"evaluator": {"case": "kept"}}, "the evaluators' rules differ in case: 'ignored' and 'kept'"),
        ({"sentence_evaluator": {"sentences": "b"}}, "the evaluators' rules differ in sentences: 'a' and 'b'"),
        (
            {"fingerprints": {"evaluation_sets": "t"}},
            "their evaluation sets are not all the same, and which of them are cannot be seen: ",
        ),
    ],
)
def test_what_was_scored_otherwise_is_not_compared(folder: Path, changes: dict[str, Any], told: str) -> None:
    ours = experiment(folder, "main", BASE, sentence_evaluator={"sentences": "a"})
    with pytest.raises(ArtifactError) as error:
        compare([ours, experiment(folder, "new", BETTER, **changes)])
    assert str(error.value).startswith(f"main and new have no score that can be compared: {told}")
    assert str(error.value).endswith("and `download.evaluation_sets`, then run: dvc repro")


def test_results_from_before_there_were_other_rules_are_compared(folder: Path) -> None:
    old = {**CONFIG, "corpus": "toy", "evaluate": {"restrict_vocab": 30000}}
    new = evaluated(case="ignore", unknown="skip", vectors="input", neighbors=["run"])
    described = {"case": "ignored", "rules": "wordlab", "vocabulary": "all", "vectors": "input vectors"}
    found = compare(
        [
            experiment(folder, "main", BASE, config=old),
            experiment(folder, "new", BETTER, config=new, evaluator=described),
        ]
    )
    assert only(found).what.scores == ("google_analogy", "men") and only(found).what.changed == ()


def test_rules_that_are_not_known_are_refused(folder: Path) -> None:
    both = [experiment(folder, name, BASE, config=evaluated(rules="theirs")) for name in ("a", "b")]
    make_answers(folder / "b", {1: [1, 0]})
    found = compare(both)
    assert "was scored with evaluate.rules 'theirs', which is unknown here" in only(found).scores[0].no_questions


def test_models_asked_about_other_words_are_not_compared(folder: Path) -> None:
    whole, tokens = ("those of the corpus", {"case": "ignored"})
    asked = {"config": evaluated(words="corpus"), "evaluator": {"case": "ignored", "words": whole}}
    words, pieces = (experiment(folder, name, BETTER, **asked) for name in ("words", "pieces"))
    assert only(compare([words, pieces])).what.left_out == {}
    with pytest.raises(ArtifactError, match=r"evaluate\.words is 'vocabulary' and 'corpus'"):
        compare([experiment(folder, "main", BASE, config=evaluated(), evaluator=tokens), words])


def test_words_made_of_ngrams_matter_to_models_with_subwords_alone(folder: Path) -> None:
    """Otherwise nothing of before that rule could be compared with anything of after it."""
    ours = experiment(folder, "main", BASE, config=evaluated())
    after = experiment(folder, "after", BETTER, config=evaluated(compose=True))
    assert only(compare([ours, after])).what.left_out == {}
    with_subwords = copy.deepcopy(evaluated(compose=True))
    with_subwords["model"]["subwords"] = {"units": "characters", "min_n": 3, "max_n": 6, "buckets": 10}
    composing = experiment(folder, "composing", BETTER, config=with_subwords)
    assert only(compare([after, composing])).what.left_out == {}
    with pytest.raises(ArtifactError, match="compose is False and True"):
        compare([ours, composing])


def test_the_models_vectors_are_a_choice_of_method(folder: Path) -> None:
    both = [
        experiment(folder, name, scores, config=evaluated(vectors=vectors), evaluator={"vectors": vectors})
        for name, scores, vectors in (("w", BASE, "input"), ("wc", BETTER, "input+output"))
    ]
    what = only(compare(both)).what
    assert what.changed == (("evaluate.vectors", "input", "input+output"),) and len(what.scores) == 2


def test_scores_of_one_side_are_left_out_with_the_reason(folder: Path) -> None:
    ours = experiment(folder, "main", {**BASE, "rg65": (0.5,) * 6})
    theirs = experiment(folder, "new", {**BETTER, "mc30": (0.5,) * 6}, absent={"rg65": "no network"})
    what = only(compare([ours, theirs])).what
    assert what.left_out == {"rg65": "new has no such score: no network", "mc30": "main has no such score"}


def test_another_number_of_questions_is_another_set(folder: Path) -> None:
    ours, theirs = experiment(folder, "main", BASE), experiment(folder, "new", BETTER)
    for result in theirs.results:
        result["scores"]["men"]["asked"] = 101
    assert only(compare([ours, theirs])).what.left_out == {"men": "asked is 100 and 101: the sets differ"}


def test_other_text_and_coverage_are_told(folder: Path) -> None:
    ours = experiment(folder, "main", BASE)
    theirs = experiment(folder, "new", BETTER, config={**CONFIG, "corpus": "text8", "evaluate": ours_evaluate(ours)})
    for result in theirs.results:
        result["scores"]["men"]["coverage"] = 80.0
    remarks = only(compare([ours, theirs])).what.remarks
    assert remarks[0].startswith("They were trained on different text, toy and text8: ")
    assert remarks[1].endswith("quite the same questions: men 90.0 % and 80.0 %")
    chosen = only(compare([ours, theirs], scores=["google_analogy"])).what.remarks
    assert len(chosen) == 1 and chosen[0] == remarks[0], "the coverage of a score that nobody asked for"
    same_text = {"vocabulary": "w", "encode": "f", "evaluation_sets": "s"}
    other = experiment(folder, "other", BETTER, fingerprints=same_text)
    assert only(compare([ours, other])).what.remarks == (
        "They were trained on the same corpus, but its tokens or vocabulary differ.",
    )


def ours_evaluate(found: Experiment) -> dict[str, Any]:
    return found.first["config"]["evaluate"]


def test_what_was_changed_is_named(folder: Path) -> None:
    config = copy.deepcopy(evaluated())
    config["model"] |= {"arch": "cbow", "new": 1}
    ours, theirs = experiment(folder, "main", BASE), experiment(folder, "new", BETTER, config=config)
    assert only(compare([ours, theirs])).what.changed == (
        ("model.arch", "skipgram", "cbow"),
        ("model.new", "absent", 1),
    )
    lines = as_text(compare([ours, theirs])).splitlines()
    assert "  model.arch: 'skipgram' → 'cbow'" in lines


def test_parameters_that_earlier_versions_had_otherwise_are_no_differences(folder: Path) -> None:
    """One damping for all architectures, nothing about sentences."""
    old, new = copy.deepcopy(evaluated()), copy.deepcopy(evaluated())
    old["train"]["damping"], new["train"]["damping"] = 0.45, {"skipgram": 0.45, "cbow": 0.45, "sent2vec": 0.2}
    new["model"]["sent2vec"] = {"word_ngrams": 2}
    ours, theirs = (experiment(folder, name, BASE, config=config) for name, config in (("main", old), ("new", new)))
    assert only(compare([ours, theirs])).what.changed == ()
    new["train"]["damping"]["cbow"] = 0.3
    changed = experiment(folder, "newer", BASE, config=new)
    assert only(compare([ours, changed])).what.changed == (("train.damping.cbow", 0.45, 0.3),)


def test_parameters_that_few_lines_make_billions_of_are_refused(folder: Path) -> None:
    """Each line holds the one above ten times."""
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{{', '.join(f'k{i}: *a{n - 1}' for i in range(10))}}}" for n in range(1, 9)]
    experiment(folder, "main", BASE)
    (folder / "main" / "params.yaml").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"params\.yaml holds .*, not sections of parameters\."):
        open_experiment("main", folder)


# ---- over questions


def make_answers(folder: Path, right: dict[int, Sequence[int]]) -> None:
    """data/evaluate/seed-N with these answers to analogies, 1 for a right one."""
    for seed, answers in right.items():
        answered = folder / "data" / "evaluate" / f"seed-{seed}"
        answered.mkdir(parents=True)
        lines = [f"capitals\ta{n}\tb\tc\td\t1\tx\t{one}\tx\t{one}\n" for n, one in enumerate(answers)]
        header = "section\ta\tb\tc\texpected\tasked\tadd\tadd_correct\tmul\tmul_correct\n"
        (answered / "google-analogies.tsv").write_text(header + "".join(lines))
        write_manifest(answered, "evaluate", {"results": sha256_file(folder / "metrics" / f"seed-{seed}.json")})


def answered(folder: Path, name: str, right: dict[int, Sequence[int]]) -> Experiment:
    """An experiment whose only score is what these answers give."""
    experiment(folder, name, {"google_analogy": [100 * float(np.mean(one)) for one in right.values()]})
    make_answers(folder / name, right)
    return open_experiment(name, folder)


def test_the_interval_over_questions_is_that_of_the_answers(folder: Path) -> None:
    draw = np.random.default_rng(1)
    sides = [{seed: (draw.random(60) < part).astype(int).tolist() for seed in (1, 2, 3)} for part in (0.3, 0.5)]
    ours, theirs = (answered(folder, name, side) for name, side in zip("ab", sides, strict=True))
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


def test_answers_that_do_not_give_the_score_are_not_resampled(folder: Path) -> None:
    right = {1: [1, 0, 1, 1], 2: [1, 1, 0, 0]}
    ours = answered(folder, "a", right)
    experiment(folder, "b", {"google_analogy": [75.0, 51.0]})
    make_answers(folder / "b", right)
    one = only(compare([ours, open_experiment("b", folder)])).scores[0]
    assert one.questions is None and one.no_questions == "the answers of b, seed 2, do not give this score"


def test_without_answers_the_reason_is_told(folder: Path) -> None:
    found = compare([experiment(folder, "main", BASE), experiment(folder, "new", BETTER)])
    why = only(found).scores[0].no_questions
    assert why.endswith("/data/evaluate/seed-1 does not exist")
    assert f"  no interval over questions for 2 scores: {why}" in as_text(found).splitlines()


# ---- what is said


def test_sentences_of_clear_and_unclear_differences(folder: Path) -> None:
    found = compare([experiment(folder, "main", BASE), experiment(folder, "new", BETTER)])
    better, undecided = said(found)
    assert re.fullmatch(
        r"Google analogies: new beats main by 2\.02 points \(95 % interval 1\.8\d to 2\.\d\d\)\.", better
    )
    assert undecided == (
        "MEN: new and main cannot be told apart with 6 seeds (difference 0.0000, 95 % interval −0.0019 to +0.0019); "
        "even 1,000 seeds would hardly show a difference as small as this one."
    )
    worse = said(compare([experiment(folder, "main", BETTER), experiment(folder, "new", BASE)]))[0]
    assert worse == better.replace("new beats main", "main beats new"), "the amount and its interval are the same"


def test_a_difference_that_correction_makes_doubtful(folder: Path) -> None:
    draw = np.random.default_rng(3)
    base = {f"set{n}": draw.normal(0.5, 0.01, 6).round(4).tolist() for n in range(8)}
    other = {**base, **{f"set{n}": draw.normal(0.5, 0.01, 6).round(4).tolist() for n in range(1, 8)}}
    other["set0"] = [
        value + change for value, change in zip(base["set0"], (1e-2, 2e-3, 9e-3, 1e-3, 7e-3, 5e-3), strict=True)
    ]
    found = compare([experiment(folder, "main", base), experiment(folder, "new", other)])
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
def test_sentences_of_poor_data(folder: Path, base: Any, other: Any, verdict: str, end: str) -> None:
    found = compare([experiment(folder, "main", {"men": base}), experiment(folder, "new", {"men": other})])
    assert only(found).scores[0].verdict == verdict
    assert said(found)[0].startswith("MEN: ") and said(found)[0].endswith(end)
    json.dumps(as_json(found), allow_nan=False)
    as_markdown(found)


def test_less_is_better_for_distances(folder: Path) -> None:
    both = [
        experiment(folder, name, {"ko_distance": values})
        for name, values in (("a", (0.5, 0.52, 0.51)), ("b", (0.4, 0.41, 0.42)))
    ]
    for result in itertools.chain(*(one.results for one in both)):
        result["scores"]["ko_distance"]["unit"] = "distance"
    assert said(compare(both))[0].startswith("ko distance: b beats a by 0.1000")


def test_what_would_not_hold_on_other_questions_is_said(folder: Path) -> None:
    """Two of twenty questions decide, with every seed alike but for one answer."""
    base = {seed: [1, 1, 0, 0] * 25 for seed in (1, 2, 3)}
    other = {seed: [1, 1, 0, 0] * 25 for seed in (1, 2, 3)}
    for seed in other:
        other[seed][2] = other[seed][3] = 1
    other[3][6] = 1
    found = compare([answered(folder, "main", base), answered(folder, "new", other)])
    assert said(found) == [
        "Google analogies: new beats main by 2.33 points (95 % interval 0.90 to 3.77), on these questions; "
        "on others of their kind it might not."
    ]


def test_few_pairs_are_told_what_permutations_cannot_show(folder: Path) -> None:
    few = {name: values[:3] for name, values in BASE.items()}
    more = {name: values[:3] for name, values in BETTER.items()}
    text = as_text(compare([experiment(folder, "main", few), experiment(folder, "new", more)]))
    assert "0.25 (least 0.25)" in text
    assert text.endswith(
        "With 3 pairs of seeds a permutation test cannot come below 0.25; 6 could reach 0.05, without supposing a "
        "distribution.\n"
    )
    assert "permutation test cannot" not in as_text(
        compare([experiment(folder, "a", BASE), experiment(folder, "b", BETTER)])
    )


def test_the_terminal_shows_means_changes_and_differences(folder: Path) -> None:
    text = as_text(compare([experiment(folder, "main", BASE), experiment(folder, "new", BETTER)]))
    lines = text.splitlines()
    assert lines[0] == "main: skipgram on toy, ns, 4 dimensions, window 5, 1 epoch, 6 seeds: 1, 2, 3, 4, 5, 6"
    means = next(line for line in lines if line.startswith("Google analogies  "))
    assert means.split("  ")[-1] == "37.97 % ± 0.39 (37.55 to 38.38)"
    assert "new against main" in lines and "  paired by seed, 6 seeds" in lines and "  no parameter differs" in lines
    row = next(line for line in lines if "d_z = " in line)
    assert re.fullmatch(
        r"Google analogies +\+2\.02 +\+1\.8\d to \+2\.\d\d  <0\.0001 +<0\.0001 +0\.031 +– +d_z = \+\d+\.\d", row
    )


def test_markdown_has_the_same_tables(folder: Path) -> None:
    found = compare([experiment(folder, "a|b", BASE), experiment(folder, "new", BETTER)])
    text = as_markdown(found)
    assert "| mean ± sd (95 % interval) | a\\|b | new |\n|---|---:|---:|\n" in text
    assert text.count("| Google analogies |") == 2 and "\n\n\n" not in text
    assert all(f"- {one}\n" in text for one in said(found))


def test_tables_are_aligned() -> None:
    table = Table(("name", "n"), (("a", "10"), ("long name", "7")))
    assert table.as_text() == ["name        n", "a          10", "long name   7"]


def test_json_has_everything(folder: Path) -> None:
    found = compare([experiment(folder, "main", BASE), experiment(folder, "new", BETTER)])
    tree = json.loads(json.dumps(as_json(found), allow_nan=False))
    one = tree["pairs"][0]["scores"][0]
    assert tree["experiments"][0]["scores"]["men"]["values"]["1"] == 0.594 and tree["tests"] == 2
    assert set(one) == {*ScoreDifference.__dataclass_fields__, "sentence"}
    assert one["sentence"] == said(found)[0] and one["t"]["degrees_of_freedom"] == 5
    assert one["difference"] == 2.01667
    men = tree["experiments"][1]["scores"]["men"]
    assert (men["unit"], men["coverage"], men["answered"], men["asked"]) == ("rho", 90.0, 90, 100)


def test_seeds_that_would_do_are_never_above_the_most_that_are_looked_at(folder: Path) -> None:
    """Of a score that is decided they are as many as would do; of another, more than have not told."""
    found = compare([experiment(folder, "main", BASE), experiment(folder, "new", BETTER)])
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
