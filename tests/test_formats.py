"""Files of vectors: any format to any other, told by content; GloVe, safetensors and NumPy as others write them.

word2vec's formats: test_word2vec_formats.py. fastText's: test_fasttext_bin.py.
"""

from __future__ import annotations

import gzip
import json
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import refused
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, QueryError, ResourceError
from wordlab.formats import contents, named_arrays, registry, safetensors
from wordlab.formats.names import FORMATS

WORDS = [
    "\ufeffmark",
    "the",
    "naïve",
    "한국어",
    "don't",
    '"quoted"',
    "#",
    "null",
    "nan",
    "-1.5",
    "a\u00a0b",
    "\U0001f600",
]
FORM = pytest.mark.parametrize("form", FORMATS)
ARRAYS = pytest.mark.parametrize("form", ["safetensors", "numpy"])


def model_of(words: list[str], dim: int, **more: Any) -> Embeddings:
    return Embeddings(words, np.random.default_rng(dim).normal(size=(len(words), dim)).astype(np.float32), **more)


def assert_same(found: Embeddings, model: Embeddings) -> None:
    assert found.words == model.words
    assert found.input_vectors.view(np.uint32).tolist() == model.input_vectors.view(np.uint32).tolist()


# ---- all formats


@FORM
@pytest.mark.parametrize("other", FORMATS)
def test_any_format_becomes_any_other(tmp_path: Path, form: str, other: str) -> None:
    model = model_of(WORDS, 7)
    model.save(tmp_path / "first", form)
    Embeddings.load(tmp_path / "first").save(tmp_path / "second", other)
    assert registry.describe(tmp_path / "second")[0].name == other
    assert_same(Embeddings.load(tmp_path / "second"), model)


@FORM
@pytest.mark.parametrize("dim", [1, 3, 301])
def test_a_file_is_told_by_its_content(tmp_path: Path, form: str, dim: int) -> None:
    """Whatever it is called."""
    model = model_of(WORDS, dim)
    for name in ("x", "x.bin", "x.npz"):
        model.save(tmp_path / name, form)
        found, described = registry.describe(tmp_path / name)
        assert (found.name, described.num_words, described.dim) == (form, len(WORDS), dim)
        assert_same(Embeddings.load(tmp_path / name), model)


@FORM
def test_truncations_are_told_by_every_reader(tmp_path: Path, form: str) -> None:
    model_of(["one", "two", "three"], 3, counts=np.array([5, 3, 2])).save(tmp_path / "x", form)
    whole = (tmp_path / "x").read_bytes()
    last = len(whole) - 1 if form == "binary" else len(whole)  # the last newline of a binary file is no loss
    cuts = [
        at
        for at in [*range(0, last, 1 + last // 150), last - 1]
        if not (form == "glove" and whole[:at].endswith(b"\n"))
    ]  # GloVe counts no lines
    for length in cuts:
        refused(tmp_path / "cut", whole[:length])


@FORM
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_flipped_bytes_give_an_error_or_vectors(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flip") / "x"
    model_of(["one", "two", "three"], 3, counts=np.array([5, 3, 2])).save(path, form)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* more than once")
        try:
            model = Embeddings.load(path)
        except ArtifactError:
            return
    assert model.input_vectors.shape == (len(model), model.dim) and len(model) <= 4


@FORM
def test_equal_models_make_equal_files(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are written in many small blocks."""
    model = model_of([f"w{i}" for i in range(300)], 7, counts=np.arange(300, 0, -1))
    model.save(tmp_path / "one", form)
    monkeypatch.setattr(contents, "BLOCK_NUMBERS", 50)
    model.save(tmp_path / "many", form)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()


@FORM
def test_vectors_that_do_not_fit_in_memory_are_refused(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wordlab import machine

    model_of(WORDS, 3).save(tmp_path / "x", form)
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 100)
    with pytest.raises(ResourceError, match=r"the vectors of .*x need .* of memory, but 100 B are free"):
        Embeddings.load(tmp_path / "x")


def test_only_formats_of_arrays_can_be_mapped(tmp_path: Path) -> None:
    model = model_of(WORDS, 5)
    for form in FORMATS.values():
        model.save(tmp_path / "x", form.name)
        if not form.maps:
            with pytest.raises(QueryError, match=r"is a file in .* format, which cannot be memory-mapped\. Load it"):
                Embeddings.load(tmp_path / "x", mmap=True)
            continue
        mapped = Embeddings.load(tmp_path / "x", mmap=True)
        assert_same(mapped, model)
        assert not mapped.input_vectors.flags.owndata and not mapped.input_vectors.flags.writeable
        assert mapped.input_vectors.ctypes.data % 64 == 0  # where BLAS need not copy it


def test_an_unknown_format_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"there is no format 'glov' of word vectors\. Did you mean glove\?"):
        model_of(WORDS, 2).save(tmp_path / "x", "glov")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (gzip.compress(b"1 1\na 1\n"), "unpack it first, with gunzip"),
        (b"\x80\x04\x95", "Embeddings.from_keyed_vectors"),
        (b"\x93NUMPY\x01\x00", "an array without words"),
        (b"one two three\n", "download it again"),
        (b"\x00" * 100, "download it again"),
    ],
)
def test_a_file_in_no_known_format_is_told_with_what_to_do(tmp_path: Path, data: bytes, hint: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ArtifactError, match=f"is in no format of word vectors that is known here .*{hint}"):
        Embeddings.load(tmp_path / "x")


# ---- GloVe


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # gensim leaves the file open
def test_gensim_reads_our_glove_file(tmp_path: Path) -> None:
    model = model_of(WORDS, 3)
    model.save(tmp_path / "x", "glove")
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / "x"), no_header=True)
    assert theirs.index_to_key == WORDS and np.array_equal(theirs.vectors, model.input_vectors)


def test_words_with_spaces_in_a_glove_file_come_last(tmp_path: Path) -> None:
    """As in the file of 840 billion tokens; its numbers are read as all others are."""
    (tmp_path / "x").write_bytes(b"the 0.1 0.2\n. . . 0.3 7.038531e-26\nname@domain.com 1 2\nat name@domain.com 3 4\n")
    model = Embeddings.load(tmp_path / "x")
    assert model.words == ["the", "name@domain.com", ". . .", "at name@domain.com"]
    wanted = np.array([[0.1, 0.2], [1, 2], [0.3, 0], [3, 4]], np.float32)
    wanted.view(np.uint32)[2, 1] = 0x15AE43FD  # by way of a float64, 7.038531e-26 would become the number after this
    assert np.array_equal(model.input_vectors, wanted)
    with pytest.raises(QueryError, match=r"GloVe's format cannot hold .* white space in it, and word 2 is '\. \. \.'"):
        model.save(tmp_path / "y", "glove")


def test_a_damaged_glove_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert "Expected 3 columns, got 5" in refused(path, b"a 1 2\nb 3 4 5 6\n")  # two lines that ran together
    assert "Expected 3 columns, got 2" in refused(path, b"a 1 2\nb 3\n")
    assert "Expected 3 columns, got 4" in refused(path, b"a 1 2\nb 3  \n")
    assert "Expected 3 columns, got 4" in refused(path, b"a 1 2\n3   \n")
    assert "it has 3 lines, but 2 words with numbers" in refused(path, b"a 1.5 2\n\nb 3.5 4\n")
    assert "it has 3 lines, but 4 words with numbers" in refused(path, b"a 1.5 2\nb 3.5 4\rc 5.5 6\n. . 1 2\n")
    assert "Expected 3 columns, got 4" in refused(path, b"a 1 \n1   \n"), "a number without a word"
    assert "its last line has no end" in refused(path, b"a 1 2\nb 3 4")
    assert "UTF8" in refused(path, b"a 1 2\n\xff 3 4\n")
    assert "Expected 3 columns, got 4" in refused(path, b"a 1 2\n\xff b 3 4\n")
    assert "too many for 12 bytes where the first has 3" in refused(path, b"a 1 2 3\n\n\n\n\n")
    assert "more than 65536 numbers" in refused(path, b"w" + b" 1" * 65_537 + b"\n")


def test_a_glove_file_that_would_read_as_word2vecs_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="reads as the header of word2vec's format"):
        Embeddings(["12", "b"], np.array([[3], [4]], np.float32)).save(tmp_path / "x", "glove")
    Embeddings(["12", "b"], np.array([[3.5], [4]], np.float32)).save(tmp_path / "x", "glove")
    assert Embeddings.load(tmp_path / "x").words == ["12", "b"]


# ---- safetensors and NumPy


@ARRAYS
def test_counts_and_output_vectors_are_kept(tmp_path: Path, form: str) -> None:
    counts, output = np.arange(12, 0, -1), np.arange(36, dtype=np.float32).reshape(12, 3)
    model_of(WORDS, 3, counts=counts, output_vectors=output).save(tmp_path / "x", form)
    for mmap in (False, True):
        found = Embeddings.load(tmp_path / "x", mmap)
        assert found.counts is not None and found.counts.tolist() == counts.tolist()
        assert found.output_vectors is not None and found.output_vectors.tolist() == output.tolist()


@ARRAYS
def test_words_with_spaces_are_kept_and_newlines_refused(tmp_path: Path, form: str) -> None:
    words = ["new york", "", "a\tb", "\0", "c"]
    model_of(words, 2).save(tmp_path / "x", form)
    assert Embeddings.load(tmp_path / "x").words == words
    with pytest.raises(QueryError, match=r"separated by newlines, and word 1 has one: 'b\\nc'"):
        model_of(["a", "b\nc"], 2).save(tmp_path / "y", form)


def test_numpy_reads_our_file_and_we_read_numpys(tmp_path: Path) -> None:
    model = model_of(WORDS, 3, counts=np.arange(12))
    model.save(tmp_path / "x.npz", "numpy")
    with np.load(tmp_path / "x.npz") as arrays:
        assert sorted(arrays) == ["counts", "vectors", "words"]
        assert arrays["words"].tobytes().decode().split("\n") == WORDS
        assert arrays["vectors"].dtype == np.float32 and np.array_equal(arrays["vectors"], model.input_vectors)
        np.savez(tmp_path / "y.npz", **dict(arrays), other=np.zeros(3), text=np.array(["a"]))
    assert_same(Embeddings.load(tmp_path / "y.npz"), model)
    np.savez(tmp_path / "z.npz", vectors=model.input_vectors.astype(np.float64), words=arrays_words(WORDS))
    assert_same(Embeddings.load(tmp_path / "z.npz", mmap=True), model)


def arrays_words(words: list[str]) -> Any:
    return np.frombuffer("\n".join(words).encode(), np.uint8)


def test_an_odd_npz_is_told(tmp_path: Path) -> None:
    path, vectors, words = tmp_path / "x.npz", np.ones((3, 2), np.float32), arrays_words(["a", "b", "c"])

    def message(**arrays: Any) -> str:
        np.savez(path, **arrays)
        return refused(path)

    assert "it has no array 'words' among vectors" in message(vectors=vectors)
    assert "its array 'words' holds <U1, not uint8" in message(vectors=vectors, words=np.array(["a", "b", "c"]))
    assert "it has 3 words but 2 vectors" in message(vectors=vectors[:2], words=words)
    assert "its vectors have shape (3,), not words" in message(vectors=vectors[:, 0], words=words)
    assert "its vectors have shape (0, 2), not words" in message(vectors=vectors[:0], words=words)
    assert "its array 'counts' has shape (2,), which does not" in message(
        vectors=vectors, words=words, counts=np.array([1, 2])
    )
    assert "which belong together, it has only word_rows" in message(vectors=vectors, words=words, word_rows=vectors)
    assert "vectors.npy is in Fortran's order" in message(vectors=np.asfortranarray(vectors), words=words)
    assert "a word in it is not UTF-8" in message(vectors=vectors[:1], words=np.array([255], np.uint8))
    np.savez_compressed(path, vectors=vectors, words=words)
    assert "is not as numpy.savez writes it: its compression, method 8, is not stored" in refused(path)
    np.savez(path, vectors=np.array([[{}]], object), words=words[:1], allow_pickle=True)
    assert "its array 'vectors' holds |O, not float32" in refused(path)


def test_a_change_in_an_npz_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    model_of(WORDS, 3).save(tmp_path / "x", "numpy")
    data = bytearray((tmp_path / "x").read_bytes())
    with zipfile.ZipFile(tmp_path / "x") as archive:
        place = archive.infolist()[0].header_offset + 200
    data[place] ^= 1
    assert "vectors.npy has changed since it was written" in refused(tmp_path / "x", bytes(data))


def test_the_library_reads_our_safetensors_and_we_read_its(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed: pip install safetensors")
    model = model_of(WORDS, 3, counts=np.arange(12))
    model.save(tmp_path / "x", "safetensors")
    arrays = library.load_file(tmp_path / "x")
    assert sorted(arrays) == ["counts", "vectors", "words"]
    assert arrays["words"].tobytes().decode().split("\n") == WORDS
    assert np.array_equal(arrays["vectors"], model.input_vectors) and arrays["counts"].tolist() == list(range(12))
    for kind in (np.float32, np.float64):
        library.save_file(
            {"vectors": model.input_vectors.astype(kind), "words": arrays_words(WORDS), "z": np.zeros(1, bool)},
            tmp_path / "y",
        )
        assert_same(Embeddings.load(tmp_path / "y"), model)
        assert_same(Embeddings.load(tmp_path / "y", mmap=True), model)


def made(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_a_damaged_safetensors_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def entry(*offsets: int, shape: Any = (1, 1), dtype: str = "F32") -> dict[str, Any]:
        return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}

    assert "its header is not JSON" in refused(path, made(b"{x"))
    assert "its header is not JSON" in refused(path, made(b'{"a":' * 100_000))
    assert "its header should have 1099511627775 bytes, but 3" in refused(path, b"\xff\xff\xff\xff\xff\0\0\0{}\n")
    assert "it has no array 'vectors' among none" in refused(path, made({"__metadata__": {}}))
    assert len(refused(path, made({"x" * 9000: entry(0, 4)}, b"1234"))) < 900
    assert "has no dtype, shape and data_offsets" in refused(path, made({"vectors": [1]}))
    assert "has no dtype, shape and data_offsets" in refused(path, made({"vectors": entry(0, True)}))
    assert "should have shape (1, 1) at 0 to 4" in refused(path, made({"vectors": entry(0, 4)}, b"123"))
    assert "should have shape (1, 2) at 0 to 4" in refused(path, made({"vectors": entry(0, 4, shape=(1, 2))}, b"1234"))
    words = entry(4, 5, shape=(1,), dtype="U8")
    assert "holds BF16, not float32 or" in refused(
        path, made({"vectors": entry(0, 4, dtype="BF16"), "words": words}, b"1234a")
    )
    path.write_bytes(made({"vectors": entry(0, 4), "words": words}, np.float32(0.5).tobytes() + b"a"))
    assert Embeddings.load(path).vector("a").tolist() == [0.5]


@pytest.mark.parametrize("size", [2**40, 2**62, 10**30])
def test_sizes_that_lie_allocate_nothing(tmp_path: Path, size: int) -> None:
    lying = {"dtype": "F32", "shape": [size, 300], "data_offsets": [0, size * 1200]}
    words = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    tracemalloc.start()
    refused(tmp_path / "x", made({"vectors": lying, "words": words}, b"a" * 100))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 1_000_000


def test_the_vectors_of_a_safetensors_file_begin_at_a_multiple_of_64(tmp_path: Path) -> None:
    for number in range(1, 30):
        model_of([f"w{i}" for i in range(number)], 3, counts=np.arange(number)).save(tmp_path / "x", "safetensors")
        length = int.from_bytes((tmp_path / "x").read_bytes()[:8], "little")
        assert (8 + length) % safetensors.ALIGNMENT == 0


def test_no_format_asks_for_more_dimensions_than_are_read() -> None:
    assert contents.MAX_DIM == 1 << 16 and named_arrays.MAX_N < 100
