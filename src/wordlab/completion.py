"""MSR Sentence Completion: which of five words fits the blank of a sentence best, by what the model was trained to do.

Mikolov et al. (2013a, section 4.5, table 7) put the word of the blank at a skip-gram's input, predict all other words
of the sentence, and take the word with the largest sum of these predictions. What a prediction is they do not say of
negative sampling, which came later; here it is the logarithm of the probability that the objective gives, natural:

    skip-gram   score(w) = sum over the sentence's other words c of log p(c | w)
    CBOW        score(w) = log p(w | mean of the input vectors of all other words); not in the paper, by analogy
    sent2vec    the same, with the n-grams of the words before the blank and of those after it in the mean

    ns          log p(c | w) = log σ(u_c · v_w): that the pair is from the text and not noise. The noise words of
                training play no part, they would be the same for all five but for chance
    softmax     u_c · v_w - log Σ_x exp(u_x · v_w)
    hs          Σ over the decisions on the path to c of log σ(±n · v_w)

v are input vectors, u output vectors, n those of the tree's inner nodes. Words that the model does not know are left
out of the sentence. A candidate of several tokens ("country-dance") has the mean of their scores; one with a token that
the model does not know is not chosen. Of equal scores the first counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordlab.embeddings import Embeddings
from wordlab.huffman import Paths
from wordlab.sentence_sets import LETTERS, Completion
from wordlab.sentence_similarity import known_rows

LogProbabilities = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]
"""An input of shape (D,) and the rows of words -> log p(word | input), shape (words,)."""


@dataclass(frozen=True, eq=False)
class Completed:
    """What a model chose, question by question."""

    questions: Sequence[Completion]
    scores: NDArray[np.float64]
    """Shape (Q, 5); -inf for a candidate with an unknown word, and where no other word of the sentence is known."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Shape (Q,): all candidates have a score."""
        return np.array([all(row) for row in np.isfinite(self.scores).tolist()], np.bool_)

    @property
    def chosen(self) -> list[str]:
        """The letter of each choice; empty where no candidate has a score."""
        best: list[int] = self.scores.argmax(axis=1).tolist()
        some = [any(row) for row in np.isfinite(self.scores).tolist()]
        return [LETTERS[choice] if there else "" for choice, there in zip(best, some, strict=True)]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Shape (Q,)."""
        right = [question.letter == letter for question, letter in zip(self.questions, self.chosen, strict=True)]
        return np.array(right, np.bool_)

    def lines(self) -> Iterator[str]:
        """Tab-separated lines, header first."""
        yield "\t".join(["id", "expected", "chosen", "correct", *LETTERS])
        for question, letter, right, scores in zip(
            self.questions, self.chosen, self.correct.tolist(), self.scores, strict=True
        ):
            told = ("" if np.isinf(score) else f"{score:.6f}" for score in scores)
            yield "\t".join([question.number, question.letter, letter, str(int(right)), *told])


def complete(
    model: Embeddings,
    questions: Sequence[Completion],
    words_of: Callable[[Sequence[str]], list[list[str]]],
    probabilities: LogProbabilities,
    arch: str,
) -> Completed:
    """Score all candidates. words_of: texts -> words (`sentence_tokens`).   probabilities: of `log_probabilities`."""
    count = len(questions)
    texts = [text for q in questions for text in (q.before, q.after, *q.candidates)]
    words = words_of(texts)
    bags = known_rows(model, words)
    scores = np.full((count, len(LETTERS)), -np.inf)
    for number in range(count):
        first = number * (2 + len(LETTERS))
        sides = bags[first : first + 2]
        candidates = [
            bag if 0 < len(bag) == len(found) else None
            for bag, found in zip(bags[first + 2 : first + 7], words[first + 2 : first + 7], strict=True)
        ]
        if not sum(map(len, sides)):
            continue
        mean = None if arch == "skipgram" else _context_vector(model, sides)
        for place, bag in enumerate(candidates):
            if bag is None:
                continue
            if mean is None:
                context, inputs = np.concatenate(sides), model.input_vectors[bag].astype(np.float64)
                scores[number, place] = np.mean([probabilities(vector, context).sum() for vector in inputs])
            else:
                scores[number, place] = probabilities(mean, bag).mean()
    return Completed(questions, scores)


def _context_vector(model: Embeddings, sides: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Mean of the rows of all words on both sides and, where the model has them, of their n-grams; shape (D,)."""
    if model.word_ngram_rows is None:
        mean: NDArray[np.float64] = model.input_vectors[np.concatenate(sides)].mean(axis=0, dtype=np.float64)
        return mean
    assert model.config is not None  # a model folder says how it was trained
    longest = model.config["model"]["sent2vec"]["word_ngrams"]
    weights = [sum(max(0, len(side) - n) for n in range(longest)) for side in sides]  # a side's words and n-grams
    vectors = model.sentence_vectors([[model.index[row] for row in side.tolist()] for side in sides])
    return np.average(vectors.astype(np.float64), axis=0, weights=weights)


def log_probabilities(model: Embeddings, objective: str, nodes: NDArray[np.float32] | None) -> LogProbabilities:
    """What the model's objective says of words, given an input. nodes: the tree's vectors, (V - 1, D), of `hs`."""
    if objective == "hs":
        assert nodes is not None and model.counts is not None
        return _of_tree(nodes, Paths.of_counts(model.counts))
    outputs = model.output_vectors
    assert outputs is not None

    def noise(v: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return _log_sigmoid(outputs[rows] @ v)

    def softmax(v: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        logits = (outputs @ v.astype(np.float32)).astype(np.float64)
        largest = logits.max()
        return logits[rows] - largest - np.log(np.exp(logits - largest).sum())

    return softmax if objective == "softmax" else noise


def _of_tree(nodes: NDArray[np.float32], paths: Paths) -> LogProbabilities:
    def tree(v: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        found = np.empty(len(rows))
        for place, row in enumerate(rows.tolist()):
            path = slice(paths.start[row], paths.start[row + 1])
            sign = 1.0 - 2 * paths.code[path]  # branch 0 is the true one, as in word2vec.c
            found[place] = _log_sigmoid(sign * (nodes[paths.node[path]] @ v)).sum()
        return found

    return tree


def _log_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.logaddexp(0, -x)
