"""Stages import the wordlab that lies beside them, also in the copies of the project in which DVC runs experiments.

An installed wordlab (`pip install -e`) is the main checkout's: it would come first there, and be the wrong code.

A DVC that is killed while a stage still imports, which takes a second, must not leave it running. So the stage is bound
to DVC before anything slow is imported; after that, `wordlab.stage.run_stage` does it.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]

sys.path.insert(0, str(ROOT / "src"))

from wordlab.parent import GONE, follow_parent  # noqa: E402 - found only now

if "DVC_STAGE" in os.environ and not follow_parent():
    print(f"\n{GONE}", file=sys.stderr, flush=True)
    raise SystemExit(128 + 15)  # as a shell tells of SIGTERM

from wordlab.compile_cache import settle_cache  # noqa: E402 - of this project; and not before

settle_cache(ROOT)
