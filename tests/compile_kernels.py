"""Compile the fused kernels for a Hopper GPU, which needs none, and print what each takes: name, options, stack bytes.

Run by test_triton.py in a process of its own, since that one's Triton interprets.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
import triton.backends.nvidia as nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from wordlab.torch_engine import triton_kernels as kernels
from wordlab.torch_engine.runners import TritonRunner

WHOLE = {"offset", "blocks", "nothing", "table_rows", "entries"}
REAL = {"share", "damping"}
INTEGERS = {"rows", "windows", "batch", "sorted_rows", "sorted_entries"}
ROW = {"DEPTH": 128, "WIDE": 128}


def stack_bytes(kernel: Any, constants: dict[str, Any], warps: int) -> int:
    """Stack of a thread: registers that did not suffice."""
    names = kernel.arg_names
    groups = {"i32": WHOLE, "fp32": REAL, "*i32": INTEGERS, "constexpr": constants}
    kinds = {name: next((kind for kind, group in groups.items() if name in group), "*fp32") for name in names}
    places = {(names.index(name),): value for name, value in constants.items()}
    aligned = {(names.index(n),): [["tt.divisibility", 16]] for n, kind in kinds.items() if kind.startswith("*")}
    source = ASTSource(fn=kernel, signature=kinds, constexprs=places, attrs=aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [Path(nvidia.__file__).parent / "bin/cuobjdump", "--dump-resource-usage", file.name]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return max(int(found) for found in re.findall(r"STACK:(\d+)", shown))


def main() -> None:
    for products in sys.argv[1:]:
        block = {"B": 32, "W": 5, "P": 0, "N": 40, "TARGETS": 32, "PRODUCTS": products, "ATOMIC": False, **ROW}
        skipgram = stack_bytes(kernels.skipgram_block, {**block, "CONTEXT": 64}, TritonRunner.warps)
        cbow = stack_bytes(kernels.cbow_block, {**block, "UNDIVIDED": 1}, TritonRunner.warps)
        print(products, skipgram, cbow)
    print("sums", stack_bytes(kernels.add_sorted, ROW, 1), stack_bytes(kernels.add_atomic, ROW, 4))


if __name__ == "__main__":
    main()
