"""Readers of vectors in other programs' formats: GloVe, fastText, safetensors and NumPy's .npz."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from tests.fuzz.mutations import floats, mutated_tree
from tests.fuzz.reader import Reader
from tests.fuzz.vector_files import NUMBERS, WORDS, open_vectors
from wordlab.embeddings import Embeddings
from wordlab.ngrams import Ngrams
from wordlab.subword_vectors import SubwordVectors

LISTED = ["the", "king", "\ud55c\uad6d", "na\u00efve", "</s>"]


def _model(ngrams: Ngrams | None = None, dim: int = 3) -> Embeddings:
    """A model with everything that a file can hold."""
    rng = np.random.default_rng(1)

    def rows(number: int) -> np.ndarray:
        return rng.normal(size=(number, dim)).astype(np.float32)

    vectors, output, counts = rows(len(LISTED)), rows(len(LISTED)), np.array([9, 7, 5, 3, 1])
    if ngrams is None:
        return Embeddings(LISTED, vectors, output, counts)
    buckets = np.unique(np.concatenate([ngrams.of_word(word) for word in LISTED]))
    subwords = SubwordVectors(ngrams=ngrams, word_rows=rows(len(LISTED)), buckets=buckets, rows=rows(len(buckets)))
    return Embeddings(LISTED, vectors, output, counts, subwords)


def _seeds(form: str) -> Callable[[Path], list[bytes]]:
    """Small files of one format: with and without n-grams, of one word, of one dimension."""

    def seeds(folder: Path) -> list[bytes]:
        models = [_model(), Embeddings(["a"], np.ones((1, 1), np.float32))]
        if form != "glove":
            models += [_model(Ngrams(3, 6, 50)), _model(Ngrams(1, 2, 9), dim=1)]
        found = []
        for model in models:
            model.save(folder / "x", form)
            found.append((folder / "x").read_bytes())
            Embeddings.load(folder / "x")  # compiles what is not compiled yet, while no time is taken
        return [*found, *_ODD.get(form, lambda _: [])(found[0])]

    return seeds


def _odd_glove(seed: bytes) -> list[bytes]:
    return [
        seed.replace(b"\n", b" \n"),
        seed.replace(b"\n", b"\r\n"),
        seed + b". . . 1 2 3\nat name@domain.com 1e-3 2 3\n",
        b"\xef\xbb\xbf" + seed,
    ]


def _odd_fasttext(seed: bytes) -> list[bytes]:
    """Other versions, a supervised and a quantised model, a file without n-grams that has buckets."""
    supervised, quantised, labels = bytearray(seed), bytearray(seed), bytearray(seed)
    struct.pack_into("<i", supervised, 36, 3)
    struct.pack_into("<i", labels, 72, 1)
    quantised[seed.index(b"</s>") + 14] = 1
    return [
        seed[:4] + b"\x0b" + seed[5:],
        seed[:4] + b"\x0d" + seed[5:],
        bytes(supervised),
        bytes(labels),
        bytes(quantised),
    ]


def _odd_numpy(seed: bytes) -> list[bytes]:
    words, vectors = np.frombuffer(b"a\nb", np.uint8), np.ones((2, 3), np.float32)
    odd = []
    for save, arrays in (
        (np.savez, {"vectors": vectors.astype(np.float64), "words": words}),
        (np.savez, {"words": words, "vectors": vectors, "more": np.array(["text"])}),
        (np.savez_compressed, {"vectors": vectors, "words": words}),
        (np.savez, {"vectors": np.asfortranarray(vectors), "words": words}),
        (np.savez, {"vectors": np.array([[{}]], object), "words": words}),
    ):
        file = io.BytesIO()
        save(file, **arrays)
        odd.append(file.getvalue())
    return odd


def _odd_safetensors(seed: bytes) -> list[bytes]:
    header, data = _taken_apart(seed)
    return [
        _put_together(header.replace(b'"F32"', b'"F16"'), data),
        _put_together(header.replace(b'"I64"', b'"BF16"'), data),
    ]


_ODD = {"glove": _odd_glove, "fasttext": _odd_fasttext, "numpy": _odd_numpy, "safetensors": _odd_safetensors}


def _build_glove(rng: Random, seeds: list[bytes]) -> bytes:
    dim, odd = rng.randrange(1, 5), rng.random() * 0.3
    end = rng.choice((b"\n", b"\n", b" \n", b"\r\n", b"\t\n"))
    lines = []
    for row in range(rng.randrange(1, 6)):
        words = [rng.choice(WORDS) if rng.random() < odd + 0.1 else b"w%d" % row]
        if rng.random() < 0.1:
            words *= rng.randrange(1, 4)
        count = dim if rng.random() > odd / 2 else rng.randrange(7)
        numbers = [rng.choice(NUMBERS) if rng.random() < odd else b"%.4g" % rng.uniform(-1, 1) for _ in range(count)]
        lines.append((b" " if rng.random() > 0.02 else b"  ").join([*words, *numbers]) + end)
    return b"".join(lines)


def _some_int(rng: Random, usual: int, odd: float) -> int:
    if rng.random() > odd:
        return usual
    return rng.choice((0, 1, -1, 2, 3, 65, 1000, 2**31 - 1, -(2**31)))


def _build_fasttext(rng: Random, seeds: list[bytes]) -> bytes:
    num_words, dim, odd = rng.randrange(1, 5), rng.randrange(1, 4), rng.random() * 0.1
    bucket = rng.choice((0, 1, 10))
    args = [dim, 5, 5, 1, 5, 1, rng.choice((1, 2, 3)), rng.choice((1, 2)), bucket, rng.choice((0, 1, 3)), 6, 100]
    parts = [struct.pack("<ii", 793712314, 12), *(struct.pack("<i", _some_int(rng, number, odd)) for number in args)]
    parts.append(struct.pack("<d", 1e-4))
    parts += [struct.pack("<i", _some_int(rng, number, odd)) for number in (num_words, num_words, 0)]
    parts.append(struct.pack("<qq", 100, _some_int(rng, -1, odd)))
    for row in range(num_words):
        word = rng.choice((*WORDS, b"</s>")) if rng.random() < odd + 0.1 else b"w%d" % row
        parts += [word, b"\0", struct.pack("<qb", rng.choice((1, 5, -1)) if rng.random() < odd else 1, 0)]
    for rows in (num_words + bucket, num_words):
        parts.append(struct.pack("<?qq", rng.random() < odd, _some_int(rng, rows, odd), _some_int(rng, dim, odd)))
        parts.append(floats(rng, rows * dim))
    return b"".join(parts)


def _taken_apart(data: bytes) -> tuple[bytes, bytes]:
    """Header and arrays of a safetensors file."""
    stop = 8 + int.from_bytes(data[:8], "little")
    return data[8:stop], data[stop:]


def _put_together(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def _build_safetensors(rng: Random, seeds: list[bytes]) -> bytes:
    """A seed with its header changed as a tree, or with one number of it changed."""
    header, data = _taken_apart(rng.choice(seeds))
    if rng.random() < 0.5:
        return _put_together(mutated_tree(rng, header), data)
    tree = json.loads(header)
    name = rng.choice([name for name in tree if name != "__metadata__"])
    numbers = tree[name][rng.choice(("shape", "data_offsets"))]
    numbers[rng.randrange(len(numbers))] = rng.choice((0, 1, -1, 2, 3, 5, 2**31, 2**63, 2**64, 10**30))
    return _put_together(json.dumps(tree).encode(), data)


def _finish_safetensors(rng: Random, data: bytes) -> bytes:
    """The right length before the header."""
    stop = data.find(b"}}", 8)
    return data if stop < 0 else (stop + 2 - 8).to_bytes(8, "little") + data[8:]


def _finish_zip(rng: Random, data: bytes) -> bytes:
    """The right checksums in the directory of a zip whose members are as long as they say."""
    mended, place = bytearray(data), data.find(b"PK\x01\x02")
    while place >= 0 and place + 46 <= len(data):
        size, start = struct.unpack_from("<I", data, place + 24)[0], struct.unpack_from("<I", data, place + 42)[0]
        if start + 30 <= len(data):
            name_bytes, extra_bytes = struct.unpack_from("<HH", data, start + 26)
            begin = start + 30 + name_bytes + extra_bytes
            struct.pack_into("<I", mended, place + 16, zlib.crc32(data[begin : begin + size]))
        place = data.find(b"PK\x01\x02", place + 1)
    return bytes(mended)


READERS = (
    Reader(
        name="glove",
        what="vectors in GloVe's text format",
        open=open_vectors,
        seeds=_seeds("glove"),
        tokens=(*WORDS, *NUMBERS, b" ", b"\n", b"\r\n"),
        build=_build_glove,
    ),
    Reader(
        name="fasttext",
        what="fastText's binary models",
        open=open_vectors,
        seeds=_seeds("fasttext"),
        tokens=(*WORDS, b"\0", b"</s>", struct.pack("<q", -1), struct.pack("<i", 2**31 - 1), b"\x00\x00\xc0\x7f"),
        build=_build_fasttext,
        guided=True,
    ),
    Reader(
        name="safetensors",
        what="vectors in safetensors files",
        open=open_vectors,
        seeds=_seeds("safetensors"),
        tokens=(
            b'"F32"',
            b'"U8"',
            b'"BOOL"',
            b'"shape":[',
            b'"words"',
            b'"ngrams"',
            b"{",
            b"}",
            b"\n",
            b"null",
            b"1e9",
        ),
        build=_build_safetensors,
        finish=_finish_safetensors,
        guided=True,
    ),
    Reader(
        name="npz",
        what="vectors in NumPy's .npz files",
        open=open_vectors,
        seeds=_seeds("numpy"),
        tokens=(
            b"PK\x01\x02",
            b"PK\x03\x04",
            b"PK\x05\x06",
            b"'<f4'",
            b"'|O'",
            b"True",
            b"(5, 3)",
            b"words.npy",
            b"\n",
        ),
        finish=_finish_zip,
        guided=True,
    ),
)
