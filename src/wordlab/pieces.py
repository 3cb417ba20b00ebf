"""Tokenizer `sentencepiece`: text cut into pieces of words by a model that the stage has trained."""

from __future__ import annotations

import functools
import marshal
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import sentencepiece
from numpy.typing import NDArray

from wordlab.errors import ArtifactError
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.tokencount import split_sentences
from wordlab.tokenizers import character_classes, fold_text
from wordlab.wordtable import kernel

_ENCODED_AT_ONCE = 4096
"""Sentences that the library is given at a time."""
MODEL = "sentencepiece.model"
_MARSHAL_VERSION, _RECORD_BYTES = 2, 5
_LIST, _NUMBER = ord("["), ord("i")


def load_pieces(path: Path) -> sentencepiece.SentencePieceProcessor:
    """Read a model that `train_pieces` wrote. Raises ArtifactError where it is none.

    The library trusts what a model says of itself: never open one from elsewhere. This stage reads what it wrote.
    """
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError, UnicodeDecodeError) as error:  # the last: its message quotes bytes of the file
        raise ArtifactError(f"{path} is no sentencepiece model: {error}. Run: dvc repro tokenize") from None


def count_pieces(
    text: bytes, config: TokenizeConfig, model: Path, dropped: Counter[str]
) -> tuple[NDArray[np.int32], NDArray[np.int64], pa.LargeStringArray]:
    """Split text into sentences of pieces. Characters outside the model are dropped, and counted as unknown pieces.

    A part at a time, so that the library's pieces and what is made of them stay in the processor's cache.
    """
    processor = _kept_pieces(model, model.stat().st_mtime_ns if model.exists() else 0)
    numbering = Numbering(processor.get_piece_size(), processor.unk_id())
    sentences = folded_sentences(text, config)
    for start in range(0, len(sentences), _ENCODED_AT_ONCE):
        found = processor.encode(sentences[start : start + _ENCODED_AT_ONCE], num_threads=1)  # a worker is one core
        numbering.add(found)
    dropped["unknown_pieces"] += numbering.num_unknown
    ids, offsets = numbering.sentences()
    return ids, offsets, pa.array(processor.id_to_piece(numbering.pieces()), pa.large_string())


@functools.lru_cache(maxsize=1)
def _kept_pieces(path: Path, written: int) -> sentencepiece.SentencePieceProcessor:
    """The model, read once for all shards of a worker. written: when the file was, so that no other is meant."""
    return load_pieces(path)


class Numbering:
    """Pieces of a model -> ids in the order of first appearance, without the unknown piece."""

    def __init__(self, num_pieces: int, unknown: int) -> None:
        self.unknown = unknown
        self.num_unknown = 0
        """Of all that were added."""
        self._local = np.full(num_pieces, -1, dtype=np.int32)
        self._pieces = np.empty(num_pieces, dtype=np.int32)
        self._num_pieces = 0
        self._ids = [np.empty(0, dtype=np.int32)]
        self._lengths = [np.zeros(1, dtype=np.int64)]

    def add(self, found: list[list[int]]) -> None:
        """Sentences of pieces, as the library gives them; what is left empty is no sentence.

        They come to the kernel by way of `marshal`, a third of the time of any conversion of NumPy's. In its version 2
        a list is `[` and its length, an int `i` and its value, both of four bytes: all of it is records of five bytes.
        """
        records = np.frombuffer(marshal.dumps(found, _MARSHAL_VERSION), dtype=np.uint8)
        ids, lengths = np.empty(len(records) // _RECORD_BYTES, dtype=np.int32), np.empty(len(found), dtype=np.int64)
        state = (self.unknown, self._local, self._pieces, self._num_pieces)
        num_tokens, num_sentences, self._num_pieces, num_unknown = _number_pieces(records, *state, ids, lengths)
        assert num_tokens >= 0, "marshal or the library gave what is no list of lists of pieces"
        self.num_unknown += num_unknown
        self._ids.append(ids[:num_tokens])
        self._lengths.append(lengths[:num_sentences])

    def sentences(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids of all that was added, and the offsets of the sentences."""
        return np.concatenate(self._ids), np.cumsum(np.concatenate(self._lengths), dtype=np.int64)

    def pieces(self) -> list[int]:
        """The model's pieces, by id."""
        found: list[int] = self._pieces[: self._num_pieces].tolist()
        return found


@kernel
def _record(records, place):
    """Kind and value of the record that begins at `place`."""
    value = np.int64(records[place + 1]) | np.int64(records[place + 2]) << 8
    return records[place], value | np.int64(records[place + 3]) << 16 | np.int64(records[place + 4]) << 24


@kernel
def _number_pieces(records, unknown, local, pieces, num_pieces, ids, lengths):
    """Sets ids and lengths of the sentences in `records`, local ids by piece, and pieces by local id.

    Returns the numbers of tokens, of sentences, of all distinct pieces so far, and of unknown ones; the first is -1
    where a record is not what it has to be.
    """
    num_tokens, num_sentences, num_unknown = 0, 0, 0
    place = _RECORD_BYTES  # the first is that of the list of lists
    while place + _RECORD_BYTES <= len(records):
        kind, size = _record(records, place)
        place += _RECORD_BYTES
        if kind != _LIST or place + size * _RECORD_BYTES > len(records):
            return -1, 0, 0, 0
        before = num_tokens
        for _ in range(size):
            kind, piece = _record(records, place)
            place += _RECORD_BYTES
            if kind != _NUMBER or piece >= len(local):
                return -1, 0, 0, 0
            if piece == unknown:
                num_unknown += 1
                continue
            if local[piece] < 0:
                local[piece] = num_pieces
                pieces[num_pieces] = piece
                num_pieces += 1
            ids[num_tokens] = local[piece]
            num_tokens += 1
        if num_tokens > before:
            lengths[num_sentences] = num_tokens - before
            num_sentences += 1
    return num_tokens, num_sentences, num_pieces, num_unknown


def folded_sentences(text: bytes, config: TokenizeConfig) -> list[bytes]:
    """The sentences of a text in the form in which they are cut into pieces, in UTF-8, as the library reads them."""
    spans = split_sentences(text, character_classes("sentencepiece", config.sentences))
    starts, stops = spans[:, 0].tolist(), spans[:, 1].tolist()
    folded = text.lower() if config.lowercase else text  # of bytes: ASCII letters alone, often all
    sentences = list(map(folded.__getitem__, map(slice, starts, stops)))
    if sentences:
        # of each sentence up to the next: too many at times, which is no harm
        greatest = np.maximum.reduceat(np.frombuffer(text, dtype=np.uint8), spans[:, 0])
        for place in np.flatnonzero(greatest >= 0x80).tolist():
            sentences[place] = fold_text(sentences[place].decode(), config.lowercase).encode()
    return sentences
