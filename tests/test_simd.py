"""Vectors of sixteen float32: against numpy, and bit for bit where the order of a sum is promised."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.engine import (
    product_of_tile,
    transpose,
    vector_choices,
    vector_exp_of_negative,
    vector_fma,
    vector_log_of_one_plus,
    vector_sum,
)

TILES = ((1, 1), (2, 3), (4, 4), (6, 1), (6, 4))
"""Rows and vectors, 16 columns each."""
tile = functools.cache(product_of_tile)


def fused(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[np.float32]:
    """a * b + c of float32 arrays, rounded once (but for ties of one in 2**40)."""
    wide = np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(np.float32)


def random_matrix(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.normal(size=shape).astype(np.float32)


def summed_in_order(a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]) -> NDArray[np.float32]:
    """c + a @ b, one k after the other."""
    for k in range(a.shape[1]):
        c = fused(a[:, k : k + 1], b[k : k + 1], c)
    return c


@pytest.mark.parametrize("rows, vectors", TILES)
@given(n=st.integers(0, 40), add=st.booleans(), spare=st.integers(0, 20), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_tile_of_a_product_is_that_of_numpy(rows: int, vectors: int, n: int, add: bool, spare: int, seed: int) -> None:
    """Written over c or added to it; rows of any stride; nothing outside the tile is touched."""
    rng = np.random.default_rng(seed)
    a, b = random_matrix(rng, rows, n + spare), random_matrix(rng, n + 1, 16 * vectors + spare)
    c = random_matrix(rng, rows, 16 * vectors + spare)
    before = c.copy()
    tile(rows, vectors)(a, a.shape[1], 1, b, n, c, add)
    inside = np.s_[:, : 16 * vectors]
    expected = a[:, :n].astype(float) @ b[:n].astype(float) + (before if add else 0)
    np.testing.assert_allclose(c[inside], expected[inside], rtol=1e-4, atol=1e-5)
    assert np.array_equal(c[:, 16 * vectors :], before[:, 16 * vectors :])


def test_a_transposed_factor_is_read_by_its_strides() -> None:
    rng = np.random.default_rng(1)
    a, b, c = random_matrix(rng, 9, 6), random_matrix(rng, 9, 16), random_matrix(rng, 6, 16)
    tile(6, 1)(a, 1, 6, b, 9, c, False)
    np.testing.assert_allclose(c, a.T.astype(float) @ b, rtol=1e-5, atol=1e-5)


def test_bits_of_a_product_do_not_depend_on_the_shape_of_its_tiles() -> None:
    """A sum of 300 products cut into tiles of all shapes is, bit for bit, that of one product after the other."""
    rng = np.random.default_rng(2)
    a, b = random_matrix(rng, 12, 300), random_matrix(rng, 300, 192)
    right = summed_in_order(a, b, np.zeros((12, 192), np.float32))
    for rows, vectors in TILES:
        for top in range(0, 12, rows):
            for left in range(0, 192, 16 * vectors):
                part_b = np.ascontiguousarray(b[:, left : left + 16 * vectors])
                c = np.empty((rows, 16 * vectors), np.float32)
                tile(rows, vectors)(a[top : top + rows].copy(), 300, 1, part_b, 300, c, False)
                assert np.array_equal(c, right[top : top + rows, left : left + 16 * vectors]), (rows, vectors)


def test_a_sum_cut_in_two_and_added_goes_on_where_it_stopped() -> None:
    rng = np.random.default_rng(3)
    a, b, c = random_matrix(rng, 4, 50), random_matrix(rng, 50, 64), np.empty((4, 64), np.float32)
    tile(4, 4)(a, 50, 1, b, 20, c, False)
    tile(4, 4)(a[:, 20:].copy(), 30, 1, b[20:], 30, c, True)
    assert np.array_equal(c, summed_in_order(a, b, np.zeros((4, 64), np.float32)))


def test_fma_rounds_once() -> None:
    """(1 + e)(1 - e) - 1 is -e**2, which a rounded product would lose; and sixteen random lanes."""
    e, one = np.float32(2.0**-12), np.ones(16, np.float32)
    result = np.empty(16, np.float32)
    vector_fma(one + e, one - e, -one, result)
    assert np.all(result == -(2.0**-24))
    a, b, c = (random_matrix(np.random.default_rng(i), 16) for i in range(3))
    vector_fma(a, b, c, result)
    assert np.array_equal(result, fused(a, b, c))


def test_exp_of_negative_is_within_two_units_in_the_last_place() -> None:
    """From 0 to -87, where float32 has its full precision; every power of two in between is met."""
    x = -np.concatenate([np.linspace(0, 87, 1 << 18), np.geomspace(1e-30, 87, 1 << 16)]).astype(np.float32)
    result = np.empty_like(x)
    vector_exp_of_negative(x, result)
    right = np.exp(x.astype(np.longdouble))
    units = np.abs(result - right) / np.spacing(right.astype(np.float32))
    assert units.max() <= 2
    assert result[0] == 1, "e ** 0"


def test_exp_of_very_negative_numbers_is_about_1e_38() -> None:
    """No NaN, no infinity, no negative number, nothing that slows the CPU down as denormal numbers do."""
    x = -np.geomspace(87, 3e38, 1024).astype(np.float32)
    x[-16:] = -np.inf
    result = np.empty_like(x)
    vector_exp_of_negative(x, result)
    assert np.all((result >= np.finfo(np.float32).tiny) & (result < 2e-38))


def test_log_of_one_plus_errs_by_less_than_1e_7() -> None:
    x = np.concatenate([np.linspace(0, 1, (1 << 18) - 16), np.geomspace(1e-38, 1e-30, 16)]).astype(np.float32)
    result = np.empty_like(x)
    vector_log_of_one_plus(x, result)
    assert np.abs(result - np.log1p(x.astype(np.longdouble))).max() < 1e-7
    assert result[0] == 0 and np.all(result >= 0)


def test_lanes_are_summed_by_halves() -> None:
    """Eight and eight, four and four, two and two, the last two: a fixed order, so fixed bits."""
    for seed in range(20):
        x = random_matrix(np.random.default_rng(seed), 16)
        right = x
        while len(right) > 1:
            right = right[: len(right) // 2] + right[len(right) // 2 :]
        assert vector_sum(x) == right[0]


def test_choices_are_made_lane_by_lane() -> None:
    a = np.arange(16, dtype=np.float32)
    b = np.where(a % 3 == 0, a, 7).astype(np.float32)
    result = np.empty((2, 16), np.float32)
    vector_choices(a, b, result)
    assert np.array_equal(result[0], np.maximum(a, b))
    assert np.array_equal(result[1], np.where(a == b, a + b, a - b))


def test_a_tile_is_transposed_in_place_of_another() -> None:
    """Every entry is its own place, so a swapped pair shows; strides longer than a tile, nothing beside it touched."""
    source = np.arange(16 * 20, dtype=np.float32).reshape(16, 20)
    target = np.full((16, 37), -1, np.float32)
    transpose(source, 20, target, 37)
    assert np.array_equal(target[:, :16], source[:, :16].T)
    assert np.all(target[:, 16:] == -1)
