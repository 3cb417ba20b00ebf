"""Fused kernels for skip-gram and CBOW: one program computes one block, then one adds up what a row gets.

Imported only when chosen. With TRITON_INTERPRET=1 in the environment they run on a CPU, slowly: this is how the tests
check them on machines without a GPU. What they compute is docs/engine.md's rule and steps.py line by line; letters of
shapes are layout.py's. Two launches are a micro-batch:

    skipgram_block, cbow_block    rows of a block -> its steps and curvatures, in `steps` (entries, D) and `bends`
    add_sorted                    deterministic: one program a row sums the row's entries in their order, damps, adds
    add_atomic                    fast: atomic sums, in whatever order; `bent` was summed by the block kernels

Sizes that Triton wants to be powers of two are rounded up and masked. Context and noise rows are taken 16 at a time,
what the matrix units need at least, so that a window of 5 around 32 targets costs 48 rows and not 64. These loops
are not unrolled: for a Hopper GPU, unrolled ones need 11 kB of stack a thread (float32) or 1 kB (tf32x3), these none.

Atomic additions are relaxed: what they add up is read by the next launch, and the order that Triton gives them
otherwise costs fences. Places in `steps` and in the table are int64, since either may have more than 2^31 numbers.

The number of the micro-batch is read from the device (`batch` plus a constant), so that a CUDA graph of a few
micro-batches can be replayed for all of them.
"""

from __future__ import annotations

import triton
import triton.language as tl

CHUNK = tl.constexpr(16)
SIZES = ["offset", "blocks", "entries", "nothing", "table_rows"]
"""Arguments whose values are not compiled in: the warm-up's kernels are those of the rest, and of every corpus."""


@triton.jit
def _dot(a, b, PRODUCTS: tl.constexpr):
    """a @ b with float32 sums."""
    if PRODUCTS == "bf16":
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))
    elif PRODUCTS == "float32":
        return tl.dot(a, b, input_precision="ieee")
    else:
        return tl.dot(a, b, input_precision=PRODUCTS)


@triton.jit
def _logistic(score):
    """sigma(score), 1 - sigma(score), and -ln(1 - sigma(score)), without overflow and cancellation."""
    e = tl.exp(-tl.abs(score))
    larger = 1.0 / (1.0 + e)
    smaller = e * larger
    sigma = tl.where(score >= 0, larger, smaller)
    rest = tl.where(score >= 0, smaller, larger)
    return sigma, rest, tl.maximum(score, 0.0) + tl.log(1.0 + e)


@triton.jit
def _load_rows(table, row, k, DEPTH: tl.constexpr):
    """Rows of the table, (len(row), len(k)); zeros beyond the depth."""
    place = table + row.to(tl.int64)[:, None] * DEPTH + k[None, :]
    return tl.load(place, mask=(k < DEPTH)[None, :], other=0.0)


@triton.jit
def _store_rows(steps, entry, here, k, values, DEPTH: tl.constexpr):
    place = steps + entry.to(tl.int64)[:, None] * DEPTH + k[None, :]
    tl.store(place, values, mask=here[:, None] & (k < DEPTH)[None, :])


@triton.jit
def _store_bends(bends, bent, entry, row, here, values, nothing, ATOMIC: tl.constexpr):
    """Curvatures of rows: kept for the sorted sum, or added to the rows' own right away."""
    if ATOMIC:
        tl.atomic_add(bent + row, values, mask=here & (row != nothing), sem="relaxed")
    else:
        tl.store(bends + entry, values, mask=here)


@triton.jit(do_not_specialize=SIZES)
def skipgram_block(
    table, rows, windows, rates, batch, steps, bends, bent, losses, share, offset, blocks, nothing, table_rows,
    B: tl.constexpr, W: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
    DEPTH: tl.constexpr, TARGETS: tl.constexpr, CONTEXT: tl.constexpr, WIDE: tl.constexpr,
    PRODUCTS: tl.constexpr, ATOMIC: tl.constexpr,
):  # fmt: skip
    """Steps of one block of skip-gram. TARGETS, CONTEXT, WIDE: powers of two that hold B, C, DEPTH."""
    C: tl.constexpr = B + 2 * W
    R: tl.constexpr = C + B + P + N
    number = tl.load(batch) + offset
    block = number.to(tl.int64) * blocks + tl.program_id(0)
    lr = tl.load(rates + number)
    first = tl.program_id(0) * R
    rows += block * R
    windows += block * 3 * B
    bent += (number % 2) * table_rows
    j = tl.arange(0, TARGETS)
    k = tl.arange(0, WIDE)
    here = j < B
    low = tl.load(windows + j, mask=here, other=1)
    high = tl.load(windows + B + j, mask=here, other=0)
    missing = tl.load(windows + 2 * B + j, mask=here, other=0).to(tl.float32)
    pairs = tl.where(here, high - low, 0).to(tl.float32)
    target = tl.load(rows + j, mask=here, other=nothing)
    hidden = _load_rows(table, target, k, DEPTH)
    hidden_norm = tl.sum(hidden * hidden, axis=1)
    gradient = tl.zeros((TARGETS, WIDE), dtype=tl.float32)
    bend_of_hidden = tl.zeros((TARGETS,), dtype=tl.float32)
    loss = tl.zeros((TARGETS,), dtype=tl.float32)
    weight = pairs + missing

    for start in range(0, C, CHUNK):
        i = start + tl.arange(0, CHUNK)
        row = tl.load(rows + B + i, mask=i < C, other=nothing)
        context = _load_rows(table, row, k, DEPTH)
        inside = (i[:, None] >= low[None, :]) & (i[:, None] <= high[None, :]) & (i[:, None] != j[None, :] + W)
        true = inside.to(tl.float32)
        score = _dot(context, tl.trans(hidden), PRODUCTS)
        sigma, rest, log_rest = _logistic(score)
        residual = lr * true * rest
        bend = lr * true * sigma * rest
        loss += tl.sum(true * (log_rest - score), axis=0)
        gradient += _dot(tl.trans(residual), context, PRODUCTS)
        bend_of_hidden += tl.sum(bend * tl.sum(context * context, axis=1)[:, None], axis=0)
        _store_rows(steps, first + B + i, i < C, k, _dot(residual, hidden, PRODUCTS), DEPTH)
        bend_of_row = tl.sum(bend * hidden_norm[None, :], axis=1)
        _store_bends(bends, bent, first + B + i, row, i < C, bend_of_row, nothing, ATOMIC)

    if P == 1:
        pad_row = tl.load(rows + B + C)
        pad = tl.load(table + pad_row.to(tl.int64) * DEPTH + k, mask=k < DEPTH, other=0.0)
        pad_score = tl.sum(hidden * pad[None, :], axis=1)
        pad_sigma, pad_rest, pad_log_rest = _logistic(pad_score)
        pad_residual = lr * missing * pad_rest
        pad_bend = lr * missing * pad_sigma * pad_rest
        loss += missing * (pad_log_rest - pad_score)
        gradient += pad_residual[:, None] * pad[None, :]
        bend_of_hidden += pad_bend * tl.sum(pad * pad, axis=0)
        pad_place = steps + (first + B + C).to(tl.int64) * DEPTH + k
        tl.store(pad_place, tl.sum(pad_residual[:, None] * hidden, axis=0), mask=k < DEPTH)
        bend_of_pad = tl.sum(pad_bend * hidden_norm, axis=0)
        if ATOMIC:
            tl.atomic_add(bent + pad_row, bend_of_pad, sem="relaxed")
        else:
            tl.store(bends + first + B + C, bend_of_pad)

    place = tl.arange(0, CONTEXT)
    context_row = tl.load(rows + B + place, mask=place < C, other=-1)
    inside = (place[:, None] >= low[None, :]) & (place[:, None] <= high[None, :])
    true_pair = (inside & (place[:, None] != j[None, :] + W)).to(tl.float16)
    for start in range(0, N, CHUNK):
        n = start + tl.arange(0, CHUNK)
        row = tl.load(rows + B + C + P + n, mask=n < N, other=nothing)
        noise = _load_rows(table, row, k, DEPTH)
        same = (row[:, None] == context_row[None, :]).to(tl.float16)
        noise_weight = share * (pairs + missing)[None, :] - share * tl.dot(same, true_pair)
        noise_weight = tl.where((n < N)[:, None], noise_weight, 0.0)
        score = _dot(noise, tl.trans(hidden), PRODUCTS)
        sigma, rest, log_rest = _logistic(score)
        residual = -lr * noise_weight * sigma
        bend = lr * noise_weight * sigma * rest
        loss += tl.sum(noise_weight * log_rest, axis=0)
        weight += tl.sum(noise_weight, axis=0)
        gradient += _dot(tl.trans(residual), noise, PRODUCTS)
        bend_of_hidden += tl.sum(bend * tl.sum(noise * noise, axis=1)[:, None], axis=0)
        _store_rows(steps, first + B + C + P + n, n < N, k, _dot(residual, hidden, PRODUCTS), DEPTH)
        bend_of_row = tl.sum(bend * hidden_norm[None, :], axis=1)
        _store_bends(bends, bent, first + B + C + P + n, row, n < N, bend_of_row, nothing, ATOMIC)

    _store_rows(steps, first + j, here, k, gradient, DEPTH)
    _store_bends(bends, bent, first + j, target, here, bend_of_hidden, nothing, ATOMIC)
    tl.store(losses + 2 * block, tl.sum(loss, axis=0))
    tl.store(losses + 2 * block + 1, tl.sum(weight, axis=0))


@triton.jit(do_not_specialize=SIZES)
def cbow_block(
    table, rows, windows, rates, batch, steps, bends, bent, losses, share, offset, blocks, nothing, table_rows,
    B: tl.constexpr, W: tl.constexpr, P: tl.constexpr, N: tl.constexpr,
    DEPTH: tl.constexpr, TARGETS: tl.constexpr, UNDIVIDED: tl.constexpr, WIDE: tl.constexpr,
    PRODUCTS: tl.constexpr, ATOMIC: tl.constexpr,
):  # fmt: skip
    """Steps of one block of CBOW. The bag's rows are read twice, for the means and for their own steps."""
    C: tl.constexpr = B + 2 * W
    R: tl.constexpr = C + B + P + N
    number = tl.load(batch) + offset
    block = number.to(tl.int64) * blocks + tl.program_id(0)
    lr = tl.load(rates + number)
    first = tl.program_id(0) * R
    rows += block * R
    windows += block * 3 * B
    bent += (number % 2) * table_rows
    j = tl.arange(0, TARGETS)
    k = tl.arange(0, WIDE)
    here = j < B
    low = tl.load(windows + j, mask=here, other=1)
    high = tl.load(windows + B + j, mask=here, other=0)
    missing = tl.load(windows + 2 * B + j, mask=here, other=0).to(tl.float32)
    pairs = tl.where(here, high - low, 0).to(tl.float32)
    has_bag = (pairs > 0).to(tl.float32)
    part = 1.0 / tl.maximum(pairs + missing, 1.0)
    hidden = tl.zeros((TARGETS, WIDE), dtype=tl.float32)
    for start in range(0, C, CHUNK):
        i = start + tl.arange(0, CHUNK)
        row = tl.load(rows + B + i, mask=i < C, other=nothing)
        inside = (i[:, None] >= low[None, :]) & (i[:, None] <= high[None, :]) & (i[:, None] != j[None, :] + W)
        mean = inside.to(tl.float32) * part[None, :]
        hidden += _dot(tl.trans(mean), _load_rows(table, row, k, DEPTH), PRODUCTS)
    if P == 1:
        pad_row = tl.load(rows + B + C)
        pad = tl.load(table + pad_row.to(tl.int64) * DEPTH + k, mask=k < DEPTH, other=0.0)
        hidden += (missing * part)[:, None] * pad[None, :]
    hidden_norm = tl.sum(hidden * hidden, axis=1)

    target_row = tl.load(rows + j, mask=here, other=nothing)
    target = _load_rows(table, target_row, k, DEPTH)
    score = tl.sum(hidden * target, axis=1)
    sigma, rest, log_rest = _logistic(score)
    residual = lr * has_bag * rest
    bend = lr * has_bag * sigma * rest
    loss = has_bag * (log_rest - score)
    weight = has_bag
    gradient = residual[:, None] * target
    bend_of_hidden = bend * tl.sum(target * target, axis=1)
    _store_rows(steps, first + j, here, k, residual[:, None] * hidden, DEPTH)
    _store_bends(bends, bent, first + j, target_row, here, bend * hidden_norm, nothing, ATOMIC)

    for start in range(0, N, CHUNK):
        n = start + tl.arange(0, CHUNK)
        row = tl.load(rows + B + C + P + n, mask=n < N, other=nothing)
        noise = _load_rows(table, row, k, DEPTH)
        other = (row[:, None] != target_row[None, :]) & (n < N)[:, None]
        noise_weight = share * has_bag[None, :] * other.to(tl.float32)
        noise_score = _dot(noise, tl.trans(hidden), PRODUCTS)
        noise_sigma, noise_rest, noise_log_rest = _logistic(noise_score)
        noise_residual = -lr * noise_weight * noise_sigma
        noise_bend = lr * noise_weight * noise_sigma * noise_rest
        loss += tl.sum(noise_weight * noise_log_rest, axis=0)
        weight += tl.sum(noise_weight, axis=0)
        gradient += _dot(tl.trans(noise_residual), noise, PRODUCTS)
        bend_of_hidden += tl.sum(noise_bend * tl.sum(noise * noise, axis=1)[:, None], axis=0)
        _store_rows(steps, first + B + C + P + n, n < N, k, _dot(noise_residual, hidden, PRODUCTS), DEPTH)
        bend_of_row = tl.sum(noise_bend * hidden_norm[None, :], axis=1)
        _store_bends(bends, bent, first + B + C + P + n, row, n < N, bend_of_row, nothing, ATOMIC)

    for start in range(0, C, CHUNK):
        i = start + tl.arange(0, CHUNK)
        row = tl.load(rows + B + i, mask=i < C, other=nothing)
        inside = (i[:, None] >= low[None, :]) & (i[:, None] <= high[None, :]) & (i[:, None] != j[None, :] + W)
        member = inside.to(tl.float32)
        if not UNDIVIDED:
            member = member * part[None, :]
        _store_rows(steps, first + B + i, i < C, k, _dot(member, gradient, PRODUCTS), DEPTH)
        bend_of_row = tl.sum(member * bend_of_hidden[None, :], axis=1)
        _store_bends(bends, bent, first + B + i, row, i < C, bend_of_row, nothing, ATOMIC)
    if P == 1:
        pad_share = missing
        if not UNDIVIDED:
            pad_share = missing * part
        pad_place = steps + (first + B + C).to(tl.int64) * DEPTH + k
        tl.store(pad_place, tl.sum(pad_share[:, None] * gradient, axis=0), mask=k < DEPTH)
        bend_of_pad = tl.sum(pad_share * bend_of_hidden, axis=0)
        if ATOMIC:
            tl.atomic_add(bent + pad_row, bend_of_pad, sem="relaxed")
        else:
            tl.store(bends + first + B + C, bend_of_pad)
    tl.store(losses + 2 * block, tl.sum(loss, axis=0))
    tl.store(losses + 2 * block + 1, tl.sum(weight, axis=0))


@triton.jit(do_not_specialize=SIZES)
def add_sorted(
    table, sorted_rows, sorted_entries, batch, steps, bends, damping, offset, entries, nothing,
    DEPTH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One program a place of the sorted entries: the first place of a row adds up all of that row's, 16 at a time."""
    number = (tl.load(batch) + offset).to(tl.int64)
    place = tl.program_id(0)
    sorted_rows += number * entries
    sorted_entries += number * entries
    row = tl.load(sorted_rows + place)
    before = tl.load(sorted_rows + place - 1, mask=place > 0, other=-1)
    if (row != before) & (row != nothing):
        k = tl.arange(0, WIDE)
        step = tl.zeros((WIDE,), dtype=tl.float32)
        bend = 0.0
        more = 1
        while more == 1:
            p = place + tl.arange(0, CHUNK)
            mine = (p < entries) & (tl.load(sorted_rows + p, mask=p < entries, other=-1) == row)
            entry = tl.load(sorted_entries + p, mask=mine, other=0).to(tl.int64)
            part = tl.load(
                steps + entry[:, None] * DEPTH + k[None, :], mask=mine[:, None] & (k < DEPTH)[None, :], other=0.0
            )
            step += tl.sum(part, axis=0)
            bend += tl.sum(tl.load(bends + entry, mask=mine, other=0.0), axis=0)
            more = tl.min(mine.to(tl.int32), axis=0)
            place += CHUNK
        here = table + row.to(tl.int64) * DEPTH + k
        old = tl.load(here, mask=k < DEPTH, other=0.0)
        tl.store(here, old + step / (1.0 + damping * bend), mask=k < DEPTH)


@triton.jit(do_not_specialize=SIZES)
def add_atomic(
    table, rows, batch, steps, bent, damping, offset, entries, nothing, table_rows,
    DEPTH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One program for 16 entries of the micro-batch: damp each step by its row's whole curvature and add it.

    There are two `bent`, for even and odd micro-batches; the entries of the one before are set back to 0 here.
    """
    number = tl.load(batch) + offset
    entry = tl.program_id(0) * CHUNK + tl.arange(0, CHUNK)
    inside = entry < entries
    earlier = tl.load(rows + (number.to(tl.int64) - 1) * entries + entry, mask=inside & (number > 0), other=nothing)
    tl.store(bent + (1 - number % 2) * table_rows + earlier, 0.0, mask=inside)
    row = tl.load(rows + number.to(tl.int64) * entries + entry, mask=inside, other=nothing)
    moved = row != nothing
    scale = 1.0 / (1.0 + damping * tl.load(bent + (number % 2) * table_rows + row, mask=moved, other=0.0))
    k = tl.arange(0, WIDE)
    mask = moved[:, None] & (k < DEPTH)[None, :]
    step = tl.load(steps + entry.to(tl.int64)[:, None] * DEPTH + k[None, :], mask=mask, other=0.0)
    place = table + row.to(tl.int64)[:, None] * DEPTH + k[None, :]
    tl.atomic_add(place, step * scale[:, None], mask=mask, sem="relaxed")
