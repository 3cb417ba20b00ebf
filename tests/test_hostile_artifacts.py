"""Hostile vectors, Arrow files and manifests: refused with a message, at no cost beyond their size."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.arrow_files import words_with, written
from tests.helpers import make_model_folder
from wordlab.counting import build_vocab
from wordlab.embeddings import Embeddings
from wordlab.encoding import encode_corpus
from wordlab.errors import ArtifactError
from wordlab.formats import registry
from wordlab.rawtext import corpus_files
from wordlab.shards import DICTIONARY_SCHEMA, SENTENCES_SCHEMA, EncodedCorpus, map_batch, map_sentences, string_buffers
from wordlab.vocab import Vocab


def file_of(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# ---- vectors


def with_vectors(folder: Path, data: bytes) -> Path:
    """A model folder whose input_vectors.npy has these bytes, as its manifest agrees."""
    model = make_model_folder(folder / "model")
    manifest = json.loads((model / "manifest.json").read_bytes())
    manifest["files"]["input_vectors.npy"] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (model / "manifest.json").write_text(json.dumps(manifest))
    file_of(model, data, "input_vectors.npy")
    return model


class Mischief:
    """Would leave a trace where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("unpickled"),))


@pytest.mark.parametrize("mmap", [True, False])
def test_an_array_of_pickled_objects_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mmap: bool) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("objects.npy", np.array([[Mischief()] * 4] * 5, object), allow_pickle=True)
    with pytest.raises(ArtifactError, match=r"input_vectors\.npy (?:does not begin|holds '\|O')"):
        Embeddings.load(with_vectors(tmp_path, Path("objects.npy").read_bytes()), mmap)
    assert not Path("unpickled").exists()


def header(shape: bytes, kind: bytes = b"<f4") -> bytes:
    text = b"{'descr': '%b', 'fortran_order': False, 'shape': %b, }" % (kind, shape)
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        header(b"(5, 999999999999999999)"),  # more bytes than an int64 counts
        header(b"(5, 4611686018427387904)"),
        header(b"(5, -4)") + bytes(80),
        header(b"(5 5, 4)") + bytes(80),
        header(b"(" * 200) + bytes(80),  # too deep for Python's parser
        header(b"(5, 4)", b"(2,)<f4") + bytes(160),
        header(b"(5, 4)").replace(b"\x01\x00", b"\x01\x00", 1)[:-1] + b"x" + bytes(80),
        header(b"(5, 4)") + bytes(79),
        header(b"(5, 4)") + bytes(81),
        header(b"(5, __import__('os').mkdir('x'))") + bytes(80),
    ],
)
def test_a_lying_npy_header_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"input_vectors\.npy .* Run: dvc repro train"):
        Embeddings.load(with_vectors(tmp_path, data), mmap=True)
    good = with_vectors(tmp_path / "good", header(b"(5, 4)") + bytes(80))
    assert Embeddings.load(good, mmap=True).dim == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"1 100000\nw" + b" 1" * 100_000 + b"\n", "promises 100000 dimensions, but 65536 are the most"),
        (b"1 2\nw" + b" 1" * 500_000, "promises 2 dimensions, but the first word has"),
        (b"9223372036854775808 1\na 1\n", "promises 9223372036854775808 words of 1 dim"),
        (b"999999999999999999 999999999999999999\na 1\n", "bytes at least, but 4 follow"),
        (b"999999999999999999 1\na 1\n", "which take 2999999999999999997 bytes at least"),
        (b"1 1\n\xff\xfe 1\n", "after row 0: .*UTF8"),
    ],
)
def test_a_hostile_word2vec_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        registry.load(file_of(tmp_path, data))


def test_a_message_does_not_repeat_a_long_line(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="after row 0: ") as caught:
        registry.load(file_of(tmp_path, b"2 1\na 1\nb " + b"x" * 9000 + b"\n"))
    assert len(str(caught.value)) < 1000


def test_vectors_that_are_not_finite_hide_no_others(tmp_path: Path) -> None:
    """Such a file is read as it is; its words come last, where NaN would leave no word to be found."""
    text = b"4 2\nbad 1 nan\na 1 0.1\nb 1 0.2\nc -1 0\n"
    model = Embeddings.load(file_of(tmp_path, text))
    assert [word for word, _ in model.nearest("a", 3)] == ["b", "c", "bad"]


def test_one_endless_line_is_not_taken_apart_to_its_end(tmp_path: Path) -> None:
    """20 MB of numbers behind one word: as Python objects they would be a gigabyte."""
    path = file_of(tmp_path, b"1 2\nw" + b" 1" * 10_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match="promises 2 dimensions, but the first word has"):
            registry.load(path)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@given(
    st.lists(st.lists(st.text(max_size=4) | st.floats(width=32).map(str), max_size=4).map(" ".join), max_size=5),
    st.sampled_from(["1 1", "2 1", "2 2", "3 3", "0 0", "2"]),
)
@settings(max_examples=150, deadline=None)
def test_any_text_is_vectors_or_an_error(tmp_path_factory: Any, lines: list[str], first: str) -> None:
    text = "\n".join([first, *lines, ""]).encode(errors="surrogatepass")
    path = file_of(tmp_path_factory.getbasetemp(), text, "any.vec")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* more than once")
        try:
            loaded = registry.load(path)
        except ArtifactError:
            return
    assert loaded.vectors.shape[0] == len(loaded.words) > 0


# ---- Arrow files


def dictionary(words: list[str | None], counts: list[int | None]) -> bytes:
    columns = [pa.array(words, pa.large_string()), pa.array(counts, pa.int64())]
    return written([pa.record_batch(columns, schema=DICTIONARY_SCHEMA)], DICTIONARY_SCHEMA)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (words_with([0, 3, 1, 3], b"abc"), "is damaged"),  # a string of -2 bytes
        (words_with([0, -3, 1, 3], b"abc"), "is damaged"),
        (words_with([0, 1, 2, 1 << 40], b"abc"), "is damaged"),
        (words_with([0, 1, 2, 3], b"\xff\xfe\x80"), "is damaged: .*UTF8"),
        (dictionary(["a", None], [1, 2]), "is damaged: it holds nulls"),
        (dictionary(["a", "b"], [1, None]), "is damaged: it holds nulls"),
    ],
)
def test_words_that_would_mislead_their_readers_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=rf"{message}.* Run: dvc repro vocab"):
        Vocab.load(file_of(tmp_path, data))


def test_offsets_that_end_within_a_number_are_read_up_to_there(tmp_path: Path) -> None:
    """Arrow takes a buffer that is longer than it need be, by any number of bytes."""
    data = words_with([0, 1, 2, 3, 4, 5], b"abcde")
    honest, lying = struct.pack("<q", 48), struct.pack("<q", 49)  # bytes of six offsets
    places = [at for at in range(len(data)) if data.startswith(honest, at)]
    read = 0
    for at in places:
        path = file_of(tmp_path, data[:at] + lying + data[at + 8 :])
        try:
            offsets, _ = string_buffers(map_batch(path, DICTIONARY_SCHEMA, "vocab").column(0))
        except ArtifactError:
            continue
        assert offsets.tolist() == [0, 1, 2, 3, 4, 5]
        read += 1
    assert read > 0


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_compressed_batch_is_refused_before_it_is_unpacked(tmp_path: Path, compression: str) -> None:
    """100 MB of zeros in a few kilobytes."""
    zeros = pa.array(np.zeros(25_000_000, np.int32))
    lists = pa.LargeListArray.from_arrays(pa.array(np.array([0, 25_000_000])), zeros)
    data = written([pa.record_batch([lists], schema=SENTENCES_SCHEMA)], SENTENCES_SCHEMA, compression=compression)
    path = file_of(tmp_path, data)
    del zeros, lists
    taken = pa.total_allocated_bytes()
    with pytest.raises(ArtifactError, match=r"file is compressed, so it cannot be mapped. Run: dvc repro encode"):
        map_sentences(path)
    assert pa.total_allocated_bytes() <= taken and len(data) < 1_000_000


def test_sentences_with_a_missing_id_are_refused(tmp_path: Path) -> None:
    column = pa.array([[1, None], [3]], SENTENCES_SCHEMA.types[0])
    path = file_of(tmp_path, written([pa.record_batch([column], schema=SENTENCES_SCHEMA)], SENTENCES_SCHEMA))
    with pytest.raises(ArtifactError, match=r"is damaged: .* Run: dvc repro encode"):
        map_sentences(path)


def test_metadata_that_is_no_text_is_refused(tmp_path: Path) -> None:
    schema = DICTIONARY_SCHEMA.with_metadata({"fingerprint": b"\xff\xfe"})
    batch = pa.record_batch([pa.array(["a"], pa.large_string()), pa.array([1])], schema=schema)
    with pytest.raises(ArtifactError, match=r"is damaged: 'utf-8' codec .* Run: dvc repro vocab"):
        Vocab.load(file_of(tmp_path, written([batch], schema)))


def test_a_file_of_another_schema_is_refused_before_its_data_is_read(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("x", pa.dictionary(pa.int8(), pa.string()))])
    column = pa.array(["a"]).dictionary_encode().cast(schema.types[0])
    path = file_of(tmp_path, written([pa.record_batch([column], schema=schema)], schema))
    with pytest.raises(ArtifactError, match=r"has 1 record batches of form x: dictionary"):
        map_batch(path, DICTIONARY_SCHEMA, "vocab")


# ---- manifests


@pytest.mark.parametrize(
    "entry",
    [None, [], {}, {"path": "text"}, {"path": 1, "format": "text", "size_bytes": 7}]
    + [
        {"path": path, "format": "text", "size_bytes": 7}
        for path in ("../text", "/etc/passwd", "a/../../b", "\0", "\ud800", "x" * 5000)
    ]
    + [{"path": "text", "format": "rar", "size_bytes": 7}, {"path": "text", "format": "text", "size_bytes": "7"}],
)
def test_a_manifest_that_lists_no_files_of_the_corpus_is_refused(tmp_path: Path, entry: Any) -> None:
    (tmp_path / "corpus").mkdir()
    file_of(tmp_path / "corpus", b"a text\n", "text")
    manifest = {"format": 1, "stage": "download", "files": {}, "corpus": {"own": False, "files": [entry]}}
    file_of(tmp_path / "corpus", json.dumps(manifest).encode(), "manifest.json")
    with pytest.raises(ArtifactError, match="Run: dvc repro download"):
        corpus_files(tmp_path, tmp_path / "source")


@pytest.mark.parametrize("name", ["\0", "\ud800", "../x", "/etc/passwd", "x" * 5000])
def test_a_manifest_that_lists_no_file_names_is_refused(tmp_path: Path, name: str) -> None:
    manifest = {"format": 1, "stage": "encode", "vocabulary": "0", "files": {name: {"size_bytes": 1, "sha256": "0"}}}
    file_of(tmp_path, json.dumps(manifest).encode(), "manifest.json")
    with pytest.raises(ArtifactError, match="Run: dvc repro encode"):
        EncodedCorpus.open(tmp_path)


@pytest.mark.parametrize("key", ["num_tokens", "num_sentences", "shards"])
def test_a_manifest_that_does_not_count_is_refused(tmp_path: Path, key: str) -> None:
    manifest = {"format": 1, "stage": "tokenize", "files": {}, "num_tokens": 1, "num_sentences": 1, "shards": []}
    file_of(tmp_path, json.dumps(manifest | {key: "1"}).encode(), "manifest.json")
    for read in (
        lambda: build_vocab(tmp_path, None, tmp_path),
        lambda: encode_corpus(tmp_path, Path(), None, tmp_path),
    ):
        with pytest.raises(
            ArtifactError, match=r"does not count shards, tokens and sentences\. Run: dvc repro tokenize"
        ):
            read()  # type: ignore[no-untyped-call]


def test_a_manifest_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    file_of(tmp_path, b'{"format": 1, "stage": "encode", "files": {}}', "manifest.json")
    with pytest.raises(ArtifactError, match=r"names no vocabulary\. Run: dvc repro encode"):
        EncodedCorpus.open(tmp_path)
