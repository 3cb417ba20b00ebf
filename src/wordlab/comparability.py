"""Which scores of two experiments may be compared, and in what the experiments differ.

A score is compared where both were asked the same questions by the same rules. What was trained may differ in anything,
that being the question; what differs is named. Other text is allowed too, and told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from wordlab.errors import ArtifactError
from wordlab.evaluation import score_name
from wordlab.experiments import AGAIN, Experiment
from wordlab.question_answers import AnswerFile
from wordlab.rules import Case, Name, Rules, Unknown
from wordlab.yaml_file import shown

SHOWS_ONLY = ("neighbors", "neighbors_count")
"""Keys of `evaluate` that change no score."""
ABOUT_THE_MODEL = ("vectors",)
"""Keys of `evaluate` that say which of a model's vectors are scored: a choice of method, which may be compared."""
BEFORE = {
    "rules": "wordlab",
    "case": "ignore",
    "unknown": "skip",
    "compose": False,
    "words": "vocabulary",
    "vectors": "input",
}
"""How results were scored that are older than these keys of `evaluate`."""
SAID_IN_WORDS = ("rules", "vocabulary", "words_made_of_ngrams", "words", "vectors")
"""Of the evaluator's description, what repeats keys of `evaluate`."""
CHANGE_NO_SCORE = (
    "seeds",
    "run.threads",
    "run.workers",
    "run.executor",
    "run.dask_address",
    "report.",
    *(f"evaluate.{key}" for key in SHOWS_ONLY),
)
"""Beginnings of parameters that are not told as differences."""
WHOLE = ("vocab", "model", "train", "evaluate")
"""Sections that results hold as they were: what these lack, the params.yaml of today must not add."""
UNKNOWN_BEFORE = (
    "tokenize.",
    "model.sent2vec.",
    *(f"train.{key}.sent2vec" for key in ("lr", "block_negatives", "damping")),
    "train.damping.hs",
)
"""Beginnings of parameters that results of earlier versions do not name: no difference where one side lacks them."""


@dataclass(frozen=True)
class Comparable:
    """What of two experiments can be compared."""

    scores: tuple[str, ...]
    left_out: dict[str, str]
    """Score -> why it is not compared."""
    changed: tuple[tuple[str, Any, Any], ...]
    """Parameter, the base's value, the other's; "absent" for a parameter that one does not have."""
    remarks: tuple[str, ...]
    """What a reader must know besides."""


def comparable(base: Experiment, other: Experiment, wanted: Collection[str] | None = None) -> Comparable:
    """What can be compared of these scores, or of all.

    Raises ArtifactError that names the differences if no score can be compared.
    """
    unlike, unlike_analogies = _rules(base, other)
    analogies = (*base.first["sections"], *other.first["sections"])
    scores, left_out = [], {}
    for score in dict.fromkeys([*base.first["scores"], *other.first["scores"]]):
        if wanted is not None and score not in wanted:
            continue
        reasons = [*unlike, *(unlike_analogies if score.startswith(analogies) else [])]
        reason = "; ".join(reasons) or _sets_differ(base, other, score)
        if reason:
            left_out[score] = reason
        else:
            scores.append(score)
    if not scores:
        by_these = "cannot be compared by these scores" if wanted is not None else "have no score that can be compared"
        told = [f"{score}: {why}" for score, why in left_out.items()] if wanted is not None else left_out.values()
        raise ArtifactError(
            f"{base.label} and {other.label} {by_these}: {'; '.join(dict.fromkeys(told))[:1000]}. "
            "Score both alike: give them the same `evaluate` and `download.evaluation_sets`, then run: dvc repro"
        )
    return Comparable(tuple(scores), left_out, _changed(base, other), tuple(_remarks(base, other, scores)))


def _rules(base: Experiment, other: Experiment) -> tuple[list[str], list[str]]:
    """In what the rules of scoring differ: for all scores, and for analogies alone."""
    unlike, unlike_analogies = [], []
    ours, theirs = ({**BEFORE, **one.first["config"].get("evaluate", {})} for one in (base, other))
    for key, a, b in _differences(ours, theirs):
        if key == "restrict_vocab" and not (
            rules_of(base).pairs_are_restricted or rules_of(other).pairs_are_restricted
        ):
            unlike_analogies.append(f"evaluate.{key} is {shown(a)} and {shown(b)}")
        elif key == "compose" and not (_composes(base) or _composes(other)):
            continue
        elif key not in (*SHOWS_ONLY, *ABOUT_THE_MODEL):
            unlike.append(f"evaluate.{key} is {shown(a)} and {shown(b)}")
    for key, a, b in (*_differences(base.first["evaluator"], other.first["evaluator"]), *_of_sentences(base, other)):
        if key not in SAID_IN_WORDS and not unlike:
            unlike.append(f"the evaluators' rules differ in {key}: {shown(a)} and {shown(b)}")
    return unlike, unlike_analogies


def _composes(experiment: Experiment) -> bool:
    """Whether words may have been made of n-grams: without subwords the rule changes nothing."""
    units = (experiment.first["config"]["model"].get("subwords") or {}).get("units", "none")
    return units != "none" and rules_of(experiment).composes


def _of_sentences(base: Experiment, other: Experiment) -> Iterator[tuple[str, Any, Any]]:
    """Differences of the rules for sentences, where both were scored on some."""
    ours, theirs = (one.first.get("sentence_evaluator") for one in (base, other))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        yield from _differences(ours, theirs)


def rules_of(experiment: Experiment) -> Rules:
    """The rules an experiment was scored by. Raises ArtifactError if this version does not know them."""
    found = {**BEFORE, **experiment.first["config"].get("evaluate", {})}
    known = {"rules": get_args(Name), "case": get_args(Case), "unknown": get_args(Unknown)}
    for key, values in known.items():
        if found[key] not in values:
            raise ArtifactError(
                f"{experiment.label} was scored with evaluate.{key} {shown(found[key])}, which is unknown here. {AGAIN}"
            )
    return Rules(name=found["rules"], case=found["case"], unknown=found["unknown"], compose=found["compose"] is True)


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(key, "absent"), theirs.get(key, "absent")
        if a != b:
            yield key, a, b


def _sets_differ(base: Experiment, other: Experiment, score: str) -> str:
    """Why the two did not answer the same questions for this score; empty if they did."""
    for one in (base, other):
        if score not in one.first["scores"]:
            rows = [row for row in one.first["absent"] if score.startswith(score_name(row))]
            because = f": {one.first['absent'][max(rows, key=len)]}" if rows else ""
            return f"{one.label} has no such score{because}"
    ours, theirs = base.first["scores"][score], other.first["scores"][score]
    for key in ("unit", "asked"):
        if ours.get(key) != theirs.get(key):
            return f"{key} is {shown(ours.get(key))} and {shown(theirs.get(key))}: the sets differ"
    if base.first["fingerprints"].get("evaluation_sets") == other.first["fingerprints"].get("evaluation_sets"):
        return ""
    known = [one.first["fingerprints"].get("sets", {}) for one in (base, other)]
    if all(isinstance(sets, dict) for sets in known):
        rows = [row for row in known[0] if row in known[1] and score.startswith(score_name(row))]
        if rows:
            row = max(rows, key=len)
            return "" if known[0][row] == known[1][row] else "the set's questions differ"
    try:
        questions = [questions_of(experiment, score) for experiment in (base, other)]
    except ArtifactError as error:
        return f"their evaluation sets are not all the same, and which of them are cannot be seen: {error}"
    if questions[0] is None or questions[1] is None:
        return "their evaluation sets are not all the same, and no answers tell whether this one is"
    return "" if questions[0] == questions[1] else "the set's questions differ"


def answers_for(experiment: Experiment, score: str, seed: int) -> AnswerFile | None:
    """One model's answers to the set that a score is of; None if the experiment has no such set.

    Raises ArtifactError if the answers are not at hand.
    """
    rows = [row for row in experiment.answer_rows(seed) if score.startswith(score_name(row))]
    files = (experiment.answers(seed, row) for row in sorted(rows, key=len, reverse=True))
    return next((file for file in files if file.graded(score, rules_of(experiment)) is not None), None)


def questions_of(experiment: Experiment, score: str) -> tuple[tuple[str, ...], ...] | None:
    """The questions that a score was computed from. Raises ArtifactError if the answers are not at hand."""
    found = answers_for(experiment, score, experiment.seeds[0])
    return None if found is None else found.questions


def parameters(experiment: Experiment) -> dict[str, Any]:
    """Every parameter by its name with dots: those of params.yaml, where the results' own differ these."""
    config = experiment.first["config"]
    found = flat({name: value for name, value in experiment.params.items() if name not in config or name not in WHOLE})
    found.update(flat(config))
    return found


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}, sorted."""
    found: dict[str, Any] = {}
    pending = [("", tree)]
    while pending:
        prefix, branch = pending.pop()
        for key, value in branch.items():
            if isinstance(value, Mapping):
                pending.append((f"{prefix}{key}.", value))
            else:
                found[f"{prefix}{key}"] = value
    return dict(sorted(found.items()))


def _changed(base: Experiment, other: Experiment) -> tuple[tuple[str, Any, Any], ...]:
    """Parameters that differ and may change a score."""
    if base.params and other.params:
        ours, theirs = parameters(base), parameters(other)
    else:  # without params.yaml, a parameter may be missing and still be the same
        ours, theirs = flat(base.first["config"]), flat(other.first["config"])
    found = _differences(_by_new_names(ours), _by_new_names(theirs))
    return tuple(
        (key, a, b)
        for key, a, b in found
        if not key.startswith(CHANGE_NO_SCORE) and not ("absent" in (a, b) and key.startswith(UNKNOWN_BEFORE))
    )


def _by_new_names(params: dict[str, Any]) -> dict[str, Any]:
    """With the parameters that earlier versions had otherwise: one `train.damping` for all, no rules of evaluation."""
    found = {f"evaluate.{key}": value for key, value in BEFORE.items()} | params
    damping = found.pop("train.damping", None)
    return found if damping is None else found | {f"train.damping.{arch}": damping for arch in ("skipgram", "cbow")}


def _remarks(base: Experiment, other: Experiment, scores: list[str]) -> Iterator[str]:
    for experiment in (base, other):
        if experiment.missing:
            seeds = ", ".join(map(str, experiment.missing))
            yield f"{experiment.label} lists seeds without results, which are left out: {seeds}"
    if base.corpus != other.corpus:
        yield (
            f"They were trained on different text, {base.corpus} and {other.corpus}: "
            "what differs may be the text and not the method."
        )
    elif _fingerprint(base, "encode") != _fingerprint(other, "encode"):
        yield "They were trained on the same corpus, but its tokens or vocabulary differ."
    unlike = []
    for score in scores:
        a, b = (one.first["scores"][score].get("coverage") for one in (base, other))
        if a is not None and b is not None and abs(a - b) >= 1:
            unlike.append(f"{score} {a:.1f} % and {b:.1f} %")
    if unlike:
        yield f"They know different parts of the sets and were not asked quite the same questions: {'; '.join(unlike)}"
    if base.fingerprints == other.fingerprints:
        yield "Their results are the same, bit by bit."


def _fingerprint(experiment: Experiment, name: str) -> Any:
    return experiment.first["fingerprints"].get(name)
