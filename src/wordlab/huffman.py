"""The Huffman tree of hierarchical softmax: words are leaves, and their paths are the decisions that lead to them.

Frequent words have short paths, so that one prediction costs about the entropy of the text, in decisions (Mikolov et
al. 2013a, section 2.1; Morin and Bengio 2005 for the idea of a tree).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wordlab.compiled import kernel


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths of V words through V - 1 inner nodes, from the root down; word w has decisions start[w] to start[w + 1]."""

    start: NDArray[np.int64]
    """Shape (V + 1,)."""
    node: NDArray[np.int32]
    """Inner nodes, 0 to V - 2; the last one is the root. Shape (decisions,)."""
    code: NDArray[np.int32]
    """Branch taken there: 0 or 1. Shape (decisions,)."""

    @cached_property
    def longest(self) -> int:
        """Decisions of the longest path."""
        return int(np.diff(self.start).max(initial=0))

    @classmethod
    def of_counts(cls, counts: NDArray[np.int64]) -> Paths:
        """The tree of words with these counts, shape (V,), positive, falling.

        The two nodes of the least count are joined first; of equal counts, joined nodes come before words, earlier
        ones before later ones, and rarer words (higher ids) before others. This is word2vec.c's order, and so are the
        numbers of the nodes and the codes: the lesser of two joined nodes is branch 0.
        """
        vocab_size = len(counts)
        if vocab_size < 2:
            return cls(np.zeros(vocab_size + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))
        parent = np.full(2 * vocab_size - 1, -1, np.int64)
        branch = np.zeros(2 * vocab_size - 1, np.int32)
        weight = np.concatenate([np.asarray(counts, np.int64), np.zeros(vocab_size - 1, np.int64)])
        _join(weight, parent, branch, vocab_size)
        depth = np.zeros(2 * vocab_size - 1, np.int64)
        _measure(parent, depth)
        start = np.concatenate([[0], np.cumsum(depth[:vocab_size])])
        node, code = np.empty(start[-1], np.int32), np.empty(start[-1], np.int32)
        _climb(parent, branch, start, node, code)
        return cls(start, node, code)


@kernel
def _join(weight, parent, branch, vocab_size):
    """Fill the joined nodes' weights, and every node's parent and branch."""
    word, inner = vocab_size - 1, vocab_size
    for new in range(vocab_size, 2 * vocab_size - 1):
        for side in range(2):
            if word >= 0 and (inner >= new or weight[word] < weight[inner]):
                child = word
                word -= 1
            else:
                child = inner
                inner += 1
            weight[new] += weight[child]
            parent[child] = new
            branch[child] = side


@kernel
def _measure(parent, depth):
    """Depth of every node; parents have higher numbers than their children."""
    for node in range(parent.shape[0] - 2, -1, -1):
        depth[node] = depth[parent[node]] + 1


@kernel
def _climb(parent, branch, start, node, code):
    """Write every word's path, from its leaf up, so from its end back."""
    vocab_size = start.shape[0] - 1
    for word in range(vocab_size):
        here, place = np.int64(word), start[word + 1]
        while parent[here] >= 0:
            place -= 1
            node[place] = parent[here] - vocab_size
            code[place] = branch[here]
            here = parent[here]
