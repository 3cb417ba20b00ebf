"""Ours against another program: scores seed by seed, speed, and both with intervals.

    metrics/peers/PROGRAM.json    means, differences (ours - theirs) with 95 % intervals and corrected p, speed
    data/versus/PROGRAM/          a page in Markdown, the same in one HTML file, and a figure

Both sides have the seeds of params.yaml, and are compared as `wordlab compare` compares experiments. Speed is in words
per CPU second, since the two need not have had as many threads: with r_i the ratio of both for seed i, the geometric
mean of the r_i with exp of the paired t interval of log r_i.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wordlab.artifacts import output_folder, write_json, write_manifest
from wordlab.comparison import Comparison, compare
from wordlab.comparison_plot import save_figure
from wordlab.config import Params
from wordlab.differences import paired_difference
from wordlab.errors import ArtifactError
from wordlab.evaluation import rounded
from wordlab.experiments import Experiment, load_experiment
from wordlab.peers.versus_page import SpeedRatio, as_html, as_page
from wordlab.result_sources import FolderSource
from wordlab.statistics import spread

OURS = "wordlab"
PARAMS = Path("params.yaml")
SPEEDS = ("raw_words_per_cpu_second", "raw_words_per_second", "cpu_seconds", "peak_memory_bytes")


@dataclass(frozen=True)
class PeerSource(FolderSource):
    """A program's folder of results, of the seeds in our params.yaml: of another one, an old model may lie there."""

    params: Path = PARAMS

    def read(self, path: str) -> bytes | None:
        return self.params.read_bytes() if path == "params.yaml" else super().read(path)


def write_versus(program: str, params: Params, data: Path, metrics: Path) -> None:
    """Compare and write. Raises ArtifactError where a side lacks results, or has others than those of the seeds."""
    found = compare_with(program, params.seeds, data, metrics)
    theirs, ours = found.experiments
    ratio = speed_ratio(_speeds(ours), _speeds(theirs))
    write_json(metrics / "peers" / f"{program}.json", as_metrics(found, ratio))
    with output_folder(data / "versus" / program) as building:
        save_figure(found, building / "differences.svg")
        figure = (building / "differences.svg").read_bytes()
        (building / "index.md").write_text(as_page(found, program, ratio), encoding="utf-8")
        (building / "index.html").write_text(as_html(found, program, ratio, figure), encoding="utf-8")
        write_manifest(building, "versus", {"program": program, "seeds": list(params.seeds)})


def compare_with(program: str, seeds: Sequence[int], data: Path, metrics: Path) -> Comparison:
    """All scores of both, theirs the base. Of the parameters that differ, those are told that both programs have."""
    root = data / "peers" / program
    ours = load_experiment(OURS, FolderSource(metrics, Path()), None)
    theirs = load_experiment(program, PeerSource(root / "metrics", root), None)
    for side in (ours, theirs):
        if set(side.seeds) != set(seeds):
            raise ArtifactError(
                f"{side.source.where('metrics')} has results of the seeds {list(side.seeds)}, not {list(seeds)}. "
                "Run: dvc repro"
            )
    found = compare([theirs, ours])
    pairs = []
    for pair in found.pairs:
        both_have = tuple(one for one in pair.what.changed if "absent" not in one[1:])
        pairs.append(replace(pair, what=replace(pair.what, changed=both_have)))
    return replace(found, pairs=tuple(pairs))


def _speeds(side: Experiment) -> list[float]:
    """Words per CPU second, seed by seed, where all of them are known."""
    values = [run.get("raw_words_per_cpu_second") for _, run in sorted(side.runs.items())]
    known = [float(value) for value in values if isinstance(value, int | float) and value > 0]
    return known if len(known) == len(side.seeds) else []


def speed_ratio(ours: Sequence[float], theirs: Sequence[float]) -> SpeedRatio | None:
    """Geometric mean of the ratios, with its interval; None where a side's speeds are not known."""
    if not ours or len(ours) != len(theirs):
        return None
    logs = [math.log(a) for a in ours], [math.log(b) for b in theirs]
    mean = math.fsum(a - b for a, b in zip(*logs, strict=True)) / len(ours)
    found = paired_difference(*logs)
    low, high = (None, None) if found is None else (math.exp(found.low), math.exp(found.high))
    return SpeedRatio(math.exp(mean), low, high)


def as_metrics(found: Comparison, ratio: SpeedRatio | None) -> dict[str, Any]:
    """The content of metrics/peers/PROGRAM.json: numbers, six digits."""
    (pair,) = found.pairs
    scores = {}
    for one in pair.scores:
        scores[one.score] = {
            "ours": one.other.mean,
            "theirs": one.base.mean,
            "difference": one.difference,
            "low": one.t and one.t.low,
            "high": one.t and one.t.high,
            "corrected_p": one.corrected_p,
            "seeds": min(one.base.seeds, one.other.seeds),
        }
    theirs, ours = found.experiments
    speed: dict[str, Any] = {"ours": _measured(ours), "theirs": _measured(theirs)}
    if ratio:
        speed |= {"ratio": ratio.ratio, "ratio_low": ratio.low, "ratio_high": ratio.high}
    return {"scores": _rounded(scores), "speed": _rounded(speed)}


def _measured(side: Experiment) -> dict[str, float | None]:
    """Means over the seeds."""
    return {key: spread([run.get(key) for run in side.runs.values()]).mean for key in SPEEDS}


def _rounded(tree: Mapping[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return _rounded(value) if isinstance(value, dict) else rounded(value) if isinstance(value, float) else value

    return {key: plain(value) for key, value in tree.items()}
