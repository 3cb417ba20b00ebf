"""Who is at work on which files, so that two processes never mix their results.

A stage claims its output for itself and its inputs for reading, with locks of the kernel that end with the process,
however it ends. DVC keeps its own runs apart; these locks also see `python -m stages.train` beside `dvc repro`. Copies
of the project (`dvc exp run --temp`, `--queue`) have locks of their own, as they have files of their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from wordlab.errors import BusyError, ResourceError
from wordlab.limits import lines
from wordlab.stage import say

LOCKS = Path(".wordlab/locks")
_held: dict[Path, IO[str]] = {}
"""Locks of this process by their absolute paths; open until it ends."""


def claim(writes: Path, reads: Sequence[Path] = ()) -> None:
    """Claim `writes` for this process alone and `reads` against being written, until the process ends.

    Raises BusyError, which names the process in the way. What this process has claimed before is never in its way.
    """
    for path in reads:
        _claim(path, fcntl.LOCK_SH)
    _claim(writes, fcntl.LOCK_EX)


def release() -> None:
    """Give back all claims of this process, for programs that run stages within themselves."""
    while _held:
        _held.popitem()[1].close()


def _claim(path: Path, kind: int) -> None:
    lock = (LOCKS / f"{path.as_posix().replace('/', '-')}.lock").absolute()
    if lock not in _held:
        _held[lock] = _opened(lock)
    file = _held[lock]
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        others = _holders(file)
        _held.pop(lock).close()
        doing = "is at work on" if kind == fcntl.LOCK_EX else "writes"
        raise BusyError(
            f"{path} is in use: {others} {doing} it. Wait for it to end, or end it, then run this again."
        ) from None


def _holders(file: IO[str]) -> str:
    """Who holds a lock, as the kernel says: process 123 (python -m stages.train --seed 1)."""
    inode = os.fstat(file.fileno()).st_ino
    found = []
    for line in lines(Path("/proc/locks")):
        fields = line.split()
        if "FLOCK" in fields and fields[-3].endswith(f":{inode}") and fields[-4] not in ("0", str(os.getpid())):
            command = "".join(lines(Path("/proc") / fields[-4] / "cmdline")).replace("\0", " ").strip()
            found.append(f"process {fields[-4]} ({command[:200] or 'unknown'})")
    return ", ".join(dict.fromkeys(found)) or "another process"


@contextlib.contextmanager
def held_alone(lock: Path, doing: str) -> Iterator[None]:
    """Hold a lock file, after waiting for whoever holds it. doing: what the other one is doing, for the line told."""
    with _opened(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that is {doing}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _opened(lock: Path) -> IO[str]:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise ResourceError(
            f"{lock} could not be opened: {error.strerror}. Check that its folder is yours and its disk not full, "
            "then run this again."
        ) from None
