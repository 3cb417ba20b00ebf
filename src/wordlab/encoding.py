"""Stage `encode`: local word ids -> ids of the vocabulary, one gather per shard, packed into large shards that map.

Token shards are looked up by several workers; one process packs what they give. Each file it has written is recorded
with the place in the tokens up to which it goes, so that a run that is killed goes on there (wordlab.parts).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wordlab.artifacts import fingerprint, sha256_file, write_manifest
from wordlab.config import EncodeConfig
from wordlab.errors import ArtifactError
from wordlab.parallel import Workers, map_tasks
from wordlab.parts import Parts, identity_of, kept_parts, make_part
from wordlab.phrases import PairTable, Phrases, no_phrases, pair_tables
from wordlab.shards import read_tokens_manifest, write_sentences
from wordlab.stage import progress
from wordlab.token_shards import joined_sentences, map_shard
from wordlab.vocab import Vocab, vocabulary_sources
from wordlab.wordtable import WordTable

Sentences = tuple[NDArray[np.int32], NDArray[np.int64]]


class Lookup(NamedTuple):
    """What a worker looks words up in."""

    vocabulary: str
    """Its fingerprint."""
    table: WordTable
    """Words of the vocabulary, and behind them parts of phrases."""
    passes: list[PairTable]
    vocabulary_ids: NDArray[np.int32]
    """Ids of the vocabulary by ids of the table, -1 for words that are not in it."""


@dataclass
class Place:
    """How far packing has come in the token shards: what comes next, and what was before it."""

    shard: int = 0
    """The token shard that is being packed."""
    sentences: int = 0
    """Kept sentences of the shards before it."""
    words: int = 0
    """Tokens of the shards before it, each phrase as one."""
    num_tokens: int = 0
    """As they are in the token shards, for progress."""


def encode_corpus(
    tokenize_folder: Path, words_path: Path, config: EncodeConfig, out_folder: Path, workers: int | Workers = 1
) -> dict[str, Any]:
    """Write data/encode. Returns the manifest's content.

    Joins the phrases beside words.arrow where that names some. Goes on where a run of the same was killed.
    Raises ArtifactError if the vocabulary was counted from other tokens, or with other phrases.
    """
    manifest = read_tokens_manifest(tokenize_folder)
    phrases = _phrases_of(tokenize_folder, manifest, words_path)
    words_path = words_path.absolute()
    words_sha256 = sha256_file(words_path)
    vocabulary = load_lookup(words_path, words_sha256).vocabulary
    identity = identity_of(
        "encode",
        tokens=fingerprint(manifest["files"]),
        vocabulary=vocabulary,
        phrases=phrases.fingerprint,
        shard_tokens=config.shard_tokens,
    )
    try:
        with kept_parts(out_folder, identity) as parts:
            work = functools.partial(
                encode_shard, tokenize_folder=tokenize_folder.absolute(), words_path=words_path, sha256=words_sha256
            )
            shards, words = _write_shards(work, manifest, config, parts, workers)
            num_tokens = sum(shard["num_tokens"] for shard in shards)
            num_sentences = sum(shard["num_sentences"] for shard in shards)
            content = {
                "vocabulary": vocabulary,
                "num_tokens": num_tokens,
                "num_sentences": num_sentences,
                **({"joined_tokens": manifest["num_tokens"] - words} if phrases else {}),
                "dropped": {
                    "out_of_vocabulary_tokens": words - num_tokens,
                    "empty_sentences": manifest["num_sentences"] - num_sentences,
                },
                "shards": shards,
            }
            write_manifest(parts.folder, "encode", content, parts.files())
            parts.publish(out_folder)
    finally:
        load_lookup.cache_clear()
    return content


def _write_shards(
    work: Callable[[int], tuple[NDArray[Any], NDArray[Any], int]],
    manifest: dict[str, Any],
    config: EncodeConfig,
    parts: Parts,
    workers: int | Workers,
) -> tuple[list[dict[str, int]], int]:
    """Write what is not written yet; the numbers of tokens and sentences of each file, and the tokens that were read.

    work: `encode_shard` of a token shard's number.
    Finished files are a beginning of all: they were written one after the other.
    """
    shards: list[dict[str, int]] = []
    place = Place()
    while report := parts.found(_part_name(len(shards))):
        shards.append({key: report[key] for key in ("num_tokens", "num_sentences")})
        place = Place(**report["next"])
    done = sum(shard["num_sentences"] for shard in shards)
    with progress(manifest["num_tokens"], "token", "encode", initial=place.num_tokens) as bar:
        first = place.shard
        encoded = map_tasks(work, range(first, len(manifest["shards"])), workers, parts.place, frees_lock=True)
        sizes = [shard["num_tokens"] for shard in manifest["shards"][first:]]

        def sentences() -> Iterator[Sentences]:
            packed = done - place.sentences  # of the first shard here, by the run before
            for (ids, offsets, words), num_tokens in zip(encoded, sizes, strict=True):
                yield ids[offsets[packed] :], offsets[packed:] - offsets[packed]
                packed = 0
                place.shard += 1
                place.sentences += len(offsets) - 1
                place.words += words
                place.num_tokens += num_tokens
                bar.update(num_tokens)

        for ids, offsets in pack(sentences(), config.shard_tokens):
            written = functools.partial(_write_shard, len(shards), ids, offsets, place)
            report = parts.add(_part_name(len(shards)), make_part(parts.place, _part_name(len(shards)), written))
            del ids, offsets, written  # or they would be there still while the next are collected
            shards.append({key: report[key] for key in ("num_tokens", "num_sentences")})
    return shards, place.words


def _part_name(index: int) -> str:
    return f"{index:05d}"


def _write_shard(
    index: int, ids: NDArray[np.int32], offsets: NDArray[np.int64], place: Place, folder: Path
) -> dict[str, Any]:
    write_sentences(folder / f"ids-{index:05d}.arrow", ids, offsets)
    return {"num_tokens": len(ids), "num_sentences": len(offsets) - 1, "next": dataclasses.asdict(place)}


def _phrases_of(tokenize_folder: Path, manifest: dict[str, Any], words_path: Path) -> Phrases:
    """The phrases that the vocabulary was counted with, once it is sure to be of these tokens."""
    (recorded, phrases), found = vocabulary_sources(words_path), fingerprint(manifest["files"])
    if recorded != found:
        raise ArtifactError(
            f"{words_path} was counted from tokens {recorded[:12] or 'unknown'}, but {tokenize_folder} now holds "
            f"{found[:12]}. The corpus was tokenized again after counting. Run: dvc repro encode"
        )
    return Phrases.load(words_path.with_name("phrases.arrow"), phrases) if phrases else no_phrases()


@functools.lru_cache(maxsize=1)
def load_lookup(words_path: Path, sha256: str) -> Lookup:
    """The vocabulary and its phrases, once in a process. sha256: of words.arrow, as the stage has found it."""
    if sha256_file(words_path) != sha256:
        raise ArtifactError(f"{words_path} has changed since the stage began. Run: dvc repro encode")
    vocab = Vocab.load(words_path)
    _, recorded = vocabulary_sources(words_path)
    phrases = Phrases.load(words_path.with_name("phrases.arrow"), recorded) if recorded else no_phrases()
    table = WordTable()
    table.add(vocab.arrow_words())
    passes = pair_tables(phrases, table)
    vocabulary_ids = np.arange(len(table) + 1, dtype=np.int32)  # a phrase and its parts need not be in the vocabulary
    vocabulary_ids[len(vocab) :] = -1
    return Lookup(vocab.fingerprint, table, passes, vocabulary_ids)


def encode_shard(
    index: int, tokenize_folder: Path, words_path: Path, sha256: str
) -> tuple[NDArray[Any], NDArray[Any], int]:
    """A token shard's sentences in ids of the vocabulary, without other words and without empty sentences.

    Returns ids, offsets, and how many tokens the sentences held before that, each phrase as one.
    """
    lookup = load_lookup(words_path, sha256)
    ids, offsets, word_ids = map_shard(tokenize_folder, index, lookup.table)
    if lookup.passes:
        ids, offsets = joined_sentences((ids, offsets, word_ids), lookup.table, lookup.passes)
        word_ids = lookup.vocabulary_ids
    return *_translate(ids, offsets, word_ids), len(ids)


@njit(cache=True, nogil=True)
def _translate(ids, offsets, word_ids):
    """ids -> word_ids[ids], where -1 drops the token; sentences left empty are dropped."""
    kept_ids = np.empty(len(ids), dtype=np.int32)
    kept_offsets = np.zeros(len(offsets), dtype=np.int64)
    num_tokens, num_sentences = 0, 0
    for sentence in range(len(offsets) - 1):
        for i in range(offsets[sentence], offsets[sentence + 1]):
            word = word_ids[ids[i]]
            kept_ids[num_tokens] = word
            num_tokens += word >= 0
        if num_tokens > kept_offsets[num_sentences]:
            num_sentences += 1
            kept_offsets[num_sentences] = num_tokens
    return kept_ids[:num_tokens], kept_offsets[: num_sentences + 1]


def pack(parts: Iterator[Sentences], shard_tokens: int) -> Iterator[Sentences]:
    """Regroup sentences into shards of at most `shard_tokens` tokens; a longer sentence is a shard of its own.

    Depends on the sentences alone, not on how the parts divide them. Holds one shard and one part.
    """
    pending: list[Sentences] = []
    filled = 0
    for ids, offsets in parts:
        first, last = 0, len(offsets) - 1
        while first < last:
            room = offsets[first] + shard_tokens - filled
            stop = int(np.searchsorted(offsets, room, side="right")) - 1
            if stop <= first and not pending:
                stop = first + 1
            if stop > first:
                stop = min(stop, last)
                pending.append((ids[offsets[first] : offsets[stop]], offsets[first : stop + 1] - offsets[first]))
                filled += int(offsets[stop] - offsets[first])
                first = stop
            if first < last:
                filled = 0
                yield _joined(pending)
    if pending:
        yield _joined(pending)


def _joined(parts: list[Sentences]) -> Sentences:
    """The parts as one, whose list is empty afterwards: what is packed is there once while it is written."""
    starts = np.cumsum([0, *(len(ids) for ids, _ in parts)])
    offsets = [
        np.zeros(1, dtype=np.int64),
        *(part[1:] + start for (_, part), start in zip(parts, starts, strict=False)),
    ]
    joined = np.concatenate([ids for ids, _ in parts]), np.concatenate(offsets)
    parts.clear()
    return joined
