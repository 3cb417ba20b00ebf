"""A folder of several files, read as one version while another process may be replacing it.

Stages put a new folder in the place of the old one in one step, so a reader that opens all files in the folder it has
once opened gets one version or an error, never a mix. DVC (`dvc checkout`) exchanges the files in a folder one by one.
So the folder must also look the same before and after, and where a file is younger than a moment, the files' SHA-256
are compared with the manifest's. A folder that is in motion is opened anew, for a while.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wordlab.artifacts import read_manifest
from wordlab.errors import ArtifactError, ResourceError

PATIENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.02
YOUNG_SECONDS = 30.0
"""Files that came into their place this long ago or less may be those of an exchange that is still under way."""

Loaded = TypeVar("Loaded")


def of_one_version(folder: Path, stage: str, load: Callable[[Path], Loaded]) -> Loaded:
    """What `load` makes of the folder, all of one version. load: gets a path by which it opens the files.

    stage: which one wrote the folder.
    Raises what `load` raises, in terms of `folder`, and ArtifactError if the folder will not keep still.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return load(folder)  # which says what is wrong with it
        held = Path(f"/proc/self/fd/{descriptor}")
        before = _state(held)
        try:
            loaded = load(held)
            if _is_young(before):
                read_manifest(held, stage, verify=True)
            if _state(held) == before:
                return loaded
            problem = "its files are being exchanged"
        except (ArtifactError, ResourceError) as error:
            problem = str(error).replace(str(held), str(folder))
            if _state(held) == before == _state(folder):
                raise type(error)(problem) from None
        finally:
            os.close(descriptor)
        if time.monotonic() > until:
            raise ArtifactError(
                f"{folder} has been changing for {PATIENCE_SECONDS:.0f} s while it was read. Wait until whoever writes "
                f"it has ended, then try again. The last problem: {problem}"
            )
        time.sleep(PAUSE_SECONDS)


def _state(folder: Path) -> list[tuple[str, int, int, int]]:
    """Name, inode, size and time of last change of each file; what is going away just now is left out."""
    found = []
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((path.name, status.st_ino, status.st_size, status.st_ctime_ns))
    return found


def _is_young(state: list[tuple[str, int, int, int]]) -> bool:
    newest = max((changed for *_, changed in state), default=0)
    return time.time_ns() - newest < YOUNG_SECONDS * 1e9  # also of a clock that was set back
