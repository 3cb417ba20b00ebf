"""The rows of highest cosine with a vector, found by looking at all rows: exactly, in any number of threads.

A look at a million rows of 300 reads 1.2 GB, which takes a core longer than the arithmetic; so many vectors are asked
about at once, block of rows by block, and one vector costs hardly more than reading.

Two steps. Products in float32 give every cosine with an error below

    E = 2 (dim + 4) u,    u = 2^-24,

whatever the order of additions: an inner product of n terms errs by at most n u / (1 - n u) · Σ |x_i y_i| (Higham 2002,
Accuracy and Stability of Numerical Algorithms, section 3.1), half of that comes from the row's length, and the rest is
rounding of the unit query, of the length and of the quotient. A row that is more than 2 E below the k-th best of these
cannot be one of the best k; all others are computed again in float64, and that decides. So the answers are those of
float64, and depend neither on BLAS nor on what is asked together.

Rows whose squares leave float32's range (`odd`) have no such bound. They are always computed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 22
"""Rows looked at at a time: they stay in the cache for their lengths and for all queries."""
QUERIES_AT_ONCE = 128
FEW_QUERIES = 4
SCORES_AT_ONCE = 1 << 20
"""Float32 cosines held at once."""
POOL_ROWS = 1 << 20
"""Candidates held at once, 12 bytes each; of many rows alike, all are candidates."""
EXACT_ROWS = 2048
"""Rows computed in float64 at a time."""
UNIT_ROUNDOFF = 2.0**-24
SHORTEST, LONGEST = 1e-15, 1e15
"""Lengths between these have squares that float32 holds without loss."""


class Answer(NamedTuple):
    """The best rows, the best first, equal ones in row order; int64 and float64, shape (found,)."""

    rows: NDArray[np.int64]
    cosines: NDArray[np.float64]


class _Lengths(NamedTuple):
    """Euclidean lengths, float32, shape (V,), 1 for rows of zeros; and the odd rows, rising."""

    lengths: NDArray[np.float32]
    odd: NDArray[np.int64]


class NearestRows:
    """Answers about one matrix. vectors: float32, shape (V, dim), C order; may be a memory map.

    Threads may share it: all it keeps is the rows' lengths, 4 bytes a row, from the first look on.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self._known: _Lengths | None = None

    def best(
        self, queries: NDArray[np.float32], count: int, leave_out: Sequence[Sequence[int]] | None = None
    ) -> list[Answer]:
        """The `count` rows of highest cosine with each query, or all rows where there are fewer.

        queries: shape (Q, dim), finite.   leave_out: rows that are no answers, a list for each query.
        A row or query of zeros has cosine 0 with everything; a row that is not finite has -inf.
        Holds some 30 MB, or what the answers take.
        """
        leave_out = leave_out or [()] * len(queries)
        wanted = min(count + max(map(len, leave_out), default=0), len(self.vectors))
        step = max(wanted, BLOCK_BYTES // max(1, 4 * self.vectors.shape[1]), 1)
        together = max(1, min(QUERIES_AT_ONCE, SCORES_AT_ONCE // step))
        found: list[Answer] = []
        for first in range(0, len(queries), together):
            found += self._best(queries[first : first + together], wanted, step)
        return [_without(answer, rows, count) for answer, rows in zip(found, leave_out, strict=True)]

    def cosines(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine of every row with each query, in float32, shape (Q, V)."""
        cosines = np.empty((len(queries), len(self.vectors)), np.float32)
        for start, scores, _ in self._scan(unit_queries(queries), max(1, SCORES_AT_ONCE // max(1, len(queries)))):
            cosines[:, start : start + scores.shape[1]] = scores
        return cosines

    def _best(self, queries: NDArray[np.float32], wanted: int, step: int) -> list[Answer]:
        pool = _Pool(self.vectors, queries, wanted)
        every_odd = []
        for start, scores, odd in self._scan(unit_queries(queries), step):
            scores[:, odd - start] = -np.inf  # what float32 makes of them must not raise the bar
            pool.add(start, scores)
            every_odd.append(odd)
        return pool.answers(np.concatenate([np.zeros(0, np.int64), *every_odd]))

    def _scan(
        self, units: NDArray[np.float32], step: int
    ) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.int64]]]:
        """First row, cosines in float32, shape (Q, rows), and the odd rows of each block of rows.

        The first scan finds the lengths out on the way, while a block is in the cache.
        """
        known, num_rows = self._known, len(self.vectors)
        lengths = np.empty(num_rows, np.float32) if known is None else known.lengths
        every_odd = [np.zeros(0, np.int64)]
        for start in range(0, num_rows, step):
            block, end = self.vectors[start : start + step], min(start + step, num_rows)
            if known is None:
                lengths[start:end], odd = _block_lengths(block)
                odd += start
                every_odd.append(odd)
            else:
                odd = known.odd[slice(*np.searchsorted(known.odd, (start, end)))]
            with np.errstate(invalid="ignore", over="ignore"):  # of odd rows
                scores = _products(units, block)
                scores /= lengths[start:end]
            yield start, scores, odd
        if known is None:  # of several threads the last one's stay, and all are alike
            self._known = _Lengths(lengths, np.concatenate(every_odd))


def _products(units: NDArray[np.float32], block: NDArray[np.float32]) -> NDArray[np.float32]:
    """units @ block.T; of a few vectors each by itself, for which BLAS takes half the time."""
    if len(units) >= FEW_QUERIES:
        return units @ block.T
    products = np.empty((len(units), len(block)), np.float32)
    for unit, place in zip(units, products, strict=True):
        np.matmul(block, unit, out=place)
    return products


def unit_queries(queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each query at length 1, zeros as they are; shape (Q, dim)."""
    wide = queries.astype(np.float64)
    return (wide / _divisors(_squares(wide))[:, None]).astype(np.float32)


def exact_cosines(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], query: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Cosines of some rows with a query, summed in float64, the same for a row whatever the others are; shape (rows,).

    0 where either is zero, -inf where the row is not finite.
    """
    wide_query, cosines = query.astype(np.float64), np.empty(len(rows))
    query_length = _divisors(_squares(wide_query[None]))[0]
    for start in range(0, len(rows), EXACT_ROWS):
        wide = vectors[rows[start : start + EXACT_ROWS]].astype(np.float64)
        with np.errstate(invalid="ignore"):
            products = np.einsum("ij,j->i", wide, wide_query)
            cosines[start : start + EXACT_ROWS] = products / _divisors(_squares(wide)) / query_length
    return np.where(np.isnan(cosines), -np.inf, cosines)


def ranked(rows: NDArray[np.int64], cosines: NDArray[np.float64], count: int) -> Answer:
    """The `count` best of these rows."""
    order = np.lexsort((rows, -cosines))[:count]
    return Answer(rows[order], cosines[order])


class _Pool:
    """The rows that can still be among the best `wanted` of each query.

    best: float32, shape (Q, wanted), the highest cosines so far.   least: float32, shape (Q,), what a row must have.
    """

    def __init__(self, vectors: NDArray[np.float32], queries: NDArray[np.float32], wanted: int) -> None:
        self.vectors, self.queries = vectors, queries
        self.margin = np.float32(2 * 2 * (vectors.shape[1] + 4) * UNIT_ROUNDOFF)
        self.best = np.full((len(queries), wanted), -np.inf, np.float32)
        self.is_zero: NDArray[np.bool_] = (queries == 0).all(axis=1)
        self.least = np.where(self.is_zero, np.inf, -np.inf).astype(np.float32)  # to a zero, all rows are alike
        self.rows = [np.zeros(0, np.int64) for _ in queries]
        self.scores = [np.zeros(0, np.float32) for _ in queries]
        self.size = 0

    def add(self, start: int, scores: NDArray[np.float32]) -> None:
        """Take in the rows from `start` on. scores: shape (Q, rows)."""
        enough = scores >= self.least[:, None]
        for query in np.flatnonzero(enough.any(axis=1)):
            columns = np.flatnonzero(enough[query])
            found = scores[query, columns]
            top = np.partition(np.concatenate([self.best[query], found]), len(found))[len(found) :]
            self.best[query], self.least[query] = top, top[0] - self.margin
            keep = found >= self.least[query]
            self.rows[query] = np.concatenate([self.rows[query], start + columns[keep]])
            self.scores[query] = np.concatenate([self.scores[query], found[keep]])
            self.size += int(keep.sum())
        if self.size > POOL_ROWS:
            self._shrink()

    def _shrink(self) -> None:
        """Forget what is out of the race; where that is not enough, decide among the rest."""
        for query, least in enumerate(self.least):
            keep = self.scores[query] >= least
            self.rows[query], self.scores[query] = self.rows[query][keep], self.scores[query][keep]
        if sum(map(len, self.rows)) > POOL_ROWS // 2:
            for query, rows in enumerate(self.rows):
                keep = np.isin(rows, self._ranked(query, rows).rows)
                self.rows[query], self.scores[query] = rows[keep], self.scores[query][keep]
        self.size = sum(map(len, self.rows))

    def answers(self, odd: NDArray[np.int64]) -> list[Answer]:
        """The best rows of each query, among all that were added and the odd ones."""
        first = np.arange(min(self.best.shape[1] + len(odd), len(self.vectors)))
        return [
            self._ranked(query, np.union1d(first if self.is_zero[query] else rows[scores >= self.least[query]], odd))
            for query, (rows, scores) in enumerate(zip(self.rows, self.scores, strict=True))
        ]

    def _ranked(self, query: int, rows: NDArray[np.int64]) -> Answer:
        return ranked(rows, exact_cosines(self.vectors, rows, self.queries[query]), self.best.shape[1])


def _block_lengths(block: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Lengths of some rows, 1 for rows of zeros, and which of them are odd."""
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.vecdot(block, block))
        odd = np.flatnonzero(~((lengths >= SHORTEST) & (lengths <= LONGEST)))
        if len(odd):
            squares = _squares(block[odd].astype(np.float64))
            lengths[odd] = _divisors(squares)
            odd = odd[squares != 0]
    return lengths, odd


def _squares(wide: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the squares of each row."""
    return np.einsum("ij,ij->i", wide, wide)


def _divisors(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths to divide by: 1 for 0."""
    return np.sqrt(np.where(squares == 0, 1, squares))


def _without(answer: Answer, rows: Sequence[int], count: int) -> Answer:
    keep = ~np.isin(answer.rows, np.asarray(rows, np.int64))
    return Answer(answer.rows[keep][:count], answer.cosines[keep][:count])
