"""What a stage takes at its peak: memory of all its processes, and disk; and what estimates of it share.

Memory here is what must be there: a process's own pages. Mapped files are left out, since the kernel gives their pages
up; they count under a limit of the address space.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wordlab.config import Params
from wordlab.shards import DICTIONARY_SCHEMA, map_batch
from wordlab.stage import available_cores

DATA = Path("data")
MB = 1_000_000

# Measured on Linux, x86-64, Python 3.11 to 3.13; tests/test_preflight.py holds them against this machine.
PROCESS_BYTES = 130 * MB
"""A process that has loaded numba, Arrow and its compiled functions."""
KIWI_BYTES = 500 * MB
"""Kiwi with its dictionary, and what it keeps in mind while it reads, in each worker."""
COUNTED_WORD_BYTES = 150
"""A distinct word while dictionaries are merged: table, counts, Arrow."""
WORD_BYTES = 260
"""A word of the vocabulary as a Python string in a list, with its bytes in Arrow and its line of text."""
FOLDED_WORD_BYTES = 220
"""A word in evaluation's index, a dict of its upper case."""
MINIMUM_DISK = 20 * MB


@dataclass(frozen=True)
class Need:
    """What a stage will take at its peak, and how to make it less."""

    stage: str
    memory_bytes: int
    """All its processes together, mapped files left out."""
    mapped_bytes: int
    disk_bytes: int
    folder: Path
    """Where it will write."""
    lower: str
    """What to lower in params.yaml: ends a sentence."""


def workers_here(params: Params) -> int:
    """Workers on this machine; the first process counts as one where a cluster does the work."""
    return 1 if params.run.executor == "dask" else params.run.workers or available_cores()


def vocabulary() -> tuple[int, int]:
    """Words of the vocabulary, and mean bytes of one."""
    path = DATA / "vocab" / "words.arrow"
    words = map_batch(path, DICTIONARY_SCHEMA, "vocab").num_rows
    return words, path.stat().st_size // max(1, words)
