"""Shards: what is written is what is mapped, and damage is told."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wordlab import shards
from wordlab.artifacts import write_manifest
from wordlab.errors import ArtifactError
from wordlab.shards import (
    DICTIONARY_SCHEMA,
    EncodedCorpus,
    map_batch,
    map_sentences,
    string_array,
    string_buffers,
    write_batch,
    write_sentences,
)

SENTENCES = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=9), max_size=30)


def arrays(sentences):
    ids = np.array([i for sentence in sentences for i in sentence], dtype=np.int32)
    offsets = np.cumsum([0] + [len(sentence) for sentence in sentences]).astype(np.int64)
    return ids, offsets


def encoded_folder(folder: Path, parts, **content) -> Path:
    folder.mkdir(parents=True)
    for i, sentences in enumerate(parts):
        write_sentences(folder / f"ids-{i:05d}.arrow", *arrays(sentences))
    totals = {
        "vocabulary": "0123abcd",
        "num_tokens": sum(len(sentence) for part in parts for sentence in part),
        "num_sentences": sum(len(part) for part in parts),
    }
    write_manifest(folder, "encode", totals | content)
    return folder


@given(sentences=SENTENCES)
@settings(max_examples=50, deadline=None)
def test_a_shard_gives_back_any_sentences(tmp_path_factory, sentences):
    path = tmp_path_factory.getbasetemp() / "round-trip.arrow"
    ids, offsets = arrays(sentences)
    write_sentences(path, ids, offsets)
    mapped_ids, mapped_offsets = map_sentences(path, verify=True)
    assert mapped_ids.dtype == np.int32 and mapped_offsets.dtype == np.int64
    assert [mapped_ids[a:b].tolist() for a, b in pairwise(mapped_offsets)] == sentences


def test_equal_sentences_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_sentences(tmp_path / name, *arrays([[1, 2], [], [3]]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_mapped_ids_cannot_be_written(tmp_path):
    write_sentences(tmp_path / "a", *arrays([[1, 2]]))
    ids, _ = map_sentences(tmp_path / "a")
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 5


def test_a_missing_shard_names_the_command(tmp_path):
    with pytest.raises(ArtifactError, match=r"absent.arrow is missing. Run: dvc repro tokenize"):
        map_sentences(tmp_path / "absent.arrow", "tokenize")


@pytest.mark.parametrize("keep", [0, 1, 7, 100, -1, -20])
def test_a_cut_shard_is_damaged(tmp_path, keep):
    path = tmp_path / "cut.arrow"
    write_sentences(path, *arrays([[1, 2, 3]] * 10))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"cut.arrow is damaged: .* Run: dvc repro encode"):
        map_sentences(path)


def test_another_form_is_told(tmp_path):
    path = tmp_path / "dictionary.arrow"
    write_batch(path, pa.record_batch([pa.array(["a"], pa.large_string()), pa.array([1])], schema=DICTIONARY_SCHEMA))
    with pytest.raises(ArtifactError, match=r"word: large_string, count: int64, but must have one of form sentences"):
        map_sentences(path)
    assert map_batch(path, DICTIONARY_SCHEMA, "tokenize").num_rows == 1


def replace_once(path, good, bad):
    """Damage a file without changing its size. good, bad: arrays of one dtype and shape."""
    data = path.read_bytes()
    assert data.count(good.tobytes()) == 1 and len(good.tobytes()) == len(bad.tobytes())
    path.write_bytes(data.replace(good.tobytes(), bad.tobytes()))


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("bad", [[0, 9, 4, 5], [0, -3, 4, 5], [0, 3, 2, 5], [0, 3, 9, 5]])
def test_falling_offsets_are_found(tmp_path, bad, verify):
    path = tmp_path / "falling.arrow"
    write_sentences(path, *arrays([[1, 2, 3], [4], [5]]))
    replace_once(path, np.array([0, 3, 4, 5]), np.array(bad))
    with pytest.raises(ArtifactError, match=r"falling.arrow is damaged: .* Run: dvc repro encode"):
        map_sentences(path, verify=verify)


@pytest.mark.parametrize("place", [1, 9, 10, 11, 20, 25])
def test_falling_offsets_are_found_wherever_they_are(tmp_path, monkeypatch, place):
    monkeypatch.setattr(shards, "_CHECKED_OFFSETS", 10)
    path = tmp_path / "falling.arrow"
    ids, offsets = arrays([[1, 2, 3]] * 26)
    write_sentences(path, ids, offsets)
    assert map_sentences(path)[1].tolist() == offsets.tolist()
    bad = offsets.copy()
    bad[place] = offsets[place + 1] + 1
    replace_once(path, offsets, bad)
    with pytest.raises(ArtifactError, match="its offsets fall"):
        map_sentences(path)


def test_an_encoded_corpus_maps_its_shards_in_order(tmp_path):
    parts = [[[0, 1, 2], [3]], [], [[4, 5]]]
    corpus = EncodedCorpus.open(encoded_folder(tmp_path / "encode", parts), verify=True)
    assert [shard.ids.tolist() for shard in corpus.shards] == [[0, 1, 2, 3], [], [4, 5]]
    assert [shard.offsets.tolist() for shard in corpus.shards] == [[0, 3, 4], [0], [0, 2]]
    assert (corpus.num_tokens, corpus.num_sentences, corpus.vocabulary) == (6, 3, "0123abcd")


def test_the_fingerprint_follows_the_data(tmp_path):
    folders = {name: encoded_folder(tmp_path / name, [[[i]]]) for name, i in (("a", 1), ("b", 1), ("c", 2))}
    prints = {name: EncodedCorpus.open(folder).fingerprint for name, folder in folders.items()}
    assert prints["a"] == prints["b"] != prints["c"]


def test_a_corpus_that_contradicts_its_manifest_is_refused(tmp_path):
    folder = encoded_folder(tmp_path / "encode", [[[1, 2]]], num_tokens=3)
    with pytest.raises(ArtifactError, match=r"holds 2 tokens in 1 sentences, but manifest.json says 3"):
        EncodedCorpus.open(folder)


@given(words=st.lists(st.text(max_size=5), max_size=20), start=st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_string_buffers_are_the_array(words, start):
    array = pa.array(words, pa.large_string()).slice(start)
    offsets, utf8 = string_buffers(array)
    assert string_array(offsets.copy(), utf8.copy()).to_pylist() == words[start:]
