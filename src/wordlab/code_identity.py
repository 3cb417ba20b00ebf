"""Which code and which libraries are at work: what two processes must have in common for their bytes to be the same."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path

LIBRARIES = ("kiwipiepy", "kiwipiepy_model", "numba", "numpy", "pyarrow", "rensa", "sentencepiece", "zstandard")
"""What may decide a byte of preprocessing beside Python, whose version decides Unicode's, and wordlab itself."""


@cache
def code_identity() -> dict[str, str]:
    """SHA-256 over all of wordlab's source, and the versions of Python and LIBRARIES, as far as they are installed."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    found = {"wordlab's source": digest.hexdigest()[:16], "Python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
