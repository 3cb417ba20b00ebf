"""Configurations and small corpora for the tests of preprocessing."""

from itertools import pairwise
from pathlib import Path

from wordlab.sections.tokenize import FiltersConfig, SentencePieceConfig, TokenizeConfig
from wordlab.sections.vocab import PhrasesConfig, VocabConfig
from wordlab.shards import DICTIONARY_SCHEMA, map_batch, map_sentences
from wordlab.tokenizing import tokenize_corpus


def tokenize_config(**changes) -> TokenizeConfig:
    values = {
        "normalizer": "plain",
        "tokenizer": "words",
        "lowercase": True,
        "sentences": "lines",
        "invalid_bytes": "error",
        "max_bytes": 0,
        "shard_bytes": 1 << 20,
        "count_words": False,
        "filters": filters_config(),
        "sentencepiece": sentencepiece_config(),
    }
    return TokenizeConfig(**(values | changes))


def filters_config(**changes) -> FiltersConfig:
    values = {"unit": "lines", "min_chars": 0, "max_chars": 0, "duplicates": "keep", "near_duplicates": 0.0}
    return FiltersConfig(**(values | changes))


def sentencepiece_config(**changes) -> SentencePieceConfig:
    values = {"model_type": "unigram", "vocab_size": 30, "character_coverage": 1.0, "sample_bytes": 20_000}
    return SentencePieceConfig(**(values | changes))


def vocab_config(**changes) -> VocabConfig:
    values = {"min_count": 1, "max_size": 0, "subsample_t": 1e-3, "noise_power": 0.75, "phrases": phrases_config()}
    return VocabConfig(**(values | changes))


def phrases_config(*thresholds: float, delta: int = 5) -> PhrasesConfig:
    return PhrasesConfig(thresholds=thresholds, delta=delta)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tokenized(folder: Path, content: str | bytes, **changes) -> Path:
    """The output folder of stage tokenize for one file with this content."""
    source = written(folder / "corpus.txt", content)
    tokenize_corpus([source], tokenize_config(**changes), folder / "tokenize", workers=1)
    return folder / "tokenize"


def read_sentences(folder: Path) -> list[list[str]]:
    """All sentences of a tokenize folder as words."""
    sentences = []
    for path in sorted(folder.glob("tokens-*.arrow")):
        ids, offsets = map_sentences(path, "tokenize", verify=True)
        dictionary = folder / path.name.replace("tokens", "dictionary")
        words = map_batch(dictionary, DICTIONARY_SCHEMA, "tokenize").column(0).to_pylist()
        tokens = [words[i] for i in ids.tolist()]
        bounds = offsets.tolist()
        sentences += [tokens[start:stop] for start, stop in pairwise(bounds)]
    return sentences
