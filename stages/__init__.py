"""Stages import the wordlab that lies beside them, also in the copies of the project in which DVC runs experiments.

An installed wordlab (`pip install -e`) is the main checkout's: it would come first there, and be the wrong code.

Where the user's cache folder cannot be written (a read-only home, in containers and on some clusters), functions that
numba compiles are kept in `.wordlab/numba` beside the stages. numba would end with a traceback.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]


def _user_cache_is_writable() -> bool:
    """Whether numba's folder of the user, as wordlab.compiled finds it, can be made and written."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "numba")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return False
    return os.access(folder, os.W_OK | os.X_OK)


sys.path.insert(0, str(ROOT / "src"))
if not os.environ.get("NUMBA_CACHE_DIR") and not _user_cache_is_writable():
    os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".wordlab" / "numba")
