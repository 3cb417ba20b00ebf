"""What a study's result file keeps of its models: loss curves, neighbours of some words, and a map of words.

Curves are of all seeds, each thinned to CURVE_POINTS points; neighbours are of the first seed of every arm, the map is
of the first seed of the base arm: so a file of many arms stays small, and its page needs no experiment. What cannot be
had is named with the reason, and ends nothing: scores are what a study is about.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.artifacts import fingerprint
from wordlab.embeddings import unit_rows
from wordlab.errors import ArtifactError
from wordlab.evaluation import rounded
from wordlab.experiments import Experiment
from wordlab.loss_curves import LossCurve, parse_curve, thinned
from wordlab.model_folder import NPY_HEADER_BYTES, read_npy_header
from wordlab.shards import DICTIONARY_SCHEMA, map_batch
from wordlab.word_map import MAP_CLUSTERS, WordMap, map_of

CURVE_POINTS = 40
LOSS_DIGITS = 5
NEIGHBOR_WORDS, NEIGHBORS = 5, 5
"""The first words of `evaluate.neighbors`, and the nearest words of each."""
MAP_WORDS = 150
LARGEST = 1e15
"""No count of tokens is larger, and no loss that can be drawn."""
NOT_KEPT = "the result file is of format 1, which kept none"


@dataclass(frozen=True)
class ArmModels:
    """What is known of an arm's models."""

    curves: tuple[LossCurve, ...]
    """Thinned, of the seeds that have one."""
    steps: int
    """At most so many steps of a training are averaged in a point of its curve."""
    neighbors_seed: int | None
    """Of whose model the neighbours are; None without any."""
    neighbors: Mapping[str, tuple[tuple[str, float], ...] | None]
    """Word -> its nearest words with their cosines; None for a word that the vocabulary lacks."""
    absent: Mapping[str, str]
    """`curves` or `neighbors` -> why they, or some of them, are not there."""


@dataclass(frozen=True)
class BaseMap:
    """The map of the base arm's first model."""

    seed: int | None
    drawn: WordMap | None
    absent: str
    """Why there is none; else empty."""


NO_MODELS = ArmModels((), 1, None, {}, {"curves": NOT_KEPT, "neighbors": NOT_KEPT})
NO_MAP = BaseMap(None, None, NOT_KEPT)


def models_of(arm: Experiment) -> dict[str, Any]:
    """What is kept of an arm, as values of JSON."""
    curves, no_curves = _curves(arm)
    neighbors, no_neighbors = _neighbors(arm)
    reasons = {"curves": no_curves, "neighbors": no_neighbors}
    absent = {name: reason for name, reason in reasons.items() if reason}
    return {"curves": curves, "neighbors": neighbors, "absent": absent}


def _curves(arm: Experiment) -> tuple[dict[str, Any] | None, str]:
    """The arm's curves, and why some are not there."""
    found: list[LossCurve] = []
    reasons: dict[str, list[int]] = {}
    for seed in arm.seeds:
        path = f"metrics/curves/seed-{seed}.tsv"
        try:
            curve = _curve(arm, seed, path)
            if found and not np.array_equal(found[0].tokens, curve.tokens):
                raise ArtifactError(f"the curve has other steps than that of seed {found[0].seed}")
            found.append(curve)
        except ArtifactError as error:
            reasons.setdefault(str(error), []).append(seed)
    told = "; ".join(f"seed {', '.join(map(str, seeds))}: {reason}" for reason, seeds in reasons.items())
    if not found:
        return None, told
    kept = [thinned(curve, CURVE_POINTS) for curve in found]
    return {
        "steps": -(-len(found[0].loss) // CURVE_POINTS),
        "tokens": [int(tokens) for tokens in kept[0].tokens],
        "loss": {str(curve.seed): [_loss(value) for value in curve.loss] for curve in kept},
    }, told


def _curve(arm: Experiment, seed: int, path: str) -> LossCurve:
    data = arm.source.read(path)
    if data is None:
        raise ArtifactError("its curve was not kept")
    curve = parse_curve(seed, data, arm.source.where(path))
    if not len(curve.loss) or not (np.abs(curve.tokens) < LARGEST).all():
        raise ArtifactError(f"{arm.source.where(path)} holds no step, or one that cannot be")
    return curve


def _loss(value: float) -> float | None:
    return rounded(float(value), LOSS_DIGITS) if abs(value) < LARGEST else None


def _neighbors(arm: Experiment) -> tuple[dict[str, Any] | None, str]:
    """Neighbours of the first seed's model, and why there are none."""
    listed: Any = arm.first.get("neighbors")
    try:
        words = {word: _nearest(listed[word]) for word in list(listed)[:NEIGHBOR_WORDS]}
    except (TypeError, KeyError, ValueError, AttributeError):
        return None, f"{arm.source.where(f'metrics/seed-{arm.seeds[0]}.json')} lists none that can be read"
    if not words:
        return None, "evaluate.neighbors named no word"
    return {"seed": arm.seeds[0], "words": words}, ""


def _nearest(listed: Any) -> list[list[Any]] | None:
    """[["germany", 0.81], ...]; None for a word that is not in the vocabulary."""
    if listed is None:
        return None
    return [[_text(word), round(_number(cosine), 2)] for word, cosine in listed[:NEIGHBORS]]


def map_of_base(arm: Experiment) -> dict[str, Any]:
    """The map of the most frequent words in the arm's first model, as values of JSON."""
    seed = arm.seeds[0]
    try:
        words, rows = _first_rows(arm, seed, MAP_WORDS)
    except ArtifactError as error:
        return {"absent": str(error)}
    return map_tree(seed, words, rows)


def map_tree(seed: int, words: Sequence[str], rows: NDArray[np.float32]) -> dict[str, Any]:
    """The map of these words, as values of JSON. rows: their vectors, shape (words, dim)."""
    drawn = map_of(words, unit_rows(rows))
    places = [[rounded(float(value), 4) for value in place] for place in drawn.places]
    return {"seed": seed, "words": list(words), "places": places, "clusters": list(drawn.clusters)}


def _first_rows(arm: Experiment, seed: int, count: int) -> tuple[list[str], NDArray[np.float32]]:
    """The most frequent words and their vectors, shape (words, dim); of the vectors no more is read.

    Raises ArtifactError where they are not at hand, or are none of the model that was scored.
    """
    folder = f"data/train/seed-{seed}"
    manifest = _read(arm, f"{folder}/manifest.json")
    try:
        scored = fingerprint(json.loads(manifest)) == arm.first["fingerprints"].get("model")
    except (ValueError, RecursionError):
        scored = False
    if not scored:
        raise ArtifactError(f"{arm.source.where(folder)} holds another model than the one that was scored")
    words = _words(arm, f"{folder}/words.arrow")
    path = f"{folder}/input_vectors.npy"
    named = Path(arm.source.where(path))
    start, kind, shape = read_npy_header(_read(arm, path, NPY_HEADER_BYTES), named)
    if kind != "float32" or len(shape) != 2 or shape[0] != len(words) or not 0 < shape[1] <= 1 << 20:
        raise ArtifactError(f"{named} holds {kind} of shape {shape}, and there are {len(words)} words")
    count = min(count, len(words))
    data = _read(arm, path, start + 4 * count * shape[1])[start:]
    if len(data) != 4 * count * shape[1]:
        raise ArtifactError(f"{named} ends too early")
    return words[:count], np.frombuffer(data, "<f4").reshape(count, shape[1]).astype(np.float32)


def _read(arm: Experiment, path: str, most: int | None = None) -> bytes:
    data = arm.source.read_data(path, most)
    if data is None:
        where = "is in neither DVC's cache nor a remote" if arm.revision else "does not exist"
        raise ArtifactError(f"{arm.source.where(path)} {where}")
    return data


def _words(arm: Experiment, path: str) -> list[str]:
    """The vocabulary, by way of a copy, since such files are checked as they are mapped."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "words.arrow"
        copy.write_bytes(_read(arm, path))
        try:
            words: list[str] = map_batch(copy, DICTIONARY_SCHEMA, "train").column("word").to_pylist()
        except ArtifactError as error:
            raise ArtifactError(str(error).replace(str(copy), arm.source.where(path))) from None
    return words


# ---- and back


def parse_models(tree: Mapping[str, Any]) -> ArmModels:
    """What `models_of` wrote. Raises KeyError, TypeError, ValueError or AttributeError where it is damaged."""
    curves, neighbors = tree["curves"], tree["neighbors"]
    absent = {_text(name): _text(reason) for name, reason in tree["absent"].items()}
    steps, found = 1, []
    if curves is not None:
        steps, tokens = int(curves["steps"]), np.array([_number(value) for value in curves["tokens"]])
        for seed, values in curves["loss"].items():
            loss = np.array([math.nan if value is None else _number(value) for value in values])
            if loss.shape != tokens.shape or not len(loss):
                raise ValueError(f"{len(loss)} losses at {len(tokens)} steps")
            found.append(LossCurve(int(seed), tokens, loss))
    words = {} if neighbors is None else {_text(word): _parsed(near) for word, near in neighbors["words"].items()}
    return ArmModels(tuple(found), steps, neighbors and int(neighbors["seed"]), words, absent)


def _parsed(near: Any) -> tuple[tuple[str, float], ...] | None:
    return None if near is None else tuple((_text(word), _number(cosine)) for word, cosine in near)


def parse_map(tree: Mapping[str, Any]) -> BaseMap:
    """What `map_of_base` wrote. Raises as `parse_models`."""
    if "absent" in tree:
        return BaseMap(None, None, _text(tree["absent"]))
    words, clusters = list(map(_text, tree["words"])), [int(cluster) for cluster in tree["clusters"]]
    places = np.array([[_number(value) for value in place] for place in tree["places"]])
    if places.shape != (len(words), 2) or len(clusters) != len(words):
        raise ValueError(f"a map of {len(words)} words with {len(places)} places and {len(clusters)} clusters")
    if not all(0 <= cluster < MAP_CLUSTERS for cluster in clusters):
        raise ValueError("a cluster that no map has")
    return BaseMap(int(tree["seed"]), WordMap(words, places, clusters), "")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise ValueError(f"{value!r} is no number")
    return float(value)
