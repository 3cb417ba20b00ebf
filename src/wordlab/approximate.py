"""An index beside a model that answers nearest-word questions by looking at a small part of the rows: approximately.

    build_index(vectors, "data/index/seed-1")
    index = ApproximateIndex.open("data/index/seed-1", vectors)
    index.nearest("king")                    # like vectors.nearest, most of the same words, in a fraction of the time

The rows are grouped around `lists` centres (k-means). A question looks into the `probes` lists whose centres are
nearest, compares 4 bits for every two numbers of a row (a product quantizer), and computes the best of these exactly,
from the model. So the cosines are those of the exact search, but words that the coarse look passes over are missing;
docs/using.md has measured shares. This is faiss's IndexIVFPQFastScan; the same model and settings give the same file on
any number of threads. faiss comes with `pip install -c constraints.txt -e '.[index]'` and is imported when first used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.artifacts import output_folder, read_manifest, write_manifest
from wordlab.embeddings import Embeddings, unit_rows
from wordlab.errors import ArtifactError, QueryError
from wordlab.machine import require_disk, require_memory
from wordlab.nearest import Answer, exact_cosines, ranked

FILE = "rows.faiss"
LISTS_PER_ROOT = 2
"""Lists for each row and column of a square of as many words: 2,000 for a million."""
FEWEST_WORDS = 256
"""Of fewer words all are looked at in no time, and there is little to learn 4 bits from."""
SAMPLES_PER_LIST = 64
"""Rows that k-means sees for each list."""
FEWEST_PER_LIST = 8
ITERATIONS = 10
SEED = 1
PROBES = 64
CANDIDATES = 20
"""Rows computed exactly for each one wanted. Of enwik8's neighbours, 14 % are missing with 4, and 1 % with 20."""
BLOCK_ROWS = 1 << 14


def default_place(model: Path) -> Path:
    """Where a model's index lies: data/index/seed-1 for data/train/seed-1. Not in data/train, where DVC looks."""
    model = Path(model).absolute()
    return model.parent.parent / "index" / model.name


def build_index(vectors: Embeddings, path: Path | str, lists: int = 0) -> None:
    """Build the index of a model opened from its folder, and write it to a folder of its own, `path`.

    lists: number of lists; 0: twice the square root of the number of words.
    Raises QueryError where faiss is missing, or the model tiny or of no folder; ResourceError where memory or disk
    will not suffice.
    """
    faiss, path = _faiss(), Path(path)
    num_rows, dim = vectors.input_vectors.shape
    lists = _number_of_lists(lists, num_rows)
    if vectors.fingerprint is None:
        raise QueryError(
            "an index belongs to a model folder, and these vectors were made otherwise. Open a folder that stage train "
            "wrote, such as data/train/seed-1."
        )
    samples = min(num_rows, lists * SAMPLES_PER_LIST)
    size_bytes = num_rows * (dim // 4 + 8) + 4 * lists * dim
    require_memory(2 * size_bytes + 8 * samples * dim, "index and sample", "fewer lists")
    require_disk(size_bytes, path, "another folder for the index")
    index = _empty_index(faiss, _even(dim), lists)
    index.train(_units(vectors.input_vectors[np.arange(samples) * num_rows // samples]))
    for start in range(0, num_rows, BLOCK_ROWS):
        index.add(_units(vectors.input_vectors[start : start + BLOCK_ROWS]))
    with output_folder(path) as building:
        faiss.write_index(index, str(building / FILE))
        about = {"model": vectors.fingerprint, "lists": lists, "seed": SEED, "faiss": faiss.__version__}
        write_manifest(building, "index", about)


class ApproximateIndex:
    """An index that was built, and the model it belongs to. Threads may share it.

    faiss reads the file into memory: a tenth of the size of the vectors.
    """

    def __init__(self, vectors: Embeddings, index: Any) -> None:
        self.vectors = vectors
        self._index = index

    @classmethod
    def open(cls, path: Path | str, vectors: Embeddings) -> ApproximateIndex:
        """Read the index in the folder `path`, after comparing its SHA-256: faiss trusts the files it reads.

        Raises ArtifactError where it is missing, damaged or of another model; QueryError where faiss is missing.
        """
        faiss, path = _faiss(), Path(path)
        remedy = f"Build it anew with: wordlab index, or build_index(vectors, {str(path)!r})"
        try:
            manifest = read_manifest(path, "index", verify=True)
        except ArtifactError as error:
            raise ArtifactError(str(error).replace("Run: dvc repro index", remedy)) from None
        if vectors.fingerprint is None or manifest.get("model") != vectors.fingerprint:
            raise ArtifactError(
                f"{path} is the index of the vectors {str(manifest.get('model'))[:6]}, but those of this model are "
                f"{(vectors.fingerprint or 'of no folder')[:12]}. {remedy}"
            )
        try:
            index = faiss.read_index(str(path / FILE))
        except RuntimeError as error:
            raise ArtifactError(f"{path / FILE} cannot be read: {str(error).splitlines()[0]}. {remedy}") from None
        if (index.ntotal, index.d) != (len(vectors), _even(vectors.dim)):
            raise ArtifactError(f"{path / FILE} holds {index.ntotal:,} rows of {index.d} numbers. {remedy}")
        return cls(vectors, index)

    def nearest(self, query: str | NDArray[Any], count: int = 10, probes: int = PROBES) -> list[tuple[str, float]]:
        """Most of what `Embeddings.nearest` would say; perhaps fewer than `count` words.

        probes: lists to look into; more take longer and miss less.
        """
        return self.nearest_many([query], count, probes)[0]

    def nearest_many(
        self, queries: Sequence[str | NDArray[Any]] | NDArray[Any], count: int = 10, probes: int = PROBES
    ) -> list[list[tuple[str, float]]]:
        """The same for several words or vectors."""
        if count < 1 or probes < 1:
            raise QueryError(f"count is {count} and probes is {probes}: ask for 1 or more of each.")
        vectors, leave_out = self.vectors.questions(queries)
        if not len(vectors):
            return []
        candidates = min(CANDIDATES * (count + 1), self._index.ntotal)
        settings = _faiss().SearchParametersIVF(nprobe=min(probes, self._index.nlist))
        _, found = self._index.search(_units(vectors), candidates, params=settings)
        return [self._told(*each, count) for each in zip(vectors, found, leave_out, strict=True)]

    def _told(
        self, vector: NDArray[np.float32], found: NDArray[np.int64], leave_out: list[int], count: int
    ) -> list[tuple[str, float]]:
        rows = found[(found >= 0) & ~np.isin(found, np.asarray(leave_out, np.int64))]
        answer: Answer = ranked(rows, exact_cosines(self.vectors.input_vectors, rows, vector), count)
        return self.vectors.told(answer)


def _number_of_lists(lists: int, num_rows: int) -> int:
    """As many as asked for, or a good number; every list needs some rows."""
    if num_rows < FEWEST_WORDS:
        raise QueryError(f"a model of {num_rows:,} words needs no index: nearest looks at all of them in no time.")
    most = num_rows // FEWEST_PER_LIST
    if not 0 <= lists <= most:
        raise QueryError(f"lists is {lists}: give 1 to {most:,} for {num_rows:,} words, or 0 for a good number.")
    return lists or min(most, LISTS_PER_ROOT * math.isqrt(num_rows))


def _even(dim: int) -> int:
    return dim + dim % 2


def _empty_index(faiss: Any, dim: int, lists: int) -> Any:
    index = faiss.index_factory(dim, f"IVF{lists},PQ{dim // 2}x4fs", faiss.METRIC_INNER_PRODUCT)
    means = index.cp
    means.seed, means.niter, means.spherical = SEED, ITERATIONS, True
    for each in (means, index.pq.cp):
        each.min_points_per_centroid = 1  # faiss prints a warning below 39
    return index


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1, zeros where a row is not finite; a column of zeros more where their number is odd."""
    units = np.zeros((len(vectors), _even(vectors.shape[1])), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        units[:, : vectors.shape[1]] = unit_rows(vectors)
    units[~np.isfinite(units).all(axis=1)] = 0
    return units


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise QueryError(
            "faiss is not installed, which approximate indexes need. Install it with: "
            "pip install -c constraints.txt -e '.[index]'"
        ) from None
    return faiss
