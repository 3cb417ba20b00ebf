"""Finished word vectors: look up, compare, solve analogies, load and save.

    vectors = Embeddings.load("data/train/seed-1", mmap=True)
    vectors.nearest("france")                        # [("germany", 0.81), ...]
    vectors.analogy("man", "king", "woman")          # man is to king as woman is to ...

The vectors are the model's input vectors, the ones word2vec exports. A model folder opened with mmap=True is read from
the page cache as questions need it and shared by all processes that open it; only one number a word (its length) is
computed and kept. `normalized()` makes a copy of the whole matrix and is meant for evaluation, not for serving. Threads
may share one object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.errors import ArtifactError, QueryError
from wordlab.formats import gensim_vectors, registry
from wordlab.formats.contents import Contents
from wordlab.machine import require_memory
from wordlab.model_folder import load_folder
from wordlab.nearest import Answer, NearestRows
from wordlab.versions import of_one_version
from wordlab.word_index import WordIndex

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

    from wordlab.subword_vectors import SubwordVectors

BLOCK_BYTES = 1 << 24
"""Rows are normalised this many bytes at a time, so that a mapped matrix never needs memory of its own size."""
MULTIPLICATION_EPSILON = 0.001
"""ε of 3CosMul, which keeps it from dividing by zero: Levy and Goldberg's (2014) value, where gensim has 0.000001."""


class Embeddings:
    """Words and their vectors, row by row.

    input_vectors: float32, shape (V, dim), C order; may be a read-only memory map.
    output_vectors: the same shape, or None.   counts: int64, shape (V,), occurrences in the corpus, or None.
    fingerprint: SHA-256 of the file with the input vectors, of a model folder; None for others.
    subwords: what vectors of other words are made of, or None.   config: how the model was trained, in sections and
    names of params.yaml, as far as it is known, or None.
    word_ngram_rows: of arch sent2vec, float32 (buckets, dim), or None.
    """

    def __init__(
        self,
        words: Sequence[str] | pa.LargeStringArray,
        input_vectors: NDArray[np.float32],
        output_vectors: NDArray[np.float32] | None = None,
        counts: NDArray[np.int64] | None = None,
        fingerprint: str | None = None,
        subwords: SubwordVectors | None = None,
        config: dict[str, Any] | None = None,
        word_ngram_rows: NDArray[np.float32] | None = None,
    ) -> None:
        self.index = WordIndex(words)
        for name, vectors in (("input_vectors", input_vectors), ("output_vectors", output_vectors)):
            if vectors is not None and (vectors.ndim != 2 or len(vectors) != len(self.index)):
                raise QueryError(
                    f"{name} has shape {vectors.shape}, but there are {len(self.index):,} words: "
                    f"give an array of shape ({len(self.index)}, dim)."
                )
        if word_ngram_rows is not None:
            shape, dim = word_ngram_rows.shape, input_vectors.shape[1]
            if len(shape) != 2 or shape[0] == 0 or shape[1] != dim:
                raise QueryError(f"word_ngram_rows has shape {shape}: give an array of shape (buckets, {dim}).")
            if "sent2vec" not in (config or {}).get("model", {}):
                raise QueryError("word_ngram_rows needs config['model']['sent2vec'], which says how long n-grams are.")
        self.input_vectors = np.asarray(input_vectors, np.float32, order="C")
        self.output_vectors = None if output_vectors is None else np.asarray(output_vectors, np.float32, order="C")
        self.counts = counts
        self.fingerprint = fingerprint
        self._rows = NearestRows(self.input_vectors)
        self.subwords = subwords
        self.config = config
        self.word_ngram_rows = word_ngram_rows
        self._normalized: NDArray[np.float32] | None = None

    @classmethod
    def load(cls, path: Path | str, mmap: bool = False, output_vectors: bool = False) -> Embeddings:
        """Open a model folder (data/train/seed-N), or a file in any format of `wordlab.formats`, told by its content.

        mmap: map the vectors instead of reading them; opens a folder of any size in milliseconds. Of the files,
        safetensors and NumPy's can be mapped.
        output_vectors: also load a model folder's output vectors; of a file, whatever it has is loaded.
        A folder that is replaced meanwhile is opened anew: words and vectors are of one model (`versions`).
        Raises ArtifactError where the files are missing, damaged or do not fit together; ResourceError, before
        anything is allocated, where the vectors do not fit in free memory.
        """
        path = Path(path)
        if path.is_dir():
            return cls(**of_one_version(path, "train", lambda held: load_folder(held, mmap, output_vectors)))
        if not path.exists():
            raise ArtifactError(
                f"{path} does not exist. Train a model with: dvc repro, or name a model folder or a file of vectors."
            )
        return cls._of(registry.load(path, mmap))

    def save(self, path: Path | str, format: str = "text") -> None:
        """Write a file for other programs; it appears when it is whole. What each format holds: docs/formats.md.

        format: text, binary (word2vec's), glove, fasttext, safetensors or numpy.
        Raises QueryError for words or n-grams that the format cannot hold.
        """
        registry.save(Path(path), format, self._contents())

    @classmethod
    def from_keyed_vectors(cls, vectors: KeyedVectors) -> Embeddings:
        """Take words and vectors over from gensim, and counts and rows of n-grams, where gensim has them."""
        return cls._of(gensim_vectors.taken_over(vectors))

    def to_keyed_vectors(self) -> KeyedVectors:
        """A gensim KeyedVectors with a copy of the vectors; FastTextKeyedVectors where there are n-grams of characters.

        Raises QueryError where gensim is not installed, ResourceError where gensim's row for every bucket is too much.
        """
        return gensim_vectors.handed_over(self._contents())

    @classmethod
    def _of(cls, held: Contents) -> Embeddings:
        return cls(
            held.words,
            held.vectors,
            held.output_vectors,
            held.counts,
            subwords=held.subwords,
            config=held.config,
        )

    def _contents(self) -> Contents:
        return Contents(
            self.index.array, self.input_vectors, self.counts, self.output_vectors, self.subwords, self.config
        )

    @property
    def words(self) -> list[str]:
        """All words, by row. Made when first asked for."""
        return self.index.words

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.input_vectors.shape[1]

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, word: str) -> bool:
        return self.index.find(word) >= 0

    def vector(self, word: str) -> NDArray[np.float32]:
        """A word's input vector, shape (dim,); with subwords also an unknown word's, made of its n-grams.

        Raises UnknownWordError, which is a KeyError, with close matches.
        """
        return self._vector_and_row(word)[0]

    def _vector_and_row(self, word: str) -> tuple[NDArray[np.float32], int | None]:
        """The row is None for a word outside the vocabulary, which only subwords give a vector."""
        row = self.index.find(word)
        if row >= 0:
            return self.input_vectors[row], row
        made = self.subwords.vector(word) if self.subwords else None
        return (self.input_vectors[self.index.row(word)] if made is None else made), None

    def sentence_vector(self, sentence: str | Sequence[str]) -> NDArray[np.float32]:
        """Vector of a sentence, shape (dim,): see `sentence_vectors`."""
        return self.sentence_vectors([sentence])[0]

    def sentence_vectors(self, sentences: Sequence[str] | Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Vectors of sentences, (sentences, dim): the mean of their known words' vectors and, of arch sent2vec, of the
        rows of their word n-grams; zeros for a sentence without a known word.

        sentences: texts, which are tokenized as the model's corpus was, or lists of words as the vocabulary has them.
        Raises QueryError for texts where the model does not say how that was: those read from files do not.
        """
        from wordlab.sentence_vectors import SentenceRule, sentence_vectors

        rule = SentenceRule.of_config(self.config or {}, self.word_ngram_rows)
        return sentence_vectors(sentences, rule, self.index, self.input_vectors)

    def nearest(self, query: str | NDArray[Any], count: int = 10) -> list[tuple[str, float]]:
        """The `count` words of highest cosine with a word (itself left out) or a vector, the nearest first.

        With subwords the word may be one that the vocabulary lacks.
        Exact: cosines are summed in float64, and no word is missing (`nearest.NearestRows`). Words of equal cosine come
        in row order. A row or query of zeros has cosine 0 with everything.
        Raises UnknownWordError, or QueryError for a vector that is not `dim` finite numbers.
        """
        return self.nearest_many([query], count)[0]

    def nearest_many(
        self, queries: Sequence[str | NDArray[Any]] | NDArray[Any], count: int = 10
    ) -> list[list[tuple[str, float]]]:
        """What `nearest` says of each of these words or vectors, in much less time than one by one.

        queries: words, vectors, or an array of shape (Q, dim).
        """
        vectors, leave_out = self.questions(queries)
        return [self.told(answer) for answer in self._rows.best(vectors, _positive(count), leave_out)]

    def questions(
        self, queries: Sequence[str | NDArray[Any]] | NDArray[Any]
    ) -> tuple[NDArray[np.float32], list[list[int]]]:
        """The vectors that words and vectors ask about, shape (Q, dim), and the rows that are no answer to each."""
        if isinstance(queries, str):
            raise QueryError(f"nearest_many takes a list of words or vectors: give [{queries!r}], or ask nearest.")
        vectors, leave_out = np.empty((len(queries), self.dim), np.float32), []
        for place, query in enumerate(queries):
            vectors[place], row = (
                self._vector_and_row(query) if isinstance(query, str) else (self._checked(query), None)
            )
            leave_out.append([] if row is None else [row])
        return vectors, leave_out

    def told(self, answer: Answer) -> list[tuple[str, float]]:
        """Rows and cosines as words and cosines."""
        return [(self.index[row], cosine) for row, cosine in zip(*map(np.ndarray.tolist, answer), strict=True)]

    def analogy(self, a: str, b: str, c: str, count: int = 10, method: str = "add") -> list[tuple[str, float]]:
        """Words d such that `a` is to `b` as `c` is to d, the best first, with their scores; never a, b or c.

        method "add" (3CosAdd): cosine of d with b - a + c, each of unit length.
        method "mul" (3CosMul, Levy and Goldberg 2014): cos(d, b) * cos(d, c) / (cos(d, a) + 0.001), with every cosine
        moved from [-1, 1] to [0, 1].
        """
        rows = [self.index.row(word) for word in (a, b, c)]
        if method == "add":
            unit_a, unit_b, unit_c = unit_rows(self.input_vectors[rows])
            return self.told(self._rows.best((unit_b - unit_a + unit_c)[None], _positive(count), [rows])[0])
        if method == "mul":
            cos_a, cos_b, cos_c = self._rows.cosines(self.input_vectors[rows]) / 2 + np.float32(0.5)
            scores = cos_b * cos_c / (cos_a + np.float32(MULTIPLICATION_EPSILON))
            return self._best(scores, _positive(count), leave_out=rows)
        raise QueryError(f"analogy has no method {method!r}: give 'add' (3CosAdd) or 'mul' (3CosMul).")

    def normalized(self) -> NDArray[np.float32]:
        """All input vectors at length 1, float32, shape (V, dim), read-only; rows of zeros stay zero. Made once."""
        if self._normalized is None:
            require_memory(self.input_vectors.nbytes, "the normalised vectors", "vocab.max_size or model.dim")
            unit = np.empty_like(self.input_vectors)
            for rows in self._blocks():
                unit[rows] = unit_rows(self.input_vectors[rows])
            unit.flags.writeable = False
            self._normalized = unit
        return self._normalized

    def _blocks(self) -> Iterator[slice]:
        step = max(1, BLOCK_BYTES // max(1, 4 * self.dim))
        return (slice(start, start + step) for start in range(0, len(self), step))

    def _checked(self, vector: NDArray[Any]) -> NDArray[np.float32]:
        checked = np.asarray(vector, np.float32)
        if checked.shape != (self.dim,) or not np.isfinite(checked).all():
            raise QueryError(
                f"the query vector has shape {checked.shape}, finite: {bool(np.isfinite(checked).all())}; "
                f"this model answers vectors of {self.dim} finite numbers."
            )
        return checked

    def _best(self, scores: NDArray[Any], count: int, leave_out: list[int]) -> list[tuple[str, float]]:
        scores[np.isnan(scores)] = -np.inf  # of vectors that are not finite, in files from elsewhere
        scores[leave_out] = -np.inf
        count = min(count, len(scores) - len(set(leave_out)))
        if count == 0:
            return []
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        rows = np.flatnonzero(scores >= least)
        best = rows[np.lexsort((rows, -scores[rows]))][:count]
        return [(self.index[int(row)], float(scores[row])) for row in best]


def _positive(count: int) -> int:
    if count < 1:
        raise QueryError(f"count is {count}: ask for 1 word or more.")
    return count


def row_lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean length of each row, 1 for rows of zeros so that it can divide; summed in float64. Shape (rows,)."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return np.where(lengths == 0, 1, lengths).astype(np.float32)


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row divided by its length; rows of zeros stay zero."""
    return vectors / row_lengths(vectors)[:, None]
