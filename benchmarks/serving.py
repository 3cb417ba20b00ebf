"""How a finished model serves: opening, memory, nearest words one by one and at once, ten processes, the index.

The model is made here: words of random letters, counts by Zipf's law, vectors around centres that are shared by some
hundred words each, as those of real models crowd together. gensim opens the same vectors, mapped likewise.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jobs import run_worker
from benchmarks.targets import Median, Target
from wordlab import versions
from wordlab.artifacts import write_manifest
from wordlab.stage import say
from wordlab.vocab import Vocab

WORDS, DIM, SEED = 1_000_000, 300, 1
WORDS_PER_CENTRE = 250
SPREAD = 0.8
"""Standard deviation around a centre; the centres' own is 1."""
BLOCK_ROWS = 50_000
QUESTIONS, AT_ONCE, PROCESSES = 20, 512, 10
INDEX_QUESTIONS = 200
PROBES = (16, 32, 64, 128)
OPEN_SECONDS, OPEN_BYTES, NEAREST_SECONDS = 0.1, 100e6, 0.1
"""Targets: to open, memory of one's own once opened, a question on one core."""


def make_model(folder: Path) -> None:
    """Write a model folder as stage train does, its output vectors aside."""
    draw = np.random.default_rng(SEED)
    folder.mkdir(parents=True)
    shape = (WORDS, DIM)
    vectors = np.lib.format.open_memmap(folder / "input_vectors.npy", "w+", np.float32, shape)
    centres = draw.standard_normal((max(1, WORDS // WORDS_PER_CENTRE), DIM), np.float32)
    for start in range(0, WORDS, BLOCK_ROWS):
        rows = vectors[start : start + BLOCK_ROWS]
        rows[:] = centres[draw.integers(len(centres), size=len(rows))]
        rows += np.float32(SPREAD) * draw.standard_normal(rows.shape, np.float32)
    vectors.flush()
    counts = np.maximum(1, 1e8 / np.arange(1, WORDS + 1)).astype(np.int64)
    vocab = Vocab.build(_words(draw), counts)
    vocab.save(folder / "words.arrow")
    write_manifest(folder, "train", {"seed": SEED, "config": {}, "vocabulary": vocab.fingerprint})


def _words(draw: np.random.Generator) -> list[str]:
    """Different words of 3 to 12 random letters."""
    words: dict[str, None] = {}
    while len(words) < WORDS:
        letters = draw.integers(97, 123, size=(WORDS, 12), dtype=np.uint8)
        lengths = draw.integers(3, 13, size=WORDS)
        words.update(dict.fromkeys(bytes(row[:n]).decode() for row, n in zip(letters, lengths.tolist(), strict=True)))
    return list(words)[:WORDS]


def save_for_gensim(folder: Path, path: Path) -> None:
    """Write the same words, counts and vectors as gensim saves them."""
    from wordlab.embeddings import Embeddings

    Embeddings.load(folder, mmap=True).to_keyed_vectors().save(str(path), separately=["vectors"])


@contextmanager
def model_in(scratch: Path) -> Iterator[dict[str, Any]]:
    """What workers need to know of the model; it is removed afterwards."""
    place = (scratch / "serving").absolute()
    shutil.rmtree(place, ignore_errors=True)
    try:
        say(f"writing {WORDS:,} vectors of {DIM} numbers, twice")
        make_model(place / "train" / "model")
        made = time.monotonic()
        save_for_gensim(place / "train" / "model", place / "model.kv")
        time.sleep(max(0, made + versions.YOUNG_SECONDS + 1 - time.monotonic()))  # before, its SHA-256 is compared
        draw = np.random.default_rng(SEED + 1)
        words = Vocab.load(place / "train" / "model" / "words.arrow").words
        chosen = draw.choice(len(words), min(len(words), QUESTIONS + AT_ONCE), replace=False).tolist()
        asked = [words[row] for row in chosen]
        yield {
            "model": place / "train" / "model",
            "gensim": place / "model.kv",
            "words": asked[:QUESTIONS],
            "many": asked[QUESTIONS:],
            "processes": PROCESSES,
        }
    finally:
        shutil.rmtree(place, ignore_errors=True)


def measure(scratch: Path, rounds: int, trained: Path) -> dict[str, Any]:
    """All measurements. trained: a model of the pipeline, for the index; left out where there is none."""
    load = os.getloadavg()[0]
    with model_in(scratch) as spec:
        asked = []
        for number in range(rounds):
            kinds = ["ask ours", "ask gensim"]
            found = {kind: run_worker(kind, spec) for kind in (kinds if number % 2 == 0 else kinds[::-1])}
            asked.append(found)
            took = {kind: Median.of([ms for ms, _ in one["questions"]]).median for kind, one in found.items()}
            say(f"round {number + 1} of {rounds}: " + ", ".join(f"{kind}: {ms:.0f} ms" for kind, ms in took.items()))
        models = [("made here", spec["model"])] + ([("trained", trained.absolute())] if trained.is_dir() else [])
        return {
            "load": load,
            "rounds": asked,
            "look up": run_worker("look up", spec),
            "share": run_worker("share", spec),
            "index": {name: _index(model, scratch) for name, model in models} if _has_faiss() else {},
        }


def _has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None


def _index(model: Path, scratch: Path) -> dict[str, Any]:
    num_rows = len(np.load(model / "input_vectors.npy", mmap_mode="r"))
    rows = np.random.default_rng(SEED + 2).choice(num_rows, min(num_rows, INDEX_QUESTIONS), replace=False).tolist()
    out = (scratch / "serving-index").absolute()
    try:
        return run_worker("index", {"model": model, "out": out, "rows": rows, "probes": PROBES})
    finally:
        shutil.rmtree(out, ignore_errors=True)


def summarize(measured: dict[str, Any]) -> dict[str, Any]:
    """Medians over rounds, targets, tables, and every single measurement. JSON.

    measured: as `measure` gives it; a result file holds all of that, so its tables can be made anew.
    """
    times = {program: _times([r[f"ask {program}"] for r in measured["rounds"]]) for program in ("ours", "gensim")}
    held = {program: _memory([r[f"ask {program}"] for r in measured["rounds"]]) for program in ("ours", "gensim")}
    ours, shared = times["ours"], measured["share"]
    opened, question = ours["open"][0].median, ours["question"][0].median
    at_once = ours["question, of many at once"]
    copies = shared["shared"] / shared["file"]
    floor, cpu = ours["reading every vector once"][0].median, ours["question"][1].median
    targets = [
        Target("open", f"under {OPEN_SECONDS:g} s", f"{opened / 1e3:.3f} s", opened < 1e3 * OPEN_SECONDS),
        Target(
            "memory of the process's own, opened",
            f"under {OPEN_BYTES / 1e6:.0f} MB",
            f"{held['ours']['opened'] / 1e6:.0f} MB",
            held["ours"]["opened"] < OPEN_BYTES,
        ),
        Target(
            f"{PROCESSES} processes share the vectors",
            "one copy",
            f"{copies:.3f} copies, {shared['resident'] / shared['file']:.2f} attached",
            copies < 1.01,
        ),
        Target(
            "nearest on one core",
            f"under {1e3 * NEAREST_SECONDS:.0f} ms",
            f"{question:.0f} ms ({cpu:.0f} ms of CPU time; reading alone {floor:.0f} ms)",
            question < 1e3 * NEAREST_SECONDS,
        ),
        Target(
            "questions at once",
            "faster each than one by one, by the clock and in CPU time",
            f"{question / at_once[0].median:.1f} and {cpu / at_once[1].median:.1f} times",
            at_once[0].median < question and at_once[1].median < cpu,
        ),
    ]
    return {
        "words": WORDS,
        "dim": DIM,
        "milliseconds": {p: {k: [dataclasses.asdict(m) for m in v] for k, v in t.items()} for p, t in times.items()},
        "memory_bytes": held,
        "targets": [dataclasses.asdict(target) for target in targets],
        "tables": [_time_table(times, measured), _memory_table(held, shared), *_index_tables(measured["index"])],
        **measured,
    }


def _times(runs: Sequence[dict[str, Any]]) -> dict[str, tuple[Median, Median]]:
    """Clock and CPU milliseconds over rounds; of a round's questions their median counts."""

    def over_rounds(values: list[list[list[float]]]) -> tuple[Median, Median]:
        wall, cpu = ([Median.of([one[part] for one in run]).median for run in values] for part in (0, 1))
        return Median.of(wall), Median.of(cpu)

    names = {
        "open": "open",
        "first question": "first question",
        "question": "questions",
        "question, of many at once": "questions at once",
        "reading every vector once": "reading",
    }
    single = ("open", "first question", "questions at once")
    return {
        name: over_rounds([[run[key]] if key in single else run[key] for run in runs])
        for name, key in names.items()
        if key in runs[0]
    }


def _memory(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {key: Median.of([run["memory"][key] for run in runs]).median for key in runs[0]["memory"]}


def _time_table(times: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    rows: list[list[Any]] = []
    for name, (wall, cpu) in times["ours"].items():
        theirs = [median.median for median in times["gensim"].get(name, ())] or [None, None]
        rows.append([name, wall.median, f"{wall.low:.3g}–{wall.high:.3g}", cpu.median, *theirs])
    looked = measured["look up"]
    for name, values in (
        ("finding a word, the first sixteen", looked["scan"]),
        ("finding a word, the seventeenth: all are sorted", [looked["sort"]]),
        ("finding a word, from then on", looked["later"]),
    ):
        wall, cpu = (Median.of([one[part] for one in values]) for part in (0, 1))
        rows.append([name, wall.median, f"{wall.low:.3g}–{wall.high:.3g}", cpu.median, None, None])
    return {
        "title": f"{WORDS:,} words, {DIM} dimensions, one core",
        "columns": ["milliseconds", "by the clock", "range", "CPU time", "gensim, by the clock", "gensim, CPU time"],
        "rows": rows,
        "note": f"Medians over {len(measured['rounds'])} interleaved rounds. A question: the {10} nearest of a word; "
        f"many: {AT_ONCE}. gensim: the same vectors, `KeyedVectors.load(mmap='r')` and `most_similar`."
        + (f" The machine was busy (load {measured['load']:.0f}): CPU time counts." if measured["load"] > 1 else ""),
    }


def _memory_table(held: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    names = {
        "libraries": "libraries, before a model is open",
        "opened": "opened",
        "asked": "asked once",
        "asked at once": f"asked {AT_ONCE} at once",
    }
    rows: list[list[Any]] = [
        [name, *(held[p][key] / 1e6 if key in held[p] else None for p in ("ours", "gensim"))]
        for key, name in names.items()
    ]
    rows.append([f"{PROCESSES} processes that have asked, all they hold", shared["together"] / 1e6, None])
    rows.append(["of that the vectors", shared["shared"] / 1e6, None])
    note = f"The vectors are {shared['file'] / 1e6:,.0f} MB. Of one's own: anonymous memory, mapped files left out."
    return {"title": None, "columns": ["MB of its own", "ours", "gensim"], "rows": rows, "note": note}


def _index_tables(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        [name, one["words"], one["dim"], int(probes), 100 * at["recall"], at["question"][1], one["exact"][1]]
        for name, one in found.items()
        for probes, at in one["probes"].items()
    ]
    built = "; ".join(
        f"{name}: {one['build'][1] / 1e3:.3g} CPU seconds, {one['file'] / 1e6:.0f} MB, open in {one['open'][1]:.0f} ms"
        for name, one in found.items()
    )
    columns = ["model", "words", "dimensions", "probes", "% found", "ms of CPU time", "exact, ms of CPU time"]
    note = f"% of the exact search's ten neighbours, {INDEX_QUESTIONS} questions one by one. Built: {built}."
    return [{"title": "**Approximate index**", "columns": columns, "rows": rows, "note": note}] if rows else []
