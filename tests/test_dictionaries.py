"""Dictionaries merged by bins of words, and the frequent words that are kept: the same bytes as by one merge."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_helpers import phrases_config, tokenized, vocab_config

from wordlab import dictionaries
from wordlab.artifacts import read_manifest
from wordlab.counting import build_vocab
from wordlab.dictionaries import BINS, Dictionary, map_dictionary, merged, merged_by_bins, write_binned
from wordlab.errors import CorpusError
from wordlab.frequent_words import FrequentWords
from wordlab.phrases import Phrases
from wordlab.sections.vocab import VocabConfig
from wordlab.vocab import Vocab

WORDS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.integers(1, 1 << 55))
WHOLE = 1 << 40
"""Bytes that no dictionary here has: all are merged at once."""


def dictionary(counts: dict[str, int]) -> Dictionary:
    return pa.array(counts, pa.large_string()), np.array(list(counts.values()), dtype=np.int64)


def as_counter(found: Dictionary) -> Counter[str]:
    words, counts = found
    assert len(words) == len(counts) == len(set(words.to_pylist()))
    return Counter(dict(zip(words.to_pylist(), counts.tolist(), strict=True)))


@given(parts=st.lists(WORDS, max_size=5), at_once_bytes=st.sampled_from([1, 20, 50, 200, 1000, WHOLE]))
@settings(max_examples=30, deadline=None)
def test_bins_hold_every_word_once_and_whole(tmp_path_factory, parts, at_once_bytes):
    folder = tmp_path_factory.mktemp("bins")
    paths = [folder / f"{index}.arrow" for index in range(len(parts))]
    bounds = [write_binned(path, dictionary(part)) for path, part in zip(paths, parts, strict=True)]
    found: Counter[str] = Counter()
    next_bin = 0
    for bins, part in merged_by_bins([map_dictionary(path) for path in paths], bounds, at_once_bytes):
        assert bins.start == next_bin < bins.stop and not found.keys() & as_counter(part).keys()
        next_bin = bins.stop
        found.update(as_counter(part))
    assert next_bin == BINS and found == sum(map(Counter, parts), Counter())


def test_so_many_bytes_are_merged_at_a_time(tmp_path):
    """But for the bins of single words; and the words of a bin are as many as of any other."""
    parts = [{f"word{i}": 1 for i in range(start, start + 20_000)} for start in (0, 10_000, 20_000)]
    bounds = [write_binned(tmp_path / f"{i}.arrow", dictionary(part)) for i, part in enumerate(parts)]
    found = [map_dictionary(tmp_path / f"{i}.arrow") for i in range(3)]
    row_bytes = dictionaries.ROW_BYTES + len("word10000")
    sizes = {}
    for at_once_bytes in (1, 200_000, 500_000, WHOLE):
        merges = list(merged_by_bins(found, bounds, at_once_bytes))
        rows = [sum(bound[bins.stop] - bound[bins.start] for bound in bounds) for bins, _ in merges]
        assert all(
            number * row_bytes <= 1.01 * at_once_bytes or len(bins) == 1
            for number, (bins, _) in zip(rows, merges, strict=True)
        )
        sizes[at_once_bytes] = len(merges)
        assert sum(len(part[0]) for _, part in merges) == 40_000
    assert sizes[1] == BINS and 8 <= sizes[200_000] <= 10 and 3 <= sizes[500_000] <= 5 and sizes[WHOLE] == 1
    assert np.diff(bounds[0]).min() > 20_000 / BINS / 2 and np.diff(bounds[0]).max() < 2 * 20_000 / BINS


def test_a_merge_keeps_the_order_of_first_appearance():
    words, counts = merged(map(dictionary, [{"b": 1, "a": 2}, {}, {"c": 1 << 40, "a": 1 << 40}]))
    assert words.to_pylist() == ["b", "a", "c"] and counts.tolist() == [1, (1 << 40) + 2, 1 << 40]


# ---- the whole stage


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 40 shards with words of many counts, and pairs that are phrases; `old_town` also stands there as a word."""
    lines = []
    for i in range(4000):
        pair = (
            "zig zag"
            if i % 1000 == 1
            else "old town"
            if i % 7 == 0
            else "new york"
            if i % 5 == 0
            else f"p{i % 31} q{i % 29}"
        )
        name = "old_town" if i in (5, 3500) else f"w{i % 401}"
        lines.append(f"the {pair} {name} über{i % 97} rare{i} 희귀{i % 1200}")
    return tokenized(tmp_path_factory.mktemp("tokens"), "\n".join(lines), tokenizer="whitespace", shard_bytes=1 << 12)


CONFIGS = {
    "few dropped": vocab_config(),
    "many dropped": vocab_config(min_count=3),
    "largest size": vocab_config(min_count=2, max_size=50),
    "phrases": vocab_config(min_count=6, phrases=phrases_config(20.0, 10.0, delta=3)),
    "phrases, rare words kept": vocab_config(min_count=1, phrases=phrases_config(20.0, delta=5)),
    "phrases of any words": vocab_config(min_count=6, phrases=phrases_config(300.0, delta=0)),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_bytes_are_the_same_however_dictionaries_are_merged(tokens, tmp_path, monkeypatch, config):
    num_shards = len(read_manifest(tokens, "tokenize")["shards"])
    assert num_shards > 2 * dictionaries.SHARDS_TOGETHER
    found = []
    for merged_bytes, together in ((WHOLE, num_shards), (WHOLE, 5), (60_000, 16), (1, 16), (2000, 16)):
        monkeypatch.setattr(dictionaries, "MERGED_BYTES", merged_bytes)
        monkeypatch.setattr(dictionaries, "SHARDS_TOGETHER", together)
        content = build_vocab(tokens, config, tmp_path / "vocab", 2)
        found.append((content, digests(tmp_path / "vocab")))
        assert not list(tmp_path.glob("*.parts"))
    assert all(each == found[0] for each in found[1:])


def test_a_rare_word_that_reads_as_a_phrase_is_counted_with_it(tokens, tmp_path):
    """Two tokens are too few to stand in a phrase, but belong to the word that its name makes; four are enough."""
    content = build_vocab(tokens, CONFIGS["phrases"], tmp_path / "vocab")
    tokens_before = read_manifest(tokens, "tokenize")["num_tokens"]
    vocab = Vocab.load(tmp_path / "vocab/words.arrow")
    batch = pa.ipc.open_file(pa.memory_map(str(tmp_path / "vocab/phrases.arrow"))).get_batch(0)
    pairs = {(row["first"], row["second"]): row["joined"] for row in batch.to_pylist()}
    assert pairs["zig", "zag"] == 4 and content["phrases"]["passes"][0]["tokens"] == tokens_before
    assert pairs["old", "town"] == 571 and vocab.counts[vocab.index["old_town"]] == 571 + 2
    assert Phrases(batch).fingerprint
    joined = sum(each["joined"] for each in content["phrases"]["passes"])
    assert content["num_tokens"] + content["dropped"]["tokens_below_min_count"] == tokens_before - joined


# ---- what is kept


@given(
    counts=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=3), st.integers(1, 9), min_size=2
    ),
    min_count=st.integers(1, 5),
    max_size=st.integers(0, 8),
    piece=st.integers(1, 5),
)
@settings(max_examples=100, deadline=None)
def test_pieces_of_words_give_the_vocabulary_of_all(counts, min_count, max_size, piece):
    config = vocab_config(min_count=min_count, max_size=max_size)
    words, rows = FrequentWords(min_count, max_size), list(counts.items())
    for start in range(0, len(rows), piece):
        words.add(*dictionary(dict(rows[start : start + piece])))
    ordered = sorted(((w, c) for w, c in rows if c >= min_count), key=lambda row: (-row[1], row[0].encode()))
    kept = ordered[: max_size or None]
    if len(kept) < 2:
        with pytest.raises(CorpusError) as raised:
            words.select(config)
        assert str(raised.value) == whole_message(counts, config)
        return
    vocab, dropped = words.select(config)
    assert list(zip(vocab.words, vocab.counts.tolist(), strict=True)) == kept
    assert dropped == {
        "words_below_min_count": len(counts) - len(ordered),
        "tokens_below_min_count": sum(counts.values()) - sum(count for _, count in ordered),
        "words_beyond_max_size": len(ordered) - len(kept),
        "tokens_beyond_max_size": sum(count for _, count in ordered[len(kept) :]),
    }


def whole_message(counts: dict[str, int], config: VocabConfig) -> str:
    """The message where all words come at once."""
    words = FrequentWords(config.min_count, config.max_size)
    words.add(*dictionary(counts))
    with pytest.raises(CorpusError) as raised:
        words.select(config)
    top = sorted(counts.items(), key=lambda row: (-row[1], row[0].encode()))
    if sum(count >= config.min_count for count in counts.values()) < 2:
        assert f"the most frequent, {top[0][0]!r}, occurs {top[0][1]} times" in str(raised.value)
        assert str(raised.value).endswith(f"vocab.min_count={top[1][1]}")
    return str(raised.value)


def test_what_is_held_is_bounded_by_the_largest_size():
    words = FrequentWords(1, max_size=10)
    for start in range(0, 10_000, 100):
        words.add(*dictionary({f"w{i}": 1 + i % 977 for i in range(start, start + 100)}))
        assert len(words.unordered()[0]) <= 20
    assert words.num_words == 10_000 and len(words.select(vocab_config(max_size=10))[0]) == 10
