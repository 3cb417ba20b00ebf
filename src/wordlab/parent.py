"""A process that ends with the one that started it. Standard library only, since it comes before all slow imports."""

from __future__ import annotations

import ctypes
import os
import signal

GONE = "stopped: DVC, which started this stage, is gone"
_PR_SET_PDEATHSIG = 1


def follow_parent() -> bool:
    """Ask the kernel to send this process a SIGTERM when the one that started it is gone.

    Returns whether that is still there, which the kernel does not tell.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return not _adopted()


def _adopted() -> bool:
    """Whether the parent is not the one that started this process, but one that takes over orphans.

    It is of another session then, while DVC starts its stages in its own.
    """
    try:
        return os.getsid(os.getppid()) != os.getsid(0)
    except ProcessLookupError:
        return True
