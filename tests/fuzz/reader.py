"""What the fuzzer knows of one reader: valid files to begin with, how to spoil them, and how to read one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz import mutations

Execution = Callable[[bytes], str]
"""Reads a file of these bytes. Returns in a few words what was read; raises a WordlabError where it was refused.

Anything else it raises is a finding, also an AssertionError of its own about what the reader has given back.
"""


@dataclass(frozen=True)
class Reader:
    """One reader of wordlab and the hostile files for it."""

    name: str
    what: str
    """What it reads, for the table of results."""
    open: Callable[[Path], Execution]
    """Prepares an empty folder, in memory, for any number of executions."""
    seeds: Callable[[Path], list[bytes]]
    """Files made by our writers, and odd ones made on purpose; the folder is for scratch."""
    tokens: tuple[bytes, ...] = ()
    """Pieces of the format that mutations put in."""
    build: Callable[[Random, list[bytes]], bytes] | None = None
    """A file made from the format's rules, with some of them broken; gets the seeds too."""
    finish: Callable[[Random, bytes], bytes] | None = None
    """Mends checksums after a mutation, so that what is behind them is reached."""
    memory_bytes: int = 1 << 27
    """Address space that an execution may take, whatever the file's headers ask for; files have 64 KiB at most."""
    guided: bool = False
    """Whether coverage can guide the fuzzer: a binary format that is read by Python code."""


def make_input(reader: Reader, seeds: list[bytes], seed: int, index: int) -> bytes:
    """Input number `index` of a campaign: a pure function of its arguments, so that a number says all about a finding.

    Every other input is systematic while there are some: each seed as it is, cut at every place, each byte changed.
    """
    place, odd = divmod(index, 2)
    if not odd:
        systematic = mutations.systematic(seeds, place)
        if systematic is not None:
            return systematic
    rng = Random((seed << 48) + index)
    if reader.build is not None and rng.random() < 0.5:
        data = reader.build(rng, seeds)
        if rng.random() < 0.3:
            data = mutations.mutated(rng, data, seeds, reader.tokens)
    else:
        data = mutations.mutated(rng, rng.choice(seeds), seeds, reader.tokens)
    if reader.finish is not None and rng.random() < 0.5:
        data = reader.finish(rng, data)
    return data[: mutations.MOST_BYTES]


def replace_file(path: Path, data: bytes) -> None:
    """Write a new file in the place of an old one: mappings of the old one stay what they are."""
    name = os.fspath(path)
    if path.exists():
        os.unlink(name)  # noqa: PTH108 - this runs millions of times
    handle = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


def on_file(read: Callable[[Path], str], name: str = "file") -> Callable[[Path], Execution]:
    """`open` of a reader that wants one file and nothing else."""

    def open_in(folder: Path) -> Execution:
        path = folder / name

        def execute(data: bytes) -> str:
            replace_file(path, data)
            return read(path)

        return execute

    return open_in
