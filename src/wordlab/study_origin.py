"""What a study's result file keeps of how its experiments were made: parameters, rules of scoring, machines, data.

All parameters are kept of the base arm alone; what other arms have otherwise stands in their settings. Machines and
versions are those of all trainings together: a value where they agree, and all values where they do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wordlab.experiments import Experiment
from wordlab.html_page import flat

RECORDED = ("device", "threads", "engine", "git", "cpu", "cores", "memory_bytes", "platform", "python", "libraries")
"""Of metrics/run/seed-N.json: what does not differ from run to run on one machine."""
DATA = ("vocabulary", "encode", "evaluation_sets")
"""Fingerprints of what the models were made from and asked."""


@dataclass(frozen=True)
class Origin:
    """How a study's experiments were made: names with dots and values, as text."""

    parameters: Mapping[str, str]
    """Of the base arm: its params.yaml."""
    rules: Mapping[str, str]
    """By which the base arm was scored."""
    provenance: Mapping[str, str]


def origin_of(base: Experiment, arms: Sequence[Experiment]) -> dict[str, dict[str, str]]:
    """What is kept of how these experiments were made, as values of JSON."""
    runs = [flat({key: run[key] for key in RECORDED if key in run}) for arm in arms for run in arm.runs.values()]
    keys = dict.fromkeys(key for run in runs for key in run)
    recorded = {key: ", ".join(dict.fromkeys(run[key] for run in runs if key in run)) for key in keys}
    fingerprints = {key: base.first["fingerprints"][key] for key in DATA if key in base.first["fingerprints"]}
    rules = {**base.first["evaluator"], **(base.first.get("sentence_evaluator") or {})}
    return {
        "parameters": dict(sorted(flat(base.params).items())),
        "rules": flat(rules),
        "provenance": {**recorded, **flat({"fingerprint": fingerprints})},
    }


def parse_origin(tree: Mapping[str, Any]) -> Origin:
    """What `origin_of` wrote. Raises KeyError, TypeError or AttributeError where it is damaged."""
    return Origin(*(_texts(tree[name]) for name in ("parameters", "rules", "provenance")))


def _texts(tree: Mapping[str, Any]) -> dict[str, str]:
    if not all(isinstance(value, str) for value in tree.values()):
        raise TypeError("a value that is no text")
    return dict(tree)
