"""Finding phrases, pass after pass: stage `vocab` does so if there is a threshold.

A pass reads the shards three times: twice to count pairs (wordlab.pair_counts), and once to see how often each phrase
is joined, so that the words' counts afterwards are exact. What the shards have given so far is kept: a run that is
killed goes on in the middle of a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wordlab.artifacts import fingerprint
from wordlab.joined_shards import JoinedShards
from wordlab.pair_counts import Pairs, Rule, count_pairs, num_counters, num_parts, pair_ids, score
from wordlab.parts import Parts
from wordlab.phrases import PHRASES_SCHEMA, PairTable, Phrases, no_phrases
from wordlab.sections.vocab import PhrasesConfig
from wordlab.shard_sums import Arrays, KeptSum
from wordlab.stage import progress
from wordlab.wordtable import WordTable


@dataclass(frozen=True)
class Found:
    """What find_phrases hands on."""

    phrases: Phrases
    counts: NDArray[np.int64]
    """Tokens by word id when all phrases are joined; 0 for a word that stands in phrases alone."""
    passes: list[dict[str, Any]]
    """For the manifest: each pass's threshold, tokens before it, phrases, and how often two tokens became one."""


def find_phrases(
    folder: Path,
    shard_tokens: Sequence[int],
    table: WordTable,
    counts: NDArray[np.int64],
    config: PhrasesConfig,
    workers: int,
    parts: Parts,
    words: Mapping[str, Any],
    rare_tokens: int = 0,
) -> Found:
    """Find the phrases of all passes in the token shards, and add their joined words to `table`.

    shard_tokens: tokens of each shard.   table, counts: words of the shards and their tokens: all that occur more often
    than config.delta, and all with a JOINER in them.   workers: threads, 0 for all cores; they change no byte.
    parts: where sums over shards are kept.   words: what decides `table`, as JSON.   rare_tokens: of the other words.
    Raises ArtifactError if a shard is damaged.
    """
    shards = JoinedShards(folder, shard_tokens, table, workers)
    batches, passes = [], []
    for number, threshold in enumerate(config.thresholds, start=1):
        num_tokens = int(counts.sum()) + rare_tokens
        rule = Rule(float(num_tokens), float(config.delta), threshold)
        sketches = num_counters(num_tokens), num_parts(num_tokens)
        key = fingerprint([words, config.delta, config.thresholds[:number], sketches])

        def kept(name: str, number: int = number, key: str = key) -> KeptSum:
            return KeptSum(parts, f"pass-{number}-{name}", key)

        total = (2 * num_parts(num_tokens) + 1) * sum(shard_tokens)
        with progress(total, "token", f"phrases, pass {number}") as shards.bar:
            found = _in_order(count_pairs(shards, counts, rule, kept), counts, rule, table)
            pairs = PairTable.of_words(found.column("first"), found.column("second"), table)
            joined = _join_all(shards, pairs, kept("joined"))
        counts = np.concatenate([counts, np.zeros(len(table) - len(counts), dtype=np.int64)])
        for ids, sign in ((pairs.first, -1), (pairs.second, -1), (pairs.joined, 1)):
            np.add.at(counts, ids, sign * joined)
        numbers = pa.array(np.full(len(joined), number, dtype=np.int32))
        columns = [numbers, *(found.column(name) for name in ("first", "second", "count")), pa.array(joined)]
        batches.append(pa.record_batch([*columns, found.column("score")], schema=PHRASES_SCHEMA))
        report = {"tokens": num_tokens, "phrases": len(joined), "joined": int(joined.sum())}
        passes.append({"threshold": threshold, **report})
    rows = pa.Table.from_batches(batches, PHRASES_SCHEMA).combine_chunks().to_batches()
    return Found(Phrases(rows[0]) if rows else no_phrases(), counts, passes)


def _join_all(shards: JoinedShards, pairs: PairTable, kept: KeptSum) -> NDArray[np.int64]:
    """By place, how often each pair of this pass is joined. From here on the shards are read so."""

    def work(ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        times = pairs.join(ids, offsets)[1]
        places = np.flatnonzero(times)
        return places, times[places]

    joined = _Joined(len(pairs.joined))
    shards.add_up(joined, kept, work)
    shards.passes.append(pairs)
    return joined.times


class _Joined:
    """How often pairs are joined, by place."""

    def __init__(self, num_pairs: int) -> None:
        self.times = np.zeros(num_pairs, dtype=np.int64)

    def add(self, addend: Arrays) -> None:
        """Places, each once, and times."""
        places, times = addend
        self.times[places] += times

    def state(self) -> Arrays:
        return (self.times,)

    def restore(self, state: Arrays) -> None:
        (self.times,) = state


def _in_order(pairs: Pairs, counts: NDArray[np.int64], rule: Rule, table: WordTable) -> pa.RecordBatch:
    """Columns first, second, count and score; by score, falling, then by UTF-8 bytes: ids depend on the shards."""
    keys, times = pairs
    first, second = pair_ids(keys)
    count, first_count, second_count = (
        numbers.astype(np.float64) for numbers in (times, counts[first], counts[second])
    )
    words = table.words()
    columns = {
        "first": words.take(pa.array(first)),
        "second": words.take(pa.array(second)),
        "count": pa.array(times),
        "score": pa.array(score(count, first_count, second_count, rule.num_tokens, rule.delta)),
    }
    rows = pa.record_batch(columns)
    order = [("score", "descending"), ("first", "ascending"), ("second", "ascending")]
    return rows.take(pc.sort_indices(rows, sort_keys=order))
