"""What dictionaries of shards tell of a corpus before they are merged, for the estimates of `preflight`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wordlab.shards import DICTIONARY_SCHEMA, map_batch


def dictionary_name(shard: int) -> str:
    return f"dictionary-{shard:05d}.arrow"


def counted_words(
    folder: Path, num_shards: int, min_count: int, name: Callable[[int], str] = dictionary_name
) -> tuple[int, int, int, float]:
    """Distinct words of all shards and those frequent enough, as two shards foretell them; mean bytes of a word; and
    the power of the text that distinct words grow as (Heaps).

    How many words the second shard adds gives the exponent. So many words as an m-th part of the text has occur m times
    in all of it, or more; two shards alone cannot tell where there are more than min_count.
    """
    if num_shards == 0:
        return 0, 0, 0, 0.0
    first = together = _dictionary(folder / name(0))
    exponent = 0.0
    if num_shards > 1:
        second = _dictionary(folder / name(num_shards // 2))
        both = pa.concat_tables([first, second])
        together = both.group_by("word").aggregate([("count", "sum")]).rename_columns(["word", "count"])
        first = first if first.num_rows else second  # a shard may have no words at all
        exponent = min(1.0, math.log2(max(1, together.num_rows) / max(1, first.num_rows)))
    mean_bytes = math.ceil((pc.sum(pc.binary_length(first.column("word"))).as_py() or 0) / max(1, first.num_rows))
    distinct = int(first.num_rows * num_shards**exponent)
    seen_as_often = max(1.0, min_count * min(2, num_shards) / num_shards)
    frequent = pc.sum(pc.greater_equal(together.column("count"), seen_as_often)).as_py() or 0
    share = min(frequent / max(1, together.num_rows), min(num_shards, min_count) ** -exponent)
    return distinct, math.ceil(distinct * share), mean_bytes, exponent


def _dictionary(path: Path) -> pa.Table:
    return pa.Table.from_batches([map_batch(path, DICTIONARY_SCHEMA, "tokenize")], schema=DICTIONARY_SCHEMA)


def merging(folder: Path, num_shards: int, word_bytes: int) -> tuple[int, int, int]:
    """Rows of dictionaries that are merged at a time at most, groups of shards that are merged on their own, and bytes
    that these leave on disk, to be mapped."""
    from wordlab.dictionaries import MERGED_BYTES, ROW_BYTES, SHARDS_TOGETHER

    sizes = [(folder / dictionary_name(index)).stat().st_size for index in range(num_shards)]
    groups = max(1, math.ceil(num_shards / SHARDS_TOGETHER), sum(sizes) // MERGED_BYTES)
    return max([MERGED_BYTES, *sizes]) // (ROW_BYTES + word_bytes), groups, sum(sizes) if groups > 1 else 0
