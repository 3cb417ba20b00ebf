"""What a file of word vectors holds, and what all readers and writers of such files need.

A reader gets the file mapped and believes nothing in it before it has compared it with the file's size. A writer writes
beside the place of the file, which appears when it is whole.
"""

from __future__ import annotations

import contextlib
import mmap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wordlab.artifacts import beside, unwritable_as_error
from wordlab.errors import ArtifactError, QueryError
from wordlab.machine import require_disk
from wordlab.shards import string_buffers

if TYPE_CHECKING:
    from wordlab.subword_vectors import SubwordVectors

BLOCK_NUMBERS = 1 << 20
"""Numbers written at a time."""
MAX_DIM = 1 << 16
"""Arrow holds about a kilobyte for each column it parses, so a file may not ask for any number of them."""
LONGEST_REASON = 600
"""Characters of what a file is told to be wrong with."""


@dataclass(frozen=True)
class Contents:
    """Words and what belongs to them, row by row; what a format cannot hold is None."""

    words: pa.LargeStringArray
    """V of them."""
    vectors: NDArray[np.float32]
    """Input vectors, shape (V, dim)."""
    counts: NDArray[np.int64] | None = None
    """Occurrences in the corpus, shape (V,)."""
    output_vectors: NDArray[np.float32] | None = None
    """Shape (V, dim)."""
    subwords: SubwordVectors | None = None
    """For words that are not in the list."""
    config: dict[str, Any] | None = None
    """How the model was trained, in sections and names of params.yaml, as far as it is known."""


@dataclass(frozen=True)
class Description:
    """What can be told of a file without reading its vectors."""

    num_words: int
    dim: int
    more: dict[str, str] = field(default_factory=dict)
    """Other things it holds, by name."""


class MappedFile:
    """A file mapped for reading.

    path: for messages.   data: its bytes.   form: what it is taken for, for messages, such as "GloVe's text format".
    """

    def __init__(self, path: Path, data: mmap.mmap, form: str = "a format known here") -> None:
        self.path, self.data, self.form = path, data, form

    def __len__(self) -> int:
        return len(self.data)

    @classmethod
    def open(cls, path: Path) -> MappedFile:
        """Raises ArtifactError for a file that is empty or cannot be read."""
        try:
            with path.open("rb") as file:
                return cls(path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:
            raise cls(path, mmap.mmap(-1, 1)).damaged("it is empty") from None
        except OSError as error:
            raise ArtifactError(
                f"{path} cannot be read: {error.strerror}. Check the name and that it is yours."
            ) from None

    def taken_for(self, form: str) -> MappedFile:
        """The same file, of a format that is known now."""
        return MappedFile(self.path, self.data, form)

    def damaged(self, what: str) -> ArtifactError:
        """An error that says what is wrong with the file, in a length that people read whatever the file names."""
        told = what if len(what) <= LONGEST_REASON else what[:LONGEST_REASON] + " ..."
        return ArtifactError(f"{self.path} is not a whole file in {self.form}: {told}. Export or download it again.")


@contextlib.contextmanager
def writing(path: Path, need_bytes: int) -> Iterator[IO[bytes]]:
    """A file to write to, which takes its place at `path` when all is written, and goes away when something fails.

    need_bytes: about what it will take. Raises ResourceError if the disk is too full, ArtifactError for a bad place.
    """
    temporary = beside(path)
    require_disk(need_bytes, path, "another disk")
    try:
        with unwritable_as_error(path, again="try again"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def row_blocks(vectors: NDArray[Any], kind: str = "<f4") -> Iterator[tuple[int, NDArray[Any]]]:
    """Rows in blocks of some megabytes, in C order and of this type, each with the number of its first row."""
    step = max(1, BLOCK_NUMBERS // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        yield start, np.ascontiguousarray(vectors[start : start + step], dtype=kind)


def first_unwritable(words: pa.LargeStringArray) -> int | None:
    """Row of the first word that is empty or has ASCII white space in it, which no format of words and spaces holds."""
    offsets, utf8 = string_buffers(words)
    written = utf8[offsets[0] : offsets[-1]]
    spaces = np.flatnonzero((written == ord(" ")) | (written - np.uint8(ord("\t")) < 5)) + offsets[0]  # \t \n \v \f \r
    rows = [*np.flatnonzero(np.diff(offsets) == 0)[:1], *(np.searchsorted(offsets, spaces[:1], side="right") - 1)]
    return int(min(rows)) if rows else None


def refuse_unwritable(words: pa.LargeStringArray, path: Path, whose: str) -> None:
    """Raise QueryError for a word that `first_unwritable` finds. whose: "word2vec's formats" or the like."""
    row = first_unwritable(words)
    if row is not None:
        raise QueryError(
            f"{path} was not written: {whose} cannot hold an empty word or one with white space in it, and "
            f"word {row} is {words[row].as_py()!r}. "
            "Replace the white space in such words, for instance by _, and make an Embeddings of the new words."
        )


def check_words(file: MappedFile, words: pa.LargeStringArray) -> None:
    """Raise ArtifactError for a word that `first_unwritable` finds."""
    row = first_unwritable(words)
    if row is not None:
        raise file.damaged(f"word {row} in it is empty or contains white space")


def without_repeats(file: MappedFile, contents: Contents) -> Contents:
    """Of a word that is listed twice the first row alone, with a warning.

    Raises ArtifactError where there are subwords: programs that read such files disagree on which row counts.
    """
    words = contents.words
    distinct = pc.count_distinct(words).as_py()
    if distinct == len(words):
        return contents
    if contents.subwords is not None:
        raise file.damaged(f"it lists {len(words) - distinct} words more than once")
    warnings.warn(
        f"{file.path} lists {len(words) - distinct} words more than once; the first row of each is kept", stacklevel=4
    )
    first = np.unique(pc.index_in(words, value_set=words).to_numpy())
    kept = {
        name: array[first]
        for name in ("vectors", "counts", "output_vectors")
        if (array := getattr(contents, name)) is not None
    }
    return replace(contents, words=words.take(pa.array(first)), **kept)
