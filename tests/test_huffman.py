"""The Huffman tree: optimal, prefix-free, and built in word2vec.c's order."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wordlab.huffman import Paths

falling = st.lists(st.integers(1, 50), min_size=2, max_size=60).map(lambda counts: sorted(counts, reverse=True))


def path_of(paths: Paths, word: int) -> list[tuple[int, int]]:
    """(node, branch) from the root down."""
    span = slice(paths.start[word], paths.start[word + 1])
    return list(zip(paths.node[span].tolist(), paths.code[span].tolist(), strict=True))


def least_decisions(counts: list[int]) -> int:
    """Decisions in a text with these counts under the best of all codes, by the textbook algorithm."""
    heap, total = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


@given(counts=falling)
@settings(deadline=None)
def test_no_code_needs_fewer_decisions(counts: list[int]) -> None:
    paths = Paths.of_counts(np.array(counts))
    assert int(np.diff(paths.start) @ np.array(counts)) == least_decisions(counts)
    assert paths.longest == np.diff(paths.start).max()


@given(counts=falling)
@settings(deadline=None)
def test_the_branches_of_every_node_part_its_words(counts: list[int]) -> None:
    """Each inner node is there, is entered from one branch only, and both its branches lead on."""
    paths = Paths.of_counts(np.array(counts))
    branches: dict[int, set[int]] = {}
    before: dict[int, tuple[int, int] | None] = {}
    for word in range(len(counts)):
        came: tuple[int, int] | None = None
        for node, code in path_of(paths, word):
            assert before.setdefault(node, came) == came
            branches.setdefault(node, set()).add(code)
            came = (node, code)
    assert branches == {node: {0, 1} for node in range(len(counts) - 1)}
    assert len({tuple(path_of(paths, word)) for word in range(len(counts))}) == len(counts)


def test_ties_are_broken_as_in_the_c_program() -> None:
    """Counts 2 2 1 1 1, worked by hand: words 4, 3 are node 0; node 1 is word 2 and then node 0, since 1 < 2; of the
    three weights 2, 2, 3 left, word 1 and word 0 are node 2; the root, node 3, has node 1 as branch 0, the lesser.
    """
    paths = Paths.of_counts(np.array([2, 2, 1, 1, 1]))
    assert [path_of(paths, word) for word in range(5)] == [
        [(3, 1), (2, 1)],
        [(3, 1), (2, 0)],
        [(3, 0), (1, 0)],
        [(3, 0), (1, 1), (0, 1)],
        [(3, 0), (1, 1), (0, 0)],
    ]


def test_where_a_joined_node_and_a_word_weigh_alike_the_joined_node_comes_first() -> None:
    """Counts 2 1 1: node 0 (words 2 and 1) weighs 2, as word 0 does."""
    paths = Paths.of_counts(np.array([2, 1, 1]))
    assert [path_of(paths, word) for word in range(3)] == [[(1, 1)], [(1, 0), (0, 1)], [(1, 0), (0, 0)]]


@pytest.mark.parametrize("words", [0, 1])
def test_fewer_than_two_words_need_no_decision(words: int) -> None:
    paths = Paths.of_counts(np.ones(words, np.int64))
    assert paths.start.tolist() == [0] * (words + 1)
    assert paths.longest == len(paths.node) == 0


def test_counts_that_grow_like_fibonacci_numbers_make_the_longest_paths() -> None:
    counts = [1, 1]
    while len(counts) < 80:
        counts.append(counts[-1] + counts[-2])
    assert Paths.of_counts(np.array(counts[::-1])).longest == 79
