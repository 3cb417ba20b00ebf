"""Readers of Arrow files: vocabularies and dictionaries, sampling tables, shards of word ids.

Arrow reads in compiled code, so the odd files among the seeds matter more than in other formats: well-formed files of
what our writers never write, such as compressed batches, nulls, offsets that fall, text that is no UTF-8.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.fuzz.reader import Execution, Reader, replace_file
from wordlab.errors import ArtifactError
from wordlab.phrases import PHRASES_SCHEMA, Phrases, join_phrases, pair_tables
from wordlab.shards import (
    DICTIONARY_SCHEMA,
    SENTENCES_SCHEMA,
    map_batch,
    map_sentences,
    string_buffers,
    write_batch,
    write_sentences,
)
from wordlab.vocab import SAMPLING_SCHEMA, SamplingTables, Vocab, vocabulary_sources
from wordlab.word_index import WordIndex
from wordlab.wordtable import WordTable

WORDS = ["the", "king", "queen", "한국", "naïve"]


def written(batches: list[pa.RecordBatch], schema: pa.Schema, **options: object) -> bytes:
    """An Arrow file of any batches, with any of Arrow's options."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _strange(schema: pa.Schema, columns: list[pa.Array]) -> list[bytes]:
    """One batch in every form but the one that our writers choose, and other batches in that form."""
    good = pa.record_batch(columns, schema=schema)
    odd = schema.with_metadata({b"fingerprint": b"\xff\xfe", b"\x00": b"", b"tokens": b"x" * 999})
    other = pa.schema([pa.field("x", pa.dictionary(pa.int8(), pa.string()))])
    nested = pa.schema([pa.field("word", pa.list_(pa.struct([pa.field("a", pa.map_(pa.int8(), pa.date32()))])))])
    files = [written([good], schema, compression=name) for name in ("lz4", "zstd")]
    files += [written(batches, schema) for batches in ([], [good, good])]
    files += [
        written([pa.record_batch(columns, schema=odd)], odd),
        written([pa.record_batch([pa.array(["a"]).dictionary_encode().cast(other.types[0])], schema=other)], other),
        written([pa.record_batch([pa.array([[{"a": [(1, None)]}]], nested.types[0])], schema=nested)], nested),
        written([good.slice(1, 1)], schema),
        written([good.slice(0, 0)], schema),
        written([good], schema, metadata_version=pa.ipc.MetadataVersion.V4),
        written([good], schema, use_legacy_format=True),
    ]
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, schema) as writer:
        writer.write_batch(good)
    return [*files, stream.getvalue().to_pybytes(), b"ARROW1\0\0" + b"\0" * 40 + b"\x10\0\0\0ARROW1"]


def words_with(offsets: list[int], utf8: bytes) -> bytes:
    """A file of words whose offsets and bytes nobody has checked; as many bytes as words."""
    letters = [chr(ord("a") + i) for i in range(len(utf8))]
    batch = pa.record_batch(
        [pa.array(letters, pa.large_string()), pa.array(range(len(utf8)))], schema=DICTIONARY_SCHEMA
    )
    honest = np.arange(len(utf8) + 1).tobytes()
    data = written([batch], DICTIONARY_SCHEMA)
    assert data.count(honest) == 1 and len(offsets) == len(utf8) + 1
    return data.replace(honest, np.array(offsets).tobytes()).replace("".join(letters).encode(), utf8)


def _word_seeds(folder: Path) -> list[bytes]:
    path = folder / "x"
    Vocab.build(WORDS, [5, 4, 3, 2, 1]).save(path, tokens="0123")
    seeds = [path.read_bytes()]
    counts = pa.array(np.array([5, 4, 3, 2, 1]))
    seeds += _strange(DICTIONARY_SCHEMA, [pa.array(WORDS, pa.large_string()), counts])
    seeds += [
        words_with([0, 3, 1, 5, 2, 4], b"abcde"),
        words_with([0, 3, 4, 5, 6, 1 << 40], b"abcde"),
        words_with([0, -3, 4, 5, 5, 5], b"abcde"),
        words_with([0, 1, 2, 3, 4, 5], b"\xff\xfe\x80\xed\xa0"),
        words_with([0, 0, 0, 0, 0, 0], b"abcde"),
    ]
    for words in (pa.array(["a", None, "b", "", "a"], pa.large_string()), pa.array([""] * 5, pa.large_string())):
        seeds.append(written([pa.record_batch([words, counts], schema=DICTIONARY_SCHEMA)], DICTIONARY_SCHEMA))
    write_batch(
        path,
        pa.record_batch([pa.array(WORDS, pa.large_string()), pa.array([1, None, 2, 3, 4])], schema=DICTIONARY_SCHEMA),
    )
    return [*seeds, path.read_bytes()]


def _open_words(folder: Path) -> Execution:
    path = folder / "words.arrow"

    def execute(data: bytes) -> str:
        replace_file(path, data)
        batch = map_batch(path, DICTIONARY_SCHEMA, "tokenize")
        words, counts = batch.column(0), batch.column(1).to_numpy()
        index = WordIndex(words)
        assert len(index.words) == len(counts) == len(words)
        for word in (*WORDS[:2], *index.words[:2]):
            row = index.find(word)
            assert row == -1 or index[row] == word
        offsets, utf8 = string_buffers(words)
        assert [bytes(utf8[a:b]) for a, b in pairwise(offsets)] == [word.encode() for word in index.words]
        vocabulary_sources(path)
        try:
            vocab = Vocab.load(path)
        except ArtifactError:
            return "words without their fingerprint"
        assert vocab.words == index.words
        return "a vocabulary"

    return execute


def _sampling_seeds(folder: Path) -> list[bytes]:
    vocab = Vocab.build(WORDS, [5, 4, 3, 2, 1])
    SamplingTables.build(vocab.counts, 1e-3, 0.75).save(folder / "x", vocab.fingerprint)
    columns = [pa.array(np.ones(5, np.float32)), pa.array(np.full(5, 0.2))]
    with_null = pa.record_batch([columns[0], pa.array([0.1, None, 0.2, 0.3, 0.4])], schema=SAMPLING_SCHEMA)
    return [(folder / "x").read_bytes(), *_strange(SAMPLING_SCHEMA, columns), written([with_null], SAMPLING_SCHEMA)]


def _open_sampling(folder: Path) -> Execution:
    path = folder / "sampling.arrow"
    vocab = Vocab.build(WORDS, [5, 4, 3, 2, 1])

    def execute(data: bytes) -> str:
        replace_file(path, data)
        tables = SamplingTables.load(path, vocab)
        assert tables.keep_probability.shape == tables.noise_probability.shape == (5,)
        assert tables.keep_probability.min() > 0 and tables.keep_probability.max() <= 1
        assert tables.noise_probability.min() >= 0 and abs(tables.noise_probability.sum() - 1) <= 1e-6
        return "sampling tables"

    return execute


def _phrase_columns(numbers: list[int]) -> list[pa.Array]:
    words, integers = pa.array(WORDS, pa.large_string()), pa.array([5, 4, 3, 2, 1])
    return [pa.array(numbers, pa.int32()), words, words.take([1, 2, 3, 4, 4]), integers, integers, pa.array([2.0] * 5)]


def _phrase_seeds(folder: Path) -> list[bytes]:
    seeds = _strange(PHRASES_SCHEMA, _phrase_columns([1, 1, 2, 2, 3]))
    for numbers in ([1, 1, 1, 1, 1], [1, 2, 3, 1 << 20, (1 << 31) - 1], [3, 2, 1, 0, -1], [0, 0, 0, 0, 0]):
        batch = pa.record_batch(_phrase_columns(numbers), schema=PHRASES_SCHEMA)
        write_batch(folder / "x", batch)
        seeds.append((folder / "x").read_bytes())
        write_batch(folder / "x", batch.take(pa.array([0, 0, 1, 2, 2, 2])))  # the same pair twice
        seeds.append((folder / "x").read_bytes())
    return seeds


def _open_phrases(folder: Path) -> Execution:
    path = folder / "phrases.arrow"

    def execute(data: bytes) -> str:
        replace_file(path, data)
        try:
            phrases = Phrases.load(path, "")
        except ArtifactError as error:
            if "holds phrases" not in str(error):
                raise
            phrases = Phrases.load(path, Phrases(map_batch(path, PHRASES_SCHEMA, "vocab")).fingerprint)
        table = WordTable()
        table.add(pa.array(WORDS, pa.large_string()))
        passes = pair_tables(phrases, table)
        assert sum(len(pairs.joined) for pairs in passes) == len(phrases)
        ids, offsets = np.arange(len(table) + 1, dtype=np.int32), np.array([0, 3, 3, len(table) + 1])
        left = join_phrases(passes, ids, offsets)
        assert len(left) == offsets[-1] <= len(ids) and (np.diff(offsets) >= 0).all() and left.max() <= len(table)
        return "phrases"

    return execute


def _sentence_seeds(folder: Path) -> list[bytes]:
    path = folder / "x"
    ids = np.arange(9, dtype=np.int32)
    seeds = []
    for offsets in ([0, 4, 4, 7, 9], [0, 9]):
        write_sentences(path, ids, np.array(offsets))
        seeds.append(path.read_bytes())
    write_sentences(path, ids[:0], np.array([0]))
    seeds.append(path.read_bytes())
    kind = SENTENCES_SCHEMA.types[0]
    lists = pa.array([[1, 2], [], [3]], kind)
    seeds += _strange(SENTENCES_SCHEMA, [lists])
    for offsets in ([0, 5, 2, 9, 9], [0, -5, 2, 9, 9], [0, 3, 2, 1 << 40, 9], [1, 2, 3, 4, 9], [0, 1, 2, 3, 4]):
        seeds.append(seeds[0].replace(np.array([0, 4, 4, 7, 9]).tobytes(), np.array(offsets).tobytes()))
    for column in (pa.array([[1, None], None, [3]], kind), pa.array([[1, None], [], [3]], kind)):
        write_batch(path, pa.record_batch([column], schema=SENTENCES_SCHEMA))
        seeds.append(path.read_bytes())
    return seeds


def _open_sentences(folder: Path) -> Execution:
    path = folder / "ids-00000.arrow"

    def execute(data: bytes) -> str:
        replace_file(path, data)
        ids, offsets = map_sentences(path, "encode", verify=len(data) % 2 == 0)
        assert ids.dtype == np.int32 and offsets.dtype == np.int64 and ids.nbytes + offsets.nbytes <= len(data)
        assert offsets[0] == 0 and offsets[-1] == len(ids) and (np.diff(offsets) >= 0).all()
        ids.tobytes()
        return "sentences"

    return execute


_TOKENS = (
    *(b"ARROW1", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\0" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\0\0\0\x80"),
    *(b"\x04\0\0\0", b"\x10\0\0\0", b"\xf0\xff\xff\xff", b"\x01\0\0\0\0\0\0\0", b"word", b"count", b"item"),
)

READERS = (
    Reader("words-arrow", "vocabularies and shards' dictionaries", _open_words, _word_seeds, _TOKENS),
    Reader("sampling-arrow", "sampling tables", _open_sampling, _sampling_seeds, _TOKENS),
    Reader("phrases-arrow", "lists of phrases", _open_phrases, _phrase_seeds, _TOKENS),
    Reader("sentences-arrow", "shards of word ids", _open_sentences, _sentence_seeds, _TOKENS),
)
