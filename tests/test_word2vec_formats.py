"""word2vec text and binary: ours read by gensim, gensim's and word2vec.c's read by us, damage told and not believed."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.helpers import refused
from wordlab import machine
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, QueryError, ResourceError
from wordlab.formats import contents, registry, text_lines

WORDS = [
    "\ufeffmark",
    "the",
    "naïve",
    "한국어",
    "日本",
    "don't",
    '"quoted"',
    "#",
    "NA",
    "null",
    "nan",
    "-1.5",
    "a\u00a0b",
    "\U0001f600",
    ",",
]
FORM = pytest.mark.parametrize("form", ["text", "binary"])


def bits(vectors: NDArray[np.float32]) -> list[list[int]]:
    """Bit patterns: equal ones mean equal numbers, minus zero and not-a-number included."""
    return np.ascontiguousarray(vectors).view(np.uint32).tolist()


def model_of(words: list[str], dim: int) -> Embeddings:
    return Embeddings(words, np.random.default_rng(dim).normal(size=(len(words), dim)).astype(np.float32))


# ---- there and back


@FORM
@pytest.mark.parametrize("dim", [1, 3, 301])
def test_gensim_reads_what_we_write(tmp_path: Path, form: str, dim: int) -> None:
    model = model_of(WORDS, dim)
    model.save(tmp_path / "ours", form)
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / "ours"), binary=form == "binary")
    assert theirs.index_to_key == WORDS
    assert bits(theirs.vectors) == bits(model.input_vectors)


@FORM
@pytest.mark.parametrize("dim", [1, 3, 301])
def test_we_read_what_gensim_writes(tmp_path: Path, form: str, dim: int) -> None:
    model = model_of(WORDS, dim)
    model.to_keyed_vectors().save_word2vec_format(str(tmp_path / "theirs"), binary=form == "binary")
    back = Embeddings.load(tmp_path / "theirs")
    assert sorted(back.words) == sorted(WORDS)  # gensim orders by its own counts
    for word in WORDS:
        assert bits(back.vector(word)[None]) == bits(model.vector(word)[None])


def test_text_and_binary_look_as_word2vec_writes_them(tmp_path: Path) -> None:
    model = Embeddings(["a", "bc"], np.array([[1, -0.25], [1e-10, 0.1]], np.float32))
    model.save(tmp_path / "x.vec")
    assert (tmp_path / "x.vec").read_bytes() == b"2 2\na 1 -0.25\nbc 1e-10 0.1\n"
    model.save(tmp_path / "x.bin", "binary")
    first, second = (row.astype("<f4").tobytes() for row in model.input_vectors)
    assert (tmp_path / "x.bin").read_bytes() == b"2 2\na " + first + b"\nbc " + second + b"\n"


def test_text_of_word2vec_c_and_fasttext_reads_with_its_space_at_the_end(tmp_path: Path) -> None:
    for newline in (b"\n", b"\r\n"):
        lines = [b"2 3", b"</s> 0.001 -1 2.5 ", b"the 1e-3 4 5.000000 ", b""]
        (tmp_path / "x.vec").write_bytes(newline.join(lines))
        model = Embeddings.load(tmp_path / "x.vec")
        assert model.words == ["</s>", "the"]
        assert np.array_equal(model.input_vectors, np.array([[0.001, -1, 2.5], [0.001, 4, 5]], np.float32))


def test_binary_reads_with_and_without_newlines(tmp_path: Path) -> None:
    vectors = np.array([[1, 2], [3, 4]], "<f4")
    for newline in (b"", b"\n"):
        records = [word + b" " + row.tobytes() for word, row in zip((b"x", b"yz"), vectors, strict=True)]
        (tmp_path / "x.bin").write_bytes(b"2 2\n" + newline.join(records))
        model = Embeddings.load(tmp_path / "x.bin")
        assert model.words == ["x", "yz"] and bits(model.input_vectors) == bits(vectors)


WRITABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" \t\n\v\f\r"), min_size=1, max_size=8)


@FORM
@given(data=st.data())
@settings(max_examples=60)
def test_every_float_and_word_comes_back(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    """All finite float32, minus zero, subnormal and infinite numbers; any words without ASCII white space."""
    words = data.draw(st.lists(WRITABLE, min_size=1, max_size=6, unique=True))
    dim = data.draw(st.integers(1, 5))
    numbers = st.lists(st.floats(width=32, allow_nan=False), min_size=dim, max_size=dim)
    vectors = np.array([data.draw(numbers) for _ in words], np.float32)
    path = tmp_path_factory.mktemp("round") / "x"
    Embeddings(words, vectors).save(path, form)
    back = Embeddings.load(path)
    assert back.words == words and bits(back.input_vectors) == bits(vectors)


@FORM
def test_a_hundred_thousand_random_bit_patterns_come_back(tmp_path: Path, form: str) -> None:
    numbers = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    vectors = numbers[np.isfinite(numbers)][:99_000].reshape(-1, 9)
    Embeddings([str(i) for i in range(len(vectors))], vectors).save(tmp_path / "x", form)
    assert bits(Embeddings.load(tmp_path / "x").input_vectors) == bits(vectors)


@FORM
def test_many_small_blocks_give_the_same_bytes(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of([f"w{i}" for i in range(1000)], 7)
    model.save(tmp_path / "one", form)
    monkeypatch.setattr(contents, "BLOCK_NUMBERS", 50)
    model.save(tmp_path / "many", form)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 3000)
    assert bits(Embeddings.load(tmp_path / "many").input_vectors) == bits(model.input_vectors)


# ---- what the formats cannot hold


@FORM
@pytest.mark.parametrize("word", ["new york", "a\nb", "a\tb", "\rx", ""])
def test_words_with_white_space_are_refused(tmp_path: Path, form: str, word: str) -> None:
    model = Embeddings(["fine", "한국어", word, "also"], np.ones((4, 2), np.float32))
    with pytest.raises(
        QueryError, match="cannot hold an empty word or one with white space in it, and word 2 is"
    ) as told:
        model.save(tmp_path / "x", form)
    assert repr(word) in str(told.value) and "Replace the white space" in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_white_space_is_found_in_a_slice_of_words() -> None:
    words = pa.array(["a b", "c", "d", "e f", "g"], pa.large_string())
    assert contents.first_unwritable(words.slice(1, 2)) is None
    assert contents.first_unwritable(words.slice(1)) == 2
    assert contents.first_unwritable(words.slice(0, 0)) is None


# ---- writing that fails


@FORM
def test_a_disk_too_full_is_told_before_writing(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_disk_bytes", lambda path: 10)
    with pytest.raises(ResourceError, match=r"will need about .* but its disk has 10 B left \(.*\)\. Free some space"):
        model_of(WORDS, 3).save(tmp_path / "x", form)


def test_an_unwritable_place_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match=r"could not be written: .*Check that its folder exists and is yours"):
        model_of(WORDS, 3).save(tmp_path / "file" / "x.vec")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match=r"folder is a folder, not a file\. Name a file in it"):
        model_of(WORDS, 3).save(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


# ---- damage


@FORM
def test_every_truncation_is_told(tmp_path: Path, form: str) -> None:
    model_of(["one", "two", "three"], 3).save(tmp_path / "x", form)
    whole = (tmp_path / "x").read_bytes()
    for length in range(
        len(whole) - 1 if form == "binary" else len(whole)
    ):  # the last newline of a binary file is no loss
        refused(tmp_path / "cut", whole[:length])


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert "it is empty" in refused(path, b"")
    assert "promises 0 words of 5 dimensions" in refused(path, b"0 5\n")
    assert "promises 3 words, but 2 follow" in refused(path, b"3 2\na 1 2.0000\nb 3 4.0000\n")
    assert "more than the 1 words follow" in refused(path, b"1 2\na 1 2\nb 3 4\n")
    assert "promises 3 dimensions, but the first word has 2 numbers" in refused(path, b"2 3\na 1 2.00\nb 3 4.00\n")
    assert "Expected 3 columns, got 2" in refused(path, b"2 2\na 1 2\nbbb 3\n")
    assert "its last line has no end" in refused(path, b"2 2\na 1 2\nb 3 4.25")
    assert "invalid value 'x'" in refused(path, b"2 2\na 1 2\nb x 4\n")
    assert "word 1 in it is empty or contains white space" in refused(path, b"2 2\na 1 2\n 3 4\n")
    assert "ends within word 2" in refused(path, b"2 1\na \0\0\0\0b \0\0")
    assert "3 bytes follow the 1 words" in refused(path, b"1 1\na \0\0\0\0xyz")
    assert "not UTF-8" in refused(path, b"1 1\n\xff\xfe \0\0\0\0")
    assert "UTF8" in refused(path, b"1 1\n\xff\xfe 0.5\n")


@pytest.mark.parametrize(
    "header", [b"999999999999 300\n", b"2 999999999999\n", b"999999999999999999 999999999999999999\n"]
)
@pytest.mark.parametrize("rest", [b"a 1 2\nb 3 4\n", b"a \0\0\x80\x3f\0\0\0\x40\nb \0\0\x80\x3f\0\0\0\x40\n"])
def test_a_lying_header_allocates_nothing(tmp_path: Path, header: bytes, rest: bytes) -> None:
    tracemalloc.start()
    message = refused(tmp_path / "x", header + rest)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"{len(rest)} follow" in message and "bytes at least" in message
    assert most_bytes < 1_000_000 and pa.total_allocated_bytes() < 1_000_000


@FORM
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_flipped_bytes_give_an_error_or_vectors_but_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flip") / "x"
    model_of(["one", "two", "three"], 3).save(path, form)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two words may have become equal
        try:
            model = Embeddings.load(path)
        except ArtifactError:
            return
    assert model.input_vectors.shape[0] == len(model) <= 3


def test_vectors_that_do_not_fit_in_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_of(WORDS, 3).save(tmp_path / "x")
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 100)
    with pytest.raises(ResourceError, match=r"the vectors of .*x need 180 B of memory, but 100 B are free"):
        Embeddings.load(tmp_path / "x")


@FORM
def test_of_a_repeated_word_the_first_row_is_kept(tmp_path: Path, form: str) -> None:
    Embeddings(["a", "b", "a", "c", "b"], np.arange(5, dtype=np.float32)[:, None]).save(tmp_path / "x", form)
    with pytest.warns(UserWarning, match="lists 2 words more than once; the first row of each is kept"):
        model = Embeddings.load(tmp_path / "x")
    assert model.words == ["a", "b", "c"] and model.input_vectors[:, 0].tolist() == [0, 1, 3]


@FORM
def test_describe_reads_no_vectors(tmp_path: Path, form: str) -> None:
    model_of(WORDS, 3).save(tmp_path / "x", form)
    found, described = registry.describe(tmp_path / "x")
    assert (described.num_words, described.dim, found.name) == (len(WORDS), 3, form)
