"""The formats of word vectors: what they are called, and where each is written and read."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Format:
    """One format."""

    name: str
    """As in `Embeddings.save(path, format=...)` and `wordlab export --format ...`."""
    suffix: str
    """Of a file's name, where nobody gives another."""
    form: str
    """For messages."""
    module: str
    maps: bool = False
    """Whether vectors can be mapped instead of read."""

    @property
    def functions(self) -> Any:
        """The module, imported when it is needed."""
        return import_module(f"wordlab.formats.{self.module}")


FORMATS = {
    one.name: one
    for one in (
        Format("text", ".vec", "word2vec's text format", "word2vec_text"),
        Format("binary", ".bin", "word2vec's binary format", "word2vec_binary"),
        Format("glove", ".txt", "GloVe's text format", "glove"),
        Format("fasttext", ".bin", "fastText's binary format", "fasttext_bin"),
        Format("safetensors", ".safetensors", "safetensors format", "safetensors", maps=True),
        Format("numpy", ".npz", "NumPy's format", "numpy_zip", maps=True),
    )
}
"""In the order of documentation."""
