"""What the parts of benchmarks/gpu.sh share: where they measure, how long they may, and what was found so far."""

from __future__ import annotations

import gc
import json
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check import Variant
from benchmarks.gpu_data import Bundle, Corpus
from wordlab.errors import WordlabError
from wordlab.torch_engine.engine import TorchEngine
from wordlab.torch_engine.gpu import failures

MAIN: Variant = ("triton", True, "float32")


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
        except (*failures(), WordlabError) as error:
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
