"""Dictionaries of shards with tens of millions of distinct words, as stage `tokenize` would leave them.

Words alone: their tokens are not written, which stage `vocab` does not read, so that 60 million rare tokens take
seconds. A shard has the same COMMON words, the first often and the others seldom, and draws RARE tokens of a power law
over RAREST words: like a text that never ceases to bring new names and numbers. How often each word was drawn is
counted here, in an array with a place for each, so that what the stage finds can be held against it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from benchmarks.jobs import BenchmarkError
from benchmarks.size_corpus import SHORTEST
from wordlab.artifacts import write_manifest
from wordlab.shards import DICTIONARY_SCHEMA, string_array, write_batch

SHARDS = 300
COMMON = 200_000
RARE = 200_000
"""Rare tokens of a shard."""
RAREST = 300_000_000
"""Words of which they are drawn."""
MOST = 250
"""The draws of one rare word are fewer than fit into a byte; more would be no rare word."""
_LETTERS = 7


def write_dictionaries(folder: Path, min_count: int) -> dict[str, int]:
    """Write the folder of stage tokenize. Returns what stage vocab has to find in it."""
    folder.mkdir(parents=True)
    draws = np.random.default_rng(1)
    often = 1 + 100_000 // np.arange(1, COMMON + 1)
    times = np.zeros(RAREST, dtype=np.uint8)
    shards, rows = [], 0
    for shard in range(SHARDS):
        ranks = (COMMON * (RAREST / COMMON) ** draws.random(RARE)).astype(np.int64)
        words, counts = np.unique(ranks, return_counts=True)
        times[words] += counts.astype(np.uint8)
        order = draws.permutation(len(words) + COMMON)
        numbers = np.concatenate([np.arange(COMMON), words])[order]
        tokens = np.concatenate([often, counts])[order]
        batch = pa.record_batch([spelled(numbers), pa.array(tokens)], schema=DICTIONARY_SCHEMA)
        write_batch(folder / f"dictionary-{shard:05d}.arrow", batch)
        shards.append({"num_tokens": int(tokens.sum()), "num_sentences": 1, "num_words": len(order)})
        rows += len(order)
    assert times.max() < MOST
    num_tokens = sum(shard["num_tokens"] for shard in shards)
    content = {"raw_bytes": 0, "num_tokens": num_tokens, "num_sentences": SHARDS, "dropped": {}, "shards": shards}
    write_manifest(folder, "tokenize", content)
    rare = (times > 0) & (times < min_count)
    distinct = int(np.count_nonzero(times)) + COMMON
    return {
        "rows": rows,
        "distinct": distinct,
        "num_words": distinct - int(np.count_nonzero(rare)),
        "num_tokens": num_tokens - int(times[rare].sum()),
    }


def spelled(numbers: NDArray[np.int64]) -> pa.LargeStringArray:
    """Each number as a word of four letters or more; different numbers are different words."""
    offsets = np.zeros(len(numbers) + 1, dtype=np.int64)
    utf8 = np.empty(_LETTERS * len(numbers), dtype=np.uint8)
    _spell(numbers, offsets, utf8)
    return string_array(offsets, utf8[: offsets[-1]])


@njit(cache=True)
def _spell(numbers, offsets, utf8):
    for i in range(len(numbers)):
        place, rest = offsets[i], numbers[i] + SHORTEST
        while rest > 0:
            utf8[place] = 97 + rest % 26
            rest //= 26
            place += 1
        offsets[i + 1] = place


def check_found(found: dict[str, Any], wanted: dict[str, int]) -> None:
    """Raise BenchmarkError where the manifest of stage vocab says anything else."""
    dropped = found["dropped"]["words_below_min_count"]
    if (found["num_words"], found["num_tokens"], found["num_words"] + dropped) != (
        wanted["num_words"],
        wanted["num_tokens"],
        wanted["distinct"],
    ):
        raise BenchmarkError(f"stage vocab found {found}, but there are {wanted}")
