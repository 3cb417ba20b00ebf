"""Documents in a stream of text, for filters that leave out whole ones: an empty line after each, and none within.

Readers of pages and rows write them so; of plain text, what stands between empty lines is a document as it is.
"""

from __future__ import annotations

import re

EMPTY_LINE = re.compile(rb"\n[ \t\r]{0,16}\n")
"""What ends a document: a line with nothing on it, or a few blanks."""
LONGEST_EMPTY_LINE = 18
SHORTEST_EMPTY_LINE = 2


def as_document(text: bytes) -> bytes:
    """The text as one document, whatever empty lines it has; nothing of a blank one."""
    lines = [line for line in text.split(b"\n") if line.strip()]
    return b"\n".join(lines) + b"\n\n" if lines else b""


def split_documents(text: bytes) -> list[bytes]:
    """The documents of a text, those that are blank left out."""
    return [document for document in EMPTY_LINE.split(text) if document.strip()]
