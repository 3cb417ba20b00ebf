"""Vectors from and to gensim: KeyedVectors, or FastTextKeyedVectors for models with n-grams of characters.

gensim holds a row for every bucket, used or not: 800 MB for 2,000,000 buckets and 100 dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from wordlab.errors import QueryError
from wordlab.formats.contents import Contents
from wordlab.machine import require_memory

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

    from wordlab.subword_vectors import SubwordVectors


def taken_over(vectors: KeyedVectors) -> Contents:
    """What gensim holds; its arrays are used, not copied."""
    counts = vectors.expandos.get("count")
    return Contents(
        words=pa.array(vectors.index_to_key, pa.large_string()),
        vectors=vectors.vectors,
        counts=None if counts is None else np.asarray(counts, np.int64),
        subwords=_subwords(vectors),
    )


def _subwords(vectors: Any) -> SubwordVectors | None:
    """Rows of a FastTextKeyedVectors; None for other vectors, and where it has no n-grams."""
    rows = getattr(vectors, "vectors_ngrams", None)
    if rows is None or len(rows) == 0 or vectors.max_n < max(vectors.min_n, 1):
        return None
    from wordlab.ngrams import Ngrams  # compiled functions, which not everybody needs
    from wordlab.subword_vectors import SubwordVectors

    return SubwordVectors(
        ngrams=Ngrams(max(vectors.min_n, 1), vectors.max_n, vectors.bucket),
        word_rows=vectors.vectors_vocab,
        buckets=np.arange(vectors.bucket, dtype=np.int32),
        rows=rows,
    )


def handed_over(contents: Contents) -> KeyedVectors:
    """A copy of words, vectors, counts and rows of n-grams as gensim holds them. Raises QueryError without gensim."""
    try:
        from gensim.models import KeyedVectors
        from gensim.models.fasttext import FastTextKeyedVectors
    except ImportError:
        raise QueryError("gensim is not installed. Install it with: pip install gensim") from None
    num_words, dim = contents.vectors.shape
    subwords = contents.subwords
    if subwords is None:
        vectors = KeyedVectors(dim, dtype=np.float32)
        vectors.add_vectors(contents.words.to_pylist(), np.array(contents.vectors))
    else:
        ngrams = subwords.ngrams
        if ngrams.units != "characters":
            raise QueryError(
                f"gensim knows n-grams of characters alone, and this model's are of {ngrams.units}. For the vectors of "
                "known words: Embeddings(model.words, model.input_vectors).to_keyed_vectors()"
            )
        need = 4 * dim * (2 * num_words + ngrams.buckets)
        require_memory(need, "gensim's vectors, with a row for every bucket,", "fewer buckets (model.subwords.buckets)")
        vectors = FastTextKeyedVectors(dim, ngrams.min_n, ngrams.max_n, ngrams.buckets, count=num_words)
        vectors.index_to_key = contents.words.to_pylist()
        vectors.key_to_index = {word: row for row, word in enumerate(vectors.index_to_key)}
        vectors.vectors, vectors.vectors_vocab = np.array(contents.vectors), np.array(subwords.word_rows)
        vectors.vectors_ngrams = np.zeros((ngrams.buckets, dim), np.float32)
        vectors.vectors_ngrams[subwords.buckets] = subwords.rows
        bags = ngrams.of_words(contents.words)
        vectors.buckets_word = np.split(bags.bucket.astype(np.uint32), bags.start[1:-1])
    if contents.counts is not None:
        vectors.expandos["count"] = np.array(contents.counts)
    return vectors
