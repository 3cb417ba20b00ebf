"""Compile the fused kernels for a Hopper GPU, which needs none, and print what each takes: stack, shared memory.

Run by test_triton.py in a process of its own, since that one's Triton interprets, and the interpreter takes much that
the compiler refuses: a name whose shape changes within a loop, for one.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
import triton.backends.nvidia as nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from wordlab.torch_engine import triton_kernels as kernels
from wordlab.torch_engine.runners import TritonRunner, block_warps, power_of_two

WHOLE = set(kernels.SIZES)
REAL = {"share", "damping"}
INTEGERS = {"rows", "windows", "batch", "sorted_rows", "sorted_entries"}


def taken(kernel: Any, constants: dict[str, Any], warps: int, stages: int = 3) -> dict[str, int]:
    """Stack of a thread, which is for what registers do not suffice for; shared memory of a program."""
    names = kernel.arg_names
    groups = {"i32": WHOLE, "fp32": REAL, "*i32": INTEGERS, "constexpr": constants}
    kinds = {name: next((kind for kind, group in groups.items() if name in group), "*fp32") for name in names}
    places = {(names.index(name),): value for name, value in constants.items()}
    aligned = {(names.index(n),): [["tt.divisibility", 16]] for n, kind in kinds.items() if kind.startswith("*")}
    source = ASTSource(fn=kernel, signature=kinds, constexprs=places, attrs=aligned)
    options = {"num_warps": warps, "num_stages": stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [Path(nvidia.__file__).parent / "bin/cuobjdump", "--dump-resource-usage", file.name]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    stack = max(int(found) for found in re.findall(r"STACK:(\d+)", shown))
    return {"stack": stack, "shared": compiled.metadata.shared}


def block(arch: str, products: str, padding: int, atomic: bool, dim: int = 128) -> dict[str, int]:
    """The kernel of a block of 32 targets, window 5, 40 noise words."""
    own: dict[str, Any] = {"UNDIVIDED": 1} if arch == "cbow" else {"CONTEXT": power_of_two(42)}
    sizes = {"B": 32, "W": 5, "P": padding, "N": 40, "TARGETS": 32, "DEPTH": dim, "WIDE": power_of_two(dim)}
    kernel = kernels.cbow_block if arch == "cbow" else kernels.skipgram_block
    constants = {**sizes, "PRODUCTS": products, "ATOMIC": atomic, **own}
    return taken(kernel, constants, block_warps(32, dim), TritonRunner.stages)


def main() -> None:
    for arch in ("skipgram", "cbow"):
        kinds = [*itertools.product(["float32"], (0, 1), (False, True))]
        kinds += [(products, 0, False) for products in ("tf32x3", "tf32", "bf16")]
        for kind in kinds:
            print(json.dumps({"kernel": [arch, *kind, 128], **block(arch, *kind)}))
        print(json.dumps({"kernel": [arch, "float32", 0, False, 304], **block(arch, "float32", 0, False, 304)}))
    row = {"DEPTH": 128, "WIDE": 128}
    print(json.dumps({"kernel": ["add_sorted"], **taken(kernels.add_sorted, row, 1)}))
    print(json.dumps({"kernel": ["add_atomic"], **taken(kernels.add_atomic, row, 4)}))


if __name__ == "__main__":
    main()
