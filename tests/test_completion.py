"""Sentence completion: scores by plain loops, probabilities that sum to 1, and words that are unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers import make_model_folder
from wordlab.completion import complete, log_probabilities
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError
from wordlab.huffman import Paths
from wordlab.sentence_evaluation import SentenceModel
from wordlab.sentence_sets import Completion
from wordlab.word_ngrams import ngram_bucket

WORDS = [f"w{i}" for i in range(12)]
ROW = {word: row for row, word in enumerate(WORDS)}


def split(texts: Sequence[str]) -> list[list[str]]:
    return [text.replace("-", " ").split() for text in texts]


def make_model(seed: int = 0) -> tuple[Embeddings, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    inputs, outputs, nodes = (rng.normal(size=(12, 5)).astype(np.float32) for _ in range(3))
    counts = np.arange(12, 0, -1) * 10
    return Embeddings(WORDS, inputs, outputs, counts=counts), nodes[:11]


def make_questions(count: int = 8) -> list[Completion]:
    rng = np.random.default_rng(2)

    def words(number: int) -> list[str]:
        return [WORDS[i] for i in rng.integers(12, size=number)]

    questions = []
    for number in range(count):
        candidates = (*words(3), "-".join(words(2)), *words(1))
        questions.append(Completion(str(number), " ".join(words(3)) + " new ", " ".join(words(2)), candidates, "c"))
    return questions


def plain_log_probability(
    model: Embeddings, nodes: NDArray[np.float32], objective: str, v: NDArray[np.float64], row: int
) -> float:
    assert model.output_vectors is not None and model.counts is not None
    if objective == "ns":
        return -math.log1p(math.exp(-float(model.output_vectors[row] @ v)))
    if objective == "softmax":
        logits = [float(output @ v) for output in model.output_vectors]
        return logits[row] - math.log(sum(math.exp(logit) for logit in logits))
    paths, sum_of_logs = Paths.of_counts(model.counts), 0.0
    for place in range(paths.start[row], paths.start[row + 1]):
        score = float(nodes[paths.node[place]] @ v)
        sum_of_logs -= math.log1p(math.exp(-score if paths.code[place] == 0 else score))
    return sum_of_logs


@pytest.mark.parametrize("objective", ["ns", "softmax", "hs"])
@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
def test_scores_are_those_of_plain_loops(arch: str, objective: str) -> None:
    model, nodes = make_model()
    questions = make_questions()
    found = complete(model, questions, split, log_probabilities(model, objective, nodes), arch)
    inputs = model.input_vectors.astype(np.float64)
    for question, scores in zip(questions, found.scores, strict=True):
        context = [ROW[word] for word in (question.before + question.after).split() if word in ROW]
        for candidate, score in zip(question.candidates, scores, strict=True):
            tokens = []
            for row in (ROW[token] for token in candidate.split("-")):
                if arch == "skipgram":
                    found_logs = [plain_log_probability(model, nodes, objective, inputs[row], c) for c in context]
                    tokens.append(sum(found_logs))
                else:
                    mean = sum(inputs[c] for c in context) / len(context)
                    tokens.append(plain_log_probability(model, nodes, objective, mean, row))
            assert score == pytest.approx(sum(tokens) / len(tokens), rel=1e-5)
    assert found.known.all()
    best = ["abcde"[int(row.argmax())] for row in found.scores]
    assert found.chosen == best
    assert found.correct.tolist() == [letter == "c" for letter in best]


@pytest.mark.parametrize("longest", [2, 3])
def test_sent2vec_predicts_from_words_and_ngrams_that_do_not_cross_the_blank(longest: int) -> None:
    model, nodes = make_model()
    rows = np.random.default_rng(5).normal(size=(32, 5)).astype(np.float32)
    config = {"model": {"arch": "sent2vec", "sent2vec": {"word_ngrams": longest}}}
    own = Embeddings(
        WORDS, model.input_vectors, model.output_vectors, model.counts, config=config, word_ngram_rows=rows
    )
    questions = make_questions()
    found = complete(own, questions, split, log_probabilities(own, "ns", None), "sent2vec")
    for question, scores in zip(questions, found.scores, strict=True):
        summed, count = np.zeros(5), 0
        for side in (question.before, question.after):
            known = np.array([ROW[word] for word in side.split() if word in ROW], np.int32)
            for length in range(1, longest + 1):
                for start in range(len(known) - length + 1):
                    run = known[start : start + length]
                    summed += model.input_vectors[run[0]] if length == 1 else rows[ngram_bucket(run, 32)]
                    count += 1
        row = ROW[question.candidates[0]]
        wanted = plain_log_probability(model, nodes, "ns", summed / count, row)
        assert scores[0] == pytest.approx(wanted, rel=1e-5)


def test_a_model_of_hierarchical_softmax_brings_its_nodes(tmp_path: Path) -> None:
    config = {"model": {"arch": "cbow", "objective": "hs"}}
    folder = make_model_folder(tmp_path / "model", config=config)
    nodes = np.arange(16, dtype=np.float32).reshape(4, 4)
    np.save(folder / "node_vectors.npy", nodes)
    vectors = Embeddings.load(folder)
    model = SentenceModel.load(folder, vectors, split)
    assert (model.arch, model.objective) == ("cbow", "hs")
    assert model.nodes is not None and np.array_equal(model.nodes, nodes)
    np.save(folder / "node_vectors.npy", nodes[:3])
    with pytest.raises(ArtifactError, match=r"node_vectors\.npy holds float32 of shape \(3, 4\), but .* \(4, any\)"):
        SentenceModel.load(folder, vectors, split)


@pytest.mark.parametrize("objective", ["softmax", "hs"])
def test_probabilities_of_all_words_sum_to_one(objective: str) -> None:
    model, nodes = make_model()
    logs = log_probabilities(model, objective, nodes)(np.linspace(-1, 1, 5), np.arange(12))
    assert np.exp(logs).sum() == pytest.approx(1)


def test_a_word_that_always_stands_among_these_is_chosen() -> None:
    """Output vectors of the context point to the input vector of the right word."""
    inputs, outputs = np.eye(12, dtype=np.float32), np.zeros((12, 12), np.float32)
    outputs[[0, 1], 7] = 3
    model = Embeddings(WORDS, inputs, outputs, counts=np.ones(12, np.int64))
    question = Completion("1", "w0 ", " w1", ("w3", "w4", "w7", "w8", "w9"), "c")
    found = complete(model, [question], split, log_probabilities(model, "ns", None), "skipgram")
    assert found.chosen == ["c"]


def test_unknown_candidates_are_not_chosen_and_unknown_sentences_have_no_answer() -> None:
    model, _ = make_model()
    questions = [
        Completion("1", "w1 ", " w2", ("w1", "zzz", "w2-zzz", "", "w3"), "a"),
        Completion("2", "zzz ", " yyy", ("w1", "w2", "w3", "w4", "w5"), "a"),
        Completion("3", "w1 ", "", ("v", "x", "y", "z", "u"), "a"),
        Completion("4", "w1 ", "", ("w5", "w5", "w5", "w5", "w5"), "a"),
    ]
    found = complete(model, questions, split, log_probabilities(model, "ns", None), "skipgram")
    assert np.isinf(found.scores[0]).tolist() == [False, True, True, True, False]
    assert np.isinf(found.scores[1:3]).all()
    assert found.known.tolist() == [False, False, False, True]
    assert found.chosen[1:] == ["", "", "a"], "of equal scores the first"
    assert found.correct.tolist() == [found.chosen[0] == "a", False, False, True]
    lines = list(found.lines())
    assert lines[0] == "id\texpected\tchosen\tcorrect\ta\tb\tc\td\te"
    assert lines[2] == "2\ta\t\t0\t\t\t\t\t"
