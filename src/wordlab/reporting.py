"""Tables of results, for the terminal and for a README; the page is made by `report_page`.

Accuracies and coverage are in percent, correlations as ρ, everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordlab.artifacts import read_json
from wordlab.config import Params, load_params
from wordlab.errors import ArtifactError
from wordlab.evaluation import score_name
from wordlab.results import MEASURED, load_results, load_runs, mean_of, score_spread, summarize
from wordlab.rules import rules_lines
from wordlab.statistics import Spread

LABELS = {
    "google_analogy": "Google analogies",
    "google_analogy_semantic": "Google analogies, semantic",
    "google_analogy_syntactic": "Google analogies, syntactic",
    "google_analogy_mul": "Google analogies, 3CosMul",
    "google_phrase_analogy": "Phrase analogies",
    "google_phrase_analogy_mul": "Phrase analogies, 3CosMul",
    "wordsim353": "WordSim-353",
    "wordsim353_similarity": "WordSim-353, similarity",
    "wordsim353_relatedness": "WordSim-353, relatedness",
    "simlex999": "SimLex-999",
    "men": "MEN",
    "rg65": "RG-65",
    "mc30": "MC-30",
    "mturk287": "MTurk-287",
    "rare_words": "Rare Words",
    "msr_sentence_completion": "MSR Sentence Completion",
    "korean_wordsim353": "WordSim-353, Korean",
    "korean_analogy": "Korean analogies",
    "korean_analogy_semantic": "Korean analogies, semantic",
    "korean_analogy_syntactic": "Korean analogies, syntactic",
    "korean_analogy_mul": "Korean analogies, 3CosMul",
    "korean_analogy_distance": "Korean analogies, distance",
    "korean_analogy_semantic_distance": "Korean analogies, semantic, distance",
    "korean_analogy_syntactic_distance": "Korean analogies, syntactic, distance",
}
"""Score -> what people call it."""
SENTENCE_LABELS = {"stsbenchmark_": "STS Benchmark", "korsts_": "KorSTS"}
"""How names of scores of sentences begin -> what people call the set."""


@dataclass(frozen=True)
class ScoreRow:
    """A line of the results table, as text."""

    name: str
    label: str
    mean: str
    """`34.12 % ± 0.35`, or `0.667 ± 0.004`, or `–`."""
    interval: str
    """`33.25 to 34.99`; empty where there is none."""
    coverage: str
    """`62.5 %`, `62.5 % (8.1 % of n-grams)` with words made of those; empty for an absent set."""
    note: str
    """Why there is no score; else empty."""


def label_of(name: str) -> str:
    """What people call a score."""
    return LABELS.get(name) or _sentence_label(name) or name.replace("_", " ")


def _sentence_label(name: str) -> str:
    """`stsbenchmark_test_sif_pearson` -> `STS Benchmark, test, sif, Pearson's r`; nothing for a score of words."""
    for start, label in SENTENCE_LABELS.items():
        if name.startswith(start):
            return ", ".join([label, *name.removeprefix(start).replace("pearson", "Pearson's r").split("_")])
    return ""


def score_rows(results: Sequence[Mapping[str, Any]]) -> list[ScoreRow]:
    """The results table: a row for each score, then one for each absent set."""
    rows = []
    for name, score in results[0]["scores"].items():
        values, coverage = score_spread(results, name), f"{score['coverage']:.1f} %{_composed(score)}"
        note = "" if values.mean is not None else _no_score(score)
        low_high = format_interval(values, score["unit"])
        rows.append(ScoreRow(name, label_of(name), format_mean(values, score["unit"]), low_high, coverage, note))
    for row, reason in results[0]["absent"].items():
        rows.append(ScoreRow(score_name(row), label_of(score_name(row)), "–", "", "", f"absent: {reason}"))
    return rows


def _composed(score: Mapping[str, Any]) -> str:
    """Which part of a set is known only since words were made of n-grams."""
    return f" ({100 * score['composed'] / score['asked']:.1f} % of n-grams)" if score.get("composed") else ""


def _no_score(score: Mapping[str, Any]) -> str:
    if score["answered"] < 2:
        return f"no score: only {score['answered']} of {score['asked']} have all words in the vocabulary"
    return "no score: all pairs have the same cosine"


def format_mean(values: Spread, unit: str) -> str:
    """Mean ± sd in the unit of the score; an en dash where there is none."""
    if values.mean is None:
        return "–"
    percent = unit == "percent"
    mean = f"{values.mean:.2f} %" if percent else f"{values.mean:.3f}"
    return mean if values.sd is None else mean + (f" ± {values.sd:.2f}" if percent else f" ± {values.sd:.3f}")


def format_interval(values: Spread, unit: str) -> str:
    """The 95 % interval, or nothing with fewer than two seeds."""
    if values.low is None or values.high is None:
        return ""
    digits = 2 if unit == "percent" else 3
    return f"{values.low:.{digits}f} to {values.high:.{digits}f}"


def headline(results: Sequence[Mapping[str, Any]], corpus: str) -> str:
    """What was trained, in one line."""
    model, train = results[0]["config"]["model"], results[0]["config"]["train"]
    seeds = ", ".join(str(result["seed"]) for result in results)
    epochs = f"{train['epochs']} epoch{'s' if train['epochs'] > 1 else ''}"
    parts = model.get("subwords", {"units": "none"})
    ngrams = "" if parts["units"] == "none" else f", n-grams of {parts['min_n']} to {parts['max_n']} {parts['units']}"
    return (
        f"{model['arch']} on {corpus}, {model['objective']}{ngrams}, {model['dim']} dimensions, "
        f"{_context(model)}, {epochs}, {'seed' if len(results) == 1 else f'{len(results)} seeds:'} {seeds}"
    )


def _context(model: Mapping[str, Any]) -> str:
    """What predicts a word, or is predicted by it."""
    if model["arch"] != "sent2vec":
        return f"window {model['window']}"
    longest = model["sent2vec"]["word_ngrams"]
    return "words of the sentence" + (f" and n-grams up to {longest}" if longest > 1 else "")


def speed_line(runs: Sequence[Mapping[str, Any]]) -> str:
    """Mean speed, time and memory of training in one line; says so if nothing was recorded."""
    if not runs:
        return "training speed was not recorded"
    words, seconds, cpu, memory = (mean_of(runs, key) for key in MEASURED)
    parts = [
        words is not None and f"{words / 1e6:.2f} M raw words/s",
        seconds is not None and f"{seconds:.1f} s",
        cpu is not None and f"{cpu:.1f} CPU seconds",
        memory is not None and f"{memory / 2**20:,.0f} MiB at the peak",
    ]
    where = sorted({f"{run.get('device', '?')}, {run.get('threads', '?')} threads" for run in runs})
    return f"training a seed: {', '.join(part for part in parts if part)} ({'; '.join(where)})"


def neighbor_line(result: Mapping[str, Any], word: str) -> str:
    """The nearest words of one word in one line."""
    nearest = result["neighbors"][word]
    if nearest is None:
        return f"neighbors of {word}: not in the vocabulary"
    return f"neighbors of {word}, seed {result['seed']}: " + ", ".join(f"{near} {cos:.2f}" for near, cos in nearest)


def results_table(metrics: Path = Path("metrics"), params: Params | None = None) -> str:
    """The results of the last `dvc repro` for the terminal: table, speed, neighbours of the first word listed.

    params: read from params.yaml where not given.
    Raises ArtifactError if there are no results, or they do not belong together.
    """
    params = params or load_params()
    results = load_results(params.seeds, metrics)
    again = "Run: dvc repro report"
    if read_json(metrics / "summary.json", again) != summarize(results):
        raise ArtifactError(f"{metrics / 'summary.json'} does not belong to the results of the seeds. {again}")
    lines = [headline(results, params.corpus), "", *_text_table(score_rows(results)), ""]
    lines.append(speed_line(load_runs(params.seeds, metrics)))
    lines += [neighbor_line(results[0], word) for word in list(results[0]["neighbors"])[:1]]
    whose, *rules = rules_lines(results[0])
    lines += [whose, *(f"  {rule}" for rule in rules)]
    return "\n".join(lines)


def _text_table(rows: Sequence[ScoreRow]) -> list[str]:
    cells = [("score", "mean ± sd", "95 % interval", "coverage", "")]
    cells += [(row.label, row.mean, row.interval, row.coverage, row.note) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = []
    for label, *numbers, note in cells:
        columns = [
            f"{label:<{widths[0]}}",
            *(f"{text:>{width}}" for text, width in zip(numbers, widths[1:], strict=True)),
        ]
        lines.append("  ".join([*columns, note]).rstrip())
    return lines


def markdown_table(results: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], corpus: str) -> str:
    """The same for a README: data/report/results.md."""
    lines = [
        f"{headline(results, corpus)}.",
        "",
        "| score | mean ± sd | 95 % interval | coverage |",
        "|---|---:|---:|---:|",
    ]
    for row in score_rows(results):
        lines.append(f"| {row.label} | {row.mean} | {row.note or row.interval} | {row.coverage} |")
    lines += ["", f"{capitalized(speed_line(runs))}.", ""]
    lines += [f"- {neighbor_line(results[0], word)}" for word in results[0]["neighbors"]]
    whose, *rules = rules_lines(results[0])
    lines += ["", capitalized(whose), "", *(f"- {rule}" for rule in rules)]
    return "\n".join(lines) + "\n"


def capitalized(sentence: str) -> str:
    """The sentence with its first letter in upper case, and nothing else changed."""
    return sentence[:1].upper() + sentence[1:]
