"""Word similarity: gensim's numbers, SciPy's ties, and no number where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from gensim.models import KeyedVectors
from numpy.typing import NDArray
from scipy.stats import pearsonr, rankdata, spearmanr

from wordlab.analogies import folded_index
from wordlab.embeddings import Embeddings, unit_rows
from wordlab.evaluation import Evaluation, EvaluationSets, detail_lines, evaluate
from wordlab.evaluation_sets import Pair
from wordlab.ngrams import Ngrams
from wordlab.question_answers import read_answers
from wordlab.rules import Rules
from wordlab.similarity import PairCosines, compare_pairs, pearson, spearman
from wordlab.subword_vectors import SubwordVectors


def random_rows(num_words: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    return unit_rows(np.random.default_rng(seed).normal(size=(num_words, dim)).astype(np.float32))


def random_pairs(words: list[str], count: int) -> list[Pair]:
    """Scores are whole numbers, so there are many ties; one pair comes both ways round."""
    rng = np.random.default_rng(1)
    pairs = [Pair(*(words[j] for j in rng.choice(len(words), 2)), float(rng.integers(10))) for _ in range(count)]
    return [*pairs, Pair(pairs[0].second, pairs[0].first, 3.0)]


@pytest.mark.parametrize("dim", [1, 3, 100, 301])
def test_random_vectors_give_the_correlation_and_coverage_of_gensim(tmp_path: Path, dim: int) -> None:
    words = [f"Word{i}" if i % 3 else f"word{i}" for i in range(80)] + ["WORD1", "word2"]
    rows = random_rows(len(words), dim)
    pairs = random_pairs([*words, "unknown"], 150)
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{a}\t{b}\t{score}\n" for a, b, score in pairs))
    vectors = KeyedVectors(dim)
    vectors.add_vectors(words, rows)
    (r, _), (rho, _), unknown = vectors.evaluate_word_pairs(str(path), restrict_vocab=None)

    ours = compare_pairs(folded_index(words), rows, pairs)
    assert ours.rho == pytest.approx(rho, abs=1e-5)
    assert ours.r == pytest.approx(r, abs=1e-5)
    assert 100 * (1 - ours.known.mean()) == pytest.approx(unknown)
    assert 0 < ours.known.sum() < len(pairs)


def test_ties_get_their_mean_rank() -> None:
    x, y = np.array([1.0, 2, 2, 3, 3, 3, 9]), np.array([2.0, 2, 5, 1, 7, 7, 7])
    assert spearman(x, y) == pytest.approx(pearsonr(rankdata(x), rankdata(y)).statistic)


def test_both_correlations_are_scipys() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 10, 300):
        x, y = rng.normal(size=size).round(1), rng.normal(size=size).round(1)
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
        assert pearson(x, y) == pytest.approx(pearsonr(x, y).statistic)
    assert pearson(np.ones(4), np.arange(4.0)) is None


def test_both_ways_round_a_pair_has_the_same_cosine() -> None:
    pairs = [Pair("a", "b", 1), Pair("b", "a", 2), Pair("a", "a", 3)]
    cosines = compare_pairs({"A": 0, "B": 1}, random_rows(2, 301), pairs).cosines
    assert cosines[0] == cosines[1]
    assert cosines[2] == pytest.approx(1, abs=1e-6)


def test_rotating_all_vectors_changes_no_correlation() -> None:
    words, rows = [f"w{i}" for i in range(60)], random_rows(60, 20)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))
    pairs, index = random_pairs(words, 200), folded_index(words)
    rotated = (rows @ rotation).astype(np.float32)
    assert compare_pairs(index, rows, pairs).rho == pytest.approx(compare_pairs(index, rotated, pairs).rho, abs=1e-9)


@pytest.mark.parametrize(
    "pairs",
    [
        [Pair("x", "y", 1), Pair("x", "a", 2)],
        [Pair("a", "b", 1)],
        [Pair("a", "b", 5), Pair("a", "c", 5), Pair("b", "c", 5)],
        [Pair("a", "a", 1), Pair("a", "a", 2)],
    ],
    ids=["no known word", "one pair", "equal scores", "equal cosines"],
)
def test_where_a_correlation_has_no_meaning_there_is_none(pairs: list[Pair]) -> None:
    assert compare_pairs({"A": 0, "B": 1, "C": 2}, random_rows(3, 4), pairs).rho is None


# ---- words made of n-grams


def subword_model(lowercase: bool = True, **tokenize: str) -> Embeddings:
    """Knows the words king and queen; every n-gram bucket was trained."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(50, 6)).astype(np.float32)
    own = rng.normal(size=(2, 6)).astype(np.float32)
    subwords = SubwordVectors(Ngrams(3, 4, 50), own, np.arange(50, dtype=np.int32), rows)
    config = {"tokenize": {"tokenizer": "words", "lowercase": lowercase, **tokenize}}
    return Embeddings(["king", "queen"], own, subwords=subwords, config=config)


PAIRS = [Pair("king", "queen", 9.0), Pair("King", "Kingdom", 7.0), Pair("queenly", "kingdom", 3.0), Pair("a", "", 1.0)]
COMPOSING = Rules(compose=True)


def scored(model: Embeddings, rules: Rules, pairs: Sequence[Pair] = PAIRS) -> Evaluation:
    return evaluate(model, EvaluationSets({"men": list(pairs)}, {}), 0, rules)


def test_words_outside_the_vocabulary_are_made_of_their_ngrams() -> None:
    model = subword_model()
    found = scored(model, COMPOSING)
    made = model.vector("kingdom")
    pairs = found.details["men"]
    assert isinstance(pairs, PairCosines)
    expected = made @ model.vector("king") / np.linalg.norm(made) / np.linalg.norm(model.vector("king"))
    assert pairs.cosines[1] == pytest.approx(expected, abs=1e-6)
    assert pairs.known.tolist() == [True, True, True, False]  # `a` has an n-gram, <a>, and the empty word none
    assert pairs.composed is not None and pairs.composed.tolist() == [False, True, True, False]
    score = found.scores["men"]
    assert (score["answered"], score["composed"], score["coverage"]) == (3, 2, 75.0)
    assert pairs.rho == spearman(np.array([9.0, 7, 3]), pairs.cosines[:3])
    lines = list(detail_lines(pairs, model.words))
    assert lines[0].endswith("\tcosine\tcomposed") and lines[1].endswith("\t0") and lines[2].endswith("\t1")
    graded = read_answers("men", "\n".join(lines).encode(), "men.tsv").graded("men", COMPOSING)
    assert graded is not None and graded.score() == pytest.approx(score["value"], abs=1e-6)


@pytest.mark.parametrize(
    ("lowercase", "case", "made_of"),
    [(True, "ignore", "kingdom"), (False, "ignore", "Kingdom"), (True, "exact", "Kingdom")],
)
def test_words_are_written_as_the_corpus_was(lowercase: bool, case: Literal["ignore", "exact"], made_of: str) -> None:
    model = subword_model(lowercase)
    pairs = scored(model, Rules(compose=True, case=case), [Pair("king", "Kingdom", 1.0)]).details["men"]
    king, made = model.vector("king"), model.vector(made_of)
    assert isinstance(pairs, PairCosines)
    assert pairs.cosines[0] == pytest.approx(king @ made / np.linalg.norm(king) / np.linalg.norm(made), abs=1e-6)


@pytest.mark.parametrize(
    ("rules", "model"),
    [
        (Rules(compose=False), subword_model()),
        (Rules(name="gensim", compose=True), subword_model()),
        (Rules(name="word2vec", compose=True), subword_model()),
        (COMPOSING, subword_model(tokenizer="sentencepiece")),
        (COMPOSING, Embeddings(["king", "queen"], random_rows(2, 6))),
    ],
)
def test_nothing_is_composed_by_other_rules_and_models(rules: Rules, model: Embeddings) -> None:
    score = scored(model, rules).scores["men"]
    assert score["answered"] == 1 and "composed" not in score


def test_the_rule_for_unknown_words_is_printed() -> None:
    assert COMPOSING.described(0)["words_made_of_ngrams"].startswith(
        "in pairs alone, those that the vocabulary of a model with"
    )
    for rules in (Rules(), Rules(name="gensim", compose=True)):
        assert rules.described(0)["words_made_of_ngrams"] == "none"
