"""Scores of one model on the sets of sentences, beside those of words (`evaluation`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wordlab.artifacts import read_manifest
from wordlab.completion import complete, log_probabilities
from wordlab.embeddings import Embeddings
from wordlab.evaluation import Evaluation, EvaluationSets, rounded, score_name, score_of
from wordlab.model_folder import load_node_vectors
from wordlab.rules import Rules
from wordlab.sentence_sets import Completion, SentencePair
from wordlab.sentence_similarity import SentenceCosines, compare_sentences

RULES = {
    "sentences": "cut into words as the corpus was; unknown words are left out; a pair needs a known word on each side",
    "sentence_completion": "of all questions; a candidate with an unknown word is not chosen",
}


@dataclass(frozen=True)
class SentenceModel:
    """What is needed of a model to score sentences."""

    vectors: Embeddings
    """Those that sentence vectors are made of, with counts."""
    predictor: Embeddings
    """Input and output vectors as training left them."""
    nodes: NDArray[np.float32] | None
    """Of hierarchical softmax, in the place of output vectors."""
    arch: str
    objective: str
    words_of: Callable[[Sequence[str]], list[list[str]]]
    """Texts -> words."""

    @classmethod
    def load(
        cls, folder: Path, vectors: Embeddings, words_of: Callable[[Sequence[str]], list[list[str]]]
    ) -> SentenceModel:
        """From a model folder, whose output vectors or nodes, if it has them, are mapped."""
        section = read_manifest(folder, "train")["config"]["model"]
        by_tree = section["objective"] == "hs"
        outputs = not by_tree and (folder / "output_vectors.npy").exists()
        predictor = Embeddings.load(folder, mmap=True, output_vectors=outputs)
        has_nodes = by_tree and (folder / "node_vectors.npy").exists()
        nodes = load_node_vectors(folder, len(predictor)) if has_nodes else None
        return cls(vectors, predictor, nodes, section["arch"], section["objective"], words_of)


def evaluate_sentences(model: SentenceModel, sets: EvaluationSets, rules: Rules, evaluation: Evaluation) -> None:
    """Add the scores of all sets of sentences to `evaluation`."""
    for row, items in sets.present.items():
        name = score_name(row)
        if isinstance(items[0], SentencePair):
            own = model.predictor if model.arch == "sent2vec" else None
            pairs = compare_sentences(model.vectors, items, model.words_of, rules, own)  # type: ignore[arg-type]
            _add_pairs(evaluation, name, pairs)
            evaluation.details[row] = pairs
        elif isinstance(items[0], Completion):
            probabilities = log_probabilities(model.predictor, model.objective, model.nodes)
            found = complete(model.predictor, items, model.words_of, probabilities, model.arch)  # type: ignore[arg-type]
            accuracy = 100 * float(found.correct.mean())
            evaluation.scores[name] = score_of(accuracy, "percent", int(found.known.sum()), len(items))
            evaluation.details[row] = found


def _add_pairs(evaluation: Evaluation, name: str, pairs: SentenceCosines) -> None:
    answered, asked = int(pairs.known.sum()), len(pairs.pairs)
    for way, (rho, r) in pairs.correlations.items():
        evaluation.scores[f"{name}_{way}"] = score_of(rho, "rho", answered, asked)
        evaluation.scores[f"{name}_{way}_pearson"] = score_of(r, "r", answered, asked)
        evaluation.correlations[f"{name}_{way}"] = {
            "spearman": None if rho is None else rounded(rho),
            "pearson": None if r is None else rounded(r),
            "unknown": rounded(100 * (1 - answered / asked)),
        }
