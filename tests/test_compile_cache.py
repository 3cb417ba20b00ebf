"""Where compiled functions are kept, above all where the usual place cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wordlab import compile_cache
from wordlab.compile_cache import settle_cache

ROOT = Path(__file__).parents[1]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a folder for temporary files and a project, all below the folder returned."""
    for name in ("home", "tmp", "project"):
        (tmp_path / name).mkdir()
    monkeypatch.delenv(compile_cache.VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path


def block(folder: Path) -> None:
    """Put a file where a folder would be made; permissions would not stop root."""
    folder.rmdir()
    folder.write_text("in the way")


def test_the_users_own_folder_is_used_silently(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert settle_cache(machine / "project") == machine / "home/.cache/numba"
    assert compile_cache.VARIABLE not in os.environ and capsys.readouterr().err == ""


def test_a_folder_that_is_given_is_used(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compile_cache.VARIABLE, str(machine / "given"))
    assert settle_cache(machine / "project") == machine / "given"


def test_in_a_project_its_own_folder_comes_next(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block(machine / "home")
    (machine / "project/params.yaml").touch()
    assert settle_cache(machine / "project") == machine / "project/.wordlab/numba"
    assert os.environ[compile_cache.VARIABLE] == str(machine / "project/.wordlab/numba")
    assert capsys.readouterr().err == ""


def test_else_a_temporary_folder_is_used_with_one_line_of_warning(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block(machine / "home")
    folder = settle_cache(machine / "project")
    assert folder == machine / f"tmp/wordlab-numba-{os.getuid()}" and folder.stat().st_mode & 0o777 == 0o700
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"warning: {machine}/home/.cache/numba cannot be written, so compiled functions are kept in {folder}; "
        "to keep them elsewhere, set NUMBA_CACHE_DIR to a folder of yours"
    )
    assert settle_cache(machine / "project") == folder  # as a process that is started from here
    assert capsys.readouterr().err == ""


def test_a_given_folder_that_cannot_be_written_is_told_of(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine / "file").touch()
    monkeypatch.setenv(compile_cache.VARIABLE, str(machine / "file/cache"))
    assert settle_cache(machine / "project").parent == machine / "tmp"
    assert f"warning: {machine}/file/cache cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("trap", ["a link", "writable for all"])
def test_a_folder_that_somebody_else_could_have_filled_is_not_used(machine: Path, trap: str) -> None:
    """numba's cache holds code, and /tmp is everybody's."""
    block(machine / "home")
    planted = machine / f"tmp/wordlab-numba-{os.getuid()}"
    if trap == "a link":
        planted.symlink_to(machine / "project")
    else:
        planted.mkdir()
        planted.chmod(0o777)
    folder = settle_cache(machine / "project")
    assert folder != planted and folder.parent == machine / "tmp" and folder.stat().st_mode & 0o777 == 0o700


def test_compiled_functions_load_without_a_place_of_the_users_own(machine: Path) -> None:
    """As `wordlab` does in a container with a read-only home: numba alone would end with a traceback."""
    block(machine / "home")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(machine / "tmp")}
    code = "import wordlab.compiled; from numba.core import config; print(config.CACHE_DIR)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{machine}/tmp/wordlab-numba-{os.getuid()}/wordlab-")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("warning: ")
