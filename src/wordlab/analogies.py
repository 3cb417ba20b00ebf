"""Analogy questions, "a is to b as c is to ?", answered by 3CosAdd and 3CosMul.

    3CosAdd   argmax_w  cos(w,b) - cos(w,a) + cos(w,c)                              (Mikolov et al. 2013a)
    3CosMul   argmax_w  s(w,b) * s(w,c) / (s(w,a) + ε),   s = (cos + 1) / 2         (Levy & Goldberg 2014, eq. 4)

a, b and c themselves are no answers, only the `restrict_vocab` most frequent words are known, and of words that differ
in case alone the most frequent one gives the vector. What else evaluators agree on or not is in `rules`; tests compare
with gensim's own evaluator and with plain loops that do what compute-accuracy.c does.

Beside the answers stands the cosine distance 1 - cos(b - a + c, d), in float64: how far the expected word lies from
where it should be, which also tells models apart that answer wrongly (Park et al. 2018 compare Korean vectors by it).

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
from wordlab.rules import WORDLAB, Rules

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
    distances: NDArray[np.float64]
    """Cosine distance of the expected word from b - a + c, 0 to 2, shape (Q,); NaN where nothing was asked."""


def folded_index(words: Sequence[str], rules: Rules = WORDLAB) -> dict[str, int]:
    """Folded word -> id of the first, that is the most frequent, word with that form."""
    index: dict[str, int] = {}
    for word_id, word in enumerate(map(rules.fold, words)):
        index.setdefault(word, word_id)
    return index


def answer_questions(
    words: Sequence[str],
    unit_rows: NDArray[np.float32],
    questions: Sequence[Question],
    restrict_vocab: int,
    rules: Rules = WORDLAB,
) -> AnalogyAnswers:
    """Answer every question whose words are known, by both methods.

    words: by falling frequency.   unit_rows: shape (V, D), rows of length 1 (or 0).
    restrict_vocab: only this many first words are known and can be answers; 0 means all.
    """
    size = min(restrict_vocab, len(words)) if restrict_vocab else len(words)
    unit_rows, folded = unit_rows[:size], list(map(rules.fold, words[:size]))
    index = folded_index(words[:size], rules)
    spelling = np.array([index[word] for word in folded], dtype=np.int64)
    ids = np.array([[index.get(rules.fold(word), -1) for word in question[1:]] for question in questions], np.int64)
    ids = ids.reshape(-1, 4)
    asked = ids.min(axis=1) >= 0

    queries, which = np.unique(ids[asked, :3], axis=0, return_inverse=True)
    left_out = np.arange(size) if rules.other_spellings_answer else spelling
    found = best_answers(unit_rows, queries, left_out, rules.mul_epsilon, rules.least_score)
    if rules.candidates is not None:
        look_at_few(unit_rows, queries, spelling, found, rules.candidates, rules.mul_epsilon)
    answers, correct = {}, {}
    for method in METHODS:
        answers[method] = np.full(len(ids), -1, dtype=np.int64)
        answers[method][asked] = found[method][which.reshape(-1)]
        answer = answers[method]
        correct[method] = asked & (answer >= 0) & (spelling[answer] == ids[:, 3])
    distances = np.full(len(ids), np.nan)
    distances[asked] = distances_to(unit_rows, ids[asked])
    return AnalogyAnswers(questions, asked, answers, correct, distances)


def distances_to(unit_rows: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 - cos(b - a + c, d) of questions; 1 where one of the two is zero. ids: shape (Q, 4). Returns shape (Q,)."""
    distances = np.ones(len(ids))
    for first in range(0, len(ids), CHUNK_QUESTIONS):
        chunk = slice(first, first + CHUNK_QUESTIONS)
        a, b, c, d = (unit_rows[ids[chunk, place]].astype(np.float64) for place in range(4))
        aim = b - a + c
        length = np.linalg.norm(aim, axis=1) * np.linalg.norm(d, axis=1)
        near = np.divide(np.einsum("ij,ij->i", aim, d), length, out=np.zeros(len(d)), where=length > 0)
        distances[chunk] = 1 - near
    return distances


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
    least_score: float = -np.inf,
) -> dict[str, NDArray[np.int64]]:
    """The best word for each query (a, b, c), by method; of equally good ones the most frequent.

    unit_rows: shape (V, D).   queries: word ids, shape (Q, 3).
    spelling: shape (V,), the first word that differs from this one in case alone; words spelled
        like a, b or c are left out.
    least_score: what 3CosAdd of an answer is above.
    Returns word ids, shape (Q,), -1 where there is no answer.
    """
    asked_words, local = np.unique(queries, return_inverse=True)
    local = local.reshape(queries.shape)
    asked_rows = unit_rows[asked_words]
    least = {"add": least_score, "mul": -np.inf}
    best_score = {method: np.full(len(queries), least[method], dtype=np.float32) for method in METHODS}
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


def look_at_few(
    unit_rows: NDArray[np.float32],
    queries: NDArray[np.int64],
    spelling: NDArray[np.int64],
    found: dict[str, NDArray[np.int64]],
    candidates: int,
    mul_epsilon: float,
) -> None:
    """Make the answers in `found` those of gensim, which looks no further than its best `candidates` words but a, b, c.

    Where these are all spelled like a, b or c, gensim's answer is the last of them. That takes a vocabulary with many
    spellings of a word, so the few such queries are looked at one by one. Arguments: as of `best_answers`.
    """
    out_query, out_word = _left_out(queries, spelling)
    others = ~(queries[out_query] == out_word[:, None]).any(axis=1)
    for number in np.unique(out_query[others]).tolist():
        spelled = np.unique(out_word[others & (out_query == number)])
        for method in METHODS:
            best = int(found[method][number])
            if best >= 0 and len(spelled) < candidates:
                continue
            words = np.append(spelled, best) if best >= 0 else spelled
            scores = _scores_of(unit_rows, queries[number], words, method, mul_epsilon)
            ranked = words[np.argsort(-scores, kind="stable")][:candidates]
            found[method][number] = best if best in ranked and best >= 0 else ranked[-1]


def _scores_of(
    unit_rows: NDArray[np.float32], query: NDArray[np.int64], words: NDArray[np.int64], method: str, mul_epsilon: float
) -> NDArray[np.float64]:
    """A method's score of some words, shape (len(words),)."""
    a, b, c = (unit_rows[words].astype(np.float64) @ unit_rows[word] for word in query)
    if method == "add":
        return b - a + c
    return (b + 1) / 2 * (c + 1) / 2 / ((a + 1) / 2 + mul_epsilon)
