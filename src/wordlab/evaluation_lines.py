"""Lines of an evaluation set's file, and what is said of one that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wordlab.errors import ArtifactError

REMEDY = "Fetch it anew: dvc repro download"


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1, without line end and byte-order mark."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}. {REMEDY}") from None
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{path}, line {number}, is not UTF-8: {error.reason}. {REMEDY}") from None
        if text.strip():
            yield number, text


def bad_line(path: Path, number: int, line: str, wanted: str) -> ArtifactError:
    """The error for a line that is not what it must be."""
    return ArtifactError(f"{path}, line {number}, is {line[:80]!r}, but must be {wanted}. {REMEDY}")
