"""What benchmarks/formats.py measures, in a process of its own: one file read or written once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wordlab.embeddings import Embeddings

WARM_UP_WORDS = 200


def read_or_write(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Read spec["path"] or write it from spec["model"], a safetensors file, by spec["program"], in spec["form"].

    The same is done with the first words before the timer starts, for what is imported or compiled then.
    """
    work = WORK_OF[spec["program"], spec["action"]]
    path, form = Path(spec["path"]), spec["form"]
    model = Embeddings.load(spec["model"])
    small, few = path.with_name(path.name + "-few"), first_words(model, WARM_UP_WORDS)
    few.save(small, form)
    work(few, small, form)()
    small.unlink()
    run = work(model, path, form)
    started, cpu_started = time.perf_counter(), time.process_time()
    result = run()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if spec["action"] == "load" and len(result) != len(model):
        raise AssertionError(f"{spec['program']} read {len(result)} of {len(model)} words")
    return {"wall_seconds": seconds, "cpu_seconds": cpu_seconds, "size_bytes": path.stat().st_size}


def first_words(model: Embeddings, count: int) -> Embeddings:
    """A model of the first words."""
    return Embeddings(model.words[:count], model.input_vectors[:count])


def our_load(model: Embeddings, path: Path, form: str) -> Callable[[], Any]:
    return lambda: Embeddings.load(path)


def our_save(model: Embeddings, path: Path, form: str) -> Callable[[], Any]:
    return lambda: model.save(path, form)


def gensim_load(model: Embeddings, path: Path, form: str) -> Callable[[], Any]:
    from gensim.models import KeyedVectors
    from gensim.models.fasttext import load_facebook_vectors

    if form == "fasttext":
        return lambda: load_facebook_vectors(str(path))
    return lambda: KeyedVectors.load_word2vec_format(str(path), binary=form == "binary")


def gensim_save(model: Embeddings, path: Path, form: str) -> Callable[[], Any]:
    vectors = Embeddings(model.words, model.input_vectors).to_keyed_vectors()
    return lambda: vectors.save_word2vec_format(str(path), binary=form == "binary")


WORK_OF = {
    ("ours", "load"): our_load,
    ("ours", "save"): our_save,
    ("gensim", "load"): gensim_load,
    ("gensim", "save"): gensim_save,
}
WORK = {"format": read_or_write}
