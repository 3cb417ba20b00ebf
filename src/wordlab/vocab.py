"""The vocabulary: words, their counts, and the two distributions training draws from.

`words.arrow` and `sampling.arrow` are separate files because they change for different reasons: `encode` depends on the
words alone, so a new `subsample_t` encodes nothing anew. Each sampling file names the words it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.errors import ArtifactError
from wordlab.shards import DICTIONARY_SCHEMA, map_batch, string_buffers, write_batch

SAMPLING_SCHEMA = pa.schema([pa.field("keep_probability", pa.float32()), pa.field("noise_probability", pa.float64())])


@dataclass(frozen=True, eq=False)
class Vocab:
    """Words in the order of their ids. Stage `vocab` orders by count, falling, then by the word's UTF-8 bytes."""

    array: pa.LargeStringArray
    """The words, shape (V,); a view of the mapped file where they were loaded."""
    counts: NDArray[np.int64]
    """Tokens per word in the corpus, shape (V,)."""
    fingerprint: str
    """SHA-256 over words and counts: what a file of word ids must name to belong to this vocabulary."""

    @classmethod
    def build(cls, words: Sequence[str], counts: Sequence[int] | NDArray[np.int64]) -> Vocab:
        """A vocabulary of these words in this order, with its fingerprint."""
        return cls.from_arrow(pa.array(words, pa.large_string()), np.asarray(counts, dtype=np.int64))

    @classmethod
    def from_arrow(cls, words: pa.LargeStringArray, counts: NDArray[np.int64]) -> Vocab:
        """The same from an Arrow array, without a null."""
        assert len(words) == len(counts) and words.null_count == 0
        return cls(words, counts, words_fingerprint(words, counts))

    @classmethod
    def load(cls, path: Path) -> Vocab:
        """Read words.arrow. Raises ArtifactError if it is missing or damaged."""
        batch = map_batch(Path(path), DICTIONARY_SCHEMA, "vocab")
        vocab = cls.from_arrow(batch.column(0), batch.column(1).to_numpy().copy())
        recorded = (batch.schema.metadata or {}).get(b"fingerprint", b"").decode()
        if recorded != vocab.fingerprint:
            raise ArtifactError(
                f"{path} is damaged: it records fingerprint {recorded[:12] or 'none'}, but its words have "
                f"{vocab.fingerprint[:12]}. Run: dvc repro vocab"
            )
        return vocab

    def save(self, path: Path, tokens: str = "", phrases: str = "") -> None:
        """Write words.arrow, the fingerprint in the schema's metadata.

        tokens, phrases: fingerprints of the token shards that were counted, and of the phrases joined in them, if any.
        """
        metadata = {"fingerprint": self.fingerprint, "tokens": tokens} | ({"phrases": phrases} if phrases else {})
        schema = DICTIONARY_SCHEMA.with_metadata(metadata)
        write_batch(Path(path), pa.record_batch([self.array, pa.array(self.counts)], schema=schema))

    def arrow_words(self) -> pa.LargeStringArray:
        return self.array

    @cached_property
    def words(self) -> list[str]:
        """The same as Python strings, made when first asked for (about 90 bytes a word)."""
        return self.array.to_pylist()

    @cached_property
    def index(self) -> dict[str, int]:
        """Word -> word id."""
        return {word: word_id for word_id, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.array)


def vocabulary_sources(path: Path) -> tuple[str, str]:
    """Fingerprints of the token shards that words.arrow was counted from, and of the phrases joined in them.

    Empty where it does not say, the second where no phrase was joined.
    """
    metadata = map_batch(path, DICTIONARY_SCHEMA, "vocab").schema.metadata or {}
    return metadata.get(b"tokens", b"").decode(), metadata.get(b"phrases", b"").decode()


def words_fingerprint(words: pa.LargeStringArray, counts: NDArray[np.int64]) -> str:
    """SHA-256 over number of words, end offsets, UTF-8 bytes, and counts; numbers as little-endian int64."""
    offsets, utf8 = string_buffers(words)
    digest = hashlib.sha256(np.asarray(len(words), dtype="<i8").tobytes())
    digest.update((offsets[1:] - offsets[0]).astype("<i8").tobytes())
    digest.update(utf8[offsets[0] : offsets[-1]].tobytes())
    digest.update(counts.astype("<i8").tobytes())
    return digest.hexdigest()


def keep_probability(counts: NDArray[np.int64], t: float) -> NDArray[np.float32]:
    """Chance that one token of each word survives frequent-word subsampling.

        keep(w) = min(1, sqrt(t / f(w)) + t / f(w)),    f(w) = counts[w] / counts.sum()

    The rule of word2vec.c and fastText. Mikolov et al. (2013b, eq. 5) print only the square root, and
    hyperwords follows the paper. We follow the programs, whose numbers we compare with.

    counts: tokens per word id, shape (V,), all positive.   t: fraction of tokens, usually 1e-5 to 1e-3; 0 keeps all.
    Returns shape (V,), values in (0, 1].   Raises ValueError if t < 0.
    """
    if t < 0:
        raise ValueError(f"t is {t}, but must be a fraction of all tokens, or 0 to keep every token")
    if t == 0:
        return np.ones(len(counts), dtype=np.float32)
    relative = t * counts.sum() / counts
    return np.minimum(1.0, np.sqrt(relative) + relative).astype(np.float32)


def noise_distribution(counts: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """Chance of each word to be drawn as a noise word: counts ** power, divided by the sum.

    counts: shape (V,), all positive.   power: 0.75 in word2vec; 0 draws all words alike.
    Returns shape (V,), sums to 1.
    """
    weights = counts.astype(np.float64) ** power
    return weights / weights.sum()


@dataclass(frozen=True, eq=False)
class SamplingTables:
    """What training draws from: sampling.arrow."""

    keep_probability: NDArray[np.float32]
    """Shape (V,)."""
    noise_probability: NDArray[np.float64]
    """Shape (V,), sums to 1."""

    @classmethod
    def build(cls, counts: NDArray[np.int64], subsample_t: float, noise_power: float) -> SamplingTables:
        return cls(keep_probability(counts, subsample_t), noise_distribution(counts, noise_power))

    @classmethod
    def load(cls, path: Path, vocab: Vocab) -> SamplingTables:
        """Read sampling.arrow. Raises ArtifactError if it is missing or damaged, or belongs to another vocabulary."""
        batch = map_batch(Path(path), SAMPLING_SCHEMA, "vocab")
        recorded = (batch.schema.metadata or {}).get(b"fingerprint", b"").decode()
        if recorded != vocab.fingerprint or batch.num_rows != len(vocab):
            raise ArtifactError(
                f"{path} was written for vocabulary {recorded[:12] or 'unknown'} of {batch.num_rows} words, but the "
                f"words are vocabulary {vocab.fingerprint[:12]} of {len(vocab)} words. Run: dvc repro vocab"
            )
        keep, noise = batch.column(0).to_numpy().copy(), batch.column(1).to_numpy().copy()
        chances = ((keep > 0) & (keep <= 1) & (noise >= 0) & (noise <= 1)).all()
        if not chances or abs(noise.sum() - 1) > 1e-6:
            raise ArtifactError(
                f"{path} is damaged: keep probabilities must be above 0 and at most 1, noise probabilities add up "
                "to 1. Run: dvc repro vocab"
            )
        return cls(keep, noise)

    def save(self, path: Path, vocabulary: str) -> None:
        """Write sampling.arrow for the vocabulary with this fingerprint."""
        schema = SAMPLING_SCHEMA.with_metadata({"fingerprint": vocabulary})
        columns = [pa.array(self.keep_probability), pa.array(self.noise_probability)]
        write_batch(Path(path), pa.record_batch(columns, schema=schema))
