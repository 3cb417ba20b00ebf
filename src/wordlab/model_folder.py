"""Opening a folder that stage `train` wrote: words, vectors, and rows of n-grams, of characters or of words."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.artifacts import read_manifest
from wordlab.errors import ArtifactError, ConfigError
from wordlab.machine import require_memory
from wordlab.sections.model import Sent2vecConfig, SubwordsConfig
from wordlab.sections.reading import parse_section
from wordlab.shards import DICTIONARY_SCHEMA, map_batch

if TYPE_CHECKING:
    from wordlab.ngrams import Ngrams

_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<size>..)\{'descr': '(?P<kind>[^']{1,16})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,18}, ?){0,3}(?:[0-9]{1,18})?)\), \} *\n",
    re.DOTALL,
)
"""What numpy.save writes. numpy itself reads a header as a Python expression, which a file can make arbitrarily odd."""
NPY_HEADER_BYTES = 1024
"""A header is no longer."""


def load_folder(folder: Path, mmap: bool, output_vectors: bool) -> dict[str, Any]:
    """The arguments of Embeddings, from a folder that stage train wrote.

    Raises ArtifactError where something is missing, damaged or does not fit, ResourceError where memory is too small.
    """
    manifest = read_manifest(folder, "train")
    words = _map_words(folder / "words.arrow", manifest.get("vocabulary"))
    names = ["input_vectors", "output_vectors"] if output_vectors else ["input_vectors"]
    if output_vectors and "node_vectors.npy" in manifest["files"]:
        raise ArtifactError(
            f"{folder} was trained by hierarchical softmax, which has vectors of inner nodes and no output vectors. "
            "Load it without output_vectors=True, or train with: dvc exp run -S model.objective=ns"
        )
    ngrams = _ngrams(folder, manifest)
    mapped: dict[str, NDArray[Any]] = {
        name: _map_rows(folder / f"{name}.npy", words.num_rows) for name in [*names, *(["word_rows"] if ngrams else [])]
    }
    if ngrams:
        mapped["ngram_buckets"] = _map_array(folder / "ngram_buckets.npy", "int32", (None,))
        mapped["ngram_rows"] = _map_rows(folder / "ngram_rows.npy", len(mapped["ngram_buckets"]))
        _check_subwords(folder, mapped, ngrams)
    if not mmap:
        need = sum(vectors.nbytes for vectors in mapped.values())
        require_memory(need, f"the vectors of {folder}", "Embeddings.load(path, mmap=True), which maps them instead")
        mapped = {name: np.array(vectors) for name, vectors in mapped.items()}
    subwords = None
    if ngrams:
        from wordlab.subword_vectors import SubwordVectors

        own, buckets, rows = (mapped.pop(name) for name in ("word_rows", "ngram_buckets", "ngram_rows"))
        subwords = SubwordVectors(ngrams, own, buckets, rows)
    word_ngram_rows = _word_ngram_rows(folder, manifest, mapped["input_vectors"].shape[1])
    counts = np.from_dlpack(words.column("count"))  # Arrow's own to_numpy would import pandas where it is installed
    counts.flags.writeable = False  # it is the mapped file
    config, fingerprint = manifest.get("config"), manifest["files"].get("input_vectors.npy", {}).get("sha256")
    known = config if isinstance(config, dict) else None
    about = {"counts": counts, "fingerprint": fingerprint, "config": known, "subwords": subwords}
    return {"words": words.column("word"), "word_ngram_rows": word_ngram_rows, **about, **mapped}


def _recorded(wanted: type, section: object, key: str, folder: Path) -> Any:
    """A section of the parameters that the manifest says the model was trained with. Raises ArtifactError."""
    try:
        return parse_section(wanted, section, key)
    except ConfigError as error:
        raise ArtifactError(
            f"{folder}/manifest.json does not say how the model was trained ({error}). Run: dvc repro train"
        ) from None


def _word_ngram_rows(folder: Path, manifest: dict[str, Any], dim: int) -> NDArray[np.float32] | None:
    """Rows of the word n-grams' buckets of arch sent2vec, None without any. Always mapped: a sentence needs a few."""
    try:
        model = manifest["config"]["model"]
        section = model["sent2vec"] if model["arch"] == "sent2vec" else None
    except (KeyError, TypeError):
        return None
    if section is None:
        return None
    config: Sent2vecConfig = _recorded(Sent2vecConfig, section, "model.sent2vec", folder)
    if config.word_ngrams == 1:
        return None
    return _map_array(folder / "word_ngram_rows.npy", "float32", (config.buckets, dim))


def load_node_vectors(folder: Path, num_words: int) -> NDArray[np.float32]:
    """The vectors of the Huffman tree's inner nodes, shape (V - 1, dim), of a model of hierarchical softmax; mapped.

    Raises ArtifactError where they are missing, damaged or of another number.
    """
    nodes: NDArray[np.float32] = _map_rows(folder / "node_vectors.npy", num_words - 1)
    return nodes


def _ngrams(folder: Path, manifest: dict[str, Any]) -> Ngrams | None:
    """The n-grams that the model was trained with; None without any, as in all models of before there were some."""
    try:
        section = manifest["config"]["model"]["subwords"]
    except (KeyError, TypeError):
        return None
    config: SubwordsConfig = _recorded(SubwordsConfig, section, "model.subwords", folder)
    if config.units == "none":
        return None
    from wordlab.ngrams import Ngrams  # imports numba, which takes half a second

    return Ngrams(config.min_n, config.max_n, config.buckets, config.units)


def _check_subwords(folder: Path, mapped: dict[str, NDArray[Any]], ngrams: Ngrams) -> None:
    """Lengths of vectors must agree, and buckets rise."""
    dims = {mapped[name].shape[1] for name in ("input_vectors", "word_rows", "ngram_rows")}
    buckets = mapped["ngram_buckets"]
    inside = len(buckets) == 0 or (buckets[0] >= 0 and buckets[-1] < ngrams.buckets)
    if len(dims) > 1 or not inside or not np.all(buckets[:-1] < buckets[1:]):
        raise ArtifactError(
            f"{folder} holds rows of n-grams that do not fit its vectors, or buckets that do not rise to at most "
            f"{ngrams.buckets - 1}. Run: dvc repro train"
        )


def _map_words(path: Path, vocabulary: object) -> pa.RecordBatch:
    """Map words.arrow and check that it holds the vocabulary the manifest names."""
    batch = map_batch(path, DICTIONARY_SCHEMA, "train")
    found = (batch.schema.metadata or {}).get(b"fingerprint", b"").decode()
    if found != vocabulary:
        raise ArtifactError(
            f"{path} holds vocabulary {found[:6] or 'without a fingerprint'}, but the vectors beside it were trained "
            f"with {str(vocabulary)[:6]}. Run: dvc repro train"
        )
    return batch


def _map_rows(path: Path, rows: int) -> NDArray[np.float32]:
    """Map a matrix of so many float32 rows."""
    return _map_array(path, "float32", (rows, None))


def _map_array(path: Path, wanted: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Map an .npy file and check that it holds numbers of this kind and shape, and nothing else. None: any length."""
    try:
        with path.open("rb") as file:
            start, kind, found = read_npy_header(file.read(NPY_HEADER_BYTES), path)
            fits = len(found) == len(shape) and all(b is None or a == b for a, b in zip(found, shape, strict=True))
            if kind != wanted or not fits:
                lengths = ", ".join("any" if length is None else str(length) for length in shape)
                raise ArtifactError(
                    f"{path} holds {kind} of shape {found}, but the model has {wanted} of shape ({lengths}) there. "
                    "Run: dvc repro train"
                )
            size_bytes = os.fstat(file.fileno()).st_size
            wanted_bytes = start + 4 * math.prod(found)
            if size_bytes != wanted_bytes:
                raise ArtifactError(
                    f"{path} has {size_bytes} bytes, but its header promises {wanted_bytes}. Run: dvc repro train"
                )
            if 0 in found:  # nothing to map
                return np.zeros(found, wanted)
            return np.memmap(file, wanted, "r", start, found)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Run: dvc repro train") from None


def read_npy_header(head: bytes, path: Path) -> tuple[int, str, tuple[int, ...]]:
    """Offset of the numbers, their type in words, and the shape. head: the beginning of the file."""
    header = _NPY_HEADER.match(head)
    if header is None or int.from_bytes(header["size"], "little") != header.end() - 10:
        raise ArtifactError(f"{path} does not begin as numpy writes an array. Run: dvc repro train")
    kind = header["kind"].decode(errors="replace")
    kind = {"<f4": "float32", "<f8": "float64", "<f2": "float16", "<i4": "int32"}.get(kind, repr(kind))
    order = " in Fortran's order" if header["fortran"] == b"True" else ""
    return header.end(), kind + order, tuple(int(number) for number in header["shape"].split(b",") if number.strip())
