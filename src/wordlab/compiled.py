"""numba's `njit`, with a cache of compiled functions that knows when it is stale.

numba looks at the date of the one file that holds a cached function, not at the files of the functions inlined in it:
after an edit to `kernels/blocks.py` it would go on using the old code in `kernels/batches.py`. So the cache's folder is
named after the bytes of all modules that compile anything, and not after the place these lie in: the copies of the
project in which DVC runs experiments find what was compiled before.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from numba import njit
from numba.core import config
from numba.core.caching import UserProvidedCacheLocator

from wordlab.compile_cache import settle_cache

__all__ = ["inner", "kernel", "njit"]


COMPILES = re.compile(rb"^(from|import) (numba|wordlab\.compiled)\b", re.MULTILINE)


def _digest() -> str:
    """SHA-256 over the package's modules that import numba or this one."""
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        source = path.read_bytes()
        if COMPILES.search(source):
            total.update(source)
    return total.hexdigest()


def _cache_folder() -> Path:
    """Where compiled functions are kept: NUMBA_CACHE_DIR, the user's cache folder, or what there is instead."""
    return settle_cache(Path.cwd()) / f"wordlab-{_digest()[:16]}"


class CacheLocator(UserProvidedCacheLocator):
    """Keeps the functions of a module by its name; numba by itself adds a hash of the path to it."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        return Path(py_file).parent.name


config.CACHE_LOCATOR_CLASSES = f"{__name__}.{CacheLocator.__name__}"  # type: ignore[attr-defined]
config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]

inner = njit(_nrt=False)  # type: ignore[call-overload]
"""For functions called by kernels. They allocate nothing, so numba need not count references to arrays; counting takes
an atomic instruction at every call, which costs more than the call, and for which threads would fight."""
kernel = njit(nogil=True, cache=True, _nrt=False)  # type: ignore[call-overload]
"""For functions that Python calls: no interpreter lock, compiled once and kept."""
