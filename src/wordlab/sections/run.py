"""Section `run` of params.yaml: how a run is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wordlab.sections.reading import require


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Section `run` of params.yaml: how a run is carried out. Only `device` can change a byte."""

    device: Literal["auto", "cpu", "cuda"]
    threads: int
    """Training threads; 0 means all cores."""
    workers: int
    """Preprocessing processes or threads on this machine; 0 means all cores."""
    executor: Literal["processes", "threads", "dask"]
    """Where preprocessing is done: processes or threads of this machine, or the workers of a Dask cluster."""
    dask_address: str
    """Of the cluster's scheduler, such as tcp://host:8786, or the path of its scheduler file; read by dask alone."""

    def __post_init__(self) -> None:
        require(0 <= self.threads <= 4096, "run.threads", self.threads, "0 (all cores) or a number of threads")
        require(0 <= self.workers <= 4096, "run.workers", self.workers, "0 (all cores) or a number of processes")
        address = self.dask_address
        wanted = "the address of a scheduler with run.executor=dask, such as tcp://host:8786"
        require(self.executor != "dask" or address.strip() != "", "run.dask_address", address, wanted)
