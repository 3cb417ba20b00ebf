"""The random choices of `wordlab.sampling`, made on the device: the same bits from torch's int64, and without numba.

torch has no uint64 arithmetic. Sums and products of int64 wrap around to the same bits, and a logical shift is an
arithmetic one with the copies of the sign bit masked away. tests/test_torch_engine.py compares every function here with
the one of the same name in `wordlab.sampling`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
FACTORS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
KEEP, WINDOW, NOISE, START, START_NGRAMS, DROPOUT = 1, 2, 3, 4, 5, 6
"""Streams: one for each kind of choice."""
DRAWS_PER_POSITION = 2048
_CHUNK = 1 << 22
"""Numbers of the first vectors drawn at once: what bounds the memory for it."""


def stream_key(seed: int, epoch: int, stream: int) -> int:
    """Key of one stream of one epoch, 0 to 2^64 - 1."""
    key = _mix_number(seed + GOLDEN)
    key = _mix_number(key ^ (epoch * GOLDEN + 1))
    return _mix_number(key ^ (stream * GOLDEN + 2))


def _mix_number(x: int) -> int:
    """splitmix64's output function on a Python number."""
    x &= MASK
    x = (x ^ (x >> 30)) * FACTORS[0] & MASK
    x = (x ^ (x >> 27)) * FACTORS[1] & MASK
    return x ^ (x >> 31)


def signed(x: int) -> int:
    """The int64 with the bits of an unsigned number."""
    x &= MASK
    return x - (1 << 64) if x >> 63 else x


def shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of int64 by 1 or more bits."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def draw(key: int, n: Tensor) -> Tensor:
    """Numbers `n` (int64, any shape) of the stream `key`: int64 with the bits of the uniform uint64."""
    return mix((n * signed(GOLDEN)).add_(signed(key)))


def mix(x: Tensor) -> Tensor:
    """splitmix64's output function on int64 with the bits of uint64; `x` is overwritten."""
    x = x.bitwise_xor_(shift_right(x, 30)).mul_(signed(FACTORS[0]))
    x = x.bitwise_xor_(shift_right(x, 27)).mul_(signed(FACTORS[1]))
    return x.bitwise_xor_(shift_right(x, 31))


def window_width(key: int, position: Tensor, window: int) -> Tensor:
    """Width of the window drawn for each target: uniform on 1..window, int64, shape of `position`."""
    return (shift_right(draw(key, position), 32).mul_(window) >> 32).add_(1)


def is_kept(key: int, position: Tensor, threshold: Tensor) -> Tensor:
    """Whether the tokens at these positions survive subsampling. threshold: of each token, see `keep_thresholds`."""
    return shift_right(draw(key, position), 32) < threshold


def noise_words(key: int, position: Tensor, count: int, accept: Tensor, alias: Tensor) -> Tensor:
    """Noise words of the blocks at these positions (n,): int32, (n, count). accept, alias: see `alias_table`."""
    n = torch.arange(count, device=position.device)
    number = draw(key, (position * DRAWS_PER_POSITION)[:, None] + n[None, :])
    slot = shift_right(number, 32).mul_(accept.shape[0]) >> 32
    own = number.bitwise_and_(0xFFFFFFFF) < accept[slot]
    return torch.where(own, slot.to(torch.int32), alias[slot])


def keep_thresholds(keep_probability: NDArray[np.float32]) -> NDArray[np.int64]:
    """keep_probability as the numbers `is_kept` compares with, shape (V,)."""
    return np.ceil(keep_probability.astype(np.float64) * 2.0**32).astype(np.int64)


def alias_table(probability: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Walker's alias table of a distribution, built by Vose's method: accept (0..2^32) and alias, both of shape (V,).

    The same steps as in `wordlab.sampling`, on Python's floats: half a second for 500,000 words.
    """
    scaled = (probability * probability.shape[0]).tolist()
    accept, alias = [1.0] * len(scaled), list(range(len(scaled)))
    small = [word_id for word_id, part in enumerate(scaled) if part < 1.0]
    large = [word_id for word_id, part in enumerate(scaled) if not part < 1.0]
    while small and large:
        below, above = small.pop(), large[-1]
        accept[below], alias[below] = scaled[below], above
        scaled[above] = (scaled[above] + scaled[below]) - 1.0
        if scaled[above] < 1.0:
            small.append(large.pop())
    return np.round(np.array(accept) * 2.0**32).astype(np.int64), np.array(alias, dtype=np.int32)


def initial_vectors(seed: int, vectors: Tensor) -> None:
    """Fill a (V, D) tensor with numbers uniform in +-1/(2D), as word2vec.c starts its input rows."""
    _fill_uniform(stream_key(seed, 0, START), torch.arange(len(vectors), device=vectors.device), vectors)


def initial_ngram_vectors(seed: int, buckets: Tensor, vectors: Tensor) -> None:
    """Likewise for the rows of n-grams' buckets, (G, D): by the bucket's number, whatever other buckets are used."""
    _fill_uniform(stream_key(seed, 0, START_NGRAMS), buckets.long(), vectors)


def _fill_uniform(key: int, rows: Tensor, vectors: Tensor) -> None:
    """rows: the number of each row, int64."""
    dim = vectors.shape[1]
    step = max(1, _CHUNK // dim)
    column = torch.arange(dim, device=vectors.device)
    for part, number in zip(vectors.split(step), rows.split(step), strict=True):
        uniform = shift_right(draw(key, number[:, None] * dim + column), 40).to(torch.float64) / 2.0**24
        part.copy_((uniform - 0.5) / dim)
