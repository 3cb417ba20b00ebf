"""Skip-gram that races: the price of determinism is measured against it.

Threads train blocks of their own stretch of the corpus and write to the same rows without any order (Hogwild), so two
runs on two threads differ. The racing mode of the project's first prototype, kept as it was, with its choices:

- blocks of B targets share N noise words; scores and updates are matrix products of SciPy's BLAS (docs/engine.md);
- every loop is plain and in one function: nearly twice as fast as calling one function per block;
- the kept tokens are one stream, cut every SENTENCE tokens, as in text8; blocks so are nearly always full;
- subsampling happens before the epoch, in NumPy, outside the prototype's timer.

Shape suffixes: C context rows (up to B + 2·window), O output rows (targets, then noise words), D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

SENTENCE = 1000
"""Tokens between which windows and blocks are cut."""
BLOCK_TOKENS = BLOCK_NEGATIVES = 16
NOISE_TABLE = 10_000_000
"""Entries of the table noise words are drawn from; a word has as many as its probability gives it."""

one = np.float32(1)


@njit(nogil=True, cache=True)
def draw(state: Any) -> Any:
    """The next 31 random bits of a linear congruential generator."""
    state[0] = state[0] * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    return state[0] >> np.uint64(33)


@njit(nogil=True, cache=True)
def seed_stream(state: Any, seed: Any, position: Any) -> None:
    """splitmix64 of (seed, position): streams of neighbouring stretches must not be correlated."""
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(position) * np.uint64(0xD1342543DE82EF95)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state[0] = z ^ (z >> np.uint64(31))
    draw(state)


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def train_stretch(ids, start, end, inputs, outputs, noise_table, window, negatives, lr_start, lr_end, seed):
    """Train on ids[start:end], block by block, the learning rate falling from lr_start to lr_end."""
    dim, block, noise = inputs.shape[1], BLOCK_TOKENS, BLOCK_NEGATIVES
    x_CD = np.empty((block + 2 * window, dim), np.float32)
    y_OD = np.empty((block + noise, dim), np.float32)
    dx_CD, dy_OD = np.empty_like(x_CD), np.empty_like(y_OD)
    scores = np.empty((block + 2 * window) * (block + noise), np.float32)
    steps = np.empty_like(scores)
    noise_ids, half_windows, state = np.empty(noise, np.int32), np.empty(block, np.int32), np.empty(1, np.uint64)
    seed_stream(state, seed, start)
    size, s = np.uint64(noise_table.shape[0]), start
    while s < end:
        sentence = s // SENTENCE * SENTENCE
        e = min(s + block, end, sentence + SENTENCE)
        low, high = max(start, sentence, s - window), min(end, sentence + SENTENCE, e + window)
        num_context, num_targets = high - low, e - s
        num_outputs = num_targets + noise
        lr = lr_start + (lr_end - lr_start) * np.float32((s - start) / (end - start))
        for n in range(noise):
            noise_ids[n] = noise_table[draw(state) % size]
        for i in range(num_targets):
            half_windows[i] = 1 + np.int32(draw(state) % np.uint64(window))
        for j in range(num_context):
            row = ids[low + j]
            for k in range(dim):
                x_CD[j, k] = inputs[row, k]
        for i in range(num_targets):
            row = ids[s + i]
            for k in range(dim):
                y_OD[i, k] = outputs[row, k]
        for n in range(noise):
            row = noise_ids[n]
            for k in range(dim):
                y_OD[num_targets + n, k] = outputs[row, k]
        scores_CO = scores[: num_context * num_outputs].reshape(num_context, num_outputs)
        steps_CO = steps[: num_context * num_outputs].reshape(num_context, num_outputs)
        np.dot(x_CD[:num_context], y_OD[:num_outputs].T, scores_CO)
        for j in range(num_context):
            pairs = np.float32(0)
            for i in range(num_targets):
                distance = (low + j) - (s + i)
                if distance < 0:
                    distance = -distance
                if distance != 0 and distance <= half_windows[i]:
                    steps_CO[j, i] = lr * (one - one / (one + np.exp(-scores_CO[j, i])))
                    pairs += 1
                else:
                    steps_CO[j, i] = 0
            weight = lr * np.float32(negatives) * pairs / np.float32(noise)
            for n in range(num_targets, num_outputs):
                steps_CO[j, n] = -weight / (one + np.exp(-scores_CO[j, n]))
        np.dot(steps_CO, y_OD[:num_outputs], dx_CD[:num_context])
        np.dot(steps_CO.T, x_CD[:num_context], dy_OD[:num_outputs])
        for j in range(num_context):
            row = ids[low + j]
            for k in range(dim):
                inputs[row, k] += dx_CD[j, k]
        for i in range(num_targets):
            row = ids[s + i]
            for k in range(dim):
                outputs[row, k] += dy_OD[i, k]
        for n in range(noise):
            row = noise_ids[n]
            for k in range(dim):
                outputs[row, k] += dy_OD[num_targets + n, k]
        s = e


@njit(parallel=True, fastmath=True, error_model="numpy", cache=True)
def train_epoch(ids, bounds, inputs, outputs, noise_table, window, negatives, lr_start, lr_end, seed):
    """Train all stretches ids[bounds[t]:bounds[t + 1]] at once, one a thread."""
    for t in prange(bounds.shape[0] - 1):
        train_stretch(
            ids, bounds[t], bounds[t + 1], inputs, outputs, noise_table, window, negatives, lr_start, lr_end, seed
        )


def noise_table(noise_probability: NDArray[np.float64]) -> NDArray[np.int32]:
    """Word ids, each repeated by its probability; about NOISE_TABLE entries."""
    times = np.maximum(1, np.round(noise_probability * NOISE_TABLE).astype(np.int64))
    return np.repeat(np.arange(len(noise_probability), dtype=np.int32), times)
