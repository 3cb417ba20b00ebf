"""What benchmarks/serving.py measures, in processes of their own: opening a model, asking it, sharing it, its index."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wordlab.limits import held_bytes, statistic

COUNT = 10
"""Neighbours asked for."""
Timing = tuple[float, float]
"""Milliseconds by the clock and of CPU time."""


def ask_ours(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Open spec["model"], ask about spec["words"] one by one, then all of spec["many"] at once."""
    import numpy as np

    from wordlab.embeddings import Embeddings

    libraries = held_bytes()
    opened, model = _timed(lambda: Embeddings.load(spec["model"], mmap=True))
    found: dict[str, Any] = {"open": opened, "memory": {"libraries": libraries, "opened": held_bytes()}}
    found["first question"], _ = _timed(lambda: model.nearest(spec["words"][0], COUNT))
    found["memory"]["asked"] = held_bytes()
    found["questions"] = [_timed(lambda word=word: model.nearest(word, COUNT))[0] for word in spec["words"]]
    model.nearest_many(spec["many"][:8], COUNT)  # BLAS takes its buffer
    together, answers = _timed(lambda: model.nearest_many(spec["many"], COUNT))
    found["questions at once"] = [part / len(spec["many"]) for part in together]
    assert answers[0] == model.nearest(spec["many"][0], COUNT)
    found["memory"]["asked at once"] = held_bytes()
    numbers = model.input_vectors.view(np.int32)
    found["reading"] = [_timed(numbers.max)[0] for _ in range(3)]  # the floor: every byte once, hardly any arithmetic
    return found


def ask_gensim(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The same of gensim, which has no questions at once."""
    from gensim.models import KeyedVectors

    libraries = held_bytes()
    opened, model = _timed(lambda: KeyedVectors.load(spec["gensim"], mmap="r"))
    found: dict[str, Any] = {"open": opened, "memory": {"libraries": libraries, "opened": held_bytes()}}
    found["first question"], _ = _timed(lambda: model.most_similar(spec["words"][0], topn=COUNT))
    found["memory"]["asked"] = held_bytes()
    found["questions"] = [_timed(lambda word=word: model.most_similar(word, topn=COUNT))[0] for word in spec["words"]]
    return found


def look_up(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Find words: by scanning, at the one that sorts all, and from then on."""
    from wordlab import word_index
    from wordlab.embeddings import Embeddings

    index = Embeddings.load(spec["model"], mmap=True).index
    words = (spec["words"] * 2)[: word_index.SCANS_BEFORE_SORTING]
    scans = [_timed(lambda word=word: index.find(word))[0] for word in words]
    before = held_bytes()
    sorting, _ = _timed(lambda: index.find(words[0]))
    later = [_timed(lambda word=word: index.find(word))[0] for word in words]
    return {"scan": scans, "sort": sorting, "later": later, "memory": held_bytes() - before}


def share(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Memory of spec["processes"] processes, begun one by one, that have all asked the model once."""
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        pipes = []
        for _ in range(spec["processes"]):
            here, there = context.Pipe()
            process = context.Process(target=_hold, args=(there, spec["model"], spec["words"][0]), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(here.close)
            pipes.append(here)
        numbers = [pipe.recv() for pipe in pipes]
        maps = [dict(mapped(number, "input_vectors.npy")) for number in numbers]
        return {
            "file": (Path(spec["model"]) / "input_vectors.npy").stat().st_size,
            "resident": sum(sizes["Rss:"] for sizes in maps),
            "shared": sum(sizes["Pss:"] for sizes in maps),
            "own": [held_bytes(str(number)) for number in numbers],
            "together": sum(statistic(Path(f"/proc/{number}/smaps_rollup"), "Pss:") * 1024 for number in numbers),
        }


def _hold(pipe: Any, model: str, word: str) -> None:
    """Open the model, ask it, and stay until the pipe is closed."""
    import os

    from wordlab.embeddings import Embeddings

    held = Embeddings.load(model, mmap=True)
    held.nearest(word, COUNT)
    pipe.send(os.getpid())
    with contextlib.suppress(EOFError):
        pipe.recv()


def mapped(process: int, file: str) -> Iterator[tuple[str, int]]:
    """Resident (Rss:) and proportional (Pss:) bytes of a file that a process has mapped once.

    The second counts 1/n of what n processes share.
    """
    inside = False
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        key, *rest = line.split()
        if not key.endswith(":"):
            inside = line.endswith(file)
        elif inside and key in ("Rss:", "Pss:"):
            yield key, int(rest[0]) * 1024


def index_model(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Build and open an approximate index of spec["model"] in spec["out"]; its recall and time at some probes."""
    import faiss

    from wordlab.approximate import ApproximateIndex, build_index
    from wordlab.embeddings import Embeddings

    faiss.omp_set_num_threads(1)
    model = Embeddings.load(spec["model"], mmap=True)
    words = [model.index[row] for row in spec["rows"]]
    built, _ = _timed(lambda: build_index(model, spec["out"]))
    before = held_bytes()
    opened, index = _timed(lambda: ApproximateIndex.open(spec["out"], model))
    found: dict[str, Any] = {
        "words": len(model),
        "dim": model.dim,
        "build": built,
        "open": opened,
        "own": held_bytes() - before,
        "file": sum(path.stat().st_size for path in Path(spec["out"]).iterdir()),
        "probes": {},
    }
    model.nearest_many(words[:8], COUNT)
    exact, wanted = _timed(lambda: model.nearest_many(words, COUNT))
    one_by_one, _ = _timed(lambda: [model.nearest(word, COUNT) for word in words[:20]])
    found["exact at once"] = [part / len(words) for part in exact]
    found["exact"] = [part / 20 for part in one_by_one]
    for probes in spec["probes"]:
        index.nearest_many(words, COUNT, probes)  # pages are attached
        took, answers = _timed(lambda probes=probes: [index.nearest(word, COUNT, probes) for word in words])
        common = sum(len(dict(a).keys() & dict(b).keys()) for a, b in zip(wanted, answers, strict=True))
        recall = common / sum(map(len, wanted))
        found["probes"][str(probes)] = {"recall": recall, "question": [part / len(words) for part in took]}
    return found


def _timed(work: Callable[[], Any]) -> tuple[Timing, Any]:
    started, cpu_started = time.perf_counter(), time.process_time()
    found = work()
    cpu = time.process_time() - cpu_started
    return (1e3 * (time.perf_counter() - started), 1e3 * cpu), found


WORK = {
    "ask ours": ask_ours,
    "ask gensim": ask_gensim,
    "look up": look_up,
    "share": share,
    "index": index_model,
}
