"""Files and folders are written whole or not at all, and what stands in the way is told by its own name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wordlab.artifacts import output_folder, sha256_file, unwritable_as_error
from wordlab.errors import ArtifactError, ResourceError


def system_error(number: int, *names: Path) -> OSError:
    """As the system raises it, about one file or, as in a move, two."""
    first, second = (*map(str, names), None, None)[:2]
    return OSError(number, os.strerror(number), first, None, second)


def message_of(path: Path, error: OSError, kind: type[Exception] = ArtifactError) -> str:
    with pytest.raises(kind) as caught, unwritable_as_error(path):
        raise error
    return str(caught.value)


@pytest.mark.parametrize("place", ["", "out", "out/part", "out.tmp", "out.tmp/a/b"])
def test_an_error_of_writing_names_the_output(tmp_path: Path, place: str) -> None:
    told = message_of(tmp_path / "out", system_error(errno.EACCES, tmp_path / place))
    assert told.startswith(f"{tmp_path / 'out'} could not be written: Permission denied. Check that its folder exists")


def test_an_error_without_a_name_is_one_of_writing(tmp_path: Path) -> None:
    assert "out could not be written: Input/output error" in message_of(tmp_path / "out", system_error(errno.EIO))


def test_a_move_into_place_is_an_error_of_writing(tmp_path: Path) -> None:
    told = message_of(tmp_path / "out", system_error(errno.EACCES, tmp_path / "new", tmp_path / "out"))
    assert "out could not be written" in told


@pytest.mark.parametrize("place", ["input", "input/out", "outer", "out.txt"])
def test_an_error_of_another_file_names_that_file(tmp_path: Path, place: str) -> None:
    told = message_of(tmp_path / "out", system_error(errno.EACCES, tmp_path / place))
    assert told.startswith(f"{tmp_path / place} could not be read or written: Permission denied. Check that it exists")


def test_a_full_disk_is_a_lack_of_resources(tmp_path: Path) -> None:
    for place in ("out", "other"):
        told = message_of(tmp_path / "out", system_error(errno.ENOSPC, tmp_path / place), ResourceError)
        assert told.startswith(f"{tmp_path / place} could not be written: No space left on device. Free some space")


def test_an_array_that_is_cut_short_is_a_full_disk(tmp_path: Path) -> None:
    """NumPy's tofile gives no error number."""
    told = message_of(tmp_path / "out", OSError("5 requested and 3 written"), ResourceError)
    assert told.startswith(f"{tmp_path / 'out'} could not be written: 5 requested and 3 written. Free some space")


def test_a_limit_on_the_size_of_files_is_a_lack_of_resources(tmp_path: Path) -> None:
    told = message_of(tmp_path / "out", system_error(errno.EFBIG, tmp_path / "out"), ResourceError)
    assert "out could not be written: File too large" in told and "ulimit -f" in told


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECHILD, errno.ETIMEDOUT, errno.ECONNRESET])
def test_errors_of_pipes_and_processes_stay_what_they_are(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError) as caught, unwritable_as_error(tmp_path / "out"):
        raise system_error(number)
    assert caught.value.errno == number


def test_relative_and_absolute_names_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "out could not be written" in message_of(Path("out"), system_error(errno.EACCES, tmp_path / "out.tmp/a"))


def test_an_input_that_is_missing_is_not_told_as_an_unwritable_output(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match=r"input\.txt could not be read or written: No such file"),
        output_folder(tmp_path / "out"),
    ):
        (tmp_path / "input.txt").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_to_its_end_is_named() -> None:
    with pytest.raises(OSError, match="Input/output error") as error:
        sha256_file(Path("/proc/self/mem"))
    assert error.value.filename == "/proc/self/mem"
