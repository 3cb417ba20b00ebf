"""Stage `vocab`: the shards' dictionaries -> one vocabulary. Reads tokens only to find phrases, and never text."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wordlab.artifacts import fingerprint, output_folder, write_atomic, write_manifest
from wordlab.config import VocabConfig
from wordlab.errors import CorpusError
from wordlab.parallel import Workers, as_workers, map_tasks
from wordlab.parts import Record, identity_of, kept_parts, make_part
from wordlab.phrase_counting import Found, find_phrases
from wordlab.phrases import no_phrases
from wordlab.shards import DICTIONARY_SCHEMA, map_batch, read_tokens_manifest, write_batch
from wordlab.stage import progress
from wordlab.vocab import SamplingTables, Vocab
from wordlab.wordtable import WordTable

SHARDS_TOGETHER = 16
"""Shards whose dictionaries are merged by one worker. More of them: a shorter merge of all, and a longer one again
after a kill."""


def build_vocab(
    tokenize_folder: Path, config: VocabConfig, out_folder: Path, workers: int | Workers = 1
) -> dict[str, Any]:
    """Count, find phrases if there is a threshold for them, sort, cut; write words.arrow, phrases.arrow,
    sampling.arrow, vocab.tsv and the manifest. Returns the manifest's content.

    workers: that merge dictionaries; so many threads of this machine look for phrases.
    Raises CorpusError if fewer than two words are left.
    """
    workers = as_workers(workers)
    manifest = read_tokens_manifest(tokenize_folder)
    table, counts = count_words(tokenize_folder, manifest, out_folder, workers)
    found, phrases_only = Found(no_phrases(), counts, []), 0
    if config.phrases.thresholds:
        found = find_phrases(tokenize_folder, len(manifest["shards"]), table, counts, config.phrases, workers.number)
        phrases_only = int((found.counts[: len(counts)] == 0).sum())
    words, counts = left_words(table, found.counts)
    vocab, dropped = select_words(words, counts, config)
    content = {
        "vocabulary": vocab.fingerprint,
        "num_words": len(vocab),
        "num_tokens": int(vocab.counts.sum()),
        "dropped": dropped,
    }
    if found.passes:
        content["phrases"] = {"passes": found.passes, "words_in_phrases_alone": phrases_only}
    with output_folder(out_folder) as folder:
        vocab.save(folder / "words.arrow", fingerprint(manifest["files"]), found.phrases.fingerprint)
        if found.phrases:
            found.phrases.save(folder / "phrases.arrow")
        tables = SamplingTables.build(vocab.counts, config.subsample_t, config.noise_power)
        tables.save(folder / "sampling.arrow", vocab.fingerprint)
        lines = (f"{word}\t{count}\n" for word, count in zip(vocab.words, vocab.counts.tolist(), strict=True))
        write_atomic(folder / "vocab.tsv", "".join(lines).encode())
        write_manifest(folder, "vocab", content)
        if not found.phrases:  # for DVC, which wants each output there; nothing reads it, so no manifest lists it
            found.phrases.save(folder / "phrases.arrow")
    return content


def count_words(
    tokenize_folder: Path, manifest: dict[str, Any], out_folder: Path, workers: Workers
) -> tuple[WordTable, NDArray[np.int64]]:
    """Distinct words of all shards, in the order of first appearance, and their counts; exact, whatever their number.

    Long corpora are counted in groups of shards, on several workers. A group that is finished is kept beside out_folder
    until all are: a run that is killed goes on with the next.
    """
    num_shards = len(manifest["shards"])
    groups = [range(start, min(start + SHARDS_TOGETHER, num_shards)) for start in range(0, num_shards, SHARDS_TOGETHER)]
    if len(groups) < 2:
        paths = [tokenize_folder / f"dictionary-{index:05d}.arrow" for index in range(num_shards)]
        return merge_dictionaries(progress(num_shards, "shard", "vocab", iterable=paths))
    identity = identity_of("vocab", tokens=fingerprint(manifest["files"]), together=SHARDS_TOGETHER)
    with kept_parts(out_folder, identity) as parts:
        work = functools.partial(_count_group, tokenize_folder=tokenize_folder.absolute(), place=parts.place)
        unfinished = [group for group in groups if parts.found(_group_name(group)) is None]
        with progress(num_shards, "shard", "vocab") as bar:
            bar.update(num_shards - sum(map(len, unfinished)))
            for group, record in zip(unfinished, map_tasks(work, unfinished, workers, parts.place, True), strict=True):
                parts.add(_group_name(group), record)
                bar.update(len(group))
        paths = [parts.folder / f"words-{_group_name(group)}.arrow" for group in groups]
        return merge_dictionaries(progress(len(groups), "group", "merge", iterable=paths))


def _group_name(group: range) -> str:
    return f"{group.start:05d}"


def _count_group(group: range, tokenize_folder: Path, place: Path) -> Record:
    """Merge the dictionaries of a group of shards into one."""

    def work(folder: Path) -> dict[str, int]:
        table, counts = merge_dictionaries(tokenize_folder / f"dictionary-{index:05d}.arrow" for index in group)
        batch = pa.record_batch([table.words(), pa.array(counts)], schema=DICTIONARY_SCHEMA)
        write_batch(folder / f"words-{_group_name(group)}.arrow", batch)
        return {"num_words": len(table)}

    return make_part(place, _group_name(group), work)


def merge_dictionaries(paths: Iterable[Path]) -> tuple[WordTable, NDArray[np.int64]]:
    """Distinct words, in the order of first appearance, and their counts. Holds one dictionary at a time."""
    table = WordTable()
    counts = np.zeros(1024, dtype=np.int64)
    for path in paths:
        batch = map_batch(path, DICTIONARY_SCHEMA, "tokenize")
        ids = table.add(batch.column(0))
        if len(table) > len(counts):
            counts = np.concatenate([counts, np.zeros(max(len(table), len(counts)), dtype=np.int64)])
        counts[ids] += batch.column(1).to_numpy()  # a shard names each word once
    return table, counts[: len(table)]


def left_words(table: WordTable, counts: NDArray[np.int64]) -> tuple[pa.LargeStringArray, NDArray[np.int64]]:
    """The words that have tokens, and their counts: where there are phrases, some have none left."""
    left = counts > 0
    words = table.words()
    return (words, counts) if left.all() else (words.filter(pa.array(left)), counts[left])


def select_words(
    words: pa.LargeStringArray, counts: NDArray[np.int64], config: VocabConfig
) -> tuple[Vocab, dict[str, int]]:
    """The vocabulary, ordered by count, falling, then by UTF-8 bytes, and what was dropped for it.

    Raises CorpusError if fewer than two words are left.
    """
    if len(words) == 0:
        raise CorpusError("The corpus holds no words. Check corpus in params.yaml, then run: dvc repro")
    frequent = counts >= config.min_count
    table = pa.table({"word": words.filter(pa.array(frequent)), "count": counts[frequent]})
    table = table.take(pc.sort_indices(table, sort_keys=[("count", "descending"), ("word", "ascending")]))
    limit = config.max_size or table.num_rows
    kept = table.slice(0, limit).combine_chunks()
    if kept.num_rows < 2:
        raise CorpusError(_too_few_words_message(words, counts, int(frequent.sum()), config))
    kept_counts = kept.column("count").to_numpy()
    dropped = {
        "words_below_min_count": int((~frequent).sum()),
        "tokens_below_min_count": int(counts[~frequent].sum()),
        "words_beyond_max_size": table.num_rows - kept.num_rows,
        "tokens_beyond_max_size": int(counts[frequent].sum() - kept_counts.sum()),
    }
    return Vocab.from_arrow(pa.concat_arrays(kept.column("word").chunks), kept_counts), dropped


def _too_few_words_message(
    words: pa.LargeStringArray, counts: NDArray[np.int64], num_frequent: int, config: VocabConfig
) -> str:
    top = int(np.argmax(counts))
    corpus = (
        f"The corpus has {int(counts.sum())} tokens of {len(counts)} words; the most frequent, "
        f"{words[top].as_py()!r}, occurs {counts[top]} times"
    )
    if num_frequent >= 2:
        return (
            f"vocab.max_size={config.max_size} leaves one word, but training needs two or more. Raise vocab.max_size."
        )
    if len(counts) < 2:
        return f"{corpus}. Training needs two different words or more. Use a larger corpus: corpus in params.yaml"
    second = int(np.partition(counts, -2)[-2])
    found = "No word" if num_frequent == 0 else "Only one word"
    return (
        f"{found} reaches vocab.min_count={config.min_count}. {corpus}. Training needs two words or more. "
        f"Use a larger corpus, or lower the limit: dvc exp run -S vocab.min_count={second}"
    )
