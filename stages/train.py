"""Stage `train`: shards of word ids -> embeddings, for one seed."""

import argparse
from pathlib import Path

from wordlab.artifacts import write_json
from wordlab.config import load_params
from wordlab.errors import ConfigError
from wordlab.machine import choose_device, peak_memory_bytes, provenance
from wordlab.preflight import begin
from wordlab.stage import run_stage, say
from wordlab.training import TrainingData, describe, resolve_threads, save_curve, save_model, train_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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
    threads = resolve_threads(params.run.threads)
    engine, trained = train_model(data, params.model, params.train, seed, threads, gpu=gpu)
    if gpu is None and engine.train != params.train:
        say(
            "the vocabulary is small for these micro-batches: "
            f"block_tokens {engine.train.block_tokens} and batch_tokens {engine.train.batch_tokens} are used"
        )
    tokens_read = params.train.epochs * data.corpus.num_tokens
    save_model(Path(f"data/train/seed-{seed}"), engine, data, params, seed)
    save_curve(Path(f"metrics/curves/seed-{seed}.tsv"), trained.curve)
    run = {
        "raw_words_per_second": round(tokens_read / trained.seconds),
        "raw_words_per_cpu_second": round(tokens_read / trained.cpu_seconds),
        "predictions_per_second": round(trained.predictions / trained.seconds),
        "seconds": round(trained.seconds, 3),
        "cpu_seconds": round(trained.cpu_seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "threads": threads,
        "device": "cuda" if gpu else "cpu",
        "engine": describe(engine),
        "gpu_peak_memory_bytes": getattr(engine, "peak_bytes", 0),
        **provenance(),
    }
    write_json(Path(f"metrics/run/seed-{seed}.json"), run)
    speed = tokens_read / trained.seconds / 1e6
    say(f"seed {seed}: loss {trained.curve[-1].loss:.4f}, {speed:.2f} M words/s on {threads} threads")


if __name__ == "__main__":
    run_stage(main)
