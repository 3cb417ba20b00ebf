"""Which lines of the normalised text are kept: limits to their length, and verdicts over repeated ones.

Nothing here knows a language. A line is what stands between line ends, white space around it aside; empty lines count
for nothing. With `unit: documents` the same is done to documents (`wordlab.documents`), which are called lines here.
Verdicts (`wordlab.duplicates`) come from a pass over all lines before, so that of equal lines the first of the corpus
stays, whichever process reads which.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wordlab.errors import ConfigError
from wordlab.sections.tokenize import FiltersConfig

KEEP, DUPLICATE, NEAR_DUPLICATE = 0, 1, 2
REASONS = {DUPLICATE: "duplicate", NEAR_DUPLICATE: "near_duplicate"}
LEAST_CHARACTERS = 50
"""Of a line that is compared for similarity: shorter ones have too few n-grams to tell."""
NGRAM = 5
"""Characters."""
PERMUTATIONS = 64
"""Numbers in a signature: it tells a similarity of 0.8 with a standard deviation of 0.05."""
_SEED = 1
_ROWS_AT_ONCE = 4096
_HASH_BYTES = 8


@dataclass(frozen=True)
class LineKeys:
    """What decides whether lines of a shard are repeated."""

    num_lines: int
    """All of the shard, empty ones too."""
    lines: NDArray[np.int64]
    """Those within the limits, by their number in the shard."""
    hashes: NDArray[np.uint64]
    """Of these, BLAKE2b: equal for equal lines, and for two of a billion others with a chance of 3 %."""
    compared: NDArray[np.int64]
    """Those long enough to be compared for similarity."""
    signatures: NDArray[np.uint32]
    """Of these, MinHash of their n-grams; shape (len(compared), PERMUTATIONS)."""


def filter_versions(config: FiltersConfig) -> dict[str, str]:
    """What else decides which lines are similar. Raises ConfigError where it is not installed."""
    if not config.near_duplicates:
        return {}
    _minhash()
    return {"rensa": metadata.version("rensa")}


def _minhash() -> Any:
    try:
        from rensa import RMinHash
    except ImportError:
        raise ConfigError(
            "params.yaml: tokenize.filters.near_duplicates needs the package rensa, which is not installed. "
            "Install it with: pip install -c constraints.txt -e '.[filters]', or set it to 0."
        ) from None
    return RMinHash


def filtered_text(
    text: bytes, config: FiltersConfig, verdicts: NDArray[np.uint8] | None, dropped: Counter[str]
) -> bytes:
    """The lines that are kept; `dropped` counts the others by reason. verdicts: of all lines of the text, by number."""
    kept = []
    end = _end(config)
    for number, line in enumerate(text.split(end)):
        stripped = line.strip()
        reason = _out_of_limits(stripped, config) if stripped else ""
        if not reason and verdicts is not None:
            reason = REASONS.get(int(verdicts[number]), "")
        if reason:
            dropped[f"{reason}_{config.unit}"] += 1
        else:
            kept.append(line)
    return end.join(kept)


def _end(config: FiltersConfig) -> bytes:
    """What stands behind a line, or a document."""
    return b"\n\n" if config.unit == "documents" else b"\n"


def _out_of_limits(line: bytes, config: FiltersConfig) -> str:
    """Why a line is dropped for its length in characters; empty if it is not."""
    if not config.min_chars and not config.max_chars:
        return ""
    characters = len(line.decode())
    if characters < config.min_chars:
        return "short"
    return "long" if 0 < config.max_chars < characters else ""


def line_keys(text: bytes, config: FiltersConfig) -> LineKeys:
    """Keys of the lines of a shard, in their order."""
    all_lines = text.split(_end(config))
    stripped = [line.strip() for line in all_lines]
    numbers = [number for number, line in enumerate(stripped) if line and not _out_of_limits(line, config)]
    digest = functools.partial(hashlib.blake2b, digest_size=_HASH_BYTES)
    hashes = b"".join(digest(stripped[number]).digest() for number in numbers)
    long = []
    if config.near_duplicates:
        long = [number for number in numbers if len(stripped[number].decode()) >= LEAST_CHARACTERS]
    return LineKeys(
        num_lines=len(all_lines),
        lines=np.array(numbers, dtype=np.int64),
        hashes=np.frombuffer(hashes, dtype="<u8"),
        compared=np.array(long, dtype=np.int64),
        signatures=_signatures([stripped[number] for number in long]),
    )


def _signatures(lines: list[bytes]) -> NDArray[np.uint32]:
    """MinHash of each line's n-grams: shape (len(lines), PERMUTATIONS)."""
    found = np.empty((len(lines), PERMUTATIONS), dtype=np.uint32)
    for start in range(0, len(lines), _ROWS_AT_ONCE):
        part = lines[start : start + _ROWS_AT_ONCE]
        text = np.frombuffer(b"".join(part), dtype=np.uint8)
        ends = np.cumsum([len(line) for line in part], dtype=np.int64)
        hashes = np.empty(len(text), dtype=np.uint64)
        offsets = np.zeros(len(part) + 1, dtype=np.uint64)
        size = _hash_ngrams(text, ends, hashes, offsets)
        matrix = _minhash().digest_matrix_from_flat_token_hashes(
            hashes[:size], offsets, num_perm=PERMUTATIONS, seed=_SEED
        )
        found[start : start + len(part)] = matrix.to_rows()
    return found


@njit(cache=True, nogil=True)
def _hash_ngrams(text, ends, hashes, offsets):
    """Hashes of all runs of NGRAM characters within each line of valid UTF-8; returns how many there are.

    FNV-1a over a run's bytes, mixed as splitmix64 does at its end. Sets `offsets`: where each line's begin.
    """
    size = 0
    start = 0
    for line in range(len(ends)):
        stop = ends[line]
        first = start
        while first < stop:
            value = np.uint64(0xCBF29CE484222325)
            i = first
            characters = 0
            while i < stop and characters < NGRAM:
                value = (value ^ np.uint64(text[i])) * np.uint64(0x100000001B3)
                i += 1
                while i < stop and text[i] & 0xC0 == 0x80:
                    value = (value ^ np.uint64(text[i])) * np.uint64(0x100000001B3)
                    i += 1
                characters += 1
            if characters < NGRAM:
                break
            value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            hashes[size] = value ^ (value >> np.uint64(31))
            size += 1
            first += 1
            while first < stop and text[first] & 0xC0 == 0x80:
                first += 1
        start = stop
        offsets[line + 1] = size
    return size
