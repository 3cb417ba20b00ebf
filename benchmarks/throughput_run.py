"""What benchmarks/throughput.py measures beside whole runs, in a process of its own: encode alone, and word pieces."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wordlab.sections.encode import EncodeConfig
from wordlab.sections.tokenize import FiltersConfig, SentencePieceConfig, TokenizeConfig
from wordlab.sections.vocab import PhrasesConfig, VocabConfig

COPY_BYTES = 1 << 20
TURNS = 5
"""Of encode and copy, timed."""
LONGEST_LINE = 4096
WARM_UP_BYTES = 1 << 20


def repeat_tokens(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The token shards of spec["tokenize"] spec["copies"] times, in spec["out"]/tokenize, and a vocabulary of them.

    Its words are those of the corpus with spec["vocab"].
    """
    from wordlab.artifacts import read_manifest, write_manifest
    from wordlab.counting import build_vocab

    source, out, copies = Path(spec["tokenize"]), Path(spec["out"]), spec["copies"]
    (out / "tokenize").mkdir()
    content = read_manifest(source, "tokenize")
    shards, files = content["shards"], content["files"]
    known = {}
    for number, index in itertools.product(range(copies), range(len(shards))):
        for kind in ("dictionary", "tokens"):
            name, copy = (f"{kind}-{i:05d}.arrow" for i in (index, number * len(shards) + index))
            shutil.copyfile(source / name, out / "tokenize" / copy)
            known[copy] = files[name]
    sums = {key: copies * content[key] for key in ("num_tokens", "num_sentences")}
    left = {key: value for key, value in content.items() if key not in ("format", "stage", "files")}
    write_manifest(out / "tokenize", "tokenize", left | sums | {"shards": copies * shards}, known)
    config = VocabConfig(**spec["vocab"] | {"phrases": PhrasesConfig(**spec["vocab"]["phrases"])})
    config = dataclasses.replace(config, min_count=copies * config.min_count)
    return {"num_words": build_vocab(out / "tokenize", config, out / "vocab", 1)["num_words"]}


def encode_alone(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Stage encode as a function, and copies of its input's files that the disk holds, in turns, the first untimed.

    Bytes are those of ids and offsets, read and written; seconds are medians.
    """
    from wordlab.encoding import encode_corpus

    out, tokens = Path(spec["out"]), Path(spec["tokenize"])
    words, config = Path(spec["words"]), EncodeConfig(**spec["encode"])
    sources = sorted(tokens.glob("tokens-*.arrow"))

    def encode(folder: Path) -> int:
        encode_corpus(tokens, words, config, folder / "encode")
        read = sum(path.stat().st_size for path in sources)
        return read + sum(path.stat().st_size for path in (folder / "encode").glob("ids-*.arrow"))

    def copy(folder: Path) -> int:
        return 2 * sum(_copied(path, folder / path.name) for path in sources)

    found: dict[str, list[tuple[int, float, float]]] = {"encode": [], "copy": []}
    for turn in range(1 + TURNS):
        for part, work in (("encode", encode), ("copy", copy)):
            folder = out / f"{part}-{turn}"
            folder.mkdir()
            found[part].append(_timed(functools.partial(work, folder)))
            shutil.rmtree(folder)
    return {
        part: {
            "size_bytes": timed[0][0],
            "wall_seconds": statistics.median(wall for _, wall, _ in timed[1:]),
            "cpu_seconds": statistics.median(cpu for _, _, cpu in timed[1:]),
        }
        for part, timed in found.items()
    }


def _copied(source: Path, target: Path) -> int:
    """Copy a file by read and write, and wait for the disk, as a stage does. Returns its bytes."""
    size_bytes = 0
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        while data := reader.read(COPY_BYTES):
            size_bytes += writer.write(data)
        os.fsync(writer.fileno())
    return size_bytes


def train_pieces(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A sentencepiece model of the first spec["train_bytes"] of a text, line by line; written to spec["model"]."""
    import sentencepiece

    with Path(spec["text"]).open("rb") as file:
        lines = file.read(spec["train_bytes"]).decode(errors="ignore").lower().split("\n")
    building = Path(spec["model"]).with_suffix(".tmp")
    with building.open("wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(line[:LONGEST_LINE] for line in lines if line.strip()),
            model_writer=model,
            model_type=spec["sentencepiece"]["model_type"],
            vocab_size=spec["sentencepiece"]["vocab_size"],
            minloglevel=2,
        )
    building.replace(spec["model"])
    return {}


def encode_pieces(spec: Mapping[str, Any]) -> dict[str, Any]:
    """One shard through the tokenizer sentencepiece, raw bytes to files, and its sentences through the library's call
    for many, in turn, both after a piece of the text untimed."""
    from wordlab.pieces import MODEL, load_pieces
    from wordlab.shard_tokens import tokenize_shard
    from wordlab.spans import cut_into_shards
    from wordlab.text import normalized_text
    from wordlab.tokencount import split_sentences
    from wordlab.tokenizers import character_classes, fold_text

    text, out, model = Path(spec["text"]), Path(spec["out"]), Path(spec["model"])
    filters, pieces = FiltersConfig(**spec["tokenize"]["filters"]), SentencePieceConfig(**spec["sentencepiece"])
    section = TokenizeConfig(**{**spec["tokenize"], "filters": filters, "sentencepiece": pieces})
    (warm_up,) = cut_into_shards([text], WARM_UP_BYTES, find_dumps=False, max_bytes=WARM_UP_BYTES)
    (task,) = cut_into_shards([text], section.shard_bytes, find_dumps=False, max_bytes=section.shard_bytes)
    library = load_pieces(model)
    shutil.copy(model, out / MODEL)
    found: dict[str, Any] = {}
    tokenize_shard(warm_up, section, out, out)
    report, wall, cpu = _timed(lambda: tokenize_shard(task, section, out, out))
    found["ours"] = {
        "size_bytes": task.raw_bytes,
        "tokens": report.num_tokens,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
    }
    normal, _ = normalized_text(task.read(), "error")
    spans = split_sentences(normal, character_classes("sentencepiece", section.sentences)).tolist()
    sentences = [fold_text(normal[start:stop].decode(), section.lowercase) for start, stop in spans]
    unknown = library.unk_id()
    tokens = sum(len(ids) - ids.count(unknown) for ids in library.encode(sentences))
    _, wall, cpu = _timed(lambda: len(library.encode(sentences)))  # what it returns is freed, as ours is
    found["library"] = {"size_bytes": task.raw_bytes, "tokens": tokens, "wall_seconds": wall, "cpu_seconds": cpu}
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `work` returns, wall seconds, and CPU seconds of this process, all threads."""
    started, cpu_started = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - started, time.process_time() - cpu_started


WORK = {
    "repeat_tokens": repeat_tokens,
    "encode_alone": encode_alone,
    "train_pieces": train_pieces,
    "encode_pieces": encode_pieces,
}
