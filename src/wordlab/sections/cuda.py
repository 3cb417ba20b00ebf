"""Section `cuda` of params.yaml: what training does otherwise on a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wordlab.sections.reading import require


@dataclass(frozen=True, kw_only=True)
class CudaConfig:
    """Section `cuda` of params.yaml: what training on a GPU does otherwise. Read by train where it runs on one."""

    batch_tokens: int
    """Kept tokens in one micro-batch on a GPU; 0: as many as do no harm, and no fewer than train.batch_tokens."""
    deterministic: bool
    """Every run on the same kind of GPU gives the same bits."""
    products: Literal["float32", "tf32x3", "tf32", "bf16"]
    """How matrix products are computed; vectors and sums are float32."""

    def __post_init__(self) -> None:
        require(0 <= self.batch_tokens <= 1 << 30, "cuda.batch_tokens", self.batch_tokens, "from 0 to 2^30")
