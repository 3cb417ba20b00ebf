"""What the stages that work on text will need: download, tokenize, vocab and encode."""

from __future__ import annotations

import dataclasses
import math

from wordlab.artifacts import read_manifest
from wordlab.config import Params
from wordlab.needs import (
    COUNTED_WORD_BYTES,
    DATA,
    KIWI_BYTES,
    MB,
    MINIMUM_DISK,
    PROCESS_BYTES,
    Need,
    vocabulary,
    workers_here,
)
from wordlab.preflight_words import counted_words, merging
from wordlab.stage import available_cores

# Measured on Linux, x86-64, Python 3.11 to 3.13; tests/test_preflight.py holds them against this machine.
DOWNLOAD_BYTES = 50 * MB
"""The download stage, which holds a piece of a file at a time."""
WORKER_BYTES = 110 * MB
"""As `PROCESS_BYTES`, with the compiled functions that a worker of tokenize needs."""
WORKER_FACTOR = 5.0
"""Bytes a worker holds for each byte of its shard: raw, normalised and folded text, numbered tokens, words."""
TASK_FACTOR = 2.0
"""Bytes held in the first process for each byte of a shard that waits for a worker."""
EXPANSION = 5
"""Text in a compressed file, at most, as a multiple of the file: what bzip2 and xz make of Wikipedia."""
TOKENS_DISK_FACTOR = 1.2
"""Bytes written by tokenize for each byte of text: a number of 4 bytes for a word of 4.7 letters and a space."""
FILTER_FACTOR = 5.0
"""Bytes a worker holds for each byte of its shard while it looks at lines, each an object of Python's twice."""
USUAL_LINE = 200
"""Bytes of a line of text, as far as nobody has counted."""
LINE_BYTES, NEAR_LINE_BYTES = 33, 809
"""Written for a line while repeated ones are looked for (`wordlab.duplicates`), equal or similar ones."""
PIECES_FACTOR = 30
"""Bytes that sentencepiece holds for each byte of its sample."""
STORE_BYTES = 70 * MB
"""The packages for S3 and two pieces of a file, in each process that reads a corpus in a store."""
SELECTED_WORD_BYTES = 125
"""A word of the vocabulary while it is selected: rows of dictionaries, filtered, joined and sorted; sampling tables."""
ENCODE_BYTES = 115 * MB
"""As `PROCESS_BYTES`, with the few compiled functions that encode needs."""
ENCODE_WORD_BYTES = 100
"""A word of the vocabulary in Arrow and in a hash table."""
PHRASE_BYTES = 150
"""A phrase in tables and lists, beside the text of its parts."""
WORDS_PER_PHRASE = 2
"""Frequent words for each phrase; two passes over enwik8 find one for each 2.3, 200 and 100 the thresholds."""


def download(params: Params, _: int | None) -> Need:
    """Each file lies in the store and in data/download, and an archive beside it while it is unpacked."""
    from wordlab.catalog import load_catalog
    from wordlab.fetch import main_checkout

    catalog = load_catalog()
    store = main_checkout() / ".wordlab" / "downloads"
    disk = MINIMUM_DISK
    for name in (params.corpus, *params.download.evaluation_sets):
        if name in catalog:
            row = catalog[name]
            is_kept = any((store / location.sha256).exists() for location in row.locations)
            disk += row.size_bytes if is_kept else 3 * row.size_bytes
    lower = "a smaller corpus"
    return Need("download", DOWNLOAD_BYTES, 0, disk, DATA / "download", lower)


def corpus_text_bytes(params: Params) -> int:
    """Bytes of the corpus as text, before it is downloaded; compressed files at their most. Raises ConfigError."""
    from wordlab.catalog import load_catalog
    from wordlab.corpus_format import look_at_kinds, text_factor
    from wordlab.dumps import find_dump
    from wordlab.own_corpus import find_own
    from wordlab.remote_files import size_of

    catalog = load_catalog()
    if params.corpus in catalog:
        return catalog[params.corpus].size_bytes
    if find_dump(params.corpus):
        return 0  # nobody knows before it is there; its stages look then
    stored = params.download.corpus_format
    files = find_own(params.corpus, catalog).files()
    look_at_kinds(files, stored)
    return sum(size_of(file) * text_factor(file, stored, EXPANSION) for file in files)


def tokenize(params: Params, _: int | None) -> Need:
    from wordlab.bzip2 import MAX_THREADS, THREAD_BYTES
    from wordlab.corpus_format import is_plain_text, look_at_kinds, recorded_format, text_factor
    from wordlab.rawtext import corpus_files
    from wordlab.remote_files import RemoteFile

    stored, files = recorded_format(), corpus_files()
    look_at_kinds([file.path for file in files], stored)
    sizes = [file.size_bytes * text_factor(file.path, stored, EXPANSION) for file in files]
    is_plain = all(file.format == "text" and is_plain_text(file.path, stored) for file in files)
    need = tokenize_need(sum(sizes), params, read_later=is_plain and params.run.executor != "dask")
    if any(file.format == "bzip2" for file in files):
        threads = min(params.run.workers or available_cores(), MAX_THREADS)
        need = dataclasses.replace(need, memory_bytes=need.memory_bytes + threads * THREAD_BYTES)
    if any(isinstance(file.path, RemoteFile) for file in files):
        processes = 1 + (workers_here(params) if params.run.executor == "processes" else 0)
        need = dataclasses.replace(need, memory_bytes=need.memory_bytes + processes * STORE_BYTES)
    return need


def tokenize_need(text_bytes: int, params: Params, read_later: bool = False) -> Need:
    """What tokenizing so much text takes. read_later: by the workers, so that no text waits in the first process."""
    config = params.tokenize
    text_bytes = min(text_bytes, config.max_bytes or text_bytes)
    num_shards = max(1, math.ceil(text_bytes / config.shard_bytes))
    shard_bytes = min(text_bytes, config.shard_bytes)
    workers = min(workers_here(params), num_shards)
    memory = PROCESS_BYTES + workers * int(WORKER_FACTOR * shard_bytes)
    if workers_here(params) > 1:
        waiting = min(num_shards, workers + 1)
        memory += 0 if read_later else int(TASK_FACTOR * waiting * shard_bytes)
        memory += workers * WORKER_BYTES if params.run.executor == "processes" else 0
    lower = "a smaller tokenize.shard_bytes or fewer run.workers"
    if config.tokenizer == "sentencepiece":
        memory += PIECES_FACTOR * min(text_bytes, config.sentencepiece.sample_bytes)
        lower = f"a smaller tokenize.sentencepiece.sample_bytes, {lower}"
    if config.tokenizer == "kiwi":
        memory += workers * KIWI_BYTES
    disk = int(TOKENS_DISK_FACTOR * text_bytes) + MINIMUM_DISK
    if config.filters.drop_some:
        memory += workers * int(FILTER_FACTOR * shard_bytes)
    if config.filters.look_ahead:
        line_bytes = NEAR_LINE_BYTES if config.filters.near_duplicates else LINE_BYTES
        disk += text_bytes // USUAL_LINE * line_bytes
    return Need("tokenize", memory, 0, disk, DATA / "tokenize", f"{lower}, or a smaller corpus or tokenize.max_bytes")


def vocab(params: Params, _: int | None) -> Need:
    folder = DATA / "tokenize"
    shards = read_manifest(folder, "tokenize")["shards"]
    distinct, kept, word_bytes, exponent = counted_words(folder, len(shards), params.vocab.min_count)
    kept = min(kept, params.vocab.max_size or kept)
    counting, counting_disk, phrases = _phrases(params, shards, kept)
    kept += phrases
    rows, groups, waiting = merging(folder, len(shards), word_bytes)
    # The table's arrays are copied to grow, so the text of the words is there three times at worst.
    word = COUNTED_WORD_BYTES + 3 * word_bytes
    merge = min(int(distinct * groups**-exponent), rows) * word
    words = kept * (SELECTED_WORD_BYTES + 4 * word_bytes) + counting + phrases * (PHRASE_BYTES + 6 * word_bytes)
    disk = kept * (40 + 2 * word_bytes) + phrases * (44 + 2 * word_bytes) + waiting + counting_disk + MINIMUM_DISK
    lower = "a higher vocab.min_count, or a vocab.max_size, or a smaller corpus"
    if counting:  # words that are frequent enough for phrases are in a table of their own
        fewest = min(params.vocab.min_count, params.vocab.phrases.delta + 1)
        words += counted_words(folder, len(shards), fewest)[1] * word
        lower = f"fewer run.workers, a smaller tokenize.shard_bytes, no vocab.phrases.thresholds, {lower}"
    memory = PROCESS_BYTES + max(min(workers_here(params), groups) * merge, merge + words)
    return Need("vocab", memory, waiting, disk, DATA / "vocab", lower)


def _phrases(params: Params, shards: list[dict[str, int]], words: int) -> tuple[int, int, int]:
    """Bytes of memory and of disk that looking for phrases takes, and about how many there will be beside so many
    words."""
    if not params.vocab.phrases.thresholds:
        return 0, 0, 0
    from wordlab.pair_counts import disk_bytes, memory_bytes

    tokens = [shard["num_tokens"] for shard in shards]
    workers = min(params.run.workers or available_cores(), len(shards))
    memory = memory_bytes(sum(tokens), max(tokens, default=0), workers)
    return memory, disk_bytes(sum(tokens)), words // WORDS_PER_PHRASE


def encode(params: Params, _: int | None) -> Need:
    manifest = read_manifest(DATA / "tokenize", "tokenize")
    num_tokens, num_sentences = manifest["num_tokens"], manifest["num_sentences"]
    largest = max((4 * shard["num_tokens"] + 8 * shard["num_sentences"] for shard in manifest["shards"]), default=0)
    distinct = max((shard["num_words"] for shard in manifest["shards"]), default=0)
    words, word_bytes = vocabulary()
    written = 4 * num_tokens + 8 * num_sentences
    memory = ENCODE_BYTES + int(min(1.0, params.encode.shard_tokens / max(1, num_tokens)) * written)
    ahead = min(workers_here(params) + 1, len(manifest["shards"]))  # that are translated, and wait
    memory += words * (ENCODE_WORD_BYTES + 3 * word_bytes) + ahead * 4 * distinct
    if params.vocab.phrases.thresholds or params.run.executor == "dask":  # shards that are not the mapped files
        memory += (ahead + 1) * largest
    if params.vocab.phrases.thresholds:  # with their words in a table
        memory += 5 * (DATA / "vocab" / "phrases.arrow").stat().st_size
    lower = "a smaller encode.shard_tokens, a smaller tokenize.shard_bytes, or a higher vocab.min_count"
    return Need("encode", memory, written, written + MINIMUM_DISK, DATA / "encode", lower)
