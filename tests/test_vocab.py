"""The vocabulary file and the distributions training draws from."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from text_helpers import tokenized, vocab_config

from wordlab.artifacts import read_manifest
from wordlab.counting import build_vocab
from wordlab.errors import ArtifactError, CorpusError
from wordlab.shards import DICTIONARY_SCHEMA, map_batch, write_batch
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
    with pytest.raises(ArtifactError, match=r"records fingerprint .* Run: dvc repro vocab"):
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
    with pytest.raises(ArtifactError, match=r"written for vocabulary .* Run: dvc repro vocab"):
        SamplingTables.load(tmp_path / "sampling.arrow", other)


@pytest.mark.parametrize(
    ("keep", "noise"),
    [([1, np.nan], [0.5, 0.5]), ([1, 0], [0.5, 0.5]), ([1, 1.5], [0.5, 0.5]), ([1, 1], [0.5, np.nan])]
    + [([1, 1], noise) for noise in ([-0.5, 1.5], [0.5, 0.4], [1.5, -0.5], [np.inf, 0], [1e308, 1e308])],
)
def test_sampling_tables_that_hold_no_chances_are_refused(tmp_path, keep, noise):
    vocab = Vocab.build(["a", "b"], [9, 1])
    SamplingTables(np.array(keep, np.float32), np.array(noise)).save(tmp_path / "sampling.arrow", vocab.fingerprint)
    with pytest.raises(ArtifactError, match=r"sampling.arrow is damaged: keep probabilities .* Run: dvc repro vocab"):
        SamplingTables.load(tmp_path / "sampling.arrow", vocab)


def built(tmp_path, text, **changes):
    folder = tokenized(tmp_path, text, tokenizer="whitespace", shard_bytes=1 << 10)
    content = build_vocab(folder, vocab_config(**changes), tmp_path / "vocab")
    return content, Vocab.load(tmp_path / "vocab/words.arrow")


@given(tokens=st.lists(st.sampled_from(["a", "b", "é", "가", "ab", "z"]), min_size=2).filter(lambda t: len(set(t)) > 1))
@settings(max_examples=25, deadline=None)
def test_words_are_ordered_by_count_then_bytes(tmp_path_factory, tokens):
    _, vocab = built(tmp_path_factory.mktemp("vocab"), " ".join(tokens))
    expected = sorted(Counter(tokens).items(), key=lambda item: (-item[1], item[0].encode()))
    assert list(zip(vocab.words, vocab.counts.tolist(), strict=True)) == expected


def test_counts_are_summed_over_shards_and_what_is_dropped_is_counted(tmp_path):
    lines = [f"common w{i % 400} x{i}" for i in range(1200)]
    content, vocab = built(tmp_path, "\n".join(lines), min_count=2, max_size=101)
    assert vocab.words[0] == "common" and vocab.counts.tolist() == [1200] + [3] * 100
    assert content["dropped"] == {
        "words_below_min_count": 1200,
        "tokens_below_min_count": 1200,
        "words_beyond_max_size": 300,
        "tokens_beyond_max_size": 900,
    }
    assert content["num_tokens"] + 1200 + 900 == 3600
    manifest = read_manifest(tmp_path / "vocab", "vocab", verify=True)
    assert manifest["vocabulary"] == vocab.fingerprint and set(manifest["files"]) == {
        "words.arrow",
        "sampling.arrow",
        "vocab.tsv",
    }
    tables = SamplingTables.load(tmp_path / "vocab/sampling.arrow", vocab)
    assert np.array_equal(tables.keep_probability, keep_probability(vocab.counts, 1e-3))
    assert (tmp_path / "vocab/vocab.tsv").read_text().splitlines()[:2] == ["common\t1200", "w0\t3"]


def test_subsampling_changes_only_the_sampling_tables(tmp_path):
    built(tmp_path, "a a a b b c", subsample_t=1e-3)
    words, sampling = [(tmp_path / "vocab" / name).read_bytes() for name in ("words.arrow", "sampling.arrow")]
    build_vocab(tmp_path / "tokenize", vocab_config(subsample_t=1e-4), tmp_path / "vocab")
    assert (tmp_path / "vocab/words.arrow").read_bytes() == words
    assert (tmp_path / "vocab/sampling.arrow").read_bytes() != sampling


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (
            "a a a b b c",
            {"min_count": 5},
            r"No word reaches vocab.min_count=5. The corpus has 6 tokens of 3 words; the most frequent, 'a', occurs 3 "
            r"times. .* lower the limit: dvc exp run -S vocab.min_count=2",
        ),
        ("a a a b b c", {"min_count": 3}, r"Only one word reaches vocab.min_count=3. .* -S vocab.min_count=2"),
        ("a a a", {}, r"The corpus has 3 tokens of 1 words; .* needs two different words or more. Use a larger corpus"),
        ("a a b", {"max_size": 1}, r"vocab.max_size=1 leaves one word, .* Raise vocab.max_size"),
    ],
)
def test_too_few_words_say_what_to_change(tmp_path, text, changes, message):
    with pytest.raises(CorpusError, match=message):
        built(tmp_path, text, **changes)
    assert not (tmp_path / "vocab").exists()


def test_missing_tokens_name_the_command(tmp_path):
    with pytest.raises(ArtifactError, match=r"tokenize does not exist. Run: dvc repro tokenize"):
        build_vocab(tmp_path / "tokenize", vocab_config(), tmp_path / "vocab")


def test_counts_beyond_2_to_the_32_are_exact(tmp_path):
    """Of 20 shards, so that groups of dictionaries are merged as well."""
    text = "\n".join(f"often {'seldom ' * (i % 3)}rare{i}" for i in range(2000))
    folder = tokenized(tmp_path, text, tokenizer="whitespace", shard_bytes=1 << 10)
    paths = sorted(folder.glob("dictionary-*.arrow"))
    assert len(paths) > 20
    wanted = Counter()
    for path in paths:  # as if each shard had billions of tokens
        batch = map_batch(path, DICTIONARY_SCHEMA, "tokenize")
        counts = batch.column(1).to_numpy() * 3_000_000_001
        wanted.update(dict(zip(batch.column(0).to_pylist(), counts.tolist(), strict=True)))
        columns = [pa.array(batch.column(0).to_pylist(), pa.large_string()), pa.array(counts)]
        del batch
        write_batch(path, pa.record_batch(columns, schema=DICTIONARY_SCHEMA))
    content = build_vocab(folder, vocab_config(min_count=1 << 33), tmp_path / "vocab", 2)
    vocab = Vocab.load(tmp_path / "vocab/words.arrow")
    assert dict(zip(vocab.words, vocab.counts.tolist(), strict=True)) == {
        word: count for word, count in wanted.items() if count >= 1 << 33
    }
    assert vocab.words[0] == "often" and vocab.counts[0] == 2000 * 3_000_000_001 > 1 << 42
    assert content["num_tokens"] + content["dropped"]["tokens_below_min_count"] == sum(wanted.values())
