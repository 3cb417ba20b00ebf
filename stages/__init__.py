"""Stages import the wordlab that lies beside them, also in the copies of the project in which DVC runs experiments.

An installed wordlab (`pip install -e`) is the main checkout's: it would come first there, and be the wrong code.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]

sys.path.insert(0, str(ROOT / "src"))

from wordlab.compile_cache import settle_cache  # noqa: E402 - found only now

settle_cache(ROOT)
