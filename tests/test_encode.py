"""Stage encode: the vocabulary's ids, sentence by sentence, packed into shards."""

import errno
import itertools
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_shards import arrays, replace_once
from text_helpers import read_sentences, tokenized, vocab_config

from wordlab import packing
from wordlab.artifacts import read_manifest
from wordlab.counting import build_vocab
from wordlab.encoding import encode_corpus
from wordlab.errors import ArtifactError, ResourceError
from wordlab.hashed_file import HashedFile
from wordlab.packing import Packer, TokenPart
from wordlab.sections.encode import EncodeConfig
from wordlab.shards import EncodedCorpus
from wordlab.vocab import Vocab

SENTENCES = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=30)


def encoded(tmp_path, text, shard_tokens=1 << 20, shard_bytes=1 << 10, **changes):
    folder = tokenized(tmp_path, text, tokenizer="whitespace", shard_bytes=shard_bytes)
    build_vocab(folder, vocab_config(**changes), tmp_path / "vocab")
    config = EncodeConfig(shard_tokens=shard_tokens)
    content = encode_corpus(folder, tmp_path / "vocab/words.arrow", config, tmp_path / "encode")
    return content, EncodedCorpus.open(tmp_path / "encode", verify=True)


def lists(shard):
    bounds = shard.offsets.tolist()
    return [shard.ids[start:stop].tolist() for start, stop in pairwise(bounds)]


def test_ids_are_those_of_the_vocabulary(tmp_path):
    text = "\n".join(f"the {i % 7} of {i % 11} x{i}" for i in range(500))
    content, corpus = encoded(tmp_path, text, min_count=2)
    vocab = Vocab.load(tmp_path / "vocab/words.arrow")
    expected = [
        [word for word in sentence if word in vocab.index] for sentence in read_sentences(tmp_path / "tokenize")
    ]
    found = [[vocab.words[i] for i in ids] for shard in corpus.shards for ids in lists(shard)]
    assert found == expected
    assert corpus.vocabulary == content["vocabulary"] == vocab.fingerprint
    assert content["dropped"] == {"out_of_vocabulary_tokens": 500, "empty_sentences": 0}


def test_sentences_left_empty_are_dropped_and_counted(tmp_path):
    content, corpus = encoded(tmp_path, "a b a\nrare once\nb a", min_count=2)
    assert [lists(shard) for shard in corpus.shards] == [[[0, 1, 0], [1, 0]]]
    assert content["dropped"] == {"out_of_vocabulary_tokens": 2, "empty_sentences": 1}
    assert read_manifest(tmp_path / "encode", "encode")["shards"] == [{"num_tokens": 5, "num_sentences": 2}]


def packed(parts, word_ids, shard_tokens, expected=0, written=0):
    """Shards, as lists of sentences, and for each part how many of its sentences were kept."""
    with mock.patch.object(packing, "_SENTENCE_ROOM", 0):  # so that arrays grow in small trials, too
        packer = Packer(shard_tokens, expected, expected)
    shards, kept = [], []

    def end():
        ids, offsets = packer.content()
        shards.append([ids[a:b].tolist() for a, b in pairwise(offsets.tolist())])
        packer.clear()

    for sentences in parts:
        part = TokenPart(*arrays(sentences), np.array(word_ids, dtype=np.int32), written)
        while not packer.fill(part):
            end()
        kept.append(part.num_kept)
        written = 0
    if packer.num_sentences:
        end()
    return shards, kept


@given(
    sentences=SENTENCES,
    shard_tokens=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    dropped=st.sets(st.integers(0, 99)),
    expected=st.sampled_from([0, 1, 7, 10**9]),
)
@settings(max_examples=100, deadline=None)
def test_packing_splits_no_sentence_and_forgets_how_parts_were_divided(
    sentences, shard_tokens, cuts, dropped, expected
):
    bounds = sorted({0, len(sentences), *(min(cut, len(sentences)) for cut in cuts)})
    parts = [sentences[start:stop] for start, stop in pairwise(bounds)]
    word_ids = [-1 if word in dropped else 500 - word for word in range(100)]
    left = [[[500 - word for word in words if word not in dropped] for words in part] for part in parts]
    left = [[words for words in part if words] for part in left]
    shards, kept = packed(parts, word_ids, shard_tokens, expected)
    assert [sentence for shard in shards for sentence in shard] == [words for part in left for words in part]
    assert kept == [len(part) for part in left]
    assert all(len(shard) == 1 or sum(map(len, shard)) <= shard_tokens for shard in shards)
    for shard, following in pairwise(shards):
        assert sum(map(len, shard)) + len(following[0]) > shard_tokens
    assert packed([sentences], word_ids, shard_tokens)[0] == shards


def test_packing_goes_on_behind_the_sentences_that_were_written():
    sentences = [[9], [1, 9, 2], [9, 9], [3], [4, 4, 4]]
    word_ids = [*range(9), -1]
    assert packed([sentences, [[5]]], word_ids, 4, written=2) == ([[[4, 4, 4], [5]]], [3, 1])
    assert packed([sentences], word_ids, 100, written=3) == ([], [3])


@pytest.mark.parametrize("shard_tokens", [1, 3, 100, 10**9])
def test_shards_hold_about_as_many_tokens_as_wished(tmp_path, shard_tokens):
    content, corpus = encoded(tmp_path, "a b c\nd a\n" * 200, shard_tokens)
    assert content["num_tokens"] == corpus.num_tokens == 1000 and corpus.num_sentences == 400
    assert [shard.num_tokens for shard in corpus.shards] == [shard["num_tokens"] for shard in content["shards"]]
    assert all(shard.num_tokens <= max(3, shard_tokens) for shard in corpus.shards)


def test_raw_shards_do_not_show_in_the_encoded_ones(tmp_path):
    text = "\n".join(f"word{i % 50} other{i % 3}" for i in range(2000))
    prints = set()
    for shard_bytes in (1 << 10, 1 << 14):
        folder = tmp_path / str(shard_bytes)
        folder.mkdir()
        prints.add(encoded(folder, text, shard_tokens=777, shard_bytes=shard_bytes)[1].fingerprint)
    assert len(prints) == 1


def test_a_stale_vocabulary_is_refused(tmp_path):
    encoded(tmp_path, "a b c\na b")
    folder = tokenized(tmp_path, "a b c\na b d", tokenizer="whitespace")
    with pytest.raises(ArtifactError, match=r"words.arrow was counted from tokens .* Run: dvc repro encode"):
        encode_corpus(folder, tmp_path / "vocab/words.arrow", EncodeConfig(shard_tokens=10), tmp_path / "encode")


def test_a_missing_vocabulary_names_the_command(tmp_path):
    folder = tokenized(tmp_path, "a b")
    with pytest.raises(ArtifactError, match=r"words.arrow is missing. Run: dvc repro vocab"):
        encode_corpus(folder, tmp_path / "words.arrow", EncodeConfig(shard_tokens=10), tmp_path / "encode")
    assert not (tmp_path / "encode").exists()


def test_a_damaged_token_shard_is_refused(tmp_path):
    folder = tokenized(tmp_path, "a b c a")
    build_vocab(folder, vocab_config(), tmp_path / "vocab")
    shard = folder / "tokens-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"tokens-00000.arrow has \d+ bytes, but manifest.json says \d+"):
        encode_corpus(folder, tmp_path / "vocab/words.arrow", EncodeConfig(shard_tokens=10), tmp_path / "encode")


@pytest.mark.parametrize("wrong", [3, -1, -(2**31), 2**31 - 1])
def test_word_numbers_that_the_dictionary_does_not_have_are_refused(tmp_path, wrong):
    folder = tokenized(tmp_path, "a b c a", tokenizer="whitespace")
    build_vocab(folder, vocab_config(), tmp_path / "vocab")
    shard = folder / "tokens-00000.arrow"
    good, bad = np.array([[0, 1, 2, 0], [0, 1, wrong, 0]], dtype=np.int32)
    replace_once(shard, good, bad)
    with pytest.raises(ArtifactError, match=r"tokens-00000.arrow is damaged: .* 3 words. Run: dvc repro tokenize"):
        encode_corpus(folder, tmp_path / "vocab/words.arrow", EncodeConfig(shard_tokens=10), tmp_path / "encode")
    assert not (tmp_path / "encode").exists()


@pytest.mark.parametrize("failing", ["write", "finish"])
def test_a_disk_that_fails_later_keeps_finished_shards_and_nothing_else(tmp_path, monkeypatch, failing):
    folder = tokenized(tmp_path, "a b c\n" * 90, tokenizer="whitespace")
    build_vocab(folder, vocab_config(), tmp_path / "vocab")
    calls, working = itertools.count(), getattr(HashedFile, failing)

    def fail(*given):
        if next(calls) >= (40 if failing == "write" else 2):
            raise OSError(errno.ENOSPC, "No space left on device")
        return working(*given)

    with monkeypatch.context() as patch:
        patch.setattr(HashedFile, failing, fail)
        with pytest.raises(ResourceError, match="encode could not be written: No space left on device"):
            encode_corpus(folder, tmp_path / "vocab/words.arrow", EncodeConfig(shard_tokens=30), tmp_path / "encode")
    (place,) = (tmp_path / "encode.parts").iterdir()
    kept = sorted(path.name for path in place.rglob("*") if path.is_file())
    assert kept == ["00000.json", "00001.json", "ids-00000.arrow", "ids-00001.arrow"]
    content = encode_corpus(folder, tmp_path / "vocab/words.arrow", EncodeConfig(shard_tokens=30), tmp_path / "encode")
    assert len(content["shards"]) == 9 and not place.exists()


def test_an_unwritable_output_is_told(tmp_path):
    folder = tokenized(tmp_path, "a b c a")
    build_vocab(folder, vocab_config(), tmp_path / "vocab")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        ArtifactError, match=r"file/encode could not be written: .* Check that its folder exists and is yours"
    ):
        encode_corpus(
            folder, tmp_path / "vocab/words.arrow", EncodeConfig(shard_tokens=10), tmp_path / "file" / "encode"
        )
