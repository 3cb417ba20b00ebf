"""What all stage scripts share: where they import from, and where compiled functions are kept."""

from __future__ import annotations

import os
import subprocess
import sys
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
