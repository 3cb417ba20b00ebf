"""The study of Dive into Deep Learning's word2vec (15.4) on Penn Treebank beside ours: loss, neighbours, scores, speed.

    python -m benchmarks.d2l_ptb ptb.train.txt [--seeds 6]      train what is missing, then result file and page
    python -m benchmarks.d2l_ptb                                the page anew from benchmarks/results/d2l-ptb.json

For every seed: the book's loop for 5 epochs, then this engine on the same words, 5 epochs and 50, on one thread each.
All models are asked the same: the book's masked loss on its own examples and on others, drawn anew; scores; neighbours.
A seed that is done is kept in the scratch folder, so that a run can be continued.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import gpu_textbook as book
from benchmarks.d2l_ptb_html import HTML, as_html, figures_of
from benchmarks.d2l_ptb_page import PAGE, RESULT, as_markdown
from wordlab.artifacts import fingerprint, read_json, read_manifest, sha256_file, write_atomic, write_json
from wordlab.config import Params, load_params
from wordlab.embeddings import Embeddings
from wordlab.errors import ConfigError
from wordlab.evaluation import EvaluationSets, evaluate, load_evaluation_sets, rounded
from wordlab.loss_curves import LossCurve, thinned
from wordlab.machine import provenance
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.shards import EncodedCorpus, Shard
from wordlab.stage import run_stage, say
from wordlab.study_models import CURVE_POINTS, MAP_WORDS, map_tree
from wordlab.study_results import write_result
from wordlab.training import TrainingData, train_model
from wordlab.training_run import Trained
from wordlab.vocab import SamplingTables, Vocab

EPOCHS = 5
OUR_EPOCHS = (5, 50)
FORMAT = 2
"""Of what is kept of a seed."""
ASKED = "chip"
NEIGHBORS = 10
SETS = ("wordsim353", "simlex999", "men")
WARM_UP_EPOCHS = 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.d2l_ptb", description=__doc__.split("\n\n")[0])
    parser.add_argument("text", type=Path, nargs="?", help="ptb.train.txt; without it, only the page is made")
    parser.add_argument("--seeds", type=int, default=6, help="seeds 1 to this (6)")
    parser.add_argument("--download", type=Path, default=Path("data/download"), help="evaluation sets")
    parser.add_argument("--scratch", type=Path, default=Path("bench-out/d2l-ptb"), help="one file a seed")
    options = parser.parse_args()
    if options.text:
        run(options.text, range(1, options.seeds + 1), options.download, options.scratch)
    content = read_json(RESULT, "Run: python -m benchmarks.d2l_ptb ptb.train.txt")
    write_atomic(PAGE, as_markdown(content).encode())
    write_atomic(HTML, as_html(content, figures_of(content)).encode())
    say(f"{PAGE}, {HTML}: the page, from {RESULT}")


def run(path: Path, seeds: Sequence[int], download: Path, scratch: Path) -> None:
    """Train and measure every seed that is missing, then write the result file."""
    if not path.is_file():
        raise ConfigError(f"{path} is not there. Its address: row ptb of src/wordlab/catalog.yaml.")
    params, text = load_params(), book.Text.read(path)
    listed = read_manifest(download, "download").get("evaluation", {})
    sets = load_evaluation_sets(download, listed, SETS)
    data = ours_of(text)
    told: dict[str, Any] = {
        "text_sha256": sha256_file(path),
        "sets": sets.fingerprints,
        "ours": settings(params, EPOCHS),
    }
    told["format"] = FORMAT
    torch.set_num_threads(1)
    found = {}
    for seed in seeds:
        kept = scratch / f"seed-{seed}-{fingerprint(told)[:12]}.json"
        if not kept.exists():
            write_json(kept, measure(text, data, params, sets, seed))
        found[str(seed)] = read_json(kept, f"Remove it: {kept}")
        say(f"seed {seed}: " + ", ".join(f"{name} {one['loss_fresh']:.4f}" for name, one in found[str(seed)].items()))
    last = f"ours-{OUR_EPOCHS[-1]}"
    maps = [models[last].pop("map") for models in found.values()]
    write_result(RESULT, {"study": "d2l-ptb", "date": datetime.date.today().isoformat(), "machine": provenance(),
        **told, "words": len(text.words), "lines": len(text.sentences), "tokens": int(text.counts.sum()),
        "map_of": last, "map": maps[0], "seeds": found,
    })  # fmt: skip


def measure(text: book.Text, data: TrainingData, params: Params, sets: EvaluationSets, seed: int) -> dict[str, Any]:
    """Model -> all that is known of it, of one seed."""
    rng = np.random.default_rng(seed)
    examples, fresh = (list(book.Examples.draw(text, rng).batches(rng)) for _ in range(2))
    loop = book.Loop(len(text.words), "cpu", seed)
    found = {"book": train_book(loop, examples) | asked(loop, text, examples, fresh, sets)}
    warm_up, _ = _configs(params, WARM_UP_EPOCHS)
    train_model(data, warm_up, _configs(params, WARM_UP_EPOCHS)[1], seed, 1, show_progress=False)  # compiles
    for epochs in OUR_EPOCHS:
        model, train = _configs(params, epochs)
        engine, trained = train_model(data, model, train, seed, 1, show_progress=False)
        kept = float((data.vocab.counts * data.tables.keep_probability.astype(np.float64)).sum())
        with torch.no_grad():  # the unknown word, the first, is in no example
            loop.centre_vectors.weight[1:] = torch.from_numpy(np.array(engine.input_vectors))
            loop.context_vectors.weight[1:] = torch.from_numpy(np.array(engine.output_vectors))
        speed = {"epochs": epochs, "centre_words": kept, "seconds": trained.seconds, "cpu_seconds": trained.cpu_seconds}
        answers = asked(loop, text, examples, fresh, sets)
        found[f"ours-{epochs}"] = {**_plain(speed), "curve": curve_of(seed, trained), **answers}
    frequent = data.vocab.words[:MAP_WORDS]
    found[f"ours-{epochs}"]["map"] = map_tree(seed, frequent, np.array(engine.input_vectors[: len(frequent)]))
    return found


def curve_of(seed: int, trained: Trained) -> dict[str, Any]:
    """The training's loss curve, thinned."""
    points = [(float(point.tokens), point.loss) for point in trained.curve]
    kept = thinned(LossCurve(seed, *np.array(points).T), CURVE_POINTS)
    return {"tokens": [int(tokens) for tokens in kept.tokens], "loss": [rounded(float(loss)) for loss in kept.loss]}


def train_book(loop: book.Loop, batches: Sequence[list[torch.Tensor]]) -> dict[str, Any]:
    """Train for the book's epochs: each one's mean loss and what it took; what the book would print."""
    epochs = []
    for _ in range(EPOCHS):
        started, cpu_started, losses = time.perf_counter(), time.process_time(), []
        for number in torch.randperm(len(batches)).tolist():
            losses.append(loop.step(batches[number]))
        together = torch.cat(losses).double()
        took = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu_started}
        epochs.append({"loss": float(together.mean()), "centre_words": len(together), **took})
    words = sum(epoch["centre_words"] for epoch in epochs)
    printed = {
        "loss": sum(epoch["loss"] * epoch["centre_words"] for epoch in epochs) / words,
        "words_per_second": words / epochs[-1]["seconds"],
    }
    speed = {key: sum(epoch[key] for epoch in epochs) for key in ("seconds", "cpu_seconds")}
    return _plain({"epochs": EPOCHS, "centre_words": words / EPOCHS, **speed, "by_epoch": epochs, "printed": printed})


def asked(
    loop: book.Loop,
    text: book.Text,
    examples: Sequence[list[torch.Tensor]],
    fresh: Sequence[list[torch.Tensor]],
    sets: EvaluationSets,
) -> dict[str, Any]:
    """Losses, scores and neighbours of the vectors that lie in the loop's tables."""
    with torch.no_grad():
        same, other = (
            float(torch.cat([loop.losses(batch) for batch in part]).double().mean()) for part in (examples, fresh)
        )
        vectors = Embeddings(text.words[1:], loop.centre_vectors.weight[1:].numpy().copy())
    scores = evaluate(vectors, sets, 0).scores
    near = [word for word, _ in vectors.nearest(ASKED, NEIGHBORS)] if ASKED in vectors else []
    kept = {name: {key: one[key] for key in ("value", "coverage", "answered", "asked")} for name, one in scores.items()}
    return _plain({"loss_same": same, "loss_fresh": other, "scores": kept, "neighbors": {ASKED: near}})


def ours_of(text: book.Text) -> TrainingData:
    """The same words and lines as our stages would leave them, by our own rule of subsampling."""
    vocab = Vocab.build(text.words[1:], text.counts[1:])
    lengths = [len(sentence) for sentence in text.sentences]
    ids = (np.concatenate(text.sentences) - 1).astype(np.int32)
    shard = Shard(ids, np.cumsum([0, *lengths]).astype(np.int64))
    tables = SamplingTables.build(vocab.counts, book.SAMPLE, 0.75)
    mark = fingerprint([vocab.fingerprint, lengths])
    return TrainingData(vocab, tables, EncodedCorpus([shard], len(ids), len(lengths), vocab.fingerprint, mark))


def _configs(params: Params, epochs: int) -> tuple[ModelConfig, TrainConfig]:
    """Skip-gram with negative sampling, of the book's sizes; all else as in params.yaml."""
    plain = dataclasses.replace(params.model.subwords, units="none")
    model = dataclasses.replace(
        params.model, arch="skipgram", objective="ns", dim=book.DIM, window=book.WINDOW, negatives=book.NOISE,
        window_edges="cut", subwords=plain,
    )  # fmt: skip
    return model, dataclasses.replace(params.train, epochs=epochs)


def settings(params: Params, epochs: int) -> dict[str, Any]:
    model, train = _configs(params, epochs)
    return {"model": dataclasses.asdict(model), "train": dataclasses.asdict(train), "subsample_t": book.SAMPLE}


def _plain(tree: Any) -> Any:
    """Floats with six digits."""
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(value) for value in tree]
    return rounded(tree) if isinstance(tree, float) else tree


if __name__ == "__main__":
    run_stage(main)
