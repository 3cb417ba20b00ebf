"""The encoded corpus that every program is measured on, and the same tokens as a text file for gensim."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.artifacts import fingerprint, read_manifest
from wordlab.config import VocabConfig
from wordlab.errors import ArtifactError
from wordlab.shards import DICTIONARY_SCHEMA, EncodedCorpus, Shard, map_batch, map_sentences
from wordlab.stage import say
from wordlab.training import TrainingData
from wordlab.vocab import SamplingTables

Sentences = tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int64]]
"""Words by id, as Python strings; ids, shape (num_tokens,); offsets of the sentences, shape (num_sentences + 1,)."""
SENTENCES_AT_ONCE = 100_000
"""Sentences turned into text at a time: some tens of megabytes."""
GENSIM_MAX_SENTENCE = 10_000
"""gensim cuts longer lines, silently."""


@dataclass(frozen=True)
class BenchCorpus:
    """Vocabulary and encoded corpus of a pipeline, checked to belong to each other and to params.yaml."""

    vocab_folder: Path
    encode_folder: Path
    data: TrainingData

    @classmethod
    def open(cls, vocab_folder: Path, encode_folder: Path, config: VocabConfig) -> BenchCorpus:
        """Raises ArtifactError where a folder is missing or stale, or was made with other parameters than `config`."""
        for folder in (vocab_folder, encode_folder):
            if not folder.is_dir():
                raise ArtifactError(
                    f"{folder} does not exist, and benchmarks need an encoded corpus. Run: make run, or name other "
                    "folders, see: python -m benchmarks.bench --help"
                )
        data = TrainingData.open(vocab_folder, encode_folder)
        wanted = SamplingTables.build(data.vocab.counts, config.subsample_t, config.noise_power)
        if not np.array_equal(wanted.keep_probability, data.tables.keep_probability) or not np.allclose(
            wanted.noise_probability, data.tables.noise_probability
        ):
            raise ArtifactError(
                f"{vocab_folder / 'sampling.arrow'} was made with another subsample_t or noise_power than params.yaml "
                "has, so gensim would be given other ones. Run: dvc repro vocab"
            )
        return cls(vocab_folder.absolute(), encode_folder.absolute(), data)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the vocabulary, all ids and all sentence ends: equal however the corpus is cut into shards."""
        digest = hashlib.sha256(self.data.vocab.fingerprint.encode())
        before = 0
        for shard in self.data.corpus.shards:
            digest.update(shard.ids.tobytes())
            digest.update((shard.offsets[1:] + before).tobytes())
            before += shard.num_tokens
        return digest.hexdigest()

    @cached_property
    def kept_fraction(self) -> float:
        """Share of the tokens that survive subsampling, in expectation."""
        counts = self.data.vocab.counts
        return float((counts * self.data.tables.keep_probability.astype(np.float64)).sum() / counts.sum())

    def write_text(self, folder: Path) -> Path:
        """The corpus as text in `folder`, one sentence a line; written once. Returns its path.

        Raises ArtifactError for a word with white space in it, or a sentence that gensim would cut.
        """
        path = folder / f"corpus-{self.fingerprint[:16]}.txt"
        if path.exists():
            return path.absolute()
        self._require_one_line_a_sentence()
        say(f"writing {self.data.corpus.num_tokens:,} tokens as text for gensim")
        words = np.array(self.data.vocab.words, dtype=object)
        write_lines(path, ((words, shard.ids, shard.offsets) for shard in self.data.corpus.shards))
        return path.absolute()

    def _require_one_line_a_sentence(self) -> None:
        spaced = next((word for word in self.data.vocab.words if word.split() != [word]), None)
        if spaced is not None:
            raise ArtifactError(
                f"{self.vocab_folder} has the word {spaced!r}, with white space in it, which gensim would split. "
                "Use another tokenize.tokenizer, then run: dvc repro encode"
            )
        longest = max(int(np.diff(shard.offsets).max(initial=0)) for shard in self.data.corpus.shards)
        if longest > GENSIM_MAX_SENTENCE:
            raise ArtifactError(
                f"{self.encode_folder} has a sentence of {longest:,} tokens; gensim cuts at {GENSIM_MAX_SENTENCE:,}, "
                "so the programs would not read the same text. Set tokenize.sentences to punctuation and run: dvc repro"
            )


def first_tokens(data: TrainingData, limit: int) -> TrainingData:
    """The first shard's sentences that end within its first `limit` tokens, at least one: to warm up on."""
    shard = data.corpus.shards[0]
    sentences = max(1, int(np.searchsorted(shard.offsets, limit, side="right")) - 1)
    offsets = shard.offsets[: sentences + 1]
    part = Shard(shard.ids[: offsets[-1]], offsets)
    corpus = EncodedCorpus(
        [part], part.num_tokens, part.num_sentences, data.corpus.vocabulary, fingerprint(["part", int(offsets[-1])])
    )
    return TrainingData(data.vocab, data.tables, corpus)


def token_text(tokenize_folder: Path, scratch: Path) -> Path:
    """All tokens of stage `tokenize`, rare words included, as plain text, one sentence a line; written once."""
    manifest = read_manifest(tokenize_folder, "tokenize")
    path = scratch / f"tokens-{fingerprint(manifest['files'])[:16]}.txt"
    if not path.exists():
        say(f"writing {manifest['num_tokens']:,} tokens as plain text")
        write_lines(path, (_token_shard(tokenize_folder, index) for index in range(len(manifest["shards"]))))
    return path.absolute()


def _token_shard(folder: Path, index: int) -> Sentences:
    dictionary = map_batch(folder / f"dictionary-{index:05d}.arrow", DICTIONARY_SCHEMA, "tokenize")
    ids, offsets = map_sentences(folder / f"tokens-{index:05d}.arrow", "tokenize")
    return np.array(dictionary.column(0).to_pylist(), dtype=object), ids, offsets


def write_lines(path: Path, parts: Iterable[Sentences]) -> None:
    """Write sentences as text, one a line, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(".tmp")
    with building.open("w", encoding="utf-8", newline="\n") as file:
        for words, ids, offsets in parts:
            for start in range(0, len(offsets) - 1, SENTENCES_AT_ONCE):
                ends = offsets[start : start + SENTENCES_AT_ONCE + 1]
                text = words[ids[ends[0] : ends[-1]]].tolist()
                bounds = (ends - ends[0]).tolist()
                file.writelines(" ".join(text[a:b]) + "\n" for a, b in pairwise(bounds))
    building.replace(path)
