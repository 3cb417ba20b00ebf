"""Analogy questions, "a is to b as c is to ?", answered by 3CosAdd and 3CosMul.

    3CosAdd   argmax_w  cos(w,b) - cos(w,a) + cos(w,c)                              (Mikolov et al. 2013a)
    3CosMul   argmax_w  s(w,b) * s(w,c) / (s(w,a) + ε),   s = (cos + 1) / 2         (Levy & Goldberg 2014, eq. 4)

a, b and c themselves are no answers. The rules are those of gensim's `evaluate_word_analogies(case_insensitive=True,
dummy4unknown=False)`, and a test compares the two: only the `restrict_vocab` most frequent words are known, a
question with an unknown word is not asked, words are compared in upper case, and of words that differ in case alone
the most frequent one gives the vector.

gensim answers one question at a time, a matrix-vector product each. But the questions are made of few words (905 in
Google's 19,544), so here the cosines of those words to a block of the vocabulary are one small matrix product, and a
question is two additions of its rows while the block is in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordlab.embeddings import MULTIPLICATION_EPSILON
from wordlab.evaluation_sets import Question

METHODS = ("add", "mul")

BLOCK_BYTES = 4 << 20
"""Cosines held at once; about a level-2 cache, and small beside any model."""
MIN_BLOCK_WORDS = 64
CHUNK_QUESTIONS = 128
"""Questions scored at once within a block."""


@dataclass(frozen=True, eq=False)
class AnalogyAnswers:
    """What a model answered, question by question."""

    questions: Sequence[Question]
    asked: NDArray[np.bool_]
    """Shape (Q,): all four words are known."""
    answers: dict[str, NDArray[np.int64]]
    """Method -> word id of the answer, shape (Q,); -1 where nothing was asked or nothing is left to answer."""
    correct: dict[str, NDArray[np.bool_]]
    """Method -> the answer is the expected word, shape (Q,)."""


def fold_case(word: str) -> str:
    """The form in which words of a question and of the vocabulary are compared: upper case, as in gensim."""
    return word.upper()


def folded_index(words: Sequence[str]) -> dict[str, int]:
    """Folded word -> id of the first, that is the most frequent, word with that form."""
    index: dict[str, int] = {}
    for word_id, word in enumerate(words):
        index.setdefault(fold_case(word), word_id)
    return index


def answer_questions(
    words: Sequence[str],
    unit_rows: NDArray[np.float32],
    questions: Sequence[Question],
    restrict_vocab: int,
    mul_epsilon: float = MULTIPLICATION_EPSILON,
) -> AnalogyAnswers:
    """Answer every question whose words are known, by both methods.

    words: by falling frequency.   unit_rows: shape (V, D), rows of length 1 (or 0).
    restrict_vocab: only this many first words are known and can be answers; 0 means all.
    """
    size = min(restrict_vocab, len(words)) if restrict_vocab else len(words)
    words, unit_rows = words[:size], unit_rows[:size]
    index = folded_index(words)
    spelling = np.array([index[fold_case(word)] for word in words], dtype=np.int64)
    ids = np.array([[index.get(fold_case(word), -1) for word in question[1:]] for question in questions], np.int64)
    ids = ids.reshape(-1, 4)
    asked = ids.min(axis=1) >= 0

    queries, which = np.unique(ids[asked, :3], axis=0, return_inverse=True)
    found = best_answers(unit_rows, queries, spelling, mul_epsilon)
    answers, correct = {}, {}
    for method in METHODS:
        answers[method] = np.full(len(ids), -1, dtype=np.int64)
        answers[method][asked] = found[method][which.reshape(-1)]
        answer = answers[method]
        correct[method] = asked & (answer >= 0) & (spelling[answer] == ids[:, 3])
    return AnalogyAnswers(questions, asked, answers, correct)


class _Rule(NamedTuple):
    """A method's score for every word of a block: take_off(join(near[b], near[c]), far[a])."""

    join: np.ufunc
    near: NDArray[Any]
    take_off: np.ufunc
    far: NDArray[Any]


def best_answers(
    unit_rows: NDArray[np.float32],
    queries: NDArray[np.int64],
    spelling: NDArray[np.int64],
    mul_epsilon: float = MULTIPLICATION_EPSILON,
) -> dict[str, NDArray[np.int64]]:
    """The best word for each query (a, b, c), by method; of equally good ones the most frequent.

    unit_rows: shape (V, D).   queries: word ids, shape (Q, 3).
    spelling: shape (V,), the first word that differs from this one in case alone; words spelled
        like a, b or c are left out.
    Returns word ids, shape (Q,), -1 where every word is left out.
    """
    asked_words, local = np.unique(queries, return_inverse=True)
    local = local.reshape(queries.shape)
    asked_rows = unit_rows[asked_words]
    best_score = {method: np.full(len(queries), -np.inf, dtype=np.float32) for method in METHODS}
    best_word = {method: np.full(len(queries), -1, dtype=np.int64) for method in METHODS}
    out_query, out_word = _left_out(queries, spelling)
    block = max(MIN_BLOCK_WORDS, BLOCK_BYTES // (4 * max(1, len(asked_words))))
    for start in range(0, len(unit_rows), block):
        cosines = asked_rows @ unit_rows[start : start + block].T
        shifted = np.maximum((cosines + 1) / 2, 0)  # rounding can give cos < -1
        rules = {
            "add": _Rule(np.add, cosines, np.subtract, cosines),
            "mul": _Rule(np.multiply, shifted, np.multiply, 1 / (shifted + np.float32(mul_epsilon))),
        }
        inside = (out_word >= start) & (out_word < start + block)
        rows, columns = out_query[inside], out_word[inside] - start
        for first in range(0, len(queries), CHUNK_QUESTIONS):
            chunk = slice(first, first + CHUNK_QUESTIONS)
            low, high = np.searchsorted(rows, (first, first + CHUNK_QUESTIONS))
            a, b, c = local[chunk].T
            for method, rule in rules.items():
                scores = rule.join(rule.near[b], rule.near[c])
                rule.take_off(scores, rule.far[a], out=scores)
                scores[rows[low:high] - first, columns[low:high]] = -np.inf
                _keep_better(scores, start, best_score[method][chunk], best_word[method][chunk])
    return best_word


def _left_out(queries: NDArray[np.int64], spelling: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All words spelled like a, b or c of a query: indices of queries (rising) and word ids, in pairs."""
    by_spelling = np.argsort(spelling, kind="stable")
    low = np.searchsorted(spelling[by_spelling], queries.reshape(-1), side="left")
    high = np.searchsorted(spelling[by_spelling], queries.reshape(-1), side="right")
    number = high - low
    place = np.arange(number.sum()) + np.repeat(low - (np.cumsum(number) - number), number)
    return np.repeat(np.repeat(np.arange(len(queries)), 3), number), by_spelling[place]


def _keep_better(
    scores: NDArray[np.float32], start: int, best_score: NDArray[np.float32], best_word: NDArray[np.int64]
) -> None:
    """Update in place where a block's best score is above the best so far."""
    column = scores.argmax(axis=1)
    score = scores[np.arange(len(scores)), column]
    better = score > best_score
    best_score[better] = score[better]
    best_word[better] = column[better] + start
