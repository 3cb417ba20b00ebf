"""The measurements of benchmarks/gpu.sh, one function a part; each adds to a Bench and watches the clock.

A part begins with what matters most and leaves out what its time does not suffice for, saying so in the results.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_check import Variant, check
from benchmarks.gpu_data import SENTENCE_TOKENS, Bundle, Corpus, zipf_ids
from benchmarks.gpu_scores import scores
from benchmarks.gpu_textbook import textbook_loop
from wordlab.checkpoint_file import read_checkpoint, write_checkpoint
from wordlab.errors import WordlabError
from wordlab.torch_engine.engine import SEGMENT_TOKENS, TorchEngine
from wordlab.torch_engine.feeding import Feed
from wordlab.torch_engine.layout import Layout
from wordlab.torch_engine.runners import TritonRunner

MAIN: Variant = ("triton", True, "float32")
QUALITY_SCORES = ("google_analogy", "wordsim353", "simlex999", "men")


try:
    from triton.runtime.errors import TritonError
except ImportError:  # then nothing raises it

    class TritonError(Exception):  # type: ignore[no-redef]
        """Stands in for Triton's."""


FAILURES = (RuntimeError, ValueError, TypeError, TritonError, WordlabError)
"""What a variant that does not work raises: a compiler, the driver, memory. The others are measured all the same."""


@dataclass
class Bench:
    """What the parts share: where to measure, how much, and what was found so far."""

    bundle: Bundle
    device: str
    tiny: bool
    kernels: tuple[str, ...]
    """Those that run here, the best first."""
    scratch: Path
    until: float
    """time.monotonic() at which a part has to be done."""
    results: dict[str, Any] = field(default_factory=dict)
    result: Path | None = None
    """Where results are kept as they come."""

    def save(self) -> None:
        if self.result:
            self.result.parent.mkdir(parents=True, exist_ok=True)
            self.result.write_text(json.dumps(self.results, indent=1) + "\n")

    def attempt(self, what: str, measure: Callable[[], dict[str, Any]], found: list[dict[str, Any]]) -> bool:
        """Add what is measured to `found`; a variant that does not work is noted. Returns whether it works."""
        try:
            found.append(measure())
        except FAILURES as error:
            self.results.setdefault("failed", []).append(f"{what}: {type(error).__name__}: {str(error)[:500]}")
            traceback.print_exc()
            print(f"FAILED   {what}", flush=True)
            return False
        self.save()
        return True

    def enough(self, seconds: float, what: str) -> bool:
        """Whether that many seconds are left; if not, notes what is left out."""
        if time.monotonic() + seconds < self.until:
            return True
        self.results.setdefault("left_out", []).append(what)
        print(f"left out, no time: {what}")
        return False

    def variants(self, wanted: list[Variant]) -> Iterator[Variant]:
        return (variant for variant in wanted if variant[0] in self.kernels)

    def engine(
        self, corpus: Corpus, variant: Variant, seed: int, settings: dict[str, Any], **options: Any
    ) -> TorchEngine:
        """settings: changes of the bundle's `model` and `train`."""
        names = self.bundle.content["model"]
        model = self.bundle.model(**{name: value for name, value in settings.items() if name in names})
        train = self.bundle.train(**{name: value for name, value in settings.items() if name not in names})
        kernels, deterministic, products = variant
        return TorchEngine(
            model, train, corpus.tables, seed, device=self.device, kernels=kernels, deterministic=deterministic,
            products=products, **options,
        )  # type: ignore[arg-type]  # fmt: skip


def settled(device: str) -> float:
    """The time, when the device has done all that it was told."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def forget(*engines: TorchEngine) -> None:
    """Give their memory back before the next one asks for its own."""
    for engine in engines:
        engine.close()
        engine.__dict__.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def part_check(bench: Bench) -> None:
    """Every method and variant against the reference."""
    found = check(bench.kernels, bench.device, bench.tiny, FAILURES, lambda: bench.enough(20, "some methods of check"))
    bench.results["check"] = found
    wrong = [entry for entry in found if not entry["fine"]]
    largest: dict[tuple[Any, ...], float] = {}
    for entry in found:
        variant = tuple(entry[name] for name in ("objective", "units", "kernels", "deterministic", "products"))
        largest[variant] = max(entry["error"], largest.get(variant, 0.0))
    for variant, error in largest.items():
        print(f"check    {variant!s:<60} largest error {error:.1e}")
    print(f"check    {len(found) - len(wrong)} of {len(found)} fine")
    for entry in wrong:
        print(f"WRONG    {entry}")


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


def part_textbook(bench: Bench) -> None:
    """The textbook's loop on Penn Treebank, and this engine on the same tokens."""
    path = bench.bundle.folder / "ptb.train.txt"
    if not path.exists():
        bench.results.setdefault("left_out", []).append("textbook: the bundle has no ptb.train.txt")
        print("left out, the bundle has no ptb.train.txt: textbook")
        return
    seconds = min(90.0, max(5.0, bench.until - time.monotonic() - 20))
    found = textbook_loop(path, bench.device, 2 if bench.tiny else seconds, bench)
    bench.results["textbook"] = found
    print(
        f"textbook {found['loop_words_per_second']:,.0f} centre words/s; this engine on the same tokens "
        f"{found['engine_words_per_second']:,.0f}: {found['ratio']:,.0f} times"
    )


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


PARTS: dict[str, tuple[Callable[[Bench], None], int]] = {
    "check": (part_check, 190),
    "speed": (part_speed, 180),
    "quality": (part_quality, 150),
    "determinism": (part_determinism, 40),
    "disk": (part_disk, 120),
    "textbook": (part_textbook, 120),
    "study": (part_study, 150),
    "profile": (part_profile, 60),
}
"""Part -> what measures it, and the seconds it may take."""
