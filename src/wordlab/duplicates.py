"""Repeated lines of a whole corpus, found with bounded memory: verdicts over every line, in a file.

Equal lines: all lines are sorted by a hash of 64 bits, part by part of the hashes' range, on disk; of equal ones the
first of the corpus stays. Similar lines (Broder 1997): a signature of 64 numbers a line, the smallest hash of its
n-grams under as many permutations; the share of equal numbers estimates the Jaccard similarity. Lines that agree in all
four numbers of one of 16 bands meet there and are compared (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
3.4): each with the first and with the one before it. A line that is as similar as asked goes, whether the other one
stays or not; so what stays does not depend on how the work was divided.

    disk    16 bytes a line; for similar ones also 512 for each line that is compared; and what shards have given
    memory  about 50 bytes for each of the lines in a part, of which there are 256 or 1024
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wordlab.line_filters import DUPLICATE, NEAR_DUPLICATE, PERMUTATIONS, LineKeys
from wordlab.sections.tokenize import FiltersConfig
from wordlab.stage import progress

BAND_ROWS = 4
BANDS = PERMUTATIONS // BAND_ROWS
VERDICTS = "line-verdicts.bin"
"""One byte for each line of the corpus: KEEP, DUPLICATE or NEAR_DUPLICATE."""
STARTS = "line-starts.npy"
"""The first line of each shard, and the number of all: int64."""
_PARTS = 256
_BAND_PARTS = 1024
_BUFFERED = 1 << 21
"""Pairs that wait to be written."""
_COMPARED_AT_ONCE = 1 << 16
_PAIR = np.dtype([("key", "<u8"), ("line", "<i8")])


def find_duplicates(shards: Iterable[LineKeys], config: FiltersConfig, folder: Path) -> int:
    """Write VERDICTS and STARTS into `folder`, which is empty, for these shards in this order.

    Returns how many lines are repeated.
    """
    by_hash = _Parts(folder / "hashes", _PARTS)
    by_band = _Parts(folder / "bands", _BAND_PARTS)
    starts, rows = [0], 0
    with (folder / "signatures").open("wb") as signatures, (folder / "compared").open("wb") as compared:
        for keys in shards:
            if config.duplicates == "drop":
                by_hash.add(keys.hashes, keys.lines + starts[-1])
            signatures.write(keys.signatures.tobytes())
            compared.write((keys.compared + starts[-1]).tobytes())
            for band in range(BANDS):
                part = keys.signatures[:, band * BAND_ROWS : (band + 1) * BAND_ROWS]
                by_band.add(_band_keys(part, band), np.arange(rows, rows + len(part)))
            rows += len(keys.compared)
            starts.append(starts[-1] + keys.num_lines)
    verdicts = np.memmap(folder / VERDICTS, np.uint8, "w+", shape=(max(1, starts[-1]),))
    lines = np.memmap(folder / "compared", np.int64, "r") if rows else np.zeros(0, np.int64)
    for repeated in _similar(by_band, folder / "signatures", config.near_duplicates):
        verdicts[lines[repeated]] = NEAR_DUPLICATE
    for repeated in _equal(by_hash):
        verdicts[repeated] = DUPLICATE
    verdicts.flush()
    np.save(folder / STARTS, np.array(starts, dtype=np.int64))
    for name in ("signatures", "compared"):
        (folder / name).unlink()
    return int(np.count_nonzero(verdicts))


def shard_verdicts(folder: Path, shard: int) -> NDArray[np.uint8]:
    """Verdicts over the lines of one shard, by their number in it."""
    starts = np.load(folder / STARTS, mmap_mode="r")
    first, last = int(starts[shard]), int(starts[shard + 1])
    return np.fromfile(folder / VERDICTS, np.uint8, last - first, offset=first)


def _band_keys(part: NDArray[np.uint32], band: int) -> NDArray[np.uint64]:
    """One number for the numbers of a band: shape (len(part),)."""
    keys = np.full(len(part), band + 1, dtype=np.uint64)
    for column in range(part.shape[1]):
        keys = (keys ^ part[:, column].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def _equal(by_hash: _Parts) -> Iterator[NDArray[np.int64]]:
    """Lines that an equal one precedes."""
    for pairs in by_hash.sorted_parts():
        repeated = np.flatnonzero(pairs["key"][1:] == pairs["key"][:-1]) + 1
        yield pairs["line"][repeated]


def _similar(by_band: _Parts, signatures: Path, similarity: float) -> Iterator[NDArray[np.int64]]:
    """Rows of the signatures that a similar one precedes, met in a band."""
    for pairs in by_band.sorted_parts():
        table = np.memmap(signatures, np.uint32, "r").reshape(-1, PERMUTATIONS)
        begins = np.ones(len(pairs), dtype=np.bool_)
        begins[1:] = pairs["key"][1:] != pairs["key"][:-1]
        first = np.maximum.accumulate(np.where(begins, np.arange(len(pairs)), 0))
        later = np.flatnonzero(~begins)
        for start in range(0, len(later), _COMPARED_AT_ONCE):
            chosen = later[start : start + _COMPARED_AT_ONCE]
            rows = pairs["line"][chosen]
            is_similar = np.zeros(len(rows), dtype=np.bool_)
            for others in (first[chosen], chosen - 1):
                is_similar |= (table[rows] == table[pairs["line"][others]]).mean(axis=1) >= similarity
            yield rows[is_similar]


class _Parts:
    """Pairs of a key and a line, in files by the highest bits of the key."""

    def __init__(self, folder: Path, number: int) -> None:
        folder.mkdir()
        self._folder = folder
        self._shift = np.uint64(64 - (number - 1).bit_length())
        self._waiting: list[NDArray[np.void]] = []
        self._num_waiting = 0

    def add(self, keys: NDArray[np.uint64], lines: NDArray[np.int64]) -> None:
        pairs = np.empty(len(keys), dtype=_PAIR)
        pairs["key"], pairs["line"] = keys, lines
        self._waiting.append(pairs)
        self._num_waiting += len(pairs)
        if self._num_waiting >= _BUFFERED:
            self._write()

    def _write(self) -> None:
        if not self._num_waiting:
            return
        pairs = np.concatenate(self._waiting)
        self._waiting, self._num_waiting = [], 0
        parts = pairs["key"] >> self._shift
        order = np.argsort(parts, kind="stable")
        numbers, begins = np.unique(parts[order], return_index=True)
        for number, chosen in zip(numbers.tolist(), np.split(order, begins[1:]), strict=True):
            with (self._folder / str(number)).open("ab") as file:
                file.write(pairs[chosen].tobytes())

    def sorted_parts(self) -> Iterator[NDArray[np.void]]:
        """Each part, by key and then by line; its file goes."""
        self._write()
        paths = sorted(self._folder.iterdir())
        with progress(sum(path.stat().st_size for path in paths), "B", f"compare {self._folder.name}") as bar:
            for path in paths:
                pairs = np.fromfile(path, _PAIR)
                path.unlink()
                yield pairs[np.lexsort((pairs["line"], pairs["key"]))]
                bar.update(pairs.nbytes)
        self._folder.rmdir()
