"""Checkpoints of a training, in a folder that DVC does not know and that all copies of the project share.

DVC removes a stage's outputs before it runs the stage, and runs experiments in copies that it throws away. So
checkpoints lie in .wordlab/checkpoints of the main checkout, in a folder named after everything that decides the bytes
of the model: another configuration, other data or other code has another name and never finds them.

A lock lets one training of a name run at a time. A second one waits, and is then done at once: it takes over what the
first has finished, rather than train the same model a second time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.artifacts import fingerprint
from wordlab.checkpoint_file import read_checkpoint, write_checkpoint
from wordlab.errors import ArtifactError, ConfigError
from wordlab.machine import in_units, installed_version
from wordlab.stage import say

KEPT = 2
"""Checkpoints of one training that are kept: where the newest turns out to be damaged, the one before is used."""
LEAST_SECONDS = 60.0
"""Between two checkpoints. A training that is shorter writes none."""
SHARE = 0.01
"""Part of the time that checkpoints may take: the more one costs, the longer until the next."""
ASSUMED_BYTES_PER_SECOND = 250e6
"""Speed of writing, until the first checkpoint has shown it."""
STALE_DAYS = 14
"""Checkpoints of trainings that nobody went on with are removed when they are older."""
CODE = (
    *("artifacts.py", "checkpoint_file.py", "checkpoints.py", "compiled.py", "divergence.py", "engine.py"),
    *("huffman.py", "ngrams.py", "recorded_config.py", "sampling.py", "shards.py", "subwords.py", "training.py"),
    *("training_run.py", "vocab.py", "word_ngrams.py"),
)
"""Modules that take part in every training; a test compares with what `train` lists in dvc.yaml."""
ENGINE_CODE = {"cpu": ("kernels",), "torch": ("torch_engine",)}
"""Folders of modules, by the name of the engine: an edit of one engine leaves the other's checkpoints."""
LIBRARIES = {
    "cpu": ("numpy", "numba", "llvmlite"),
    "torch": ("numpy", "torch", "triton", "nvidia-cublas", "nvidia-cublas-cu12"),
}
"""What compiles an engine or computes for it."""


def checkpoint_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """.wordlab/checkpoints of the main checkout, also where DVC runs the stage in a temporary copy of it.

    DVC names the main checkout in DVC_ROOT. That is believed where the stage runs in one of its copies, since the
    variable may as well come from another project's pipeline that started this one.
    """
    here = Path.cwd()
    main = Path(environment.get("DVC_ROOT") or here).resolve()
    if not here.resolve().is_relative_to((main / ".dvc/tmp/exps").resolve()):
        main = here
    return main / ".wordlab" / "checkpoints"


def code_digest(engine: str = "cpu") -> str:
    """SHA-256 over the sources that take part in training, and the versions of the libraries that compile them.

    engine: the name in its description, a key of ENGINE_CODE.
    """
    package = Path(__file__).parent
    digest = hashlib.sha256(platform.python_version().encode())
    for name in LIBRARIES[engine]:
        digest.update(f"{name} {installed_version(name)}\0".encode())
    for name in (*CODE, *ENGINE_CODE[engine]):
        place = package / name
        for path in [place] if place.suffix else sorted(place.rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def fewest_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """WORDLAB_CHECKPOINT_SECONDS: a fixed time between checkpoints, 0: after every segment. Raises ConfigError."""
    text = environment.get("WORDLAB_CHECKPOINT_SECONDS", "")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"WORDLAB_CHECKPOINT_SECONDS is {text!r}, but must be a number of seconds, 0 or more.")
    return seconds


class Checkpoints:
    """The checkpoints of one training, locked for this process. Made by `hold_checkpoints`."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], table_bytes: int) -> None:
        """folder: of this identity. table_bytes: size of one checkpoint, about."""
        self.folder, self.identity = folder, identity
        self.written, self.seconds = 0, 0.0
        """By this process: checkpoints, and what they took."""
        self._fixed_seconds = fewest_seconds()
        self._wait_seconds = self._after(table_bytes / ASSUMED_BYTES_PER_SECOND)
        self._last = time.monotonic()

    def _after(self, cost_seconds: float) -> float:
        """Seconds until the next checkpoint, where one takes `cost_seconds`."""
        return max(LEAST_SECONDS, cost_seconds / SHARE) if self._fixed_seconds is None else self._fixed_seconds

    def _files(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob("segment-*.ckpt"))

    def load(self) -> tuple[dict[str, Any], NDArray[np.float32]] | None:
        """State and table of the newest checkpoint that is whole; None where there is none.

        One that is damaged is told of, and removed.
        """
        for path in reversed(self._files()):
            try:
                return read_checkpoint(path, self.identity)
            except ArtifactError as error:
                say(f"WARNING: the checkpoint {error} It is removed, and the one before it is used, if there is one.")
                with contextlib.suppress(OSError):
                    path.unlink()
        return None

    def due(self) -> bool:
        """Whether the last one is long enough ago."""
        return time.monotonic() - self._last >= self._wait_seconds

    def write(
        self, segments: int, state: Mapping[str, Any], table: NDArray[np.float32], started: float | None = None
    ) -> bool:
        """Write a checkpoint after so many segments, and keep the last two. Where that fails, say so and return False.

        The training itself goes on: it would be the worse for being stopped. started: time.monotonic() before the
        table was read, where reading it takes time.
        """
        started = time.monotonic() if started is None else started
        try:
            write_checkpoint(self.folder / f"segment-{segments:012d}.ckpt", self.identity, state, table)
            for path in self._files()[:-KEPT]:
                path.unlink()
        except OSError as error:
            reason = error.strerror or error
            say(f"WARNING: no checkpoint was written: {self.folder}: {reason}. The training goes on without.")
            return False
        finally:
            self._last = time.monotonic()
            self.seconds += self._last - started
            self._wait_seconds = self._after(self._last - started)
        self.written += 1
        return True

    def awaited(self) -> bool:
        """Whether another training of the same identity waits for this one."""
        try:
            with (self.folder / "waiting").open("r+") as file:
                return not _locked(file.fileno(), fcntl.LOCK_EX)
        except OSError:  # nobody has made it
            return False

    def remove(self) -> None:
        """Remove all of them, once what they were written for is in place."""
        _clear(self.folder)


@contextlib.contextmanager
def hold_checkpoints(root: Path, identity: Mapping[str, Any], table_bytes: int) -> Iterator[Checkpoints | None]:
    """Lock the checkpoints of `identity` below `root`, waiting for another training of it; None where none can be kept.

    Stale ones of other trainings are removed. The lock goes with the process, however that ends.
    """
    folder = root / fingerprint(identity)
    try:
        lock = _lock(folder)
    except OSError as error:
        say(f"WARNING: no checkpoints are kept, since {folder} cannot be written: {error.strerror}.")
        yield None
        return
    try:
        with contextlib.suppress(OSError):  # no tidying up is no reason not to train
            for path in folder.glob("*.tmp"):
                path.unlink(missing_ok=True)
            _remove_stale(root, folder)
        yield Checkpoints(folder, identity, table_bytes)
    finally:
        with contextlib.suppress(OSError):  # what stays is removed when it is stale; what has failed before is told
            # once removed, the folder may be another's by now
            if _is_still(folder / "lock", lock) and not list(folder.glob("*.ckpt")):
                _clear(folder)
        os.close(lock)


def _clear(folder: Path) -> None:
    """Remove a folder of checkpoints, by whoever has its lock; the lock last."""
    with contextlib.suppress(OSError):  # what stays is removed when it is stale
        for path in sorted(folder.glob("*"), key=lambda path: path.name == "lock"):
            path.unlink(missing_ok=True)
        folder.rmdir()


def _lock(folder: Path) -> int:
    """Take the lock of a folder, which is made; returns its file descriptor."""
    waiting = None
    try:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # its owner may have removed the folder since
                descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
                if _locked(descriptor, fcntl.LOCK_EX) and _is_still(folder / "lock", descriptor):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, str(os.getpid()).encode())
                    return descriptor
                owner = os.pread(descriptor, 20, 0).decode(errors="replace")
                os.close(descriptor)
                if waiting is None:
                    say(
                        f"the same training runs in process {owner or '(starting)'} already; waiting for it, "
                        "to take over its model instead of training it twice (Ctrl-C ends this run only)"
                    )
                if waiting is None or not _is_still(folder / "waiting", waiting):
                    waiting = _wait_visibly(folder, waiting)
            time.sleep(0.1)
    finally:
        if waiting is not None:
            os.close(waiting)


def _wait_visibly(folder: Path, before: int | None) -> int:
    """Hold `waiting` in common with all who wait. before: the descriptor of an earlier one, which is closed."""
    if before is not None:
        os.close(before)
    descriptor = os.open(folder / "waiting", os.O_RDWR | os.O_CREAT, 0o666)
    with contextlib.suppress(OSError):  # no locks in this file system: then nobody waits
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _locked(descriptor: int, kind: int) -> bool:
    """Try to lock an open file. Where the file system knows no locks, all trainings believe to be alone."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        say(f"WARNING: checkpoints cannot be locked here ({error.strerror}). Run no training twice at once.")
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether `path` is the open file, and not removed or another one by now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_stale(root: Path, own: Path) -> None:
    """Remove others' checkpoints that are older than STALE_DAYS; say what the rest takes."""
    kept_bytes = kept = 0
    for folder in root.iterdir():
        if folder == own or not folder.is_dir():
            continue
        files = [(path.stat().st_mtime, path.stat().st_size) for path in folder.glob("*.ckpt*") if path.exists()]
        newest = max((modified for modified, _ in files), default=folder.stat().st_mtime)
        if time.time() - newest > STALE_DAYS * 86400 and _removed(folder):
            say(f"removed the checkpoints of a training that was left {STALE_DAYS} days ago or more: {folder}")
        elif files:
            kept, kept_bytes = kept + 1, kept_bytes + sum(size for _, size in files)
    if kept:
        say(
            f"checkpoints of {kept} other unfinished trainings take {in_units(kept_bytes)} in {root}; each is used "
            f"when its parameters come back, and removed after {STALE_DAYS} days"
        )


def _removed(folder: Path) -> bool:
    """Remove a training's checkpoints, unless it runs."""
    with contextlib.suppress(FileNotFoundError), (folder / "lock").open("r+") as file:
        if not _locked(file.fileno(), fcntl.LOCK_EX):
            return False
        _clear(folder)
    shutil.rmtree(folder, ignore_errors=True)  # also where there is no lock, or more than files
    return not folder.exists()
