"""Scores of one model: names, units, coverage, and nothing where nothing could be asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr

from tests.project import ABSENT, SETS, WORDS, make_evaluation_sets, vectors_of
from wordlab.artifacts import read_manifest
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError
from wordlab.evaluation import (
    EvaluationSets,
    detail_lines,
    evaluate,
    load_evaluation_sets,
    nearest_neighbors,
    rounded,
    score_name,
)
from wordlab.evaluation_sets import Pair, Question
from wordlab.rules import WORDLAB, Rules


@pytest.fixture
def sets(tmp_path: Path) -> EvaluationSets:
    make_evaluation_sets(tmp_path)
    return load_evaluation_sets(tmp_path, read_manifest(tmp_path, "download")["evaluation"], [*SETS, *ABSENT])


@pytest.fixture
def model() -> Embeddings:
    return Embeddings(list(WORDS), vectors_of(WORDS, seed=1))


def test_scores_name_value_unit_and_coverage(sets: EvaluationSets, model: Embeddings) -> None:
    scores = evaluate(model, sets, restrict_vocab=0).scores
    assert list(scores) == [
        *("google_analogy", "google_analogy_semantic", "google_analogy_syntactic", "google_analogy_mul"),
        *("wordsim353", "men", "rare_words"),
    ]
    analogy = {"value": 100.0, "unit": "percent", "coverage": 80.0, "answered": 4, "asked": 5}
    assert scores["google_analogy"] == analogy
    assert scores["google_analogy_mul"] == analogy
    assert scores["google_analogy_semantic"] == {**analogy, "coverage": 66.6667, "answered": 2, "asked": 3}
    assert scores["google_analogy_syntactic"] == {**analogy, "coverage": 100.0, "answered": 2, "asked": 2}
    assert scores["men"]["unit"] == "rho"
    assert scores["men"]["coverage"] == 83.3333
    assert -1 <= scores["men"]["value"] <= 1


def test_scores_do_not_depend_on_the_format_a_set_came_in(sets: EvaluationSets, model: Embeddings) -> None:
    scores = evaluate(model, sets, restrict_vocab=0).scores
    assert scores["wordsim353"] == scores["men"]


def test_absent_and_unknown_sets_have_no_score(sets: EvaluationSets, model: Embeddings) -> None:
    scores = evaluate(model, sets, restrict_vocab=0).scores
    assert sets.absent == ABSENT
    assert "rg65" not in scores
    assert scores["rare_words"] == {"value": None, "unit": "rho", "coverage": 0.0, "answered": 0, "asked": 2}


def test_questions_beyond_restrict_vocab_are_not_asked(sets: EvaluationSets, model: Embeddings) -> None:
    evaluation = evaluate(model, sets, restrict_vocab=9)
    assert evaluation.scores["google_analogy"]["answered"] == 2
    assert evaluation.scores["google_analogy_syntactic"]["value"] is None
    assert evaluation.scores["men"]["answered"] == 5, "pairs know all words"


def test_sections_come_in_their_order_with_both_methods(sets: EvaluationSets, model: Embeddings) -> None:
    sections = evaluate(model, sets, restrict_vocab=0).sections["google_analogy"]
    assert list(sections) == ["capitals", "gram8-plural", "semantic", "syntactic", "total"]
    assert 0 < sections["capitals"].pop("distance") < 0.5
    assert sections["capitals"] == {"add": 100.0, "mul": 100.0, "coverage": 66.6667, "answered": 2, "asked": 3}


def test_rotating_all_vectors_changes_no_score(sets: EvaluationSets, model: Embeddings) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(model.dim, model.dim)))
    rotated = Embeddings(model.words, (model.input_vectors @ rotation).astype(np.float32))
    assert evaluate(rotated, sets, 0).scores == evaluate(model, sets, 0).scores


def test_pairs_have_both_correlations(sets: EvaluationSets, model: Embeddings) -> None:
    evaluation = evaluate(model, sets, restrict_vocab=0)
    found = evaluation.correlations["men"]
    assert found["spearman"] == evaluation.scores["men"]["value"]
    assert found["unknown"] == 16.6667
    known = evaluation.details["men"].cosines[:5]  # type: ignore[union-attr]
    human = [pair.score for pair in evaluation.details["men"].pairs][:5]  # type: ignore[union-attr]
    assert found["pearson"] == pytest.approx(pearsonr(human, known).statistic, abs=1e-5)
    assert evaluation.correlations["rare_words"] == {"spearman": None, "pearson": None, "unknown": 100.0}


def test_unknown_words_can_be_wrong(sets: EvaluationSets, model: Embeddings) -> None:
    scores = evaluate(model, sets, 0, Rules(unknown="wrong")).scores
    assert scores["google_analogy"] == {
        "value": 80.0,
        "unit": "percent",
        "coverage": 80.0,
        "answered": 4,
        "asked": 5,
    }
    assert scores["men"]["value"] != evaluate(model, sets, 0).scores["men"]["value"]
    assert scores["rare_words"]["value"] is None, "all cosines are 0"


def test_only_gensims_rules_restrict_pairs(sets: EvaluationSets, model: Embeddings) -> None:
    answered = [evaluate(model, sets, 9, Rules(name=name)).scores["men"]["answered"] for name in ("wordlab", "gensim")]
    assert answered == [5, 4]


def test_reordering_words_of_equal_counts_changes_no_score(sets: EvaluationSets, model: Embeddings) -> None:
    """All that a vocabulary's order decides is which of equally good answers, and of spellings, comes first."""
    order = np.random.default_rng(3).permutation(len(model))
    shuffled = Embeddings([model.words[i] for i in order], model.input_vectors[order])
    before, after = evaluate(model, sets, 0), evaluate(shuffled, sets, 0)
    assert (after.scores, after.sections, after.correlations) == (before.scores, before.sections, before.correlations)
    assert shuffled.words != model.words


def test_korean_analogies_are_scored_by_distance_too(sets: EvaluationSets, model: Embeddings) -> None:
    korean = EvaluationSets({"korean-analogies": sets.present["google-analogies"]}, {})
    evaluation = evaluate(model, korean, 0)
    assert list(evaluation.scores) == [
        *("korean_analogy", "korean_analogy_semantic", "korean_analogy_syntactic", "korean_analogy_mul"),
        *("korean_analogy_distance", "korean_analogy_semantic_distance", "korean_analogy_syntactic_distance"),
    ]
    score, section = evaluation.scores["korean_analogy_distance"], evaluation.sections["korean_analogy"]["total"]
    assert (score["value"], score["unit"], score["coverage"]) == (section["distance"], "distance", 80.0)


def test_a_set_that_download_does_not_know_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as error:
        load_evaluation_sets(tmp_path / "download", {"men": {"absent": "x"}}, ["men", "rg65"])
    assert str(error.value) == (
        f"{tmp_path / 'download'} was written for the evaluation sets men, but params.yaml also names rg65. "
        "Run: dvc repro download"
    )


def test_neighbors_are_found_in_any_case_and_unknown_words_have_none(model: Embeddings) -> None:
    found = nearest_neighbors(model, ["FRANCE", "king", "strelsau"], 2)
    assert list(found) == ["FRANCE", "king", "strelsau"]
    assert found["FRANCE"] == [(word, round(cosine, 4)) for word, cosine in model.nearest("france", 2)]
    assert found["strelsau"] is None


def test_details_tell_each_answer(sets: EvaluationSets, model: Embeddings) -> None:
    evaluation = evaluate(model, sets, restrict_vocab=0)
    lines = list(detail_lines(evaluation.details["google-analogies"], model.words))
    assert lines[0] == "section\ta\tb\tc\texpected\tasked\tadd\tadd_correct\tmul\tmul_correct\tdistance"
    assert lines[1].startswith("capitals\tFrance\tParis\tItaly\tRome\t1\trome\t1\trome\t1\t0.")
    assert lines[3] == "capitals\tItaly\tRome\tRuritania\tStrelsau\t0\t\t0\t\t0\t"
    pairs = list(detail_lines(evaluation.details["men"], model.words))
    assert pairs[0] == "word1\tword2\thuman\tcosine"
    assert pairs[5].startswith("king\tking\t10\t1.000000")
    assert pairs[6] == "king\tstrelsau\t2\t"


def test_the_fingerprint_of_the_sets_is_that_of_their_content() -> None:
    one = EvaluationSets({"men": [Pair("a", "b", 1.0)]}, {})
    assert one.fingerprint == EvaluationSets({"men": [Pair("a", "b", 1.0)]}, {}).fingerprint
    assert one.fingerprint != EvaluationSets({"men": [Pair("a", "b", 2.0)]}, {}).fingerprint
    assert one.fingerprint != EvaluationSets({"men": [Question("s", *"abcd")]}, {}).fingerprint


@pytest.mark.parametrize(
    ("row", "name"),
    [("google-analogies", "google_analogy"), ("wordsim353-similarity", "wordsim353_similarity"), ("men", "men")],
)
def test_a_score_is_named_after_its_row(row: str, name: str) -> None:
    assert score_name(row) == name


def test_sections_of_grammar_are_syntactic() -> None:
    kinds = [WORDLAB.kind(name, 0) for name in ("gram1-x", "family", "syn2")]
    assert kinds == ["syntactic", "semantic", "syntactic"]


def test_numbers_have_six_significant_digits() -> None:
    assert [rounded(value) for value in (34.123456789, 0.66712345678, 0.0, 100.0)] == [34.1235, 0.667123, 0.0, 100.0]
