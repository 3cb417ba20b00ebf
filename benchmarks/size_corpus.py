"""A corpus of any size, written as a stream: words drawn by Zipf's law from a vocabulary that is fixed or grows.

    python -m benchmarks.size_corpus FILE BYTES [--words 200000] [--growth 0.0]

Word r of V has probability proportional to 1/r, drawn as V^u with u even in [0, 1). With growth b, V is words * n^b
after n tokens (Heaps' law). Each token is a function of its number alone, so a longer corpus begins as a shorter one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

BUFFER_BYTES = 1 << 24
LONGEST_WORD = 32
SHORTEST = 26**3
"""The first word is this number in letters: the first with four."""


def write_corpus(path: Path, size_bytes: int, words: int, growth: float = 0.0) -> int:
    """Write text of `size_bytes`, but for the last sentence. Returns its tokens."""
    buffer = np.empty(BUFFER_BYTES, dtype=np.uint8)
    first = written = 0
    with path.open("wb") as file:
        while written < size_bytes:
            room = min(BUFFER_BYTES, max(1 << 12, size_bytes - written))
            filled, first = _fill(buffer[:room], first, float(words), growth)
            file.write(buffer[:filled].data)
            written += filled
    return first


@njit(cache=True)
def _mixed(value):
    """splitmix64's mixer: 64 random bits for each number."""
    value = (value + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True)
def _fill(buffer: NDArray[np.uint8], first, words, growth):
    """Fill the buffer with whole words from token `first` on; its filled bytes and the next token.

    A word is its rank in letters, four for the most frequent. One token of 24 ends a sentence.
    """
    place, token, log_words = 0, first, np.log(words)
    while place + LONGEST_WORD <= len(buffer):
        bits = _mixed(np.uint64(token))
        limit = log_words + growth * np.log(float(token + 1))
        rank = np.int64(np.exp(limit * (np.float64(bits >> np.uint64(11)) / 9007199254740992.0))) + SHORTEST - 1
        while rank > 0:
            buffer[place] = 97 + rank % 26
            rank //= 26
            place += 1
        if bits % np.uint64(24) == 0:
            buffer[place] = 46
            buffer[place + 1] = 10
            place += 2
        else:
            buffer[place] = 32
            place += 1
        token += 1
    return place, token


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("bytes", type=int)
    parser.add_argument("--words", type=int, default=200_000)
    parser.add_argument("--growth", type=float, default=0.0)
    arguments = parser.parse_args()
    print(f"{write_corpus(arguments.file, arguments.bytes, arguments.words, arguments.growth):,} tokens")


if __name__ == "__main__":
    main()
