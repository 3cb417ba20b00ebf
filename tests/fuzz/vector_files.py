"""Readers of vectors: word2vec's text and binary format, and the .npy files of a model folder."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutations import floats
from tests.fuzz.reader import Execution, Reader, on_file, replace_file
from tests.helpers import CONFIG, make_model_folder
from wordlab import model_folder
from wordlab.embeddings import Embeddings
from wordlab.formats import fasttext_bin, glove, named_arrays, registry, word2vec_binary, word2vec_text

WORDS = (
    *(b"the", b"king", b"queen", b"a", b"\xed\x95\x9c", b"na\xc3\xafve", b"</s>", b"1", b"-1.5", b"nan", b'"', b"'"),
    *(
        b"",
        b"\xff\xfe",
        b"a\x00b",
        b"a\tb",
        b"\xc2\xa0",
        b"\xe2\x80\x83",
        b"\x0b",
        b"\xed\xa0\x80",
        b"a\rb",
        b"x" * 300,
    ),
)
NUMBERS = (
    *(
        b"0.1",
        b"-1",
        b"1e-3",
        b"0",
        b"-0.0",
        b"3.4028236e38",
        b"1e39",
        b"1e400",
        b"1e-400",
        b"nan",
        b"inf",
        b"-Infinity",
    ),
    *(b"", b"0x10", b"1_0", b"\xd9\xa1", b"1,5", b"1e", b"--1", b"9" * 100, b"0." + b"1" * 400, b"\x00", b"1\x000"),
)
COUNTS = (b"0", b"1", b"-1", b"3", b"65536", b"65537", b"1000000", b"9" * 18, b"9" * 19, b"", b"1e3", b" 2", b"+2")


def unlimited() -> None:
    """Let memory be free without end, so that only what a reader compares with the file's size can save it."""
    for module in (model_folder, word2vec_text, word2vec_binary, glove, named_arrays, fasttext_bin):
        module.require_memory = lambda *arguments: None  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", message=r".* more than once; the first row of each is kept")


def open_vectors(folder: Path) -> Execution:
    """Any file of vectors: which format it is in, and how many words of it were read."""
    unlimited()
    return on_file(_read_vectors)(folder)


def _read_vectors(path: Path) -> str:
    found, described = registry.describe(path)
    mapped = found.maps and path.stat().st_size % 2 == 0
    model = Embeddings.load(path, mapped)
    model.index.array.validate(full=True)
    listed = model.words
    assert 0 < len(listed) <= described.num_words and len(set(listed)) == len(listed)
    assert model.input_vectors.dtype == np.float32 and model.input_vectors.shape == (len(listed), described.dim)
    assert found.name in ("safetensors", "numpy", "fasttext") or all(listed)
    for array in (model.counts, model.output_vectors):
        assert array is None or (len(array.tobytes()) == array.nbytes and len(array) == len(listed))
    if model.subwords is None:
        return found.name
    for word in ("unknown", "", "\ud55c\uad6d", listed[0]):
        vector = model.subwords.vector(word)
        assert vector is None or vector.shape == (model.dim,)
    return f"{found.name} with n-grams"


def _word2vec_seeds(binary: bool) -> Callable[[Path], list[bytes]]:
    """Small files of one format, as word2vec.c, gensim and fastText write them."""

    def seeds(folder: Path) -> list[bytes]:
        rng = np.random.default_rng(1)
        found = []
        for words, dim in ((["the", "king", "한국", "naïve"], 3), (["a"], 1), ([f"w{i}" for i in range(30)], 7)):
            model = Embeddings(words, rng.normal(size=(len(words), dim)).astype(np.float32))
            model.save(folder / "x", "binary" if binary else "text")
            found.append((folder / "x").read_bytes())
        if binary:
            return [*found, found[0].replace(b"\n", b"").replace(b"4 3", b"4 3\n")]
        return [*found, found[0].replace(b"\n", b" \n"), found[0].replace(b"\n", b"\r\n")]

    return seeds


def _header(rng: Random, num_words: int, dim: int) -> bytes:
    counts = [b"%d" % num_words, b"%d" % dim]
    if rng.random() < 0.3:
        counts[rng.randrange(2)] = rng.choice(COUNTS)
    return b" ".join(counts) + (b"\n" if rng.random() < 0.97 else rng.choice((b"", b"\r\n", b" \n", b"\t\n", b" x\n")))


def _build_text(rng: Random, seeds: list[bytes]) -> bytes:
    num_words, dim = rng.randrange(1, 6), rng.randrange(1, 5)
    odd = rng.random() * 0.3
    lines = [_header(rng, num_words, dim)]
    end = rng.choice((b"\n", b"\n", b" \n", b"\r\n", b"\t\n"))
    for row in range(num_words):
        word = rng.choice(WORDS) if rng.random() < odd + 0.1 else b"w%d" % row
        count = dim if rng.random() > odd / 2 else rng.randrange(7)
        numbers = [rng.choice(NUMBERS) if rng.random() < odd else b"%.4g" % rng.uniform(-1, 1) for _ in range(count)]
        lines.append((b" " if rng.random() > 0.02 else b"  ").join([word, *numbers]) + end)
    return b"".join(lines)


def _build_binary(rng: Random, seeds: list[bytes]) -> bytes:
    num_words, dim = rng.randrange(1, 6), rng.randrange(1, 5)
    odd = rng.random() * 0.2
    parts = [_header(rng, num_words, dim)]
    end = rng.choice((b"\n", b"\n", b"", b"\r\n"))
    for row in range(num_words):
        word = rng.choice(WORDS) if rng.random() < odd + 0.1 else b"w%d" % row
        parts += [word, b" ", floats(rng, dim if rng.random() > odd / 2 else rng.randrange(7)), end]
    return b"".join(parts)


_NPY_KINDS = (
    b"<f4",
    b"<f8",
    b"|O",
    b">f4",
    b"|V4",
    b"<U9",
    b"<i4",
    b"(2,)<f4",
    b"|b1",
    b"<M8[s]",
    b"",
    b"float32",
    b"\xff",
)
_NPY_SHAPES = (
    *(b"(5, 4)", b"(5, 4, )", b"(5,)", b"()", b"(4, 5)", b"(5, 0)", b"(0, 4)", b"(5, -4)", b"(5, 4, 1)", b"(5, 4L)"),
    *(
        b"(5, 999999999999999999)",
        b"(" + b"9" * 30 + b", 4)",
        b"(5, True)",
        b"[5, 4]",
        b"(5 5, 4)",
        b"(((((5",
        b"(5, 4" * 99,
    ),
)


def _build_npy(rng: Random, seeds: list[bytes]) -> bytes:
    kind = b"<f4" if rng.random() < 0.6 else rng.choice(_NPY_KINDS)
    shape = b"(5, 4)" if rng.random() < 0.5 else rng.choice(_NPY_SHAPES)
    fortran = b"False" if rng.random() < 0.8 else rng.choice((b"True", b"0", b"__import__('os')"))
    order = [b"'descr': '%b'" % kind, b"'fortran_order': %b" % fortran, b"'shape': %b" % shape]
    if rng.random() < 0.1:
        rng.shuffle(order)
    text = b"{" + b", ".join(order) + b", }"
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = len(text) if rng.random() < 0.8 else rng.randrange(65536)
    version = b"\x01\x00" if rng.random() < 0.9 else rng.choice((b"\x02\x00", b"\x03\x00", b"\x00\x00", b"\xff\x01"))
    length = struct.pack("<H" if version[0] == 1 else "<I", size)
    return b"\x93NUMPY" + version + length + text + floats(rng, 20 if rng.random() < 0.8 else rng.randrange(50))


def _npy_seeds(folder: Path) -> list[bytes]:
    arrays = (
        np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32),
        np.asfortranarray(np.ones((5, 4), np.float32)),
        np.ones((5, 4)),
        np.ones(5, np.float32),
        np.zeros((5, 0), np.float32),
    )
    seeds = []
    for array in arrays:
        np.save(folder / "x.npy", array)
        seeds.append((folder / "x.npy").read_bytes())
    np.save(folder / "x.npy", np.array([[{}] * 4] * 5, object), allow_pickle=True)  # what nobody may load
    np.savez(folder / "x.npz", arrays[0])
    return [*seeds, (folder / "x.npy").read_bytes(), (folder / "x.npz").read_bytes()]


def _opener(folder: Path, name: str, config: dict[str, Any] = CONFIG) -> Callable[[bytes], Embeddings]:
    """Opens a model folder whose manifest lists the file `name` with the size it has, as somebody hostile would see to.

    Without what `Embeddings.load` does about folders that are being replaced, which would take most of the time.
    """
    unlimited()
    model = make_model_folder(folder / "model", config=config)
    manifest = json.loads((model / "manifest.json").read_bytes())

    def opened(data: bytes) -> Embeddings:
        replace_file(model / name, data)
        manifest["files"][name] = manifest["files"]["input_vectors.npy"] | {"size_bytes": len(data)}
        replace_file(model / "manifest.json", json.dumps(manifest).encode())
        return Embeddings(**model_folder.load_folder(model, len(data) % 2 == 0, output_vectors=False))

    return opened


def _open_sentences(folder: Path) -> Execution:
    """A model of arch sent2vec, whose rows of word n-grams are hostile."""
    own = {"arch": "sent2vec", "sent2vec": {"word_ngrams": 2, "dropout": 0, "buckets": 5}}
    opened = _opener(folder, "word_ngram_rows.npy", {**CONFIG, "model": CONFIG["model"] | own})

    def execute(data: bytes) -> str:
        model = opened(data)
        assert model.word_ngram_rows is not None and model.word_ngram_rows.nbytes + 20 <= len(data)
        assert model.sentence_vector(["the", "king"]).shape == (4,)
        return "model"

    return execute


def _open_model(folder: Path) -> Execution:
    opened = _opener(folder, "input_vectors.npy")

    def execute(data: bytes) -> str:
        loaded = opened(data)
        assert loaded.input_vectors.shape == (5, loaded.dim) and loaded.input_vectors.dtype == np.float32
        assert 20 + len(loaded.input_vectors.tobytes()) <= len(data) and len(loaded.vector("king")) == loaded.dim
        return "model"

    return execute


READERS = (
    Reader(
        name="word2vec-text",
        what="vectors in word2vec's text format",
        open=open_vectors,
        seeds=_word2vec_seeds(binary=False),
        tokens=(*WORDS, *NUMBERS, b" ", b"\n", b"\r\n"),
        build=_build_text,
    ),
    Reader(
        name="word2vec-binary",
        what="vectors in word2vec's binary format",
        open=open_vectors,
        seeds=_word2vec_seeds(binary=True),
        tokens=(*WORDS, b" ", b"\n", b"\x00\x00\x80\x7f", b"\x00\x00\xc0\xff"),
        build=_build_binary,
        guided=True,
    ),
    Reader(
        name="npy",
        what="a model folder's .npy files",
        open=_open_model,
        seeds=_npy_seeds,
        tokens=(*_NPY_KINDS, *_NPY_SHAPES, b"\x93NUMPY", b"'descr'", b"'shape'", b"True", b"{", b"}"),
        build=_build_npy,
        guided=True,
    ),
    Reader(
        name="npy-word-ngrams",
        what="rows of word n-grams of a sent2vec model",
        open=_open_sentences,
        seeds=_npy_seeds,
        tokens=(*_NPY_KINDS, *_NPY_SHAPES, b"\x93NUMPY", b"'descr'", b"'shape'", b"True", b"{", b"}"),
        build=_build_npy,
        guided=True,
    ),
)
