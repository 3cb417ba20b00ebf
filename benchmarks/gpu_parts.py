"""The measurements of benchmarks/gpu.sh, one function a part; each adds to a Bench and watches the clock.

A part begins with what matters most and leaves out what its time does not suffice for, saying so in the results.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu_bench import Bench
from benchmarks.gpu_check import METHODS, WORDS, configuration
from benchmarks.gpu_groups import check_in_groups
from benchmarks.gpu_quality import part_determinism, part_quality, part_study
from benchmarks.gpu_speed import part_disk, part_profile, part_speed, part_tune
from benchmarks.gpu_textbook import textbook_loop
from wordlab.torch_engine.gpu import try_kernels
from wordlab.torch_engine.layout import Layout


def part_check(bench: Bench) -> None:
    """Every method and variant against the reference."""
    found, broken = check_in_groups(bench.kernels, bench.device, bench.tiny, bench.scratch, bench.until)
    bench.results["check"] = found
    if broken:
        bench.results.setdefault("failed", []).extend(broken)
    if "triton" in bench.kernels:
        model, train = configuration(*METHODS[0])
        layout = Layout.of(model, train, WORDS, "float32")
        bench.results["self_test"] = try_kernels(layout, True) or "the fused kernels take the steps of plain torch"
        print(f"check    before a training it would say: {bench.results['self_test']}")
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


def part_textbook(bench: Bench) -> None:
    """The textbook's loop on Penn Treebank, and this engine on the same tokens."""
    path = bench.bundle.folder / "ptb.train.txt"
    if not path.exists():
        bench.results.setdefault("left_out", []).append("textbook: the bundle has no ptb.train.txt")
        print("left out, the bundle has no ptb.train.txt: textbook")
        return
    seconds = min(40.0, max(5.0, bench.until - time.monotonic() - 20))
    found = textbook_loop(path, bench.device, 2 if bench.tiny else seconds, bench)
    bench.results["textbook"] = found
    print(
        f"textbook {found['loop_words_per_second']:,.0f} centre words/s; this engine on the same tokens "
        f"{found['engine_words_per_second']:,.0f}: {found['ratio']:,.0f} times"
    )


PARTS: dict[str, tuple[Callable[[Bench], None], int]] = {
    "check": (part_check, 190),
    "speed": (part_speed, 180),
    "quality": (part_quality, 150),
    "determinism": (part_determinism, 40),
    "disk": (part_disk, 170),
    "textbook": (part_textbook, 90),
    "tune": (part_tune, 100),
    "study": (part_study, 150),
    "profile": (part_profile, 60),
}
"""Part -> what measures it, and the seconds it may take."""
