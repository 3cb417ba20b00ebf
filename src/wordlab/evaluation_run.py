"""Stage `evaluate` for one seed: read the model and the sets, score, write.

`metrics/seed-N.json` holds only what determines the result, so equal models give equal bytes. `data/evaluate/seed-N/`
holds what the model said to each question, and a manifest with the SHA-256 of the results file, by which stage
`report` sees that the two belong together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from wordlab.artifacts import fingerprint, output_folder, read_manifest, sha256_file, write_json, write_manifest
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError
from wordlab.evaluation import (
    Evaluation,
    EvaluationSets,
    detail_lines,
    evaluate,
    load_evaluation_sets,
    nearest_neighbors,
)
from wordlab.rules import Rules, rules_lines
from wordlab.sections.evaluate import EvaluateConfig
from wordlab.sections.train import Damping
from wordlab.stage import say

NO_OUTPUTS = "the model has no output vectors, which sentence completion needs"
WORDS_OF_CORPUS = (
    "those of the corpus, as tokenizer `words` finds them; pieces and morphemes are put together by their mean"
)
VECTORS = {"input": "input vectors", "input+output": "sums of input and output vectors"}


def evaluate_model(
    seed: int,
    rows: Sequence[str],
    config: EvaluateConfig,
    data: Path,
    metrics: Path,
) -> dict[str, Any]:
    """Score data/train/seed-N on the sets named by `rows`; write metrics/seed-N.json and data/evaluate/seed-N.

    Returns the results. Raises ArtifactError if model or sets are missing, damaged or do not fit.
    """
    name = f"seed-{seed}"
    return evaluate_folder(
        seed, rows, config, data, data / "train" / name, data / "evaluate" / name, metrics / f"{name}.json"
    )


def evaluate_folder(
    seed: int,
    rows: Sequence[str],
    config: EvaluateConfig,
    data: Path,
    folder: Path,
    answers: Path,
    results_path: Path,
) -> dict[str, Any]:
    """Score the model in `folder`, of this pipeline's words; write answers and results to these places.

    A model without output vectors, as other programs leave it, is not asked to complete sentences.
    """
    trained = read_manifest(folder, "train")
    if trained.get("seed") != seed:
        raise ArtifactError(f"{folder} holds the model of seed {trained.get('seed')}. Run: dvc repro")
    downloaded = read_manifest(data / "download", "download")
    sets = load_evaluation_sets(data / "download", downloaded.get("evaluation", {}), rows)
    if not {"output_vectors.npy", "node_vectors.npy"} & trained["files"].keys():
        sets = sets.without_completion(NO_OUTPUTS)
    embeddings = load_vectors(folder, config.vectors)
    _require_finite(embeddings, folder, trained["config"]["model"])
    asked, made = (embeddings, {}) if config.words == "vocabulary" else _asked(data, folder, embeddings)
    rules = Rules(name=config.rules, case=config.case, unknown=config.unknown, compose=config.compose)
    # One thread: a matrix product split among threads may round differently, and these take a second
    with threadpool_limits(1):
        evaluation = evaluate(asked, sets, config.restrict_vocab, rules)
        told = {"evaluator": rules.described(config.restrict_vocab) | {"vectors": VECTORS[config.vectors]}}
        if config.words == "corpus":
            told["evaluator"]["words"] = WORDS_OF_CORPUS
        if sets.have_sentences:
            told["sentence_evaluator"] = add_sentences(evaluation, sets, rules, embeddings, folder, data)
        neighbors = nearest_neighbors(asked, config.neighbors, config.neighbors_count)
    results = _results(seed, trained, embeddings, sets, evaluation, config, told)
    results["neighbors"] = neighbors
    if made:
        results["asked_words"] = made

    with output_folder(answers) as building:
        for row, details in evaluation.details.items():
            text = "\n".join(detail_lines(details, asked.words)) + "\n"
            (building / f"{row}.tsv").write_text(text, encoding="utf-8")
        write_json(results_path, results)
        write_manifest(building, "evaluate", {"seed": seed, "results": sha256_file(results_path)})
    _tell(results)
    return results


def _asked(data: Path, folder: Path, embeddings: Embeddings) -> tuple[Embeddings, dict[str, int]]:
    # What cuts words into tokens takes a second to import, and few runs need it
    from wordlab.asked_words import asked_words

    return asked_words(data, folder, embeddings)


def load_vectors(folder: Path, vectors: str) -> Embeddings:
    """The model with the vectors to compare words by. vectors: as EvaluateConfig.vectors.

    `input+output` is w + c of Levy et al. (2015, section 3.3): the sum of both vectors of a word as training left them,
    brought to length 1 afterwards; so does hyperwords.
    """
    embeddings = Embeddings.load(folder, output_vectors=vectors != "input")
    if embeddings.output_vectors is None:
        return embeddings
    sums = embeddings.input_vectors + embeddings.output_vectors
    return Embeddings(embeddings.words, sums, counts=embeddings.counts, config=embeddings.config)


def add_sentences(
    evaluation: Evaluation,
    sets: EvaluationSets,
    rules: Rules,
    vectors: Embeddings,
    folder: Path,
    data: Path,
) -> dict[str, str]:
    """Add the scores of sets of sentences. vectors: those of `load_vectors`; data: of the pipeline, whose words the
    model in `folder` has. Returns the rules they follow."""
    # What cuts sentences into words takes a second to import, and most runs have no sentences
    from wordlab.sentence_evaluation import RULES, SentenceModel, evaluate_sentences
    from wordlab.sentence_tokens import SentenceTokenizer

    tokenizer = SentenceTokenizer.of_pipeline(data, folder)
    evaluate_sentences(SentenceModel.load(folder, vectors, tokenizer.words), sets, rules, evaluation)
    return RULES


def _require_finite(embeddings: Embeddings, folder: Path, model: dict[str, Any]) -> None:
    if not np.isfinite(embeddings.input_vectors.sum(axis=1, dtype=np.float64)).all():
        raise ArtifactError(
            f"{folder} holds vectors that are not finite numbers: training diverged. "
            f"Lower train.lr.{model['arch']} or raise train.damping.{Damping.name(model['arch'], model['objective'])} "
            "in params.yaml, then run: dvc repro"
        )


def _results(
    seed: int,
    trained: dict[str, Any],
    embeddings: Embeddings,
    sets: EvaluationSets,
    evaluation: Evaluation,
    config: EvaluateConfig,
    rules: dict[str, dict[str, str]],
) -> dict[str, Any]:
    """The content of metrics/seed-N.json, but for the neighbours."""
    return {
        "seed": seed,
        "arch": trained["config"]["model"]["arch"],
        "objective": trained["config"]["model"]["objective"],
        "num_words": len(embeddings),
        "scores": evaluation.scores,
        "absent": sets.absent,
        "sections": evaluation.sections,
        "correlations": evaluation.correlations,
        "config": {**trained["config"], "evaluate": _described(config)},
        **rules,
        "fingerprints": {
            "model": fingerprint(trained),
            "vocabulary": trained["vocabulary"],
            "encode": trained.get("encode"),
            "evaluation_sets": sets.fingerprint,
            "sets": sets.fingerprints,
        },
    }


def _described(config: EvaluateConfig) -> dict[str, Any]:
    """The section as results hold it: without what is as it was before there was a choice."""
    found = dataclasses.asdict(config)
    if config.words == "vocabulary":
        del found["words"]
    return found


def _tell(results: dict[str, Any]) -> None:
    """Two lines for the terminal: the scores, and the rules they follow."""
    parts = []
    for name, score in results["scores"].items():
        if score["value"] is None:
            parts.append(f"{name} -")
        elif score["unit"] == "percent":
            parts.append(f"{name} {score['value']:.2f} %")
        else:
            parts.append(f"{name} {score['value']:.3f}")
    parts += [f"{row} absent" for row in results["absent"]]
    say(f"seed {results['seed']}: " + " · ".join(parts))
    whose, *rules = rules_lines(results)
    say("\n  ".join([whose, *rules]))
