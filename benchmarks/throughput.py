"""How fast plain English becomes encoded shards, each of its parts held against what the machine or a library allows.

    words, whitespace    plain text to encoded shards in one process, MB of text per CPU-second
    encode alone         beside a copy of its input that the disk holds, by the clock: both wait for the disk
    sentencepiece        a shard, beside the library's own call for many sentences, per CPU-second
    two workers          beside two runs of one worker each at the same time, by the clock

The text is the corpus without its markup. It is made once, in the scratch folder; so is a model of word pieces.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.jobs import run_worker
from benchmarks.targets import Median, Target
from wordlab.artifacts import fingerprint, read_manifest
from wordlab.config import Params
from wordlab.rawtext import corpus_files
from wordlab.spans import cut_into_shards
from wordlab.stage import available_cores, say
from wordlab.text import normalized_text

WARM_UP_BYTES = 1_000_000
COPIES = 24
"""Of the raw corpus, for two workers: 2.4 GB. Of 400 MB in seven seconds, the start of processes alone is a tenth."""
PIECES = {"model_type": "unigram", "vocab_size": 32_000}
TRAIN_BYTES = 10_000_000
TOKEN_COPIES = 8
"""Of the token shards, for encode alone: of several encoded shards, one is packed while the disk takes another."""
LEAST_MB = {"words": 40, "whitespace": 80}
LEAST_OF_COPY, LEAST_OF_LIBRARY, LEAST_OF_TWO = 0.5, 0.9, 0.9
OF_COPY = "of the speed of a copy"
TOKENIZERS: dict[str, dict[str, Any]] = {
    "words": {"tokenizer": "words", "lowercase": True, "sentences": "punctuation"},
    "whitespace": {"tokenizer": "whitespace", "lowercase": False, "sentences": "lines"},
}


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where things are, and with what parameters."""

    raw: list[Path]
    text: Path
    tokenize: Path
    words: Path
    repeated: Path
    """Token shards, repeated, and their vocabulary."""
    model: Path
    scratch: Path
    params: Params

    @classmethod
    def open(cls, download: Path, tokenize: Path, vocab: Path, scratch: Path, params: Params) -> Bench:
        """Make what is not there yet. Raises ArtifactError where the pipeline has not run."""
        raw = [file.path.absolute() for file in corpus_files(download, download.parent / "source")]
        of_tokens = [read_manifest(tokenize, "tokenize")["files"], dataclasses.asdict(params.vocab), TOKEN_COPIES]
        scratch.mkdir(parents=True, exist_ok=True)
        text, model = scratch / "running-text.txt", scratch / "pieces.model"
        if not text.exists():
            say("writing the corpus as plain text")
            building = text.with_suffix(".tmp")
            with building.open("wb") as file:
                for task in cut_into_shards(raw, params.tokenize.shard_bytes, find_dumps=True):
                    file.write(normalized_text(task.read(), "drop")[0] + b"\n")
            building.replace(text)
        bench = cls(
            raw,
            text.absolute(),
            tokenize.absolute(),
            (vocab / "words.arrow").absolute(),
            (scratch / f"repeated-{fingerprint(of_tokens)[:12]}").absolute(),
            model,
            scratch,
            params,
        )
        if not bench.repeated.exists():
            say("repeating the tokens")
            building = bench.repeated.with_suffix(".tmp")
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            spec = {"tokenize": bench.tokenize, "vocab": dataclasses.asdict(params.vocab), "copies": TOKEN_COPIES}
            run_worker("repeat_tokens", spec | {"out": building})
            building.replace(bench.repeated)
        if not model.exists():
            say("training word pieces")
            spec = {"text": text.absolute(), "model": model.absolute(), "train_bytes": TRAIN_BYTES}
            run_worker("train_pieces", spec | {"sentencepiece": PIECES})
        return bench

    def section(self, **changes: Any) -> dict[str, Any]:
        """`tokenize` of params.yaml, changed, for plain text."""
        return dataclasses.asdict(dataclasses.replace(self.params.tokenize, normalizer="plain", max_bytes=0, **changes))

    def run(self, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=self.scratch, prefix="encoded-") as out:
            return run_worker(kind, {**spec, "out": Path(out).absolute()})

    def from_text(self, files: Sequence[Path], section: dict[str, Any], workers: int, warm_up: int) -> dict[str, Any]:
        """Stages tokenize, vocab and encode over these files."""
        spec = {
            "files": list(files),
            "tokenize": section,
            "vocab": dataclasses.asdict(self.params.vocab),
            "encode": dataclasses.asdict(self.params.encode),
            "workers": workers,
            "warm_up_bytes": warm_up,
        }
        return self.run("encode", spec)


def measure_plain(bench: Bench) -> dict[str, float]:
    """MB of text per CPU-second with each tokenizer."""
    size = bench.text.stat().st_size / 1e6
    return {
        name: size / bench.from_text([bench.text], bench.section(**changes), 1, WARM_UP_BYTES)["cpu_seconds"]
        for name, changes in TOKENIZERS.items()
    }


def measure_encode(bench: Bench) -> dict[str, float]:
    """MB read and written a second, by the clock: of the repeated tokens, and of the corpus alone."""
    found = {}
    for name, tokens, words in (
        ("", bench.repeated / "tokenize", bench.repeated / "vocab" / "words.arrow"),
        (", one shard", bench.tokenize, bench.words),
    ):
        spec = {"tokenize": tokens, "words": words, "encode": dataclasses.asdict(bench.params.encode)}
        for part, timed in bench.run("encode_alone", spec).items():
            found[part + name] = timed["size_bytes"] / 1e6 / timed["wall_seconds"]
    return found


def measure_pieces(bench: Bench) -> dict[str, float]:
    """MB of text per CPU-second."""
    section = bench.section(tokenizer="sentencepiece")
    pieces = {**section.pop("sentencepiece"), **PIECES}
    spec = {"text": bench.text, "model": bench.model.absolute(), "tokenize": section, "sentencepiece": pieces}
    found = bench.run("encode_pieces", spec)
    assert found["ours"]["tokens"] == found["library"]["tokens"], found
    return {name: part["size_bytes"] / 1e6 / part["cpu_seconds"] for name, part in found.items()}


def measure_workers(bench: Bench) -> dict[str, float]:
    """MB of the raw corpus a second, by the clock: one run of two workers, two runs of one."""
    files, section = bench.raw * COPIES, dataclasses.asdict(bench.params.tokenize)
    size = sum(file.stat().st_size for file in files) / 1e6
    with ThreadPoolExecutor(2) as both:
        pair = list(both.map(lambda _: bench.from_text(files, section, 1, 0), range(2)))
    together = bench.from_text(files, section, 2, 0)
    return {
        "two workers": size / together["wall_seconds"],
        "two runs": sum(size / found["wall_seconds"] for found in pair),
    }


MEASURES: dict[str, Callable[[Bench], dict[str, float]]] = {
    "plain": measure_plain,
    "encode": measure_encode,
    "pieces": measure_pieces,
    "workers": measure_workers,
}


def run_rounds(bench: Bench, rounds: int) -> list[dict[str, dict[str, float]]]:
    """All measures `rounds` times; the first of each program before that compiles, and is not counted."""
    measure_plain(bench)
    measured = []
    for number in range(rounds):
        found = {
            name: measure(bench) for name, measure in MEASURES.items() if name != "workers" or available_cores() > 1
        }
        shown = "; ".join(f"{name} {value:.0f}" for part in found.values() for name, value in part.items())
        say(f"round {number + 1} of {rounds}, MB/s: {shown}")
        measured.append(found)
    return measured


def summarize(bench: Bench, rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians, targets, table, and every single measurement. JSON."""

    def median(part: str, name: str) -> Median:
        return Median.of([found[part][name] for found in rounds])

    def ratio(part: str, name: str, other: str) -> Median:
        return Median.of([found[part][name] / found[part][other] for found in rounds])

    rates = {name: median("plain", name) for name in TOKENIZERS}
    compared = {
        "encode alone": (ratio("encode", "encode", "copy"), LEAST_OF_COPY, OF_COPY, "encode", "encode"),
        "sentencepiece": (ratio("pieces", "ours", "library"), LEAST_OF_LIBRARY, "of the library's", "pieces", "ours"),
    }
    if "workers" in rounds[0]:
        two = ratio("workers", "two workers", "two runs")
        compared["two workers"] = (two, LEAST_OF_TWO, "of two runs of one worker", "workers", "two workers")
    targets = [
        Target(
            f"plain English to encoded shards, {name}",
            f"at least {least} MB per CPU-second",
            f"{rates[name].median:.1f}",
            rates[name].median >= least,
        )
        for name, least in LEAST_MB.items()
    ]
    targets += [
        Target(name, f"at least {least} {what}", f"{found.median:.2f}", found.median >= least)
        for name, (found, least, what, _, _) in compared.items()
    ]
    rows: list[list[Any]] = [
        [f"plain English to encoded shards, `{name}`", rate.median, "MB of text per CPU-second", None, None]
        for name, rate in rates.items()
    ]
    units = {"encode": "MB read and written a second", "pieces": "MB of text per CPU-second", "workers": "MB/s"}
    rows += [
        [name, median(part, key).median, units[part], found.median, what]
        for name, (found, _, what, part, key) in compared.items()
    ]
    one = ratio("encode", "encode, one shard", "copy, one shard")
    speed = median("encode", "encode, one shard").median
    rows.append(["encode alone, one shard", speed, units["encode"], one.median, OF_COPY])
    note = f"Medians of {len(rounds)} rounds; ratios are taken round by round."
    return {
        "text_bytes": bench.text.stat().st_size,
        "raw_bytes": sum(file.stat().st_size for file in bench.raw) * COPIES,
        "sentencepiece": PIECES,
        "targets": [dataclasses.asdict(target) for target in targets],
        "tables": [{"title": None, "columns": ["", "speed", "in", "ratio", "to"], "rows": rows, "note": note}],
        "rounds": list(rounds),
    }
