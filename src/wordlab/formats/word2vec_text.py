"""word2vec's text format, as word2vec.c, gensim and fastText (its `.vec` files) write and read it.

    "V d\\n", then a line a word: the word and d decimal numbers, separated by single spaces

It cannot hold a word with white space in it, so such a word is refused rather than written for others to trip over.
"""

from __future__ import annotations

from pathlib import Path

from wordlab.formats import text_lines
from wordlab.formats.contents import Contents, Description, MappedFile, refuse_unwritable, writing
from wordlab.formats.word2vec_header import has_header, is_text, read_header
from wordlab.machine import require_memory


def recognises(file: MappedFile) -> bool:
    """Whether a file is of this format, as its beginning shows."""
    return has_header(file) and is_text(file)


def describe(file: MappedFile) -> Description:
    """The header. Raises ArtifactError."""
    header = read_header(file)
    return Description(header.num_words, header.dim)


def load(file: MappedFile, mmap: bool) -> Contents:
    """Words and vectors. Raises ArtifactError for a truncated or damaged file, ResourceError for one too large."""
    header = read_header(file)
    line = text_lines.first_line(file, header.start, header.dim)
    found = len(line.split()) - 1
    if found != header.dim:
        raise file.damaged(f"its first line promises {header.dim} dimensions, but the first word has {found} numbers")
    require_memory(4 * header.num_words * header.dim, f"the vectors of {file.path}", "a file with fewer words")
    words, vectors = text_lines.parse(file, 1, header.num_words, line)
    if len(words) < header.num_words:
        raise file.damaged(f"its first line promises {header.num_words} words, but {len(words)} follow")
    return Contents(words, vectors)


def save(path: Path, contents: Contents) -> None:
    """Write words and vectors. Raises QueryError for a word that the format cannot hold."""
    words, vectors = contents.words, contents.vectors
    refuse_unwritable(words, path, "word2vec's formats")
    with writing(path, words.nbytes + vectors.size * text_lines.BYTES_A_NUMBER) as file:
        file.write(b"%d %d\n" % vectors.shape)
        file.writelines(text_lines.formatted(words, vectors))
