"""Finished vectors: looking up, nearest words, analogies, loading without surprises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import make_model_folder
from wordlab import machine
from wordlab.embeddings import Embeddings, unit_rows
from wordlab.errors import ArtifactError, QueryError, ResourceError, UnknownWordError, WordlabError


def random_model(num_words: int, dim: int, seed: int = 0) -> Embeddings:
    vectors = np.random.default_rng(seed).normal(size=(num_words, dim)).astype(np.float32)
    return Embeddings([f"w{i}" for i in range(num_words)], vectors)


# ---- words


def test_a_word_gives_its_row() -> None:
    model = random_model(50, 3)
    assert np.array_equal(model.vector("w17"), model.input_vectors[17])
    assert "w17" in model and "w50" not in model
    assert len(model) == 50 and model.dim == 3 and model.words[:2] == ["w0", "w1"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), min_size=1, max_size=30))
def test_scanning_sorting_and_looking_up_many_agree_with_a_dict(words: list[str]) -> None:
    """A word is found the same way at first, by a scan, as later, by bisection; of a repeated word, the first row."""
    first = {word: row for row, word in reversed(list(enumerate(words)))}
    index = Embeddings(words, np.zeros((len(words), 1), np.float32)).index
    asked = [*words, "", "a", "zz", "Straße", "\U0010ffff"]
    for _ in range(20):  # the first 16 questions scan
        for word in asked:
            assert index.find(word) == first.get(word, -1)
    assert index.rows(asked).tolist() == [first.get(word, -1) for word in asked]


def test_an_unknown_word_is_a_key_error_with_close_matches() -> None:
    model = Embeddings(["france", "Paris", "francs", "한국어"], np.ones((4, 2), np.float32))
    with pytest.raises(KeyError) as caught:
        model.vector("frnace")
    assert isinstance(caught.value, WordlabError)
    assert str(caught.value) == ("the word 'frnace' is not among the 4 words of the vocabulary. Did you mean france?")
    with pytest.raises(UnknownWordError, match=r"Did you mean france\?"):
        model.nearest("FRANCE")
    with pytest.raises(UnknownWordError, match=r"Did you mean Paris\?"):
        model.vector("paris")
    with pytest.raises(UnknownWordError, match=r"looked up as they are written, case included"):
        model.vector("xyzzy")


@pytest.mark.parametrize("word", ["", "\udc80broken", "\x00", "a b"])
def test_odd_words_are_unknown_and_no_worse(word: str) -> None:
    model = random_model(3, 2)
    for _ in range(20):
        assert word not in model
    with pytest.raises(UnknownWordError, match="not among the 3 words"):
        model.vector(word)


@pytest.mark.parametrize("ask", [Embeddings.vector, Embeddings.__contains__])
def test_a_row_handed_where_a_word_belongs_is_told(ask: Any) -> None:
    for row in (1, np.int64(1)):
        with pytest.raises(QueryError, match=r"1\)? is no word but of type int.* Words are text; that of a row is"):
            ask(random_model(3, 2), row)


def test_rows_and_words_must_be_as_many() -> None:
    with pytest.raises(QueryError, match=re.escape("input_vectors has shape (3, 2), but there are 2 words")):
        Embeddings(["a", "b"], np.zeros((3, 2), np.float32))


# ---- nearest


@pytest.mark.parametrize("dim", [1, 3, 301])
def test_nearest_agrees_with_plain_loops(dim: int) -> None:
    model = random_model(40, dim)
    wide = model.input_vectors.astype(np.float64)
    cosines = [wide[7] @ row / np.sqrt((wide[7] @ wide[7]) * (row @ row)) for row in wide]
    found = model.nearest("w7", 39)
    assert sorted(word for word, _ in found) == sorted(f"w{i}" for i in range(40) if i != 7)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for word, score in found:
        assert score == pytest.approx(cosines[int(word[1:])], abs=1e-6)


def test_a_vector_finds_its_own_word_first() -> None:
    model = random_model(40, 7)
    (word, score), *_ = model.nearest(5 * model.vector("w3"), 2)
    assert word == "w3" and score == pytest.approx(1, abs=1e-6)


def test_equal_cosines_come_in_row_order() -> None:
    model = Embeddings(list("abcdef"), np.ones((6, 2), np.float32))
    assert [word for word, _ in model.nearest("b", 3)] == ["a", "c", "d"]


def test_more_neighbours_than_words_gives_all_words() -> None:
    assert len(random_model(5, 2).nearest("w0", 1000)) == 4
    assert random_model(1, 2).nearest("w0") == []


def test_rows_of_zeros_are_far_from_everything_and_stay_zero() -> None:
    model = Embeddings(["a", "zero", "b"], np.array([[1, 0], [0, 0], [2, 1]], np.float32))
    assert model.nearest("a") == [("b", pytest.approx(2 / 5**0.5)), ("zero", 0.0)]
    assert model.nearest("zero") == [("a", 0.0), ("b", 0.0)]
    assert model.normalized()[1].tolist() == [0, 0]


def test_a_query_that_cannot_be_answered_says_why() -> None:
    model = random_model(5, 3)
    with pytest.raises(QueryError, match=r"shape \(2,\), finite: True; this model answers vectors of 3 finite numbers"):
        model.nearest(np.ones(2))
    with pytest.raises(QueryError, match="finite: False"):
        model.nearest(np.array([1, np.nan, 0]))
    with pytest.raises(QueryError, match="count is 0: ask for 1 word or more"):
        model.nearest("w0", 0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_rotating_all_vectors_changes_no_cosine(seed: int) -> None:
    model = random_model(30, 6, seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))
    turned = Embeddings(model.words, (model.input_vectors @ rotation).astype(np.float32))
    before, after = dict(model.nearest("w0", 29)), dict(turned.nearest("w0", 29))
    assert all(before[word] == pytest.approx(after[word], abs=1e-5) for word in before)


def test_normalized_rows_have_length_one_in_float32_and_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordlab.embeddings.BLOCK_BYTES", 100)  # many blocks, the last one ragged
    model = random_model(53, 5)
    unit = model.normalized()
    assert unit.dtype == np.float32 and np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    assert np.array_equal(unit, unit_rows(model.input_vectors))
    assert model.normalized() is unit and not unit.flags.writeable


def test_huge_and_tiny_numbers_do_not_overflow() -> None:
    model = Embeddings(["a", "b", "c"], np.array([[1e30, 0], [1e-30, 1e-30], [0, 1e30]], np.float32))
    assert model.nearest("a") == [("b", pytest.approx(2**-0.5)), ("c", 0.0)]


# ---- analogy


def test_analogy_completes_a_parallelogram() -> None:
    """man, woman, king, queen at the corners, and words that are nearer to a, b or c than the answer is."""
    words = ["man", "woman", "king", "queen", "tree"]
    vectors = np.array([[1, 0, 0.2], [1, 1, 0.2], [1, 0, 2], [1, 1, 2], [-1, 0.5, -1]], np.float32)
    model = Embeddings(words, vectors)
    for method in ("add", "mul"):
        (answer, score), *rest = model.analogy("man", "king", "woman", method=method)
        assert answer == "queen" and score > 0.8
        assert [word for word, _ in rest] == ["tree"]


@pytest.mark.parametrize("method", ["add", "mul"])
def test_analogy_scores_follow_their_definitions(method: str) -> None:
    model = random_model(30, 5)
    unit = unit_rows(model.input_vectors).astype(np.float64)
    a, b, c = unit[3], unit[8], unit[20]
    if method == "add":
        target = b - a + c
        expected = unit @ target / np.linalg.norm(target)
    else:
        shifted_a, shifted_b, shifted_c = ((1 + unit @ vector) / 2 for vector in (a, b, c))
        expected = shifted_b * shifted_c / (shifted_a + 0.001)
    found = model.analogy("w3", "w8", "w20", 27, method)
    assert {word for word, _ in found}.isdisjoint({"w3", "w8", "w20"}) and len(found) == 27
    for word, score in found:
        assert score == pytest.approx(expected[int(word[1:])], rel=1e-4, abs=1e-5)


def test_analogy_agrees_with_gensim() -> None:
    model = random_model(200, 10)
    theirs = model.to_keyed_vectors().most_similar(positive=["w8", "w20"], negative=["w3"], topn=5)
    ours = model.analogy("w3", "w8", "w20", 5)
    assert [word for word, _ in ours] == [word for word, _ in theirs]
    assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-5)


def test_analogy_knows_two_methods() -> None:
    with pytest.raises(QueryError, match=r"no method 'sum': give 'add' .* or 'mul'"):
        random_model(5, 2).analogy("w0", "w1", "w2", method="sum")


# ---- loading


@pytest.mark.parametrize("mmap", [True, False])
def test_a_model_folder_loads(tmp_path: Path, mmap: bool) -> None:
    folder = make_model_folder(tmp_path / "seed-1", words=("the", "왕", "naïve"))
    model = Embeddings.load(folder, mmap=mmap, output_vectors=True)
    assert model.words == ["the", "왕", "naïve"] and model.counts is not None and model.counts.tolist() == [3, 2, 1]
    assert np.array_equal(model.input_vectors, np.load(folder / "input_vectors.npy"))
    assert model.output_vectors is not None
    assert np.array_equal(model.output_vectors, np.load(folder / "output_vectors.npy"))
    assert isinstance(model.input_vectors.base, np.memmap) == mmap
    assert Embeddings.load(folder, mmap).output_vectors is None


PRIVATE_MEMORY = """
import sys
from pathlib import Path
from wordlab.embeddings import Embeddings

def private_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024

Embeddings.load(sys.argv[2], mmap=True).nearest("w1")   # whatever a first call sets up once
before = private_bytes()
model = Embeddings.load(sys.argv[1], mmap=True)
opened = private_bytes() - before
model.nearest("w199999")
for i in range(20):
    model.index.find(f"w{i}")
print(opened, private_bytes() - before)
"""


def test_a_mapped_model_takes_no_private_memory(tmp_path: Path) -> None:
    """200,000 words x 100 are 80 MB on disk; opened: next to nothing; queried: a few numbers a word."""
    words = [f"w{i}" for i in range(200_000)]
    folder = make_model_folder(tmp_path / "large", words, np.ones((200_000, 100), np.float32))
    small = make_model_folder(tmp_path / "small", ["w0", "w1"])
    command = [sys.executable, "-c", PRIVATE_MEMORY, str(folder), str(small)]
    environment = {**os.environ, "PYTHONPATH": str(Path(machine.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    opened, queried = map(int, done.stdout.split())
    assert opened < 1_000_000
    assert queried < 16_000_000


def test_a_model_that_does_not_fit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model_folder(tmp_path / "seed-1")
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 79)
    with pytest.raises(ResourceError, match=r"need 80 B of memory, but 79 B are free.*mmap=True"):
        Embeddings.load(folder)
    model = Embeddings.load(folder, mmap=True)
    assert model.nearest("king", 1)
    with pytest.raises(ResourceError, match=r"the normalised vectors need 80 B"):
        model.normalized()


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere does not exist\. Train a model with: dvc repro"):
        Embeddings.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing\. Run: dvc repro train"):
        Embeddings.load(tmp_path / "empty")


def damage(folder: Path, name: str, data: bytes) -> None:
    """Replace a file and make the manifest's size fit, so that the damage must be found in the file itself."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name]["size_bytes"] = len(data)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("mmap", [True, False])
def test_damaged_files_are_told_with_the_way_out(tmp_path: Path, mmap: bool) -> None:
    folder = make_model_folder(tmp_path / "cut")
    vectors = (folder / "input_vectors.npy").read_bytes()
    (folder / "input_vectors.npy").write_bytes(vectors[:-1])
    with pytest.raises(ArtifactError, match=r"input_vectors\.npy has 207 bytes, but manifest\.json says 208"):
        Embeddings.load(folder, mmap)
    for data in (vectors[:-1], b"", b"PK\x03\x04", vectors.replace(b"(5, 4)", b"(9, 9)"), b"\x80\x04junk"):
        damage(folder, "input_vectors.npy", data)
        with pytest.raises(ArtifactError, match=r"input_vectors\.npy .*Run: dvc repro train"):
            Embeddings.load(folder, mmap)
    damage(folder, "input_vectors.npy", vectors)
    damage(folder, "words.arrow", b"not Arrow")
    with pytest.raises(ArtifactError, match=r"words\.arrow is damaged.*Run: dvc repro train"):
        Embeddings.load(folder, mmap)


def test_vectors_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "seed-1", vectors=np.ones((5, 2), np.float64))
    with pytest.raises(ArtifactError, match=r"holds float64 of shape \(5, 2\), but .* has float32 of shape \(5, any\)"):
        Embeddings.load(folder, mmap=True)
    folder = make_model_folder(tmp_path / "seed-2", vectors=np.ones((4, 2), np.float32))
    with pytest.raises(ArtifactError, match=r"holds float32 of shape \(4, 2\), but .* has float32 of shape \(5, any\)"):
        Embeddings.load(folder)


def test_words_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "seed-1")
    other = make_model_folder(tmp_path / "seed-2", words=("a", "b", "c", "d", "e"))
    damage(folder, "words.arrow", (other / "words.arrow").read_bytes())
    with pytest.raises(
        ArtifactError, match=r"holds vocabulary \w{6}, but the vectors beside it were trained with \w{6}"
    ):
        Embeddings.load(folder)


def test_a_word2vec_file_cannot_be_mapped(tmp_path: Path) -> None:
    random_model(3, 2).save(tmp_path / "x.vec")
    with pytest.raises(QueryError, match=r"cannot be memory-mapped\. Load it without mmap=True"):
        Embeddings.load(tmp_path / "x.vec", mmap=True)


def test_vectors_go_to_gensim_and_back() -> None:
    model = Embeddings(["a", "b"], np.array([[1, 2], [3, 4]], np.float32), counts=np.array([9, 5]))
    theirs = model.to_keyed_vectors()
    assert theirs.index_to_key == ["a", "b"] and theirs.get_vecattr("b", "count") == 5
    back = Embeddings.from_keyed_vectors(theirs)
    assert back.words == model.words and np.array_equal(back.input_vectors, model.input_vectors)
    assert back.counts is not None and back.counts.tolist() == [9, 5]
