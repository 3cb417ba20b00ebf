"""Words a second, and where the time goes: the parts `speed`, `tune`, `disk` and `profile` of benchmarks/gpu.sh."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_bench import MAIN, Bench, forget, settled
from benchmarks.gpu_check import Variant
from benchmarks.gpu_data import SENTENCE_TOKENS, Corpus, zipf_ids
from wordlab.errors import WordlabError
from wordlab.torch_engine.engine import SEGMENT_TOKENS, TorchEngine
from wordlab.torch_engine.feeding import Feed
from wordlab.torch_engine.layout import Layout
from wordlab.torch_engine.runners import TritonRunner


def part_speed(bench: Bench) -> None:
    """Words a second on a corpus with one-billion-word proportions, and the memory's own speed beside it."""
    bench.results["copy_bytes_per_second"] = copy_speed(bench.device, bench.tiny)
    tokens, words = (40_000, 500) if bench.tiny else (800_000_000, None)
    corpus = bench.bundle.zipf(tokens, bench.device, words)
    settings = {"dim": 16 if bench.tiny else 128, "window": 5, "negatives": 5, "epochs": 1, "block_negatives": 40}
    size = 5_000 if bench.tiny else SEGMENT_TOKENS
    batches = (256, 512) if bench.tiny else (4096, 2048, 8192, 1024, 512, 16384)
    found: list[dict[str, Any]] = []
    bench.results["speed"] = found
    jobs = [(MAIN, {"batch_tokens": batch}) for batch in batches]
    jobs[1:1] = [
        (("torch", False, "float32"), {"batch_tokens": batches[0]}),
        (("triton", False, "float32"), {"batch_tokens": batches[0]}),
        (("triton", True, "tf32x3"), {"batch_tokens": batches[0]}),
        (("triton", True, "tf32"), {"batch_tokens": batches[0]}),
        (("torch", False, "float32"), {"batch_tokens": batches[2 % len(batches)]}),
        (("torch", True, "float32"), {"batch_tokens": batches[0]}),
        (("torch", False, "tf32"), {"batch_tokens": batches[0]}),
        (MAIN, {"batch_tokens": batches[0], "arch": "cbow"}),
        (("triton", True, "bf16"), {"batch_tokens": batches[0]}),
        (MAIN, {"batch_tokens": batches[0], "block_tokens": 16, "block_negatives": 32}),
        (MAIN, {"batch_tokens": batches[0], "warps": 4}),
        (MAIN, {"batch_tokens": batches[0], "segment_tokens": 4 * size}),
        (("torch", False, "float32"), {"batch_tokens": batches[-1]}),
    ]
    for variant, changes in jobs:
        if variant[0] in bench.kernels and bench.enough(12, f"speed {variant} {changes}"):
            settings_here = {**settings, **changes}
            job = partial(speed_of, bench, corpus, variant, settings_here)
            if bench.attempt(f"speed {variant} {changes}", job, found):
                print(speed_line(found[-1], bench.results["copy_bytes_per_second"]), flush=True)


def speed_of(
    bench: Bench, corpus: Corpus, variant: Variant, settings: dict[str, Any], seconds: float = 2.0
) -> dict[str, Any]:
    """Train for some seconds after the first segment, which compiles and captures."""
    size = settings.get("segment_tokens", 5_000 if bench.tiny else SEGMENT_TOKENS)
    engine = bench.engine(corpus, variant, 1, settings, segment_tokens=size)
    if "warps" in settings and isinstance(engine.runner, TritonRunner):
        engine.runner.warps = settings["warps"]
    total = len(corpus.ids)
    begun = settled(bench.device)
    engine.train_segment(corpus.ids, corpus.ends, 0, 0, 0, total)
    started = settled(bench.device)
    position = read = 0
    weight = loss = 0.0
    while read < 2 * size or (time.perf_counter() - started < seconds and not bench.tiny):
        position = (position + size) % (total - size)
        part = engine.train_segment(corpus.ids, corpus.ends, position, position, 0, total)
        loss, weight, read = loss + part[0], weight + part[1], read + size
    taken = settled(bench.device) - started
    kept = read * kept_share(corpus)
    found = {
        "kernels": variant[0], "deterministic": variant[1], "products": variant[2], "settings": settings,
        "first_segment_seconds": started - begun, "seconds": taken, "raw_words_per_second": read / taken,
        "trained_words_per_second": kept / taken, "bytes_per_trained_word": bytes_per_word(engine.layout),
        "loss": loss / weight,
    }  # fmt: skip
    forget(engine)
    return found


def kept_share(corpus: Corpus) -> float:
    """Part of the tokens that subsampling keeps, by the first million."""
    return float(corpus.tables.keep_probability[torch.as_tensor(corpus.ids[:1_000_000]).cpu().numpy()].mean())


def bytes_per_word(layout: Layout) -> float:
    """Least traffic of a trained word by this design: its block's rows read, their steps written, read and added."""
    touches = {"rows read": 1, "steps written": 1, "steps read": 1, "table read and written": 2}
    return layout.block_rows * layout.depth * 4 * sum(touches.values()) / layout.block_tokens


def speed_line(found: dict[str, Any], copy: float) -> str:
    used = found["trained_words_per_second"] * found["bytes_per_trained_word"] / copy
    settings = found["settings"]
    name = f"{settings.get('arch', 'skipgram')} {found['kernels']} {found['products']}"
    name += f" {'deterministic' if found['deterministic'] else 'fast'}"
    name += "".join(f" {key} {settings[key]}" for key in ("warps", "segment_tokens", "block_tokens") if key in settings)
    return (
        f"speed    {name:<40} batch {settings['batch_tokens']:>6}: {found['raw_words_per_second'] / 1e6:8.2f} M raw, "
        f"{found['trained_words_per_second'] / 1e6:8.2f} M trained words/s, {100 * used:5.1f} % of the copy bandwidth"
    )


def copy_speed(device: str, tiny: bool) -> float:
    """Bytes a second that a large copy on the device reads and writes together; the median of ten."""
    size = 1 << (20 if tiny else 31)
    source, target = (torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2))
    times = []
    for _ in range(12):
        started = settled(device)
        target.copy_(source)
        times.append(settled(device) - started)
    return 2 * size / statistics.median(times[2:])


def part_tune(bench: Bench) -> None:
    """Warps and stages of the fused kernels: for whoever chooses runners.block_warps and TritonRunner.stages."""
    corpus = bench.bundle.zipf(40_000_000, bench.device)
    found: list[dict[str, Any]] = []
    bench.results["tune"] = found
    for products, arch in (("float32", "skipgram"), ("tf32x3", "skipgram"), ("tf32", "skipgram"), ("float32", "cbow")):
        for variant in bench.variants([("triton", True, products)]):
            settings = {"dim": 128, "epochs": 1, "batch_tokens": 4096, "block_negatives": 40, "arch": arch}
            engine = bench.engine(corpus, variant, 1, settings)
            for warps, stages in ((8, 3), (4, 3), (16, 3), (8, 1), (4, 1), (8, 2), (4, 2), (2, 1), (8, 4)):
                if not bench.enough(8, f"tune {products} {arch} warps {warps} stages {stages}"):
                    break
                job = partial(tuned, engine, corpus, {"products": products, "arch": arch}, warps, stages)
                if bench.attempt(f"tune {products} {arch} warps {warps} stages {stages}", job, found):
                    speed = found[-1]["raw_words_per_second"] / 1e6
                    print(f"tune     {arch} {products:<8} warps {warps:>2} stages {stages}: {speed:7.2f} M raw words/s")
            forget(engine)


def tuned(engine: TorchEngine, corpus: Corpus, names: dict[str, str], warps: int, stages: int) -> dict[str, Any]:
    """Words a second of some segments, after one that compiles and captures."""
    assert isinstance(engine.runner, TritonRunner)
    engine.runner.warps, engine.runner.stages, engine.runner.graph = warps, stages, None
    size, segments = engine.segment_tokens, 8
    engine.train_segment(corpus.ids, corpus.ends, 0, 0, 0, len(corpus.ids))
    started = settled("cuda")
    for number in range(1, 1 + segments):
        engine.train_segment(corpus.ids, corpus.ends, number * size, number * size, 0, len(corpus.ids))
    speed = segments * size / (settled("cuda") - started)
    return {**names, "warps": warps, "stages": stages, "raw_words_per_second": speed}


def part_profile(bench: Bench) -> None:
    """Which kernels the time goes to: one segment under torch's profiler."""
    if bench.device != "cuda":
        raise WordlabError("the part `profile` needs a GPU. Leave it out with --device cpu.")
    from torch.profiler import ProfilerActivity, profile

    corpus = bench.bundle.zipf(40_000_000, bench.device)
    settings = {"dim": 128, "epochs": 1, "batch_tokens": 4096, "block_negatives": 40}
    bench.results["profile"] = {}
    for variant in bench.variants(
        [MAIN, ("triton", False, "float32"), ("triton", True, "tf32"), ("torch", False, "float32")]
    ):
        if not bench.enough(20, f"profile {variant}"):
            continue
        engine = bench.engine(corpus, variant, 1, settings)
        for number in range(2):
            engine.train_segment(corpus.ids, corpus.ends, number * SEGMENT_TOKENS, 0, 0, len(corpus.ids))
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            engine.train_segment(corpus.ids, corpus.ends, 2 * SEGMENT_TOKENS, 0, 0, len(corpus.ids))
        averages = sorted(profiled.key_averages(), key=lambda entry: -entry.device_time_total)[:14]
        rows = [{"kernel": e.key[:90], "calls": e.count, "microseconds": e.device_time_total} for e in averages]
        bench.results["profile"][str(variant)] = rows
        for row in rows:
            print(f"profile  {variant!s:<34} {row['microseconds'] / 1e3:8.2f} ms {row['calls']:>6} x {row['kernel']}")
        forget(engine)


def part_disk(bench: Bench) -> None:
    """One epoch from mapped files: resident and streamed, cold and warm, beside the same ids on the device."""
    tokens, shards = (60_000, 3) if bench.tiny else (2_000_000_000, 8)
    size = tokens // shards
    generated = bench.bundle.zipf(size, bench.device, 500 if bench.tiny else None)
    paths = [bench.scratch / f"ids-{number}.i32" for number in range(shards)]
    begun = time.perf_counter()
    for path in paths:
        zipf_ids(size, len(generated.tables.keep_probability), bench.device).cpu().numpy().tofile(path)
    settings = {"dim": 16 if bench.tiny else 128, "window": 5, "negatives": 5, "epochs": 1, "batch_tokens": 4096}
    found: dict[str, Any] = {"bytes": 4 * tokens, "write_seconds": time.perf_counter() - begun}
    bench.results["disk"] = found
    ends = np.arange(SENTENCE_TOKENS, size + SENTENCE_TOKENS, SENTENCE_TOKENS, dtype=np.int64)
    variant = (bench.kernels[0], True, "float32")
    found["on_device"] = speed_of(bench, generated, variant, {**settings, "block_negatives": 40})
    on_device = found["on_device"]["raw_words_per_second"]
    print(f"disk     ids on the device: {on_device / 1e6:.2f} M raw words/s")
    for name, resident, cold in (
        ("cold, resident", True, True),
        ("warm, resident", True, False),
        ("warm, streamed", False, False),
    ):
        if not bench.enough(1.3 * tokens / on_device + 10, f"disk {name}"):
            continue
        if cold:
            for path in paths:
                leave_page_cache(path)
        maps = [np.memmap(path, np.int32, "r") for path in paths]
        segment = 7_000 if bench.tiny else SEGMENT_TOKENS
        feed = Feed(maps, segment, torch.device(bench.device), resident)
        engine = bench.engine(
            generated, variant, 1, {**settings, "block_negatives": 40}, feed=feed, segment_tokens=segment,
            first_batch_tokens=512,
        )  # fmt: skip
        warm_up(engine, generated.tables)
        started = settled(bench.device)
        for number, start in itertools.product(range(shards), range(0, size, segment)):
            engine.train_segment(maps[number], ends, start, number * size + start, 0, tokens)
        seconds = settled(bench.device) - started
        forget(engine)
        speed = tokens / seconds
        found[name] = {"seconds": seconds, "raw_words_per_second": speed, "of_on_device": speed / on_device,
                       "anonymous_memory_bytes": anonymous_memory()}  # fmt: skip
        print(f"disk     {name}: {seconds:.1f} s, {speed / 1e6:.2f} M raw words/s, {100 * speed / on_device:.0f} %, "
              f"host memory {found[name]['anonymous_memory_bytes'] / 1e9:.2f} GB")  # fmt: skip
    for path in paths:
        path.unlink()


def warm_up(engine: TorchEngine, tables: Any) -> None:
    """Compile and capture on a segment of two tokens, then forget what it taught; the feed is not asked."""
    kept = engine.table.clone()
    two = torch.zeros(2, dtype=torch.int32, device=engine.device)
    for position in (0, 1 << 40):
        engine.train_segment(two, np.array([2]), 0, position, 0, 1 << 40)
    engine.table.copy_(kept)


def leave_page_cache(path: Path) -> None:
    """Ask the kernel to forget what it holds of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def anonymous_memory() -> int:
    """Bytes of this process's own memory, mapped files aside."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
