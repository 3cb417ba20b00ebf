"""What `benchmarks.korean` has found, as differences with p-values and as the tables of docs/korean.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from wordlab.differences import holm, paired_difference
from wordlab.statistics import spread

SCORES = {
    "korean_wordsim353": "WordSim-353, ρ",
    "korean_analogy_distance": "analogies, distance",
    "korean_analogy": "analogies, right",
}
"""Those that are compared. Of the distance, less is better."""
OTHERS = "distance_of_other_answers"
DETAILS = {
    "korean_analogy_semantic_distance": "distance, semantic",
    "korean_analogy_syntactic_distance": "distance, syntactic",
    OTHERS: "distance of other answers",
}
"""The last: of the expected words of other questions, which tells how close to one another a model puts all words."""
PUBLISHED = {
    "SG": (0.599, 0.511, 0.606, 0.559),
    "SISG(ch)": (0.658, 0.543, 0.535, 0.539),
    "SISG(jm)": (0.671, 0.492, 0.397, 0.445),
    "SISG(ch4+jm)": (0.677, 0.484, 0.385, 0.435),
    "SISG(ch6+jm)": (0.677, 0.478, 0.385, 0.432),
}
"""Park et al. (2018), tables 1 and 2: WordSim-353's ρ; distance of semantic and syntactic analogies, and of all."""
Scores = dict[str, Any]
"""Score -> value, None where nothing could be asked."""
Runs = dict[int, Scores]
"""Seed -> scores."""


def differences(runs: Mapping[str, Runs], pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Differences of each pair of arms in each score over the seeds that both have, paired; p-values by Holm."""
    found = []
    for arm, base in pairs:
        seeds = [seed for seed in runs[arm] if seed in runs[base]]
        for score in SCORES:
            difference = paired_difference(*([runs[one][seed][score] for seed in seeds] for one in (arm, base)))
            if difference is not None:
                found.append({"arm": arm, "base": base, "score": score, **dataclasses.asdict(difference)})
    for entry, adjusted in zip(found, holm([entry["p"] for entry in found]), strict=True):
        entry["p_holm"] = adjusted
    return found


def tables(
    runs: Mapping[str, Runs], facts: Mapping[str, Any], compared: Sequence[Mapping[str, Any]], note: str
) -> list[dict[str, Any]]:
    """For docs/korean.md: scores, differences, and the paper's table."""
    names = SCORES | DETAILS
    scores = [[arm, len(by_seed), *(_cell(by_seed, name) for name in names)] for arm, by_seed in runs.items()]
    size = [[name, f["words"], f["tokens"], f["tokens_a_word"], f["words_of_one_token"]] for name, f in facts.items()]
    rows = [
        [f"{d['arm']} − {d['base']}", SCORES[d["score"]], *(f"{d[key]:+.4f}" for key in ("mean", "low", "high")),
         "–" if d["p_holm"] is None else f"{d['p_holm']:.2g}"]
        for d in compared
    ]  # fmt: skip
    paper = [[name, *map("{:.3f}".format, numbers)] for name, numbers in PUBLISHED.items()]
    return [
        {"title": "mean ± sd over seeds", "columns": ["arm", "seeds", *names.values()], "rows": scores, "note": note},
        {
            "title": "what is trained on",
            "columns": ["arm", "vocabulary", "tokens", "tokens a word", "% of words that are one token"],
            "rows": size,
            "note": None,
        },
        {
            "title": "paired differences",
            "columns": ["difference", "score", "mean", "from", "to (95 %)", "p (Holm)"],
            "rows": rows,
            "note": f"{len(rows)} t tests, corrected together. Of the distance, less is better.",
        },
        {
            "title": "Park et al. (2018), tables 1 and 2",
            "columns": ["model", "WordSim-353, ρ", "distance, semantic", "distance, syntactic", "distance, all"],
            "rows": paper,
            "note": "121.9 M words of Wikipedia, news and the Sejong corpus, 300 dimensions, all questions asked.",
        },
    ]


def _cell(by_seed: Runs, score: str) -> str:
    found = spread([run[score] for run in by_seed.values()])
    if found.mean is None:
        return "–"
    digits = 2 if score == "korean_analogy" else 4
    return f"{found.mean:.{digits}f}" + ("" if found.sd is None else f" ± {found.sd:.{digits}f}")
