"""Files that are hashed while they are written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from wordlab.hashed_file import PIECE_BYTES, HashedFile, write_hashed
from wordlab.shards import write_batch


@pytest.mark.parametrize("size", [0, 1, 1000, PIECE_BYTES, 3 * PIECE_BYTES + 5])
def test_bytes_and_hash_are_those_of_a_file_written_and_read(tmp_path: Path, size: int) -> None:
    numbers = np.random.default_rng(size).integers(0, 255, size, dtype=np.uint8)
    batch = pa.record_batch({"number": pa.array(numbers), "large": pa.array(numbers.astype(np.int64))})
    write_batch(tmp_path / "plain", batch)
    digest = write_hashed(tmp_path / "hashed", batch).finish()
    assert (tmp_path / "hashed").read_bytes() == (tmp_path / "plain").read_bytes()
    assert digest == hashlib.sha256((tmp_path / "plain").read_bytes()).hexdigest()


def test_pieces_are_hashed_in_their_order_whatever_their_size(tmp_path: Path) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate((3, PIECE_BYTES, 5, 2 * PIECE_BYTES, 1))]
    file = HashedFile(tmp_path / "file")
    for piece in pieces:
        file.write(piece)
    assert file.finish() == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def test_what_was_written_may_change_at_once(tmp_path: Path) -> None:
    data = np.zeros(4 * PIECE_BYTES, dtype=np.uint8)
    file = HashedFile(tmp_path / "file")
    file.write(data)
    data[:] = 1
    assert file.finish() == hashlib.sha256(bytes(len(data))).hexdigest()


def test_what_the_system_writes_in_parts_is_written_whole(tmp_path: Path) -> None:
    """A write may take less than it is given, as one of more than 2 GiB does."""
    file = HashedFile(tmp_path / "file")
    given = file._file

    class Hesitant:
        fileno, close = given.fileno, given.close

        def write(self, data: memoryview) -> int:
            return given.write(data[:3])

    file._file = Hesitant()  # type: ignore[assignment]
    data = np.arange(5, dtype=np.int32)
    assert file.write(data) == file.tell() == 20
    assert file.finish() == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "file").read_bytes() == data.tobytes()


def test_a_file_that_was_cut_meanwhile_is_an_error(tmp_path: Path) -> None:
    file = HashedFile(tmp_path / "file")
    file.write(b"abc")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="ends at 0 bytes, but 3 were written"):
        file.finish()


def test_a_full_disk_is_an_error_of_its_kind() -> None:
    batch = pa.record_batch({"number": pa.array(np.zeros(PIECE_BYTES, dtype=np.int32))})
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_hashed(Path("/dev/full"), batch)
    assert caught.value.errno is not None
