"""What all stage scripts share: where they import from, and where compiled functions are kept."""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[1]


def cache_folder(**changes: str) -> str:
    """NUMBA_CACHE_DIR after the import of `stages`, with these environment variables."""
    left_out = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME")
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | changes
    command = [sys.executable, "-c", "import os, stages; print(os.environ.get('NUMBA_CACHE_DIR', ''))"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_without_a_writable_cache_folder_of_the_user_the_projects_is_used(tmp_path: Path, variable: str) -> None:
    (tmp_path / "file").write_text("no folder can be made in here")
    places = {"HOME": str(tmp_path), variable: str(tmp_path / "file")}
    assert cache_folder(**places) == str(ROOT / ".wordlab/numba")
    elsewhere = str(tmp_path / "elsewhere")
    assert cache_folder(**places, NUMBA_CACHE_DIR=elsewhere) == elsewhere


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_folder_is_not_used(tmp_path: Path) -> None:
    (tmp_path / ".cache/numba").mkdir(parents=True)
    (tmp_path / ".cache/numba").chmod(0o500)
    assert cache_folder(HOME=str(tmp_path)) == str(ROOT / ".wordlab/numba")


def test_a_writable_cache_folder_of_the_user_is_used(tmp_path: Path) -> None:
    assert cache_folder(HOME=str(tmp_path)) == ""
    assert (tmp_path / ".cache/numba").is_dir()


DVC = """
import subprocess, sys, time
stage = subprocess.Popen([sys.executable, "-m", "stages.train", "--seed", "1"])
print(stage.pid, flush=True)
time.sleep(100)
"""
"""Stands for DVC: starts a stage and waits for it."""
SLOW_NUMBA = """
import os, pathlib, time
pathlib.Path(os.environ["LOADING"]).touch()
time.sleep(100)
"""


def is_alive(pid: int) -> bool:
    """Whether there is such a process that has not ended (one that nobody has asked for its status yet is no more)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("moment", ["while numba is imported", "at random"])
def test_a_stage_whose_dvc_is_killed_while_it_imports_ends_with_it(moment: str, tmp_path: Path) -> None:
    """Here numba takes a hundred seconds to import. DVC is killed in the first 0.4 s of the stage, or in there."""
    (tmp_path / "numba.py").write_text(SLOW_NUMBA)
    draw = random.Random(moment)
    for number in range(1 if moment == "while numba is imported" else 6):
        loading = tmp_path / f"loading-{number}"
        path = os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "src")])
        environment = os.environ | {"PYTHONPATH": path, "DVC_STAGE": "train@1", "LOADING": str(loading)}
        dvc = subprocess.Popen(
            [sys.executable, "-c", DVC], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        with dvc:
            assert dvc.stdout is not None
            stage = int(dvc.stdout.readline())
            until = time.monotonic() + 30
            if moment == "at random":
                time.sleep(draw.uniform(0, 0.4))
            while moment != "at random" and not loading.exists():
                assert is_alive(stage) and time.monotonic() < until
                time.sleep(0.01)
            dvc.kill()
        while is_alive(stage) and time.monotonic() < until:
            time.sleep(0.01)
        ended = not is_alive(stage)
        if not ended:
            os.kill(stage, signal.SIGKILL)
        assert ended, "the stage runs on without its DVC"


@pytest.mark.parametrize("stage", ["download", "tokenize", "vocab", "encode", "train", "evaluate", "report"])
def test_a_stage_says_what_it_does_and_does_nothing_else(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, f"stages.{stage}", raising=False)  # it is run, whoever has imported it before
    for argument, status in (("--help", 0), ("--sede=1", 2)):
        monkeypatch.setattr(sys, "argv", ["stage", argument])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"stages.{stage}", run_name="__main__")
        assert ended.value.code == status
    told = capsys.readouterr()
    assert told.out.startswith(f"usage: python -m stages.{stage} [-h]") and " -> " in " ".join(told.out.split())
    assert "--sede=1" in told.err or "--seed" in told.err
    assert not list(tmp_path.iterdir())
