"""Sixteen float32 side by side, as a numba type, and a matrix product in registers.

Compilers vectorise the kernels' short loops badly (they must assume that arrays overlap), and a BLAS call for matrices
of 32 rows costs as much as the product. So the kernels say in plain Python which vector is loaded, multiplied and
stored, and LLVM turns a vector into one AVX-512 register, two of AVX or four of SSE or NEON, whatever the CPU has.

No operation here may be reordered or fused by the compiler beyond what is written: sums run in the order of the code,
`fma` is one rounding everywhere. So the bits do not depend on the vector width of the CPU.

Addresses are integers in bytes (`array.ctypes.data`), strides and offsets count float32 elements.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.extending import intrinsic, overload

from wordlab.compiled import njit

LANES = 16
AVX512 = bool(llvmlite.binding.get_host_cpu_features().get("avx512f", False))
"""Whether this CPU has 32 registers of sixteen float32. It decides the shape of tiles, never a bit."""
_f32, _i32 = ir.FloatType(), ir.IntType(32)
_vector, _ints = ir.VectorType(_f32, LANES), ir.VectorType(_i32, LANES)


class Float32x16(types.Type):
    """Numba type of one vector of sixteen float32."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


float32x16 = Float32x16()


@register_default(Float32x16)
class _Float32x16Model(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _vector)


def _pointer(builder: ir.IRBuilder, address: ir.Value, element: ir.Type) -> ir.Value:
    return builder.inttoptr(address, element.as_pointer())


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_vector, [value] * LANES)


def _fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_vector, [_vector] * 3), f"llvm.fma.v{LANES}f32"
    )
    return builder.call(function, [a, b, c])


def _splat(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    first = builder.insert_element(ir.Constant(_vector, ir.Undefined), scalar, ir.Constant(_i32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(_ints, [0] * LANES))


def _binary(emit: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Any:
    """A numba function of two vectors that returns the vector `emit` builds."""

    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return emit(builder, *args)

        return float32x16(float32x16, float32x16), codegen

    return operation


def _choose(comparison: str) -> Any:
    """A numba function (a, b, yes, no) -> per lane `yes` where a `comparison` b holds, else `no`."""

    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, args[0], args[1]), args[2], args[3])

        return float32x16(*[float32x16] * 4), codegen

    return operation


_add = _binary(lambda builder, a, b: builder.fadd(a, b))
_sub = _binary(lambda builder, a, b: builder.fsub(a, b))
_mul = _binary(lambda builder, a, b: builder.fmul(a, b))
_div = _binary(lambda builder, a, b: builder.fdiv(a, b))
where_at_least = _choose(">=")
where_equal = _choose("==")


def _overload_operator(symbol: Any, operation: Any) -> None:
    @overload(symbol)
    def vectors(a, b):  # numba compares the signatures, annotations included
        if isinstance(a, Float32x16) and isinstance(b, Float32x16):
            return lambda a, b: operation(a, b)
        return None


for _symbol, _operation in ((operator.add, _add), (operator.sub, _sub), (operator.mul, _mul), (operator.truediv, _div)):
    _overload_operator(_symbol, _operation)


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fma(builder, *args)

    return float32x16(float32x16, float32x16, float32x16), codegen


@intrinsic
def splat(typingctx: Any, scalar: Any) -> Any:
    """One number in all lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return float32x16(types.float32), codegen


@intrinsic
def load(typingctx: Any, address: Any, offset: Any) -> Any:
    """Sixteen float32 from `address` (bytes) + `offset` (elements)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.bitcast(_element(builder, *args), _vector.as_pointer()), align=4)

    return float32x16(types.intp, types.intp), codegen


@intrinsic
def store(typingctx: Any, vector: Any, address: Any, offset: Any) -> Any:
    """Write sixteen float32 to `address` (bytes) + `offset` (elements)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.bitcast(_element(builder, args[1], args[2]), _vector.as_pointer())
        builder.store(args[0], pointer, align=4)
        return context.get_dummy_value()

    return types.void(float32x16, types.intp, types.intp), codegen


@intrinsic
def peek(typingctx: Any, address: Any, offset: Any) -> Any:
    """One float32 from `address` (bytes) + `offset` (elements)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_element(builder, *args), align=4)

    return types.float32(types.intp, types.intp), codegen


@intrinsic
def poke(typingctx: Any, number: Any, address: Any, offset: Any) -> Any:
    """Write one float32 to `address` (bytes) + `offset` (elements)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[0], _element(builder, args[1], args[2]), align=4)
        return context.get_dummy_value()

    return types.void(types.float32, types.intp, types.intp), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any, offset: Any) -> Any:
    """Ask for the cache line at `address` (bytes) + `offset` (elements); wait for nothing."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.bitcast(_element(builder, *args), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _i32, _i32, _i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep_in_second_level, data = (ir.Constant(_i32, value) for value in (0, 2, 1))
        builder.call(function, [pointer, read, keep_in_second_level, data])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def power_of_two(typingctx: Any, whole: Any) -> Any:
    """2 ** whole per lane, for whole numbers from -126 to 127, through the exponent bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        exponent = builder.fptosi(args[0], _ints)
        biased = builder.add(exponent, ir.Constant(_ints, [127] * LANES))
        return builder.bitcast(builder.shl(biased, ir.Constant(_ints, [23] * LANES)), _vector)

    return float32x16(float32x16), codegen


@intrinsic
def lane_sum(typingctx: Any, vector: Any) -> Any:
    """Sum of the sixteen lanes, by halves."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (vector,) = args
        width = LANES // 2
        while width:
            halves = [
                builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(_i32, width), list(lanes)))
                for lanes in (range(width), range(width, 2 * width))
            ]
            vector = builder.fadd(*halves)
            width //= 2
        return builder.extract_element(vector, ir.Constant(_i32, 0))

    return types.float32(float32x16), codegen


def _element(builder: ir.IRBuilder, address: ir.Value, offset: ir.Value) -> ir.Value:
    return builder.gep(_pointer(builder, address, _f32), [offset])


@intrinsic
def transpose_tile(typingctx: Any, source: Any, source_stride: Any, target: Any, target_stride: Any) -> Any:
    """target[j, i] = source[i, j] for a 16 x 16 tile; four rounds of interleaving halves."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, source_stride, target, target_stride = args

        def row(address: ir.Value, stride: ir.Value, i: int) -> ir.Value:
            offset = builder.mul(stride, ir.Constant(stride.type, i))
            return builder.bitcast(_element(builder, address, offset), _vector.as_pointer())

        rows = [builder.load(row(source, source_stride, i), align=4) for i in range(LANES)]
        half = LANES // 2
        low = [lane for i in range(half) for lane in (i, LANES + i)]
        high = [lane + half for lane in low]
        for _ in range(4):
            rows = [
                builder.shuffle_vector(rows[i], rows[i + half], ir.Constant(_ints, lanes))
                for i in range(half)
                for lanes in (low, high)
            ]
        for i, vector in enumerate(rows):
            builder.store(vector, row(target, target_stride, i), align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), codegen


def product_tile(rows: int, vectors: int) -> Any:
    """A numba function for one tile of a matrix product, `rows` x 16 * `vectors`, held in registers.

        C[r, v] = sum over k < n of A[r, k] * B[k, v]      (added to C when `add` is true)

    Arguments: a, a_row, a_step (address; strides from row to row and from k to k), b, b_row, n, c, c_row, add.
    The sum runs over k in order, so its bits do not depend on the shape of the tile.
    """

    @intrinsic
    def tile(
        typingctx: Any, a: Any, a_row: Any, a_step: Any, b: Any, b_row: Any, n: Any, c: Any, c_row: Any, add: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, a_row, a_step, b, b_row, n, c, c_row, add = args

            def at(address: ir.Value, stride: ir.Value, row: int, vector: int = 0) -> ir.Value:
                offset = builder.mul(stride, ir.Constant(stride.type, row))
                return _element(builder, address, builder.add(offset, ir.Constant(stride.type, LANES * vector)))

            def vector_at(address: ir.Value, stride: ir.Value, row: int, vector: int) -> ir.Value:
                return builder.bitcast(at(address, stride, row, vector), _vector.as_pointer())

            cells = [(r, v) for r in range(rows) for v in range(vectors)]
            sums = {cell: cgutils.alloca_once_value(builder, _constant(0.0)) for cell in cells}
            with builder.if_then(add):
                for cell in cells:
                    builder.store(builder.load(vector_at(c, c_row, *cell), align=4), sums[cell])
            a_rows = [at(a, a_row, r) for r in range(rows)]
            with cgutils.for_range(builder, n) as loop:
                b_start = _element(builder, b, builder.mul(loop.index, b_row))
                b_vectors = [
                    builder.load(
                        builder.bitcast(
                            builder.gep(b_start, [ir.Constant(loop.index.type, LANES * v)]), _vector.as_pointer()
                        ),
                        align=4,
                    )
                    for v in range(vectors)
                ]
                step = builder.mul(loop.index, a_step)
                for r in range(rows):
                    factor = _splat(builder, builder.load(builder.gep(a_rows[r], [step]), align=4))
                    for v in range(vectors):
                        total = builder.load(sums[r, v])
                        builder.store(_fma(builder, factor, b_vectors[v], total), sums[r, v])
            for cell in cells:
                builder.store(builder.load(sums[cell]), vector_at(c, c_row, *cell), align=4)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8, types.boolean), codegen

    return tile


@njit(inline="always")
def exp_of_negative(x):
    """e ** x per lane for x <= 0, within 2 units in the last place; below -87 about 1e-38 instead of less.

    e ** x = 2 ** n * e ** r with n = round(x / ln 2); ln 2 in two parts (Cody and Waite) and a Taylor series of degree
    7, whose remainder for |r| <= ln(2) / 2 is under 6e-9.
    """
    x = where_at_least(x, splat(np.float32(-87.0)), x, splat(np.float32(-87.0)))
    magic = splat(np.float32(12582912.0))  # 1.5 * 2**23: adding it rounds to a whole number
    n = fma(x, splat(np.float32(1.44269504)), magic) - magic
    r = fma(n, splat(np.float32(-0.693359375)), x)
    r = fma(n, splat(np.float32(2.12194440e-4)), r)
    p = splat(np.float32(1 / 5040))
    p = fma(p, r, splat(np.float32(1 / 720)))
    p = fma(p, r, splat(np.float32(1 / 120)))
    p = fma(p, r, splat(np.float32(1 / 24)))
    p = fma(p, r, splat(np.float32(1 / 6)))
    p = fma(p, r, splat(np.float32(0.5)))
    p = fma(p, r, splat(np.float32(1)))
    p = fma(p, r, splat(np.float32(1)))
    return p * power_of_two(n)


@njit(inline="always")
def log_of_one_plus(x):
    """ln(1 + x) per lane for x from 0 to 1, absolute error under 1e-7: x times a polynomial at Chebyshev's points."""
    p = splat(np.float32(-0.0031760570))
    p = fma(p, x, splat(np.float32(0.019542528)))
    p = fma(p, x, splat(np.float32(-0.056373615)))
    p = fma(p, x, splat(np.float32(0.10543624)))
    p = fma(p, x, splat(np.float32(-0.15269667)))
    p = fma(p, x, splat(np.float32(0.19663274)))
    p = fma(p, x, splat(np.float32(-0.24951616)))
    p = fma(p, x, splat(np.float32(0.33329710)))
    p = fma(p, x, splat(np.float32(-0.49999893)))
    p = fma(p, x, splat(np.float32(1)))
    return p * x
