"""Files of word vectors, read in whatever format they are and written in any: `names` lists the formats.

A format is a module of this package with four functions:

    recognises(file) -> bool            whether a file is of this format, as its content shows; names are not looked at
    describe(file) -> Description       what it holds, without reading vectors
    load(file, mmap) -> Contents        all of it; mapped where the format allows it
    save(path, contents) -> None        write it

They are imported when a file is read or written, so that whoever opens model folders depends on none of them.
"""

from __future__ import annotations

from pathlib import Path

from wordlab.errors import ArtifactError, QueryError, suggestion
from wordlab.formats.contents import Contents, Description, MappedFile, without_repeats
from wordlab.formats.names import FORMATS, Format

_LOOKED_FOR = ("fasttext", "safetensors", "numpy", "text", "binary", "glove")
"""In this order: what has a mark of its own first, then word2vec's header, then none."""
_OTHERS = {
    b"\x1f\x8b": "It is packed with gzip: unpack it first, with gunzip",
    b"BZh": "It is packed with bzip2: unpack it first, with bunzip2",
    b"\xfd7zXZ\0": "It is packed with xz: unpack it first, with unxz",
    b"\x28\xb5\x2f\xfd": "It is packed with zstd: unpack it first, with unzstd",
    b"\x80": "It may be a pickle, such as gensim's own, which could run anything: load it with the program that wrote "
    "it, and take its vectors over with Embeddings.from_keyed_vectors",
    b"\x93NUMPY": "It is an array without words: make an Embeddings(words, array)",
}
_SHOWN_BYTES = 40


def load(path: Path, mmap: bool = False) -> Contents:
    """Read a file in whatever format it is. mmap: map its vectors.

    Of a word that is listed twice the first row is kept, with a warning.
    Raises ArtifactError for a file of no known format or a damaged one, QueryError where the format cannot be mapped,
    ResourceError where the vectors do not fit in memory.
    """
    found, file = detect(path)
    if mmap and not found.maps:
        raise QueryError(
            f"{path} is a file in {found.form}, which cannot be memory-mapped. Load it without mmap=True, or write "
            "it in another format: wordlab export --format safetensors"
        )
    contents: Contents = found.functions.load(file, mmap)
    return without_repeats(file, contents)


def save(path: Path, name: str, contents: Contents) -> None:
    """Write a file in a format of this name; it appears when it is whole.

    Raises QueryError for an unknown name and for what the format cannot hold, ResourceError if the disk is too full.
    """
    if name not in FORMATS:
        raise QueryError(f"there is no format {name!r} of word vectors.{suggestion(name, list(FORMATS))}")
    FORMATS[name].functions.save(path, contents)


def describe(path: Path) -> tuple[Format, Description]:
    """Which format a file is in, and what can be told without reading its vectors. Raises ArtifactError."""
    found, file = detect(path)
    return found, found.functions.describe(file)


def detect(path: Path) -> tuple[Format, MappedFile]:
    """The format of a file, and the file mapped. Raises ArtifactError where it is in none."""
    file = MappedFile.open(path)
    for one in (FORMATS[name] for name in _LOOKED_FOR):
        taken = file.taken_for(one.form)
        if one.functions.recognises(taken):
            return one, taken
    begins = file.data[:_SHOWN_BYTES]
    hint = next((text for mark, text in _OTHERS.items() if begins.startswith(mark)), "Export or download it again")
    raise ArtifactError(
        f"{path} is in no format of word vectors that is known here ({', '.join(FORMATS)}): it begins with {begins!r}. "
        f"{hint}."
    )
