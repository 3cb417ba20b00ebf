"""Sums of steps by row, where only the words of a micro-batch say which rows there are and how many.

`steps.py` adds up the entries of blocks, of which each has as many as the next. A word has any number of n-grams, and
its path any number of nodes, so here the rows are found and numbered first, and there is a sum for each.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from wordlab.torch_engine.steps import FIXED_POINT

STRETCH_NUMBERS = 1 << 22
"""Numbers in the vectors of one stretch of a list, of decisions or n-grams: 16 MB for every copy in float32."""


def stretch_rows(depth: int) -> int:
    """Entries of one stretch."""
    return max(1, STRETCH_NUMBERS // depth)


class Places:
    """Numbers rows of the table: the different ones of a micro-batch get places 0, 1, ... in rising order."""

    def __init__(self, table_rows: int, device: torch.device) -> None:
        self._is_there = torch.zeros(table_rows, dtype=torch.bool, device=device)
        self._place = torch.zeros(table_rows, dtype=torch.int64, device=device)

    def number(self, parts: Iterable[Tensor]) -> Tensor:
        """The different ones of these rows (int64, any shapes), rising, (n,). Waits for the device, to know n."""
        for rows in parts:
            self._is_there.index_fill_(0, rows.reshape(-1), True)
        found = self._is_there.nonzero().squeeze(1)
        self._is_there.index_fill_(0, found, False)
        self._place.index_copy_(0, found, torch.arange(len(found), device=found.device))
        return found

    def of(self, rows: Tensor) -> Tensor:
        """Places of rows that `number` has found last, int64, of the shape of `rows`."""
        return self._place[rows]


class Sums:
    """Steps and curvatures added up, for `size` places."""

    def __init__(self, size: int, table: Tensor, deterministic: bool) -> None:
        """All zero. deterministic: as whole numbers of 2^-40, whose sum does not depend on their order."""
        self.size, self.deterministic = size, deterministic
        kind = torch.int64 if deterministic else table.dtype
        self._steps = torch.zeros((size, table.shape[1]), dtype=kind, device=table.device)
        self._curvature = torch.zeros(size, dtype=kind, device=table.device)

    def add(self, places: Tensor, steps: Tensor, curvature: Tensor) -> None:
        """places: int64 (n,); steps: (n, D); curvature: (n,)."""
        self._steps.index_add_(0, places, self._number(steps))
        self._curvature.index_add_(0, places, self._number(curvature))

    def _number(self, x: Tensor) -> Tensor:
        if not self.deterministic:
            return x
        return x.to(torch.float64, copy=True).mul_(FIXED_POINT).round_().long()

    def totals(self) -> tuple[Tensor, Tensor]:
        """Steps (size, D) and curvatures (size,), float64 where they are deterministic."""
        if self.deterministic:
            return self._steps.double().div_(FIXED_POINT), self._curvature.double().div_(FIXED_POINT)
        return self._steps, self._curvature

    def move(self, table: Tensor, rows: Tensor, damping: float | Tensor) -> None:
        """Add the damped sums to these rows of the table, one for each place. damping: of all, or of each row."""
        steps, curvature = self.totals()
        damped = steps / (1 + damping * curvature)[:, None]
        table.index_copy_(0, rows, table.index_select(0, rows).add_(damped.to(table.dtype)))
