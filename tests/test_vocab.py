"""The vocabulary file and the distributions training draws from."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wordlab.errors import ArtifactError
from wordlab.vocab import SamplingTables, Vocab, keep_probability, noise_distribution, words_fingerprint

COUNTS = npst.arrays(np.int64, st.integers(1, 40), elements=st.integers(1, 10**12))


def test_a_vocabulary_comes_back(tmp_path):
    vocab = Vocab.build(["the", "가나", "café", "a b"], [10, 5, 5, 1])
    vocab.save(tmp_path / "words.arrow")
    again = Vocab.load(tmp_path / "words.arrow")
    assert (again.words, again.counts.tolist(), again.fingerprint) == (vocab.words, [10, 5, 5, 1], vocab.fingerprint)
    assert again.index["café"] == 2 and len(again) == 4


def test_the_fingerprint_depends_on_words_counts_and_boundaries():
    prints = [
        Vocab.build(words, counts).fingerprint
        for words, counts in ((["ab", "c"], [2, 1]), (["a", "bc"], [2, 1]), (["ab", "c"], [2, 2]), (["ab"], [2]))
    ]
    assert len(set(prints)) == 4
    sliced = pa.array(["x", "ab", "c", "y"], pa.large_string()).slice(1, 2)
    assert words_fingerprint(sliced, np.array([2, 1])) == prints[0]


def test_changed_words_are_refused(tmp_path):
    path = tmp_path / "words.arrow"
    Vocab.build(["king", "queen"], [10, 5]).save(path)
    path.write_bytes(path.read_bytes().replace(b"kingqueen", b"kinkqueen"))
    with pytest.raises(ArtifactError, match=r"records fingerprint .* Run: dvc repro --force vocab"):
        Vocab.load(path)


@given(counts=COUNTS, t=st.floats(1e-9, 1))
def test_a_more_frequent_word_is_never_likelier_to_be_kept(counts, t):
    keep = keep_probability(np.sort(counts), t)
    assert keep.dtype == np.float32 and (keep > 0).all() and (keep <= 1).all()
    assert (np.diff(keep) <= 0).all()


def test_keep_probability_of_word2vec_c():
    """f = 0.9 and 0.1, t = 0.01: sqrt(t/f) + t/f, by hand."""
    keep = keep_probability(np.array([90, 10]), 0.01)
    assert keep == pytest.approx([np.sqrt(1 / 90) + 1 / 90, np.sqrt(0.1) + 0.1])


def test_no_subsampling_keeps_everything_and_a_negative_one_is_refused():
    assert keep_probability(np.array([5, 1]), 0).tolist() == [1, 1]
    with pytest.raises(ValueError, match="t is -1"):
        keep_probability(np.array([5, 1]), -1)


@given(counts=COUNTS, power=st.floats(0, 2))
def test_noise_sums_to_one_and_rises_with_the_count(counts, power):
    noise = noise_distribution(np.sort(counts), power)
    assert noise.sum() == pytest.approx(1) and (np.diff(noise) >= 0).all()


def test_noise_of_power_zero_is_uniform():
    assert noise_distribution(np.array([100, 1]), 0).tolist() == [0.5, 0.5]


def test_sampling_tables_belong_to_their_words(tmp_path):
    vocab, other = Vocab.build(["a", "b"], [9, 1]), Vocab.build(["a", "b"], [8, 1])
    tables = SamplingTables.build(vocab.counts, 0.01, 0.75)
    tables.save(tmp_path / "sampling.arrow", vocab.fingerprint)
    again = SamplingTables.load(tmp_path / "sampling.arrow", vocab)
    assert np.array_equal(again.keep_probability, tables.keep_probability)
    assert np.array_equal(again.noise_probability, tables.noise_probability)
    with pytest.raises(ArtifactError, match=r"written for vocabulary .* Run: dvc repro --force vocab"):
        SamplingTables.load(tmp_path / "sampling.arrow", other)
