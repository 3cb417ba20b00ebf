"""Places of words on a plane, similar ones close to one another, and clusters of them: what a map is drawn from.

Apart from the drawing, so that a map can be kept as numbers and drawn anew without the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAP_CLUSTERS = 8
"""As many as there are colours that people can tell apart."""
MAP_MIN_WORDS = 8
"""Below this many words t-SNE has no neighbourhoods to keep, and the map is a plain projection."""


@dataclass(frozen=True, eq=False)
class WordMap:
    """Words, each with its place and cluster."""

    words: Sequence[str]
    places: NDArray[np.float64]
    """Shape (len(words), 2); only distances have a meaning."""
    clusters: Sequence[int]
    """Below MAP_CLUSTERS."""


def map_of(words: Sequence[str], unit_rows: NDArray[np.float32]) -> WordMap:
    """The map of words. unit_rows: their vectors of length 1, shape (len(words), D)."""
    return WordMap(words, place_words(unit_rows), cluster_words(unit_rows))


def place_words(unit_rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Positions on the plane, shape (N, 2): t-SNE of the cosine distances, begun from the principal components.

    Principal components alone put most words of an embedding in one heap: the first two hold little of the variance.
    """
    centred = unit_rows - unit_rows.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    start = np.zeros((len(unit_rows), 2))
    start[:, : len(sizes)] = (left * sizes)[:, :2]
    if len(unit_rows) < MAP_MIN_WORDS or not sizes[:1].any():
        return start
    from sklearn.manifold import TSNE  # a second to import

    perplexity = min(15.0, (len(unit_rows) - 1) / 3)
    start *= 1e-4 / start[:, 0].std()
    return TSNE(2, perplexity=perplexity, init=start, metric="cosine", method="exact", random_state=0).fit_transform(
        unit_rows.astype(np.float64)
    )


def cluster_words(unit_rows: NDArray[np.float32]) -> list[int]:
    """A number below MAP_CLUSTERS for each row: Ward's clusters of the full vectors."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(unit_rows) < 2:
        return [0] * len(unit_rows)
    tree = linkage(unit_rows.astype(np.float64), method="ward")
    return [int(cluster) - 1 for cluster in fcluster(tree, MAP_CLUSTERS, criterion="maxclust")]
