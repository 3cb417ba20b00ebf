"""Vectors of sentences: the mean of the rows of a sentence's words and, in models of arch sent2vec, its word n-grams.

As sent2vec's own program does it (fasttext.cc, `textVector`): unknown words are passed over, so that the words around
one become neighbours; a word or n-gram that a sentence has twice counts twice; nothing is dropped; a sentence without a
known word is a vector of zeros. In models of other arches there are no n-grams: it is the mean of the words' vectors.

Text is normalised and tokenized as the model's corpus was, one sentence a text, wherever its lines or full stops are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wordlab.errors import QueryError
from wordlab.korean import korean_texts
from wordlab.word_index import WordIndex

TEXTS_TOGETHER = 4096
"""Texts that are tokenized at once, so that memory does not grow with their number."""
FEW_WORDS = 200
"""Up to here words are looked up one by one; more are cheaper together, though that looks at the whole vocabulary."""


@dataclass(frozen=True)
class SentenceRule:
    """How a model makes a vector of a sentence."""

    tokenizer: Literal["words", "ascii", "whitespace", "sentencepiece", "kiwi"] | None = None
    """As tokenize.tokenizer, the model's corpus was tokenized with it; None: not known."""
    lowercase: bool = False
    word_ngrams: int = 1
    """Longest n-gram in words; 1: none."""
    ngram_rows: NDArray[np.float32] | None = None
    """(buckets, dim); may be a memory map."""
    normalizer: str = ""
    """`korean` where the corpus went through it, as every text then does; empty otherwise."""
    phrases: bool = False
    """Whether neighbours were joined to one word, by a table that is not in the model's folder."""

    @classmethod
    def of_config(cls, config: dict[str, Any], ngram_rows: NDArray[np.float32] | None) -> SentenceRule:
        """config: as a model's manifest has it; those of early versions do not say how text was tokenized."""
        tokenize, model = config.get("tokenize", {}), config.get("model", {})
        length = model["sent2vec"]["word_ngrams"] if ngram_rows is not None else 1
        phrases = bool(config.get("vocab", {}).get("phrases", {}).get("thresholds"))
        normalizer = tokenize.get("normalizer", "")
        lowercase = tokenize.get("lowercase", False)
        return cls(tokenize.get("tokenizer"), lowercase, length, ngram_rows, normalizer, phrases)

    @property
    def missing(self) -> str:
        """Why texts cannot be cut into words as the corpus was; empty where they can."""
        if self.tokenizer is None:
            return "the model does not say how its text was tokenized (one trained by this version does: dvc repro)"
        if self.tokenizer == "sentencepiece":
            return "the model is of word pieces, and what cuts a text into them is not in its folder"
        if self.tokenizer == "kiwi":
            return "the model is of morphemes, which Kiwi finds, and not this package"
        return "the model has phrases, and what joins words to them is not in its folder" if self.phrases else ""


class Sentences:
    """Rows of the known words of many sentences: int32, of sentence i ids[offsets[i] : offsets[i + 1]]."""

    def __init__(self, ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        self.ids, self.offsets = ids, offsets

    @classmethod
    def of_tokens(cls, sentences: Sequence[Sequence[str]], index: WordIndex) -> Sentences:
        """Words as they are written in the vocabulary."""
        number: dict[str, int] = {}
        local = [number.setdefault(word, len(number)) for sentence in sentences for word in sentence]
        ids = _rows(list(number), index)[np.array(local, np.int64)]
        return cls._known(ids, np.cumsum([0, *map(len, sentences)]))

    @classmethod
    def of_texts(cls, texts: Sequence[str], rule: SentenceRule, index: WordIndex) -> Sentences:
        """Raises QueryError where the model does not say how its text was tokenized, or by a trained tokenizer."""
        from wordlab.text_tokens import tokens_of  # compiles

        if rule.missing or rule.tokenizer is None:
            raise QueryError(f"{rule.missing}. From Python, give lists of words in the place of texts.")
        if rule.normalizer == "korean":
            texts = korean_texts(texts)
        words, local, offsets = tokens_of(texts, rule.tokenizer, rule.lowercase)
        ids = _rows(words, index)[local]
        ids[offsets[:-1]] = -1  # the marks
        return cls._known(ids, offsets)

    @classmethod
    def _known(cls, ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> Sentences:
        """Without the words of row -1."""
        known = np.concatenate([[0], np.cumsum(ids >= 0)])
        return cls(ids[ids >= 0], known[offsets])


def _rows(words: list[str], index: WordIndex) -> NDArray[np.int32]:
    """Row of each word, -1 where unknown."""
    if len(words) <= FEW_WORDS:
        return np.array([index.find(word) for word in words], np.int32)
    return index.rows(words).astype(np.int32)


def read_lines(path: Path) -> list[str]:
    """Lines of a text file that hold anything, a sentence each. Raises QueryError."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise QueryError(f"{path} cannot be read: {error.strerror}. Give a file with a sentence a line.") from None
    except UnicodeDecodeError as error:
        raise QueryError(f"{path} cannot be read as UTF-8 text: {error}. Give a file with a sentence a line.") from None
    found = [line for line in lines if line]
    if not found:
        raise QueryError(f"{path} holds no line. Give a file with a sentence a line.")
    return found


def sentence_vectors(
    sentences: Sequence[str] | Sequence[Sequence[str]],
    rule: SentenceRule,
    index: WordIndex,
    word_rows: NDArray[np.float32],
) -> NDArray[np.float32]:
    """One vector a sentence, float32 (sentences, dim). sentences: all texts, or all lists of words."""
    from wordlab.word_ngrams import mean_rows  # compiles

    if isinstance(sentences, str):
        raise QueryError("one text was given where several are wanted: put it into a list, or ask for sentence_vector.")
    are_texts = {isinstance(sentence, str) for sentence in sentences}
    if len(are_texts) > 1:
        raise QueryError("some sentences are texts and some are lists of words: give all of them in one way.")
    vectors = np.zeros((len(sentences), word_rows.shape[1]), np.float32)
    ngrams = np.zeros((1, word_rows.shape[1]), np.float32) if rule.ngram_rows is None else rule.ngram_rows
    for start in range(0, len(sentences), TEXTS_TOGETHER):
        part: Any = sentences[start : start + TEXTS_TOGETHER]
        found = Sentences.of_texts(part, rule, index) if True in are_texts else Sentences.of_tokens(part, index)
        mean_rows(found.ids, found.offsets, rule.word_ngrams, word_rows, ngrams, vectors[start : start + len(part)])
    return vectors
