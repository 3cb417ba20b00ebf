"""The engine gives the same bits whatever vector instructions it is compiled to."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib
from tests.engine import CpuEngine, model_config, random_case, train_config
for arch, gradient, edges in (("skipgram", "exact", "cut"), ("cbow", "word2vec", "pad")):
    case = random_case(model_config(arch, gradient, edges, dim=37), train_config(), tokens=3000)
    engine = CpuEngine(case.model, case.train, case.tables, case.seed, 1)
    engine.train_segment(case.ids, case.ends, 0, 0, 0, case.total)
    print(hashlib.sha256(engine.table.tobytes()).hexdigest())
"""
HASWELL = "+avx2,+fma,+bmi,+bmi2,+avx,+sse4.2,+popcnt,+f16c,+lzcnt,+movbe,+cx16"


def _digests(**settings: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."]), **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares two x86-64 instruction sets")
def test_code_for_a_plain_avx2_cpu_gives_the_same_bits(tmp_path):
    here = _digests()
    assert len(set(here)) == 2
    assert _digests(NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=HASWELL, NUMBA_CACHE_DIR=str(tmp_path)) == here
