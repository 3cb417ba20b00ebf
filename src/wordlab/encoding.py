"""Stage `encode`: local word ids -> ids of the vocabulary, one gather per shard, packed into large shards that map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wordlab.artifacts import fingerprint, output_folder, write_manifest
from wordlab.config import EncodeConfig
from wordlab.errors import ArtifactError
from wordlab.phrases import Phrases, no_phrases, pair_tables
from wordlab.shards import read_tokens_manifest, write_sentences
from wordlab.stage import progress
from wordlab.token_shards import joined_sentences, map_shard
from wordlab.vocab import Vocab, vocabulary_sources
from wordlab.wordtable import WordTable

Sentences = tuple[NDArray[np.int32], NDArray[np.int64]]


def encode_corpus(tokenize_folder: Path, words_path: Path, config: EncodeConfig, out_folder: Path) -> dict[str, Any]:
    """Write data/encode. Returns the manifest's content.

    Joins the phrases beside words.arrow where that names some.
    Raises ArtifactError if the vocabulary was counted from other tokens, or with other phrases.
    """
    manifest = read_tokens_manifest(tokenize_folder)
    vocab = Vocab.load(words_path)
    phrases = _phrases_of(tokenize_folder, manifest, words_path)
    shards: list[dict[str, int]] = []
    seen: Counter[str] = Counter()
    with output_folder(out_folder) as folder:
        for ids, offsets in pack(_encoded(tokenize_folder, manifest, vocab, phrases, seen), config.shard_tokens):
            write_sentences(folder / f"ids-{len(shards):05d}.arrow", ids, offsets)
            shards.append({"num_tokens": len(ids), "num_sentences": len(offsets) - 1})
        num_tokens = sum(shard["num_tokens"] for shard in shards)
        num_sentences = sum(shard["num_sentences"] for shard in shards)
        content = {
            "vocabulary": vocab.fingerprint,
            "num_tokens": num_tokens,
            "num_sentences": num_sentences,
            **({"joined_tokens": manifest["num_tokens"] - seen["words"]} if phrases else {}),
            "dropped": {
                "out_of_vocabulary_tokens": seen["words"] - num_tokens,
                "empty_sentences": manifest["num_sentences"] - num_sentences,
            },
            "shards": shards,
        }
        write_manifest(folder, "encode", content)
    return content


def _phrases_of(tokenize_folder: Path, manifest: dict[str, Any], words_path: Path) -> Phrases:
    """The phrases that the vocabulary was counted with, once it is sure to be of these tokens."""
    (recorded, phrases), found = vocabulary_sources(words_path), fingerprint(manifest["files"])
    if recorded != found:
        raise ArtifactError(
            f"{words_path} was counted from tokens {recorded[:12] or 'unknown'}, but {tokenize_folder} now holds "
            f"{found[:12]}. The corpus was tokenized again after counting. Run: dvc repro encode"
        )
    return Phrases.load(words_path.with_name("phrases.arrow"), phrases) if phrases else no_phrases()


def _encoded(
    tokenize_folder: Path, manifest: dict[str, Any], vocab: Vocab, phrases: Phrases, seen: Counter[str]
) -> Iterator[Sentences]:
    """Sentences of each token shard in ids of the vocabulary, without other words and without empty sentences.

    seen["words"] counts what the sentences held before that, each phrase as one word.
    """
    table = WordTable()
    table.add(vocab.arrow_words())
    passes = pair_tables(phrases, table)
    vocabulary_ids = np.arange(len(table) + 1, dtype=np.int32)  # a phrase and its parts need not be in the vocabulary
    vocabulary_ids[len(vocab) :] = -1
    with progress(manifest["num_tokens"], "token", "encode") as bar:
        for index in range(len(manifest["shards"])):
            ids, offsets, word_ids = map_shard(tokenize_folder, index, table)
            bar.update(len(ids))
            if passes:
                ids, offsets = joined_sentences((ids, offsets, word_ids), table, passes)
                word_ids = vocabulary_ids
            seen["words"] += len(ids)
            yield _translate(ids, offsets, word_ids)


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
                yield _joined(pending)
                pending, filled = [], 0
    if pending:
        yield _joined(pending)


def _joined(parts: list[Sentences]) -> Sentences:
    starts = np.cumsum([0, *(len(ids) for ids, _ in parts)])
    offsets = [
        np.zeros(1, dtype=np.int64),
        *(part[1:] + start for (_, part), start in zip(parts, starts, strict=False)),
    ]
    return np.concatenate([ids for ids, _ in parts]), np.concatenate(offsets)
