"""What a model of pieces or morphemes is asked about: the words of its corpus, with vectors made of their tokens'.

So that models of different tokenizers answer the same questions with the same words, stage `tokenize` counts the words
(those of tokenizer `words`) beside the tokens, and they are cut down by `vocab.min_count` and `max_size` as a
vocabulary is. They are then the very words that a model of tokenizer `words` has of the same text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wordlab.artifacts import fingerprint, read_manifest
from wordlab.composed_words import mean_vectors_of_tokens
from wordlab.dictionaries import map_dictionary, merged
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, ConfigError
from wordlab.frequent_words import FrequentWords
from wordlab.sections.reading import parse_section
from wordlab.sections.vocab import VocabConfig
from wordlab.sentence_tokens import SentenceTokenizer
from wordlab.shards import read_tokens_manifest
from wordlab.tokenizers import CUT_IN_PARTS, words_name
from wordlab.vocab import Vocab, vocabulary_sources


def asked_words(data: Path, folder: Path, embeddings: Embeddings) -> tuple[Embeddings, dict[str, int]]:
    """What the model in `folder`, whose vectors are given, is asked about, and what to report of it.

    data: of the pipeline whose tokens the model has. The model itself where these are words already. A word of which no
    token is known has a vector of zeros: it is asked as it is of other models, and never the right answer.
    Raises ConfigError where stage tokenize has counted no words, ArtifactError where files are missing or do not fit.
    """
    config = read_manifest(folder, "train").get("config", {})
    if config.get("tokenize", {}).get("tokenizer") not in CUT_IN_PARTS:
        return embeddings, {}
    vocab = _words_of_corpus(data, _vocab_config(config, folder))
    cut = SentenceTokenizer.of_pipeline(data, folder).words(vocab.words)
    rows = {token: row for row, token in enumerate(embeddings.words)}
    vectors, known = mean_vectors_of_tokens(cut, rows, embeddings.input_vectors)
    report = {"words": len(vocab), "without_a_known_token": int((known == 0).sum())}
    about: dict[str, Any] = {**(embeddings.config or {}), "tokenize": {**config["tokenize"], "tokenizer": "words"}}
    return Embeddings(vocab.array, vectors, counts=vocab.counts, config=about), report


def _vocab_config(config: dict[str, Any], folder: Path) -> VocabConfig:
    try:
        found: VocabConfig = parse_section(VocabConfig, config.get("vocab"), "vocab")
    except ConfigError as error:
        reason = str(error).removeprefix("params.yaml: ")
        raise ArtifactError(f"{folder} does not say how its vocabulary was cut: {reason} Run: dvc repro") from None
    return found


def _words_of_corpus(data: Path, config: VocabConfig) -> Vocab:
    tokens = data / "tokenize"
    manifest = read_tokens_manifest(tokens)
    names = [words_name(shard) for shard in range(len(manifest["shards"]))]
    if not set(names) <= manifest["files"].keys():
        raise ConfigError(
            "params.yaml: evaluate.words is corpus, but stage tokenize has not counted the words of the corpus. Set "
            "tokenize.count_words to true, then run: dvc repro"
        )
    if vocabulary_sources(data / "vocab" / "words.arrow")[0] != fingerprint(manifest["files"]):
        raise ArtifactError(f"{data / 'vocab'} was made of other tokens than those in {tokens}. Run: dvc repro")
    words = FrequentWords(config.min_count, config.max_size)
    words.add(*merged(map_dictionary(tokens / name) for name in names))
    return words.select(config)[0]
