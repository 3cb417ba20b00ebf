"""Which scores of two experiments may be compared, and in what the experiments differ."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.experiments import BASE, BETTER, experiment, make_answers, only
from tests.helpers import CONFIG
from wordlab.comparison import compare
from wordlab.comparison_text import as_text
from wordlab.errors import ArtifactError, ConfigError
from wordlab.experiments import Experiment, open_experiment


def evaluated(**keys: Any) -> dict[str, Any]:
    return {**CONFIG, "corpus": "toy", "evaluate": {"restrict_vocab": 30000, "rules": "wordlab", **keys}}


def test_other_limits_of_the_vocabulary_matter_to_analogies_alone(tmp_path: Path) -> None:
    ours, theirs = (
        experiment(tmp_path, "main", BASE),
        experiment(tmp_path, "new", BETTER, config=evaluated(restrict_vocab=0)),
    )
    what = only(compare([ours, theirs])).what
    assert what.scores == ("men",)
    assert what.left_out == {"google_analogy": "evaluate.restrict_vocab is 30000 and 0"}
    text = as_text(compare([ours, theirs]))
    assert "  not compared: google_analogy: evaluate.restrict_vocab is 30000 and 0\n" in text
    gensim = [
        experiment(tmp_path, name, BASE, config=evaluated(restrict_vocab=size, rules="gensim"))
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
def test_what_was_scored_otherwise_is_not_compared(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    ours = experiment(tmp_path, "main", BASE, sentence_evaluator={"sentences": "a"})
    with pytest.raises(ArtifactError) as error:
        compare([ours, experiment(tmp_path, "new", BETTER, **changes)])
    assert str(error.value).startswith(f"main and new have no score that can be compared: {told}")
    assert str(error.value).endswith("and `download.evaluation_sets`, then run: dvc repro")


def test_results_from_before_there_were_other_rules_are_compared(tmp_path: Path) -> None:
    old = {**CONFIG, "corpus": "toy", "evaluate": {"restrict_vocab": 30000}}
    new = evaluated(case="ignore", unknown="skip", vectors="input", neighbors=["run"])
    described = {"case": "ignored", "rules": "wordlab", "vocabulary": "all", "vectors": "input vectors"}
    found = compare(
        [
            experiment(tmp_path, "main", BASE, config=old),
            experiment(tmp_path, "new", BETTER, config=new, evaluator=described),
        ]
    )
    assert only(found).what.scores == ("google_analogy", "men") and only(found).what.changed == ()


def test_rules_that_are_not_known_are_refused(tmp_path: Path) -> None:
    both = [experiment(tmp_path, name, BASE, config=evaluated(rules="theirs")) for name in ("a", "b")]
    make_answers(tmp_path / "b", {1: [1, 0]})
    found = compare(both)
    assert "was scored with evaluate.rules 'theirs', which is unknown here" in only(found).scores[0].no_questions


def test_models_asked_about_other_words_are_not_compared(tmp_path: Path) -> None:
    whole, tokens = ("those of the corpus", {"case": "ignored"})
    asked = {"config": evaluated(words="corpus"), "evaluator": {"case": "ignored", "words": whole}}
    words, pieces = (experiment(tmp_path, name, BETTER, **asked) for name in ("words", "pieces"))
    assert only(compare([words, pieces])).what.left_out == {}
    with pytest.raises(ArtifactError, match=r"evaluate\.words is 'vocabulary' and 'corpus'"):
        compare([experiment(tmp_path, "main", BASE, config=evaluated(), evaluator=tokens), words])


def test_words_made_of_ngrams_matter_to_models_with_subwords_alone(tmp_path: Path) -> None:
    """Otherwise nothing of before that rule could be compared with anything of after it."""
    ours = experiment(tmp_path, "main", BASE, config=evaluated())
    after = experiment(tmp_path, "after", BETTER, config=evaluated(compose=True))
    assert only(compare([ours, after])).what.left_out == {}
    with_subwords = copy.deepcopy(evaluated(compose=True))
    with_subwords["model"]["subwords"] = {"units": "characters", "min_n": 3, "max_n": 6, "buckets": 10}
    composing = experiment(tmp_path, "composing", BETTER, config=with_subwords)
    assert only(compare([after, composing])).what.left_out == {}
    with pytest.raises(ArtifactError, match="compose is False and True"):
        compare([ours, composing])


def test_the_models_vectors_are_a_choice_of_method(tmp_path: Path) -> None:
    both = [
        experiment(tmp_path, name, scores, config=evaluated(vectors=vectors), evaluator={"vectors": vectors})
        for name, scores, vectors in (("w", BASE, "input"), ("wc", BETTER, "input+output"))
    ]
    what = only(compare(both)).what
    assert what.changed == (("evaluate.vectors", "input", "input+output"),) and len(what.scores) == 2


def test_scores_of_one_side_are_left_out_with_the_reason(tmp_path: Path) -> None:
    ours = experiment(tmp_path, "main", {**BASE, "rg65": (0.5,) * 6})
    theirs = experiment(tmp_path, "new", {**BETTER, "mc30": (0.5,) * 6}, absent={"rg65": "no network"})
    what = only(compare([ours, theirs])).what
    assert what.left_out == {"rg65": "new has no such score: no network", "mc30": "main has no such score"}


def test_another_number_of_questions_is_another_set(tmp_path: Path) -> None:
    ours, theirs = experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", BETTER)
    for result in theirs.results:
        result["scores"]["men"]["asked"] = 101
    assert only(compare([ours, theirs])).what.left_out == {"men": "asked is 100 and 101: the sets differ"}


def test_other_text_and_coverage_are_told(tmp_path: Path) -> None:
    ours = experiment(tmp_path, "main", BASE)
    theirs = experiment(tmp_path, "new", BETTER, config={**CONFIG, "corpus": "text8", "evaluate": ours_evaluate(ours)})
    for result in theirs.results:
        result["scores"]["men"]["coverage"] = 80.0
    remarks = only(compare([ours, theirs])).what.remarks
    assert remarks[0].startswith("They were trained on different text, toy and text8: ")
    assert remarks[1].endswith("quite the same questions: men 90.0 % and 80.0 %")
    chosen = only(compare([ours, theirs], scores=["google_analogy"])).what.remarks
    assert len(chosen) == 1 and chosen[0] == remarks[0], "the coverage of a score that nobody asked for"
    same_text = {"vocabulary": "w", "encode": "f", "evaluation_sets": "s"}
    other = experiment(tmp_path, "other", BETTER, fingerprints=same_text)
    assert only(compare([ours, other])).what.remarks == (
        "They were trained on the same corpus, but its tokens or vocabulary differ.",
    )


def ours_evaluate(found: Experiment) -> dict[str, Any]:
    return found.first["config"]["evaluate"]


def test_what_was_changed_is_named(tmp_path: Path) -> None:
    config = copy.deepcopy(evaluated())
    config["model"] |= {"arch": "cbow", "new": 1}
    ours, theirs = experiment(tmp_path, "main", BASE), experiment(tmp_path, "new", BETTER, config=config)
    assert only(compare([ours, theirs])).what.changed == (
        ("model.arch", "skipgram", "cbow"),
        ("model.new", "absent", 1),
    )
    lines = as_text(compare([ours, theirs])).splitlines()
    assert "  model.arch: 'skipgram' → 'cbow'" in lines


def test_parameters_that_earlier_versions_had_otherwise_are_no_differences(tmp_path: Path) -> None:
    """One damping for all architectures, nothing about sentences."""
    old, new = copy.deepcopy(evaluated()), copy.deepcopy(evaluated())
    old["train"]["damping"], new["train"]["damping"] = 0.45, {"skipgram": 0.45, "cbow": 0.45, "sent2vec": 0.2}
    new["model"]["sent2vec"] = {"word_ngrams": 2}
    ours, theirs = (experiment(tmp_path, name, BASE, config=config) for name, config in (("main", old), ("new", new)))
    assert only(compare([ours, theirs])).what.changed == ()
    new["train"]["damping"]["cbow"] = 0.3
    changed = experiment(tmp_path, "newer", BASE, config=new)
    assert only(compare([ours, changed])).what.changed == (("train.damping.cbow", 0.45, 0.3),)


def test_parameters_that_few_lines_make_billions_of_are_refused(tmp_path: Path) -> None:
    """Each line holds the one above ten times."""
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{{', '.join(f'k{i}: *a{n - 1}' for i in range(10))}}}" for n in range(1, 9)]
    experiment(tmp_path, "main", BASE)
    (tmp_path / "main" / "params.yaml").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=r"params\.yaml holds .*, not sections of parameters\."):
        open_experiment("main", tmp_path)
