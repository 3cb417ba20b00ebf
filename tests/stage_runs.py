"""Stage `train` run as DVC runs it, in a process of its own, on toy data: for tests that kill and stop it.

write_params(folder, ...)    the repository's params.yaml with changes
start, run, started, killed  a process of the stage; what it says goes to log.txt of the folder
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = {"dim": 12, "epochs": 2, "damping": 4, "threads": 2, "device": "cpu"}
"""Of 20 words each has dozens of steps in a micro-batch: more damping than a usual corpus needs."""
EACH_ARCH = ("damping",)
"""Settings that params.yaml has for each architecture; given as one number for all."""


def write_params(folder: Path, **changes: object) -> Path:
    """The repository's params.yaml with the settings above and `changes`; the names are unique in the file."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for name, value in (SETTINGS | changes).items():
        if name in EACH_ARCH:
            value = f"{{skipgram: {value}, cbow: {value}, sent2vec: {value}, hs: {value}}}"
            text, replaced = re.subn(
                rf"^(  {name}:)[^\n]*\n(    [^\n]*\n)+", rf"\1 {value}\n", text, flags=re.MULTILINE
            )
        else:
            text, replaced = re.subn(rf"^( +{name}:) [^\s#]+", rf"\1 {value}", text, flags=re.MULTILINE)
        assert replaced == 1, name
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return folder


def environment(checkpoint_seconds: str = "0.05") -> dict[str, str]:
    """This process's, with a checkpoint every twentieth of a second."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DVC_STAGE", "DVC_ROOT")}
    own = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "WORDLAB_CHECKPOINT_SECONDS": checkpoint_seconds}
    return kept | own


def hear_interrupts() -> None:
    """In the new process: what a shell starts in the background ignores Ctrl-C, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


STAGE = ("-m", "stages.train")


def start(
    folder: Path, *arguments: str, checkpoint_seconds: str = "0.05", program: Sequence[str] = STAGE
) -> subprocess.Popen[bytes]:
    """Start the stage. What it writes to stderr goes to log.txt."""
    command = [sys.executable, *program, *arguments]
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            command, cwd=folder, env=environment(checkpoint_seconds), stderr=log, preexec_fn=hear_interrupts
        )


def said(folder: Path) -> str:
    """What the last run has written so far."""
    return (folder / "log.txt").read_text()


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the stage to its end; returns its exit status and what it wrote to stderr."""
    status = start(folder, *arguments).wait(timeout=300)
    return status, said(folder)


def model_of(folder: Path) -> dict[str, bytes]:
    """Every byte that DVC tracks of a run of seed 1, by path."""
    paths = [*(folder / "data/train/seed-1").iterdir(), folder / "metrics/curves/seed-1.tsv"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def started(folder: Path, checkpoint_seconds: str = "0.05", program: Sequence[str] = STAGE) -> subprocess.Popen[bytes]:
    """A run of seed 1 that has begun to train."""
    process = start(folder, "--seed", "1", checkpoint_seconds=checkpoint_seconds, program=program)
    wait_until(process, folder, lambda: "train seed 1: " in said(folder))
    return process


def wait_until(process: subprocess.Popen[bytes], folder: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline, said(folder)
        time.sleep(0.001)


def checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted((folder / ".wordlab/checkpoints").glob("*/*.ckpt"))


def kill(process: subprocess.Popen[bytes], folder: Path) -> str:
    """SIGKILL; returns what the run has said. No output may be there."""
    assert process.poll() is None, "the run was over before it could be killed"
    process.kill()
    process.wait()
    assert not (folder / "data/train/seed-1").exists() and not (folder / "metrics").exists()
    return said(folder)


def killed(folder: Path, seconds: float, program: Sequence[str] = STAGE) -> str:
    """A run of seed 1, killed so long after it has written a checkpoint."""
    known = set(checkpoints(folder))
    process = started(folder, program=program)
    wait_until(process, folder, lambda: bool(set(checkpoints(folder)) - known))
    time.sleep(seconds)
    return kill(process, folder)


GOES_ON = "going on from the checkpoint at "
