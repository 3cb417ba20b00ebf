"""Files that are hashed while they are written."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from wordlab.hashed_file import LARGE_BYTES, HashedFile, write_hashed
from wordlab.shards import write_batch


@pytest.mark.parametrize("size", [0, 1, 1000, LARGE_BYTES, 3 * LARGE_BYTES + 5])
def test_bytes_and_hash_are_those_of_a_file_written_and_read(tmp_path: Path, size: int) -> None:
    numbers = np.random.default_rng(size).integers(0, 255, size, dtype=np.uint8)
    batch = pa.record_batch({"number": pa.array(numbers), "large": pa.array(numbers.astype(np.int64))})
    write_batch(tmp_path / "plain", batch)
    digest = write_hashed(tmp_path / "hashed", batch)
    assert (tmp_path / "hashed").read_bytes() == (tmp_path / "plain").read_bytes()
    assert digest == hashlib.sha256((tmp_path / "plain").read_bytes()).hexdigest()


def test_pieces_are_hashed_in_their_order_whatever_their_size(tmp_path: Path) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate((3, LARGE_BYTES, 5, 2 * LARGE_BYTES, 1))]
    with ExitStack() as stack:
        file = HashedFile(tmp_path / "file", stack)
        for piece in pieces:
            file.write(piece)
        assert file.finish() == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


def test_what_the_system_writes_in_parts_is_written_whole(tmp_path: Path) -> None:
    """A write may take less than it is given, as one of more than 2 GiB does."""

    class Hesitant:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: memoryview) -> int:
            self.data += bytes(data[:3])
            return min(3, len(data))

    with ExitStack() as stack:
        file, hesitant = HashedFile(tmp_path / "file", stack), Hesitant()
        file._file = hesitant  # type: ignore[assignment]
        assert file.write(np.arange(5, dtype=np.int32)) == 20
    assert hesitant.data == np.arange(5, dtype=np.int32).tobytes()


def test_a_full_disk_is_an_error_of_its_kind() -> None:
    batch = pa.record_batch({"number": pa.array(np.zeros(LARGE_BYTES, dtype=np.int32))})
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_hashed(Path("/dev/full"), batch)
    assert caught.value.errno is not None
