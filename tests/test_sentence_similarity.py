"""Sentence vectors by plain loops, correlations by SciPy, and what must not change them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.spatial.distance import cosine as cosine_distance
from scipy.stats import pearsonr, spearmanr

from wordlab.embeddings import Embeddings
from wordlab.rules import WORDLAB, Rules
from wordlab.sentence_sets import SentencePair
from wordlab.sentence_similarity import SIF_A, compare_sentences, known_rows, sentence_vectors

WORDS = [f"w{i}" for i in range(50)]


def split(texts: Sequence[str]) -> list[list[str]]:
    return [text.split() for text in texts]


def make_model(seed: int = 0, dim: int = 7) -> Embeddings:
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(50, dim)) + 0.5).astype(np.float32)
    return Embeddings(WORDS, vectors, counts=np.sort(rng.integers(1, 10_000, 50))[::-1].astype(np.int64))


def make_pairs(count: int = 60, seed: int = 1) -> list[SentencePair]:
    rng = np.random.default_rng(seed)

    def sentence() -> str:
        return " ".join(["unknown", *(WORDS[i] for i in rng.integers(50, size=rng.integers(1, 9)))])

    return [SentencePair(sentence(), sentence(), float(rng.integers(6))) for _ in range(count)]


def plain_vectors(model: Embeddings, sentences: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Word by word, and the first component by numpy's SVD of the sentences' vectors."""
    rows, counts = model.input_vectors.astype(np.float64), model.counts
    assert counts is not None
    average, weighted = [], []
    for sentence in sentences:
        known = [WORDS.index(word) for word in sentence.split() if word in WORDS]
        average.append(sum(rows[i] for i in known) / len(known))
        weighted.append(sum(SIF_A / (SIF_A + counts[i] / counts.sum()) * rows[i] for i in known) / len(known))
    first = np.linalg.svd(np.array(weighted))[2][0]
    return {"average": average, "sif": [vector - first * (first @ vector) for vector in weighted]}


def test_vectors_and_correlations_are_those_of_plain_loops_and_scipy() -> None:
    model, pairs = make_model(), make_pairs()
    plain = plain_vectors(model, [pair.first for pair in pairs] + [pair.second for pair in pairs])
    found = compare_sentences(model, pairs, split, WORDLAB)
    assert list(found.cosines) == ["average", "sif"]
    for way, vectors in plain.items():
        cosines = [1 - cosine_distance(vectors[i], vectors[i + len(pairs)]) for i in range(len(pairs))]
        assert found.cosines[way] == pytest.approx(np.array(cosines), abs=1e-9)
        human = [pair.score for pair in pairs]
        wanted = (spearmanr(human, cosines).statistic, pearsonr(human, cosines).statistic)
        assert found.correlations[way] == pytest.approx(wanted, abs=1e-9)
    assert found.known.all()


def test_a_model_of_sent2vec_has_its_own_way_beside_the_others() -> None:
    model, pairs = make_model(), make_pairs()
    rows = np.random.default_rng(5).normal(size=(64, model.dim)).astype(np.float32)
    config = {"model": {"arch": "sent2vec", "sent2vec": {"word_ngrams": 2}}}
    own = Embeddings(WORDS, model.input_vectors, counts=model.counts, config=config, word_ngram_rows=rows)
    found = compare_sentences(model, pairs, split, WORDLAB, own)
    assert list(found.cosines) == ["average", "sif", "sent2vec"]
    first, second = (own.sentence_vectors([pair[side].split() for pair in pairs]) for side in (0, 1))
    wanted = [1 - cosine_distance(a, b) for a, b in zip(first.astype(float), second.astype(float), strict=True)]
    assert found.cosines["sent2vec"] == pytest.approx(np.array(wanted), abs=1e-6)
    assert found.correlations["sent2vec"] != found.correlations["average"]


def test_sentences_of_sif_have_nothing_along_their_first_component() -> None:
    model = make_model()
    sentences = split([pair.first for pair in make_pairs()])
    bags = known_rows(model, sentences)
    vectors = sentence_vectors(model, sentences, bags)["sif"]
    average = sentence_vectors(model, sentences, bags)["average"]
    assert np.linalg.matrix_rank(average, tol=1e-9) == model.dim
    assert np.linalg.matrix_rank(vectors, tol=1e-9) == model.dim - 1


def test_rotating_all_vectors_changes_no_correlation() -> None:
    model, pairs = make_model(), make_pairs()
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(model.dim, model.dim)))
    rotated = Embeddings(WORDS, (model.input_vectors @ rotation).astype(np.float32), counts=model.counts)
    before, after = (compare_sentences(each, pairs, split, WORDLAB) for each in (model, rotated))
    for way in ("average", "sif"):
        assert before.cosines[way] == pytest.approx(after.cosines[way], abs=1e-5)


def test_a_pair_without_a_known_word_on_one_side_is_unknown() -> None:
    pairs = [*make_pairs(), SentencePair("nothing known", "w1 w2", 5.0), SentencePair("w1", "here", 1.0)]
    found = compare_sentences(make_model(), pairs, split, WORDLAB)
    assert found.known.tolist() == [True] * 60 + [False] * 2
    wrong = compare_sentences(make_model(), pairs, split, Rules(unknown="wrong"))
    human, cosines = [pair.score for pair in pairs], np.nan_to_num(found.cosines["sif"], nan=0.0)
    assert wrong.correlations["sif"][0] == pytest.approx(spearmanr(human, cosines).statistic)
    lines = list(found.lines())
    assert lines[0] == "sentence1\tsentence2\thuman\taverage\tsif"
    assert lines[-2] == "nothing known\tw1 w2\t5\t\t"
    assert len(lines) == len(pairs) + 1


def test_a_set_of_which_nothing_is_known_has_no_correlation() -> None:
    found = compare_sentences(make_model(), [SentencePair("a", "b", 1), SentencePair("c", "d", 2)], split, WORDLAB)
    assert found.correlations == {"average": (None, None), "sif": (None, None)}
