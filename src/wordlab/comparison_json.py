"""A comparison as JSON: everything that was computed, for other programs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from wordlab.comparison import Comparison
from wordlab.comparison_sentences import sentence
from wordlab.evaluation import rounded
from wordlab.results import score_spread


def as_json(found: Comparison) -> dict[str, Any]:
    """Values of JSON, with six significant digits."""
    tree = {
        "experiments": [
            {
                "name": one.label,
                "commit": one.revision and one.revision.commit,
                "corpus": one.corpus,
                "seeds": list(one.seeds),
                "missing_seeds": list(one.missing),
                "scores": {
                    name: {
                        **dataclasses.asdict(score_spread(one.results, name)),
                        "values": one.values(name),
                        **{key: score.get(key) for key in ("unit", "coverage", "answered", "asked")},
                    }
                    for name, score in one.first["scores"].items()
                },
            }
            for one in found.experiments
        ],
        "tests": found.tests,
        "pairs": [
            {
                "base": pair.base,
                "other": pair.other,
                "changed": [{"parameter": key, "base": a, "other": b} for key, a, b in pair.what.changed],
                "remarks": list(pair.what.remarks),
                "left_out": pair.what.left_out,
                "scores": [{**dataclasses.asdict(one), "sentence": sentence(pair, one)} for one in pair.scores],
            }
            for pair in found.pairs
        ],
    }
    return {key: _plain(value) for key, value in tree.items()}


def _plain(value: Any) -> Any:
    """A tree of values as JSON has them, floats rounded."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return rounded(value) if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)  # YAML has dates too
