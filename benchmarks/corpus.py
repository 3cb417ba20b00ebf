"""The encoded corpus that every program is measured on, and the same tokens as a text file for gensim."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from wordlab.artifacts import fingerprint, read_manifest
from wordlab.errors import ArtifactError
from wordlab.peers.corpus_text import Sentences, write_corpus_text, write_lines
from wordlab.sections.vocab import VocabConfig
from wordlab.shards import DICTIONARY_SCHEMA, EncodedCorpus, Shard, map_batch, map_sentences
from wordlab.stage import say
from wordlab.training import TrainingData
from wordlab.vocab import SamplingTables


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
        say(f"writing {self.data.corpus.num_tokens:,} tokens as text for other programs")
        write_corpus_text(self.data.vocab, self.data.corpus, path)
        return path.absolute()


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
