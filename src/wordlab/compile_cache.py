"""Where compiled functions are kept, decided before numba is imported: it ends with a traceback where it cannot write.

The first of these that can be written: NUMBA_CACHE_DIR, the user's cache folder, `.wordlab/numba` of the project (a
read-only home, in containers and on some clusters), and a folder for temporary files that is this user's alone. numba's
cache holds code, so a folder that others may write is never used.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def settle_cache(project: Path) -> Path:
    """Decide on the folder and tell numba, also those in processes to come. project: the folder of params.yaml.

    Says so in one line where it is not a lasting one.
    """
    given = os.environ.get(VARIABLE)
    if given and _is_writable(Path(given)):
        return Path(given)
    users = _users_folder()
    if not given and users is not None and _is_writable(users):
        return users  # numba's own choice
    folder = project / ".wordlab" / "numba"
    lasting = (project / "params.yaml").exists() and _is_writable(folder)
    if not lasting:
        folder = _temporary_folder()
    if given or not lasting:
        _warn(given, users, folder)
    os.environ[VARIABLE] = str(folder)
    return folder


def _users_folder() -> Path | None:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "numba")
    except RuntimeError:  # there is no home
        return None


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _temporary_folder() -> Path:
    """One folder for all runs of this user where nobody else has put anything in its place, else a new one."""
    folder = Path(tempfile.gettempdir()) / f"wordlab-numba-{os.getuid()}"
    with contextlib.suppress(OSError):  # it may be there from an earlier run
        folder.mkdir(mode=0o700)
    try:
        found = folder.lstat()
    except OSError:
        found = None
    if found and stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="wordlab-numba-"))


def _warn(given: str | None, users: Path | None, folder: Path) -> None:
    refused = given or users or "the user's cache folder"
    print(
        f"warning: {refused} cannot be written, so compiled functions are kept in {folder}; to keep them elsewhere, "
        f"set {VARIABLE} to a folder of yours",
        file=sys.stderr,
        flush=True,
    )
