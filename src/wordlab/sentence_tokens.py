"""Sentences to the words that a model knows, as its corpus came to them: normalizer, tokenizer, lower case, phrases.

The parameters are those of stage `tokenize`, as the model's manifest has them; a sentencepiece model is the one that
stage trained, phrases are those that stage `vocab` found. A sentence of an evaluation set is one sentence here,
whatever full stops are in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from wordlab.artifacts import read_manifest
from wordlab.errors import ArtifactError
from wordlab.korean import korean_texts
from wordlab.morphemes import morphemes
from wordlab.phrases import Phrases, join_phrases, no_phrases, pair_tables
from wordlab.pieces import MODEL, load_pieces
from wordlab.shards import DICTIONARY_SCHEMA, map_batch
from wordlab.text_tokens import tokens_of
from wordlab.tokenizers import fold_text
from wordlab.vocab import vocabulary_sources
from wordlab.wordtable import WordTable


@dataclass(frozen=True)
class SentenceTokenizer:
    """What turns texts into words."""

    tokenizer: Literal["words", "ascii", "whitespace", "sentencepiece", "kiwi"]
    lowercase: bool
    pieces: Path
    """The sentencepiece model; read with tokenizer `sentencepiece` alone."""
    phrases: Phrases
    normalizer: str = ""
    """`korean` where the corpus went through it; empty otherwise."""

    @classmethod
    def of_pipeline(cls, data: Path, model: Path) -> SentenceTokenizer:
        """As the model's manifest, data/tokenize and data/vocab have it. model: the folder of a model.

        Raises ArtifactError where data/vocab holds another one, or phrases are missing or damaged.
        """
        trained = read_manifest(model, "train")
        config = trained.get("config", {}).get("tokenize")
        if not isinstance(config, dict) or not config.keys() >= {"tokenizer", "lowercase"}:
            raise ArtifactError(f"{model} does not say how its text was cut into words. Run: dvc repro train")
        words = data / "vocab" / "words.arrow"
        metadata = map_batch(words, DICTIONARY_SCHEMA, "vocab").schema.metadata or {}
        found = metadata.get(b"fingerprint", b"").decode()
        vocabulary = str(trained.get("vocabulary"))
        if found != vocabulary:
            raise ArtifactError(
                f"{words} holds vocabulary {found[:6] or 'without a fingerprint'}, but {model} was trained with "
                f"{vocabulary[:6]}, so sentences would be cut into other words. Run: dvc repro"
            )
        _, phrases = vocabulary_sources(words)
        loaded = Phrases.load(words.with_name("phrases.arrow"), phrases) if phrases else no_phrases()
        pieces, normalizer = data / "tokenize" / MODEL, config.get("normalizer", "")
        return cls(config["tokenizer"], config["lowercase"], pieces, loaded, normalizer)

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text, known to the model or not, phrases joined."""
        if self.normalizer == "korean":
            texts = korean_texts(texts)
        if self.tokenizer == "sentencepiece":
            found = self._pieces(texts)
        elif self.tokenizer == "kiwi":
            found = list(morphemes(texts, self.lowercase))
        else:
            found = self._tokens(texts)
        return self._joined(found) if len(self.phrases) else found

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        if not texts:
            return []
        words, ids, offsets = tokens_of(texts, self.tokenizer, self.lowercase)
        tokens = [words[local] for local in ids.tolist()]
        return [tokens[start + 1 : stop] for start, stop in pairwise(offsets.tolist())]

    def _pieces(self, texts: Sequence[str]) -> list[list[str]]:
        processor = load_pieces(self.pieces)
        unknown = processor.unk_id()
        encoded = processor.encode([fold_text(text, self.lowercase) for text in texts])
        return [processor.id_to_piece([piece for piece in pieces if piece != unknown]) for pieces in encoded]

    def _joined(self, sentences: list[list[str]]) -> list[list[str]]:
        """Pass after pass, as stage `encode` joins them."""
        table = WordTable()
        passes = pair_tables(self.phrases, table)
        ids = table.add(pa.array([word for words in sentences for word in words], pa.large_string()))
        ends = np.cumsum([0, *map(len, sentences)], dtype=np.int64)
        joined = table.words().take(pa.array(join_phrases(passes, ids, ends))).to_pylist()
        return [joined[start:stop] for start, stop in pairwise(ends.tolist())]
