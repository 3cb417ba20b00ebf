"""Score one model on every evaluation set that is there.

Conventions, the same everywhere: accuracies and coverage in percent, correlations as ρ. A score names its coverage,
the part of a set's questions or pairs whose words the model knows; the others are not counted against it. A set that
could not be had, or of which no word is known, has no score: null, never zero. Numbers are rounded to six significant
digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wordlab.analogies import METHODS, AnalogyAnswers, answer_questions, folded_index
from wordlab.artifacts import fingerprint
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError
from wordlab.evaluation_sets import Item, Pair, Question, read_evaluation_set
from wordlab.rules import WORDLAB, Rules
from wordlab.sentence_sets import Answer, Completion, SentencePair, with_answers
from wordlab.similarity import Compose, PairCosines, compare_pairs
from wordlab.tokenizers import fold_text

EvaluationSet = Sequence[Item]
ANSWERS = "-answers"
"""Ends the name of a row that holds the answers to another row's questions."""
KINDS = ("semantic", "syntactic")
MEASURED_BY_DISTANCE = ("korean-analogies",)
"""Rows whose paper measures the distance to the expected word: it is a score there, and stands in the sections of all
analogy sets."""


@dataclass(frozen=True)
class EvaluationSets:
    """The sets that stage `download` brought, by catalog row."""

    present: dict[str, EvaluationSet]
    absent: dict[str, str]
    """Row -> why it could not be had."""

    @property
    def have_sentences(self) -> bool:
        """Whether one of them is of sentences."""
        return any(isinstance(items[0], SentencePair | Completion) for items in self.present.values())

    def without_completion(self, reason: str) -> EvaluationSets:
        """The same without sets of sentences to complete, which are absent for this reason."""
        left_out = [row for row, items in self.present.items() if isinstance(items[0], Completion)]
        present = {row: items for row, items in self.present.items() if row not in left_out}
        return EvaluationSets(present, {**self.absent, **dict.fromkeys(left_out, reason)})

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parsed content: equal wherever the files came from."""
        return fingerprint({row: [list(item) for item in items] for row, items in self.present.items()})

    @property
    def fingerprints(self) -> dict[str, str]:
        """The same of each set, by catalog row: tells which of them two evaluations have in common."""
        return {row: fingerprint([list(item) for item in items]) for row, items in self.present.items()}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All results of one model."""

    scores: dict[str, dict[str, Any]]
    """Score name -> value (None where nothing could be asked), unit, coverage, answered, asked; where words of pairs
    are made of n-grams also composed, the number of those answered that have such a word."""
    sections: dict[str, dict[str, dict[str, Any]]]
    """Analogy score name -> section -> add and mul (percent), distance, coverage, answered, asked."""
    correlations: dict[str, dict[str, float | None]]
    """Name of a pairs' score -> spearman, pearson, and unknown, the percentage of pairs with an unknown word."""
    details: dict[str, AnalogyAnswers | PairCosines | Details]
    """Catalog row -> what the model said, question by question."""


class Details(Protocol):
    """What the model said of a set of sentences."""

    def lines(self) -> Iterator[str]:
        """Tab-separated lines, header first."""
        ...


def load_evaluation_sets(folder: Path, listed: Mapping[str, Mapping[str, str]], rows: Sequence[str]) -> EvaluationSets:
    """Read the sets that data/download's manifest lists, in the order of `rows` (params `download.evaluation_sets`).

    Raises ArtifactError if the manifest does not know a row, or a file is damaged.
    """
    present: dict[str, EvaluationSet] = {}
    absent: dict[str, str] = {}
    for row in rows:
        items = _read_row(folder, listed, row)
        if isinstance(items, str):
            absent[row] = items
        elif isinstance(items[0], Completion):
            answers = _read_row(folder, listed, row + ANSWERS)
            if isinstance(answers, str):
                absent[row] = f"its answers: {answers}"
            else:
                path = folder / listed[row + ANSWERS]["path"]
                present[row] = with_answers(path, items, answers)  # type: ignore[arg-type]
        elif not isinstance(items[0], Answer):
            present[row] = items
    return EvaluationSets(present, absent)


def _read_row(folder: Path, listed: Mapping[str, Mapping[str, str]], row: str) -> EvaluationSet | str:
    """A row's items, or why it could not be had."""
    if row not in listed:
        raise ArtifactError(
            f"{folder} was written for the evaluation sets {', '.join(listed) or 'none'}, but params.yaml also "
            f"names {row}. Run: dvc repro download"
        )
    entry = listed[row]
    return entry["absent"] if "absent" in entry else read_evaluation_set(folder / entry["path"], entry["format"])


def score_name(row: str) -> str:
    """Catalog row -> name of its score: `google-analogies` -> `google_analogy`, `rare-words` -> `rare_words`."""
    return row.replace("-", "_").replace("analogies", "analogy")


def evaluate(embeddings: Embeddings, sets: EvaluationSets, restrict_vocab: int, rules: Rules = WORDLAB) -> Evaluation:
    """Score `embeddings` on all sets of words; `sentence_evaluation` adds those of sentences.

    restrict_vocab: analogy questions and answers are limited to this many most frequent words; 0 means all.
    """
    words, unit_rows = embeddings.words, embeddings.normalized()
    index = folded_index(words[: restrict_vocab or None] if rules.pairs_are_restricted else words, rules)
    compose = composer(embeddings, rules)
    evaluation = Evaluation({}, {}, {}, {})
    for row, items in sets.present.items():
        name = score_name(row)
        if isinstance(items[0], Question):
            answers = answer_questions(words, unit_rows, items, restrict_vocab, rules)  # type: ignore[arg-type]
            evaluation.details[row] = answers
            evaluation.sections[name] = sections = section_scores(answers, rules)
            evaluation.scores.update(_analogy_scores(name, sections, row in MEASURED_BY_DISTANCE))
        elif isinstance(items[0], Pair):
            pairs = compare_pairs(index, unit_rows, items, rules, compose)  # type: ignore[arg-type]
            evaluation.details[row] = pairs
            evaluation.scores[name] = score_of(pairs.rho, "rho", int(pairs.known.sum()), len(pairs.pairs))
            if pairs.composed is not None:
                evaluation.scores[name]["composed"] = int(pairs.composed.sum())
            evaluation.correlations[name] = correlation_entry(pairs)
    return evaluation


def composer(embeddings: Embeddings, rules: Rules) -> Compose | None:
    """What makes words that the vocabulary lacks of their n-grams, written as the corpus was; None: nothing does.

    A piece of sentencepiece is no word and its n-grams are not a word's: such a model makes none.
    """
    subwords, tokens = embeddings.subwords, (embeddings.config or {}).get("tokenize", {})
    if subwords is None or not rules.composes or tokens.get("tokenizer") == "sentencepiece":
        return None
    lowercase = rules.case == "ignore" and bool(tokens.get("lowercase"))
    return lambda word: subwords.vector(fold_text(word, lowercase))


def nearest_neighbors(
    embeddings: Embeddings, words: Sequence[str], count: int
) -> dict[str, list[tuple[str, float]] | None]:
    """Each word's nearest words with their cosines, to four decimals; None for a word that the model does not know."""
    index = folded_index(embeddings.words)
    found: dict[str, list[tuple[str, float]] | None] = {}
    for word in words:
        folded = WORDLAB.fold(word)
        known = word if word in embeddings else embeddings.words[index[folded]] if folded in index else ""
        nearest = embeddings.nearest(known, count) if known else None
        found[word] = nearest and [(neighbor, round(cosine, 4)) for neighbor, cosine in nearest]
    return found


def detail_lines(details: AnalogyAnswers | PairCosines | Details, words: Sequence[str]) -> Iterator[str]:
    """Tab-separated lines, header first: what the model said to each question or pair."""
    if isinstance(details, PairCosines):
        composed = details.composed
        yield "word1\tword2\thuman\tcosine" + ("" if composed is None else "\tcomposed")
        for number, (pair, cosine) in enumerate(zip(details.pairs, details.cosines.tolist(), strict=True)):
            made = "" if composed is None else f"\t{int(composed[number])}"
            yield f"{pair.first}\t{pair.second}\t{pair.score:g}\t{_number(cosine)}{made}"
        return
    if not isinstance(details, AnalogyAnswers):
        yield from details.lines()
        return
    answered = "\t".join(f"{method}\t{method}_correct" for method in METHODS)
    yield f"section\ta\tb\tc\texpected\tasked\t{answered}\tdistance"
    for number, question in enumerate(details.questions):
        answers = [int(details.answers[method][number]) for method in METHODS]
        correct = [int(details.correct[method][number]) for method in METHODS]
        said = (
            f"{words[answer] if answer >= 0 else ''}\t{right}" for answer, right in zip(answers, correct, strict=True)
        )
        distance = details.distances[number]
        yield "\t".join([*question, str(int(details.asked[number])), *said, _number(distance)])


def _number(value: float) -> str:
    """Nine digits behind the point, so that few pairs tie; nothing where there is no number."""
    return "" if np.isnan(value) else f"{value:.9f}"


def section_scores(answers: AnalogyAnswers, rules: Rules) -> dict[str, dict[str, Any]]:
    """Accuracy by section in the set's order, then semantic and syntactic where a set has both, then total."""
    names = np.array([question.section for question in answers.questions])
    chosen = {str(name): names == name for name in dict.fromkeys(names.tolist())}
    kind_of = {section: rules.kind(section, number) for number, section in enumerate(chosen)}
    kinds = np.array([kind_of[section] for section in names.tolist()])
    if len(set(kinds.tolist())) == len(KINDS):
        chosen.update({kind: kinds == kind for kind in KINDS})
    chosen["total"] = np.ones(len(names), dtype=bool)
    return {name: _section_score(answers, questions, rules) for name, questions in chosen.items()}


def _section_score(answers: AnalogyAnswers, chosen: NDArray[np.bool_], rules: Rules) -> dict[str, Any]:
    answered, asked = int(answers.asked[chosen].sum()), int(chosen.sum())
    judged = asked if rules.unknown == "wrong" else answered
    accuracy = {
        method: rounded(100 * int(answers.correct[method][chosen].sum()) / judged) if judged else None
        for method in METHODS
    }
    distance = rounded(float(answers.distances[chosen & answers.asked].mean())) if answered else None
    coverage = rounded(100 * answered / asked)
    return {**accuracy, "distance": distance, "coverage": coverage, "answered": answered, "asked": asked}


def _analogy_scores(
    name: str, sections: Mapping[str, Mapping[str, Any]], by_distance: bool
) -> dict[str, dict[str, Any]]:
    """The set's own scores by 3CosAdd, its total by 3CosMul, and where wanted the mean distances."""
    kinds = {f"_{kind}": kind for kind in KINDS if kind in sections}
    wanted = {f"{name}{ending}": (section, "add") for ending, section in {"": "total", **kinds}.items()}
    wanted[f"{name}_mul"] = ("total", "mul")
    if by_distance:
        wanted |= {f"{name}{ending}_distance": (kind, "distance") for ending, kind in {"": "total", **kinds}.items()}
    scores = {}
    for score, (section, measure) in wanted.items():
        found = sections[section]
        unit = "distance" if measure == "distance" else "percent"
        scores[score] = score_of(found[measure], unit, found["answered"], found["asked"])
    return scores


def correlation_entry(pairs: PairCosines) -> dict[str, float | None]:
    """What `Evaluation.correlations` holds of a set."""
    rho, r = (None if value is None else rounded(value) for value in (pairs.rho, pairs.r))
    return {"spearman": rho, "pearson": r, "unknown": rounded(100 * float(1 - pairs.known.mean()))}


def score_of(value: float | None, unit: str, answered: int, asked: int) -> dict[str, Any]:
    """A score as it stands in the results. unit: percent, rho, r (Pearson's), or distance, where less is better."""
    value = None if value is None else rounded(value)
    return {
        "value": value,
        "unit": unit,
        "coverage": rounded(100 * answered / asked),
        "answered": answered,
        "asked": asked,
    }


def rounded(value: float, digits: int = 6) -> float:
    """To `digits` significant digits: more is noise, and differs between machines."""
    return float(f"{value:.{digits}g}")
