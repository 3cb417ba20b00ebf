"""What benchmarks/preprocessing.py measures, in a process of its own: text to encoded shards, and gensim's count."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wordlab.sections.encode import EncodeConfig
from wordlab.sections.tokenize import FiltersConfig, SentencePieceConfig, TokenizeConfig
from wordlab.sections.vocab import PhrasesConfig, VocabConfig


def encode_text(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Stages tokenize, vocab and encode as functions, from raw files to shards in spec["out"].

    With spec["warm_up_bytes"], the first file's first lines go all the way before the timer starts.
    """
    from wordlab.counting import build_vocab
    from wordlab.encoding import encode_corpus
    from wordlab.tokenizing import tokenize_corpus

    out, tokenize = Path(spec["out"]), dict(spec["tokenize"])
    tokenize["sentencepiece"] = SentencePieceConfig(**tokenize["sentencepiece"])
    tokenize["filters"] = FiltersConfig(**tokenize["filters"])
    vocab_section = spec["vocab"] | {"phrases": PhrasesConfig(**spec["vocab"]["phrases"])}

    def work(files: list[Path]) -> dict[str, Any]:
        tokenized = tokenize_corpus(files, TokenizeConfig(**tokenize), out / "tokenize", spec["workers"])
        vocab = build_vocab(out / "tokenize", VocabConfig(**vocab_section), out / "vocab", spec["workers"])
        words = out / "vocab" / "words.arrow"
        encoded = encode_corpus(
            out / "tokenize", words, EncodeConfig(**spec["encode"]), out / "encode", spec["workers"]
        )
        return {"tokens_read": tokenized["num_tokens"], "tokens": encoded["num_tokens"], "words": vocab["num_words"]}

    files = [Path(file) for file in spec["files"]]
    if spec["warm_up_bytes"]:
        work([_first_lines(files[0], spec["warm_up_bytes"], out / "sample")])
    return _timed(lambda: work(files))


def _first_lines(path: Path, size_bytes: int, sample: Path) -> Path:
    """Copy the first lines of a file, about `size_bytes`, to `sample`, and return that."""
    with path.open("rb") as file:
        sample.write_bytes(file.read(size_bytes) + file.readline())
    return sample


def count_words(spec: Mapping[str, Any]) -> dict[str, Any]:
    """gensim's vocabulary pass over one text file."""
    from gensim.models import Word2Vec

    def work() -> dict[str, Any]:
        # The vectors, which build_vocab makes as well, are of length 1: the pass alone is measured
        model = Word2Vec(vector_size=1, min_count=spec["min_count"])
        model.build_vocab(corpus_file=spec["text"])
        return {"tokens_read": model.corpus_total_words, "words": len(model.wv)}

    return _timed(work)


def _timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, with wall seconds and the CPU seconds of this process and its children."""
    started, cpu_started = time.perf_counter(), _cpu_seconds()
    found = work()
    return {**found, "wall_seconds": time.perf_counter() - started, "cpu_seconds": _cpu_seconds() - cpu_started}


def _cpu_seconds() -> float:
    """User and system time of this process and of those it has started and seen end."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


WORK = {"encode": encode_text, "count": count_words}
