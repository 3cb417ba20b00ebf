"""Stage `encode`: local word ids -> ids of the vocabulary, one gather per shard, packed into large shards that map.

The words of token shards are looked up by several workers; one thread gathers their ids into the shard that is being
packed (wordlab.packing) and writes it. While the next one is packed, it is hashed and goes to the disk. Then it is
recorded with the place in the tokens up to which it goes, so that a run that is killed goes on there (wordlab.parts).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.artifacts import fingerprint, sha256_file
from wordlab.errors import ArtifactError
from wordlab.hashed_file import HashedFile, write_hashed
from wordlab.packing import Packer, TokenPart, UnknownIdError
from wordlab.parallel import Workers, map_tasks
from wordlab.parts import Parts, Record, identity_of, kept_parts, make_part
from wordlab.phrases import PairTable, Phrases, no_phrases, pair_tables
from wordlab.sections.encode import EncodeConfig
from wordlab.shards import SENTENCES_SCHEMA, read_tokens_manifest
from wordlab.stage import progress
from wordlab.token_shards import LocalSentences, joined_sentences, map_shard, map_unchecked, require_known
from wordlab.vocab import Vocab, vocabulary_sources
from wordlab.wordtable import WordTable


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
                look_up, tokenize_folder=tokenize_folder.absolute(), words_path=words_path, sha256=words_sha256
            )
            shards, words = _write_shards(work, tokenize_folder, manifest, config, parts, workers)
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
            parts.publish(out_folder, "encode", content)
    finally:
        load_lookup.cache_clear()
    return content


def _write_shards(
    work: Callable[[int], LocalSentences],
    tokens: Path,
    manifest: dict[str, Any],
    config: EncodeConfig,
    parts: Parts,
    workers: int | Workers,
) -> tuple[list[dict[str, int]], int]:
    """Write what is not written yet; the numbers of tokens and sentences of each file, and the tokens that were read.

    work: `look_up` a token shard by its number.   tokens: their folder.
    Finished files are a beginning of all: they were written one after the other.
    """
    shards: list[dict[str, int]] = []
    place = Place()
    while report := parts.found(_part_name(len(shards))):
        shards.append({key: report[key] for key in ("num_tokens", "num_sentences")})
        place = Place(**report["next"])
    written = sum(shard["num_sentences"] for shard in shards) - place.sentences  # of the first shard here
    packer = Packer(config.shard_tokens, manifest["num_tokens"], manifest["num_sentences"])
    with (
        ShardWriter(parts, shards) as writer,
        progress(manifest["num_tokens"], "token", "encode", initial=place.num_tokens) as bar,
    ):
        first = place.shard
        found = map_tasks(work, range(first, len(manifest["shards"])), workers, parts.place, frees_lock=True)
        sizes = [shard["num_tokens"] for shard in manifest["shards"][first:]]
        for shard, num_tokens in zip(found, sizes, strict=True):
            part = TokenPart(*shard, written)
            while not _fill(packer, part, tokens, place.shard):
                writer.write(*packer.content(), place)
                packer.clear()
            written = 0
            place.shard += 1
            place.sentences += part.num_kept
            place.words += len(part.ids)
            place.num_tokens += num_tokens
            bar.update(num_tokens)
        if packer.num_sentences:
            writer.write(*packer.content(), place)
    return shards, place.words


def _fill(packer: Packer, part: TokenPart, tokens: Path, index: int) -> bool:
    """`packer.fill`. Raises ArtifactError if the token shard is damaged."""
    try:
        return packer.fill(part)
    except UnknownIdError:
        require_known(tokens, index, (part.ids, part.offsets, part.word_ids))
        raise


class ShardWriter:
    """Writes shards one after the other, each noted as a part once the disk has it, by a thread of its own."""

    def __init__(self, parts: Parts, shards: list[dict[str, int]]) -> None:
        """shards: numbers of tokens and sentences of the files that are there, to which others are added."""
        self._parts, self._shards = parts, shards
        self._thread = ThreadPoolExecutor(1)
        self._part: Future[Record] | None = None

    def write(self, ids: NDArray[np.int32], offsets: NDArray[np.int64], place: Place) -> None:
        """Write a shard, whose arrays are free then, and begin to make it a part. place: what comes next, as it is."""
        index = len(self._shards) + (self._part is not None)
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(ids))
        path = self._parts.place / f"ids-{index:05d}.arrow.tmp"
        report = {"num_tokens": len(ids), "num_sentences": len(offsets) - 1, "next": dataclasses.asdict(place)}
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(write_hashed(path, pa.record_batch([lists], schema=SENTENCES_SCHEMA)))
            self._wait()
            self._part = self._thread.submit(_finish_shard, file, self._parts.place, _part_name(index), report)
            stack.pop_all()

    def _wait(self) -> None:
        """Until the shard before is a part."""
        if self._part is not None:
            record, self._part = self._part.result(), None
            report = self._parts.add(_part_name(len(self._shards)), record)
            self._shards.append({key: report[key] for key in ("num_tokens", "num_sentences")})

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._thread:
                if kind is None:
                    self._wait()
        finally:
            for path in self._parts.place.glob("ids-*.tmp"):  # where the disk is full, the next run must find room
                path.unlink()


def _finish_shard(file: HashedFile, place: Path, name: str, report: dict[str, Any]) -> Record:
    """Make a part of the shard's file, once the disk has it."""
    known: dict[str, str] = {}

    def finish(folder: Path) -> dict[str, Any]:
        known[file.path.stem] = file.finish()
        file.path.replace(folder / file.path.stem)
        return report

    with file:
        return make_part(place, name, finish, known)


def _part_name(index: int) -> str:
    return f"{index:05d}"


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
    table = WordTable(len(vocab))
    table.add(vocab.array)
    passes = pair_tables(phrases, table)
    vocabulary_ids = np.arange(len(table) + 1, dtype=np.int32)  # a phrase and its parts need not be in the vocabulary
    vocabulary_ids[len(vocab) :] = -1
    return Lookup(vocab.fingerprint, table, passes, vocabulary_ids)


def look_up(index: int, tokenize_folder: Path, words_path: Path, sha256: str) -> LocalSentences:
    """A token shard's ids and offsets, phrases joined if there are any, and by id that of the vocabulary, -1 for none.

    Ids and offsets are the mapped file's where nothing was joined; then the ids are not checked yet.
    """
    lookup = load_lookup(words_path, sha256)
    if not lookup.passes:
        return map_unchecked(tokenize_folder, index, lookup.table)
    shard = map_shard(tokenize_folder, index, lookup.table)
    return *joined_sentences(shard, lookup.table, lookup.passes), lookup.vocabulary_ids
