"""What the vectors are worth: the parts `quality`, `study` and `determinism` of benchmarks/gpu.sh."""

from __future__ import annotations

import itertools
import statistics
import time
from functools import partial
from typing import Any

import torch

from benchmarks.gpu_bench import Bench, forget, settled
from benchmarks.gpu_check import Variant
from benchmarks.gpu_data import Corpus
from benchmarks.gpu_scores import scores
from wordlab.checkpoint_file import read_checkpoint, write_checkpoint
from wordlab.torch_engine.engine import SEGMENT_TOKENS

QUALITY_SCORES = ("google_analogy", "wordsim353", "simlex999", "men")


def part_quality(bench: Bench) -> None:
    """The bundle's corpus, all epochs, three seeds, scored; at the CPU engine's micro-batches and at larger ones."""
    corpus, words = quality_corpus(bench)
    found: list[dict[str, Any]] = []
    bench.results["quality"] = found
    bench.results["cpu_scores"] = bench.bundle.content["cpu_scores"]
    own = bench.bundle.content["train"]["batch_tokens"]
    best = bench.kernels[0]
    exact = (best, True, "float32")
    seeds = (1, 2, 3)
    jobs: list[tuple[Variant, dict[str, Any], int]] = []
    jobs += [(exact, {"batch_tokens": batch}, seed) for batch in (own, 2 * own) for seed in seeds]
    jobs += [(exact, {"batch_tokens": own, "arch": "cbow"}, seed) for seed in seeds]
    jobs += [(exact, {"batch_tokens": 4 * own}, seed) for seed in seeds]
    jobs += [((best, False, "float32"), {"batch_tokens": 2 * own}, 1)] * 3
    jobs += [((best, True, product), {"batch_tokens": 2 * own}, seed) for product in ("tf32", "bf16") for seed in seeds]
    jobs += [(exact, {"batch_tokens": batch}, seed) for batch in (8 * own, 32 * own) for seed in seeds]
    jobs += [(exact, {"batch_tokens": 2 * own, "arch": "cbow"}, seed) for seed in seeds]
    jobs += [(("torch", True, "float32"), {"batch_tokens": 2 * own}, 1)]
    if bench.tiny:
        jobs = jobs[:2]
    longest = 8.0
    for variant, settings, seed in jobs:
        if variant[0] in bench.kernels and bench.enough(1.5 * longest, f"quality {variant} {settings} seed {seed}"):
            begun = time.monotonic()
            job = partial(quality_of, bench, corpus, words, variant, settings, seed)
            if bench.attempt(f"quality {variant} {settings} seed {seed}", job, found):
                longest = max(longest if len(found) > 1 else 0, time.monotonic() - begun)
                print(quality_line(found[-1]), flush=True)
    cpu = bench.results["cpu_scores"]
    shown = [f"{name} {statistics.mean(cpu[name]):.3f}" for name in QUALITY_SCORES if name in cpu]
    print(f"quality  the CPU engine, mean of its seeds: {', '.join(shown)}")


def quality_corpus(bench: Bench) -> tuple[Corpus, list[str]]:
    return bench.bundle.corpus(20_000 if bench.tiny else None), bench.bundle.words()


def quality_of(
    bench: Bench, corpus: Corpus, words: list[str], variant: Variant, settings: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Train and score one model."""
    if bench.tiny:
        settings = {**settings, "epochs": 1, "dim": 16}
    ids = torch.from_numpy(corpus.ids).to(bench.device)
    begun = settled(bench.device)
    first = 0 if settings.get("warm_up") is False else bench.bundle.content["train"]["batch_tokens"]
    engine = bench.engine(corpus, variant, seed, settings, first_batch_tokens=first)
    ready = settled(bench.device)
    total, size = len(ids), engine.segment_tokens
    loss = weight = 0.0
    for epoch, start in itertools.product(range(engine.train.epochs), range(0, total, size)):
        part = engine.train_segment(ids, corpus.ends, start, start, epoch, total)
        loss, weight = loss + part[0], weight + part[1]
    seconds = settled(bench.device) - ready
    vectors = engine.table[: engine.layout.vocab_size, : engine.layout.dim]
    finite = bool(torch.isfinite(vectors).all())
    content = bench.bundle.content
    scored = scores(words, vectors, bench.bundle.folder, content["sets"], content["restrict_vocab"]) if finite else {}
    found = {
        "kernels": variant[0], "deterministic": variant[1], "products": variant[2], "settings": settings, "seed": seed,
        "seconds": seconds, "setup_seconds": ready - begun,
        "raw_words_per_second": engine.train.epochs * total / seconds,
        "loss": loss / weight, "largest_entry": float(engine.table.abs().max()), "scores": scored,
    }  # fmt: skip
    forget(engine)
    return found


def quality_line(found: dict[str, Any]) -> str:
    shown = " / ".join(f"{found['scores'][name]:.3f}" for name in QUALITY_SCORES if name in found["scores"])
    name = f"{found['kernels']} {found['products']} {'deterministic' if found['deterministic'] else 'fast'}"
    changes = " ".join(f"{key}={value}" for key, value in found["settings"].items())
    speed = f"{found['seconds']:.2f} s, {found['raw_words_per_second'] / 1e6:.1f} M raw words/s"
    return (
        f"quality  {name:<32} {changes:<36} seed {found['seed']}: {shown or 'NaN'}, "
        f"largest {found['largest_entry']:.1f}, {speed}"
    )


def part_study(bench: Bench) -> None:
    """Stability: scores by tokens in flight, damping and warm-up, one seed each, on the bundle's corpus."""
    corpus, words = quality_corpus(bench)
    found: list[dict[str, Any]] = []
    bench.results["study"] = found
    grid = itertools.product((2048, 4096, 8192, 16384, 65536), (0.45, 0.25, 1.0))
    jobs: list[dict[str, Any]] = [{"batch_tokens": batch, "damping": damping} for batch, damping in grid]
    jobs += [{"batch_tokens": batch, "warm_up": False} for batch in (2048, 4096)]
    jobs += [{"batch_tokens": 2048, "block_tokens": 16, "block_negatives": noise} for noise in (32, 40)]
    for settings in jobs[:1] if bench.tiny else jobs:
        if bench.enough(8, f"study {settings}"):
            job = partial(quality_of, bench, corpus, words, (bench.kernels[0], True, "float32"), settings, 1)
            if bench.attempt(f"study {settings}", job, found):
                print(quality_line(found[-1]), flush=True)


def part_determinism(bench: Bench) -> None:
    """Same bits in two runs, and in one that goes on from a checkpoint in another engine? How far fast runs differ."""
    corpus, _ = quality_corpus(bench)
    ids = torch.from_numpy(corpus.ids).to(bench.device)
    segment = min(SEGMENT_TOKENS, -(-len(ids) // 4))
    starts = range(0, len(ids), segment)
    found: list[dict[str, Any]] = []
    bench.results["determinism"] = found
    for kernels, deterministic in itertools.product(bench.kernels, (True, False)):
        if not bench.enough(12, f"determinism {kernels} {deterministic}"):
            continue
        checkpoint, half = bench.scratch / f"{kernels}-{deterministic}.ckpt", len(starts) // 2
        tables = []
        for at, stop in ((0, len(starts)), (0, len(starts)), (0, half), (half, len(starts))):
            variant = (kernels, deterministic, "float32")
            engine = bench.engine(corpus, variant, 1, {"epochs": 1}, segment_tokens=segment)
            if at:
                engine.load_table(read_checkpoint(checkpoint, engine.description)[1])
            for start in starts[at:stop]:
                engine.train_segment(ids, corpus.ends, start, start, 0, len(ids))
            if stop < len(starts):
                write_checkpoint(checkpoint, engine.description, {}, engine.read_table())
            else:
                tables.append(engine.table.clone())
            forget(engine)
        differences = [float((table - tables[0]).norm() / tables[0].norm()) for table in tables[1:]]
        same, resumed = (torch.equal(table, tables[0]) for table in tables[1:])
        mode = {"kernels": kernels, "deterministic": deterministic}
        found.append({**mode, "same": same, "resumed": resumed, "differences": differences})
        name = "deterministic" if deterministic else "fast"
        apart = " and ".join(f"{difference:.1e}" for difference in differences)
        print(f"same     {kernels} {name}: same bits {same}, also from a checkpoint {resumed}, apart {apart}")
