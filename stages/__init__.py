"""Stages import the wordlab that lies beside them, also in the copies of the project in which DVC runs experiments.

An installed wordlab (`pip install -e`) is the main checkout's: it would come first there, and be the wrong code.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
