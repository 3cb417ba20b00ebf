"""Stage `train`: shards of word ids -> embeddings, for one seed. Goes on where a run of the same was stopped."""

import argparse
from pathlib import Path
from typing import Any

from wordlab.artifacts import write_json
from wordlab.checkpoints import Checkpoints, checkpoint_folder, hold_checkpoints
from wordlab.config import Params, load_params
from wordlab.divergence import DivergedError
from wordlab.errors import ConfigError
from wordlab.kernels.memory import longest_sentence
from wordlab.machine import choose_device, peak_memory_bytes, provenance
from wordlab.preflight import begin
from wordlab.stage import run_stage, say
from wordlab.training import (
    TrainingData,
    describe,
    end_checkpoints,
    long_sentences,
    resolve_threads,
    save_curve,
    save_model,
    train_model,
    training_identity,
)
from wordlab.training_run import Trained


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="seed of the random choices")
    seed = parser.parse_args().seed
    if not 0 <= seed < 1 << 63:
        raise ConfigError(f"--seed is {seed}, but must be from 0 to 2^63 - 1. Choose another, in params.yaml: seeds.")
    params = load_params()
    begin("train", params, seed)
    device, reason = choose_device(params.run.device)
    data = TrainingData.open(Path("data/vocab"), Path("data/encode"))
    gpu = None
    if device == "cuda":
        from wordlab.torch_engine.choice import plan_gpu  # imports torch, which takes a second

        gpu, reason = plan_gpu(params.run.device, data, params.model, params.train, params.cuda)
    say(reason)
    if gpu:
        identity = training_identity(data, params.model, gpu.train, seed, gpu.identity)
        table_bytes = gpu.table_bytes
    else:
        identity = training_identity(data, params.model, params.train, seed)
        table_bytes = 4 * (2 * len(data.vocab) + params.model.word_ngram_rows) * params.model.dim
    with hold_checkpoints(checkpoint_folder(), identity, table_bytes) as checkpoints:
        train_seed(data, params, seed, checkpoints, gpu)


def train_seed(data: TrainingData, params: Params, seed: int, checkpoints: Checkpoints | None, gpu: Any) -> None:
    """Train, write the outputs, and only then remove the checkpoints. A diverged training leaves its loss curve.

    gpu: the plan for one (torch_engine.choice.Plan), or None.
    """
    threads = resolve_threads(params.run.threads)
    place = {"threads": threads, "device": "cuda" if gpu else "cpu"}
    try:
        engine, trained = train_model(data, params.model, params.train, seed, threads, checkpoints=checkpoints, gpu=gpu)
    except DivergedError as error:
        save_measurements(seed, error.trained, {"outcome": str(error), **place})
        if checkpoints:
            checkpoints.remove()
        raise
    if gpu is None and engine.train != params.train:
        say(
            "the vocabulary is small for these micro-batches: "
            f"block_tokens {engine.train.block_tokens} and batch_tokens {engine.train.batch_tokens} are used"
        )
    if params.model.arch == "sent2vec" and (cut := long_sentences(data, engine.train)):
        longest = longest_sentence(engine.train)
        say(f"{cut:,} of {data.corpus.num_sentences:,} sentences were cut into pieces of {longest} words")
    save_model(Path(f"data/train/seed-{seed}"), engine, data, params, seed)
    peak = {"gpu_peak_memory_bytes": getattr(engine, "peak_bytes", 0)}
    save_measurements(seed, trained, {"outcome": "finished", **place, "engine": describe(engine), **peak})
    if checkpoints:
        end_checkpoints(checkpoints, engine, trained)
    speed = trained.tokens / trained.seconds / 1e6
    again = f", over {trained.resumes + 1} starts" if trained.resumes else ""
    say(f"seed {seed}: loss {trained.curve[-1].loss:.4f}, {speed:.2f} M words/s on {threads} threads{again}")


def save_measurements(seed: int, trained: Trained, noted: dict[str, Any]) -> None:
    """Write the loss curve, and what the run took, where and how it went. They decide no result."""
    save_curve(Path(f"metrics/curves/seed-{seed}.tsv"), trained.curve)
    run = {
        "raw_words_per_second": round(trained.tokens / trained.seconds),
        "raw_words_per_cpu_second": round(trained.tokens / trained.cpu_seconds),
        "predictions_per_second": round(trained.predictions / trained.seconds),
        "seconds": round(trained.seconds, 3),
        "cpu_seconds": round(trained.cpu_seconds, 3),
        "resumes": trained.resumes,
        "checkpoints": {"written": trained.checkpoints, "seconds": round(trained.checkpoint_seconds, 3)},
        "peak_memory_bytes": peak_memory_bytes(),
        **noted,
        "health": trained.health,
        **provenance(),
    }
    write_json(Path(f"metrics/run/seed-{seed}.json"), run)


if __name__ == "__main__":
    run_stage(main)
