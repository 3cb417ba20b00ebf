"""Phrases: found as the rule in plain loops finds them, joined as word2phrase.c joins them, counted and encoded."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_shards import replace_once
from text_helpers import phrases_config, tokenized, vocab_config

from tests.engine import model_config, train_config
from wordlab import pair_counts
from wordlab.artifacts import read_manifest, write_manifest
from wordlab.config import load_params
from wordlab.counting import build_vocab
from wordlab.embeddings import Embeddings
from wordlab.encoding import encode_corpus
from wordlab.errors import ArtifactError, ConfigError, CorpusError
from wordlab.evaluation import EvaluationSets, evaluate
from wordlab.evaluation_sets import Question
from wordlab.phrases import PHRASES_SCHEMA, Phrases, no_phrases
from wordlab.sections.encode import EncodeConfig
from wordlab.shards import DICTIONARY_SCHEMA, EncodedCorpus, write_batch, write_sentences
from wordlab.training import TrainingData, save_model, train_model
from wordlab.vocab import Vocab, vocabulary_sources

ROOT = Path(__file__).parents[1]
Sentences = list[list[str]]


# ---- the rule in plain loops


def oracle(sentences: Sentences, thresholds: Sequence[float], delta: int) -> tuple[list[tuple[Any, ...]], Sentences]:
    """Phrases (pass, first, second, count, joined), and the sentences with all of them joined."""
    found: list[tuple[Any, ...]] = []
    for number, threshold in enumerate(thresholds, start=1):
        words = Counter(word for sentence in sentences for word in sentence)
        pairs = Counter(pair for sentence in sentences for pair in pairwise(sentence))
        tokens = words.total()
        chosen = {
            (a, b) for (a, b), count in pairs.items() if (count - delta) * tokens / (words[a] * words[b]) > threshold
        }
        joined: Counter[tuple[str, str]] = Counter()
        sentences = [joined_sentence(sentence, chosen, joined) for sentence in sentences]
        found += [(number, a, b, pairs[a, b], joined[a, b]) for a, b in chosen]
    return found, sentences


def joined_sentence(sentence: list[str], chosen: set[tuple[str, str]], joined: Counter[tuple[str, str]]) -> list[str]:
    left, i = [], 0
    while i < len(sentence):
        if tuple(sentence[i : i + 2]) in chosen:
            joined[sentence[i], sentence[i + 1]] += 1
            left.append(f"{sentence[i]}_{sentence[i + 1]}")
            i += 2
        else:
            left.append(sentence[i])
            i += 1
    return left


# ---- ours


def token_shards(folder: Path, shards: Sequence[Sentences]) -> Path:
    """The output of stage tokenize for these sentences, shard by shard."""
    folder.mkdir(parents=True)
    numbers = []
    for index, sentences in enumerate(shards):
        words = list(dict.fromkeys(word for sentence in sentences for word in sentence))
        ids = np.array([words.index(word) for sentence in sentences for word in sentence], dtype=np.int32)
        offsets = np.cumsum([0, *map(len, sentences)], dtype=np.int64)
        write_sentences(folder / f"tokens-{index:05d}.arrow", ids, offsets)
        counts = np.bincount(ids, minlength=len(words)).astype(np.int64)
        columns = [pa.array(words, pa.large_string()), pa.array(counts)]
        write_batch(folder / f"dictionary-{index:05d}.arrow", pa.record_batch(columns, schema=DICTIONARY_SCHEMA))
        numbers.append({"num_tokens": len(ids), "num_sentences": len(sentences), "num_words": len(words)})
    totals = {key: sum(number[key] for number in numbers) for key in ("num_tokens", "num_sentences")}
    write_manifest(folder, "tokenize", {**totals, "shards": numbers})
    return folder


def run(
    folder: Path, shards: Sequence[Sentences], thresholds: Sequence[float], delta: int = 5, workers: int = 1, **changes
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stages vocab and encode in folder/vocab and folder/encode, as functions; the contents of their manifests."""
    tokens = token_shards(folder / "tokenize", shards)
    config = vocab_config(phrases=phrases_config(*thresholds, delta=delta), **changes)
    content = build_vocab(tokens, config, folder / "vocab", workers)
    return content, encode_corpus(
        tokens, folder / "vocab/words.arrow", EncodeConfig(shard_tokens=5000), folder / "encode"
    )


def found_phrases(folder: Path) -> list[tuple[Any, ...]]:
    path = folder / "vocab/phrases.arrow"
    batch = Phrases.load(path, vocabulary_sources(folder / "vocab/words.arrow")[1]).batch
    return [tuple(row[name] for name in ("pass", "first", "second", "count", "joined")) for row in batch.to_pylist()]


def encoded_sentences(folder: Path) -> Sentences:
    words = Vocab.load(folder / "vocab/words.arrow").words
    shards = EncodedCorpus.open(folder / "encode", verify=True).shards
    return [
        [words[i] for i in shard.ids[start:stop].tolist()]
        for shard in shards
        for start, stop in pairwise(shard.offsets.tolist())
    ]


def outputs(folder: Path) -> dict[str, bytes]:
    files = [*(folder / "vocab").iterdir(), *(folder / "encode").iterdir()]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in sorted(files)}


def use_small_sketches(patch: pytest.MonkeyPatch, slots: int = 4, tokens_per_slot: int = 4) -> None:
    """Sketches in which most pairs meet others, of several parts, and counts put together after every shard."""
    patch.setattr(pair_counts, "TOKENS_PER_SLOT", tokens_per_slot)
    patch.setattr(pair_counts, "FEWEST_SLOTS", 2)
    patch.setattr(pair_counts, "MOST_SLOTS", slots)
    patch.setattr(pair_counts, "MERGED_PAIRS", 1)


WORDS = st.sampled_from(["a", "b", "c", "a_b", "b_c", "é", "한국", "_"])
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=12), min_size=1, max_size=25)


@given(
    sentences=TEXTS,
    thresholds=st.lists(st.sampled_from([0.0, 0.3, 0.7, 1.1, 1.9, 4.3]), min_size=1, max_size=3),
    delta=st.integers(0, 3),
    cuts=st.lists(st.integers(0, 25), max_size=3),
    workers=st.integers(1, 3),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_phrases_counts_and_sentences_are_those_of_the_plain_loops(
    tmp_path_factory: pytest.TempPathFactory,
    sentences: Sentences,
    thresholds: list[float],
    delta: int,
    cuts: list[int],
    workers: int,
) -> None:
    folder = tmp_path_factory.mktemp("phrases")
    bounds = sorted({0, len(sentences), *(min(cut, len(sentences)) for cut in cuts)})
    shards = [sentences[start:stop] for start, stop in pairwise(bounds)]
    wanted, joined = oracle(sentences, thresholds, delta)
    counts = Counter(word for sentence in joined for word in sentence)
    with pytest.MonkeyPatch.context() as patch:
        use_small_sketches(patch)
        if len(counts) < 2:
            with pytest.raises(CorpusError, match="Training needs two different words or more"):
                run(folder, shards, thresholds, delta, workers)
            return
        content, encoded = run(folder, shards, thresholds, delta, workers)
    assert sorted(found_phrases(folder)) == sorted(wanted)
    vocab = Vocab.load(folder / "vocab/words.arrow")
    assert dict(zip(vocab.words, vocab.counts.tolist(), strict=True)) == counts
    assert encoded_sentences(folder) == joined
    num_tokens = sum(map(len, sentences))
    assert content["num_tokens"] == encoded["num_tokens"] == counts.total()
    assert encoded.get("joined_tokens", 0) == num_tokens - counts.total()
    assert sum(each["joined"] for each in content["phrases"]["passes"]) == num_tokens - counts.total()
    assert encoded["dropped"] == {"out_of_vocabulary_tokens": 0, "empty_sentences": 0}


def zipf_sentences(number: int, seed: int = 1) -> Sentences:
    """Sentences of some words of a power law, and now and then a name of two or three words."""
    rng = np.random.default_rng(seed)
    names = [["new", "york"], ["new", "york", "times"], ["los", "angeles"], ["w3", "w5"]]
    sentences = []
    for _ in range(number):
        words = [[f"w{int(300 ** rng.random())}"] for _ in range(rng.integers(3, 12))]
        if rng.random() < 0.3:
            words.insert(int(rng.integers(len(words))), names[rng.integers(len(names))])
        sentences.append([word for part in words for word in part])
    return sentences


def test_a_name_becomes_a_word_pass_by_pass(tmp_path: Path) -> None:
    content, encoded = run(tmp_path, [zipf_sentences(1500)], [30, 10], min_count=5)
    vocab = Vocab.load(tmp_path / "vocab/words.arrow")
    assert {"new_york", "new_york_times", "los_angeles"} <= set(vocab.words)
    assert not {"new", "york", "los", "angeles"} & set(vocab.words)
    passes = content["phrases"]["passes"]
    assert [each["threshold"] for each in passes] == [30.0, 10.0] and content["phrases"]["words_in_phrases_alone"] >= 4
    assert passes[1]["tokens"] == passes[0]["tokens"] - passes[0]["joined"]
    manifest = read_manifest(tmp_path / "vocab", "vocab", verify=True)
    assert "phrases.arrow" in manifest["files"] and manifest["phrases"] == content["phrases"]
    assert read_manifest(tmp_path / "encode", "encode")["joined_tokens"] == sum(each["joined"] for each in passes)
    assert encoded["num_tokens"] == content["num_tokens"] == vocab.counts.sum()


def test_phrases_are_listed_by_pass_score_and_bytes_with_their_score(tmp_path: Path) -> None:
    run(tmp_path, [zipf_sentences(1500)], [30, 10])
    rows = Phrases.load(tmp_path / "vocab/phrases.arrow", vocabulary_sources(tmp_path / "vocab/words.arrow")[1]).batch
    table = rows.to_pylist()
    order = [(row["pass"], -row["score"], row["first"].encode(), row["second"].encode()) for row in table]
    assert order == sorted(order) and {row["pass"] for row in table} == {1, 2}
    words = Counter(word for sentence in zipf_sentences(1500) for word in sentence)
    for row in table:
        if row["pass"] == 1:
            wanted = (row["count"] - 5) * words.total() / (words[row["first"]] * words[row["second"]])
            assert row["score"] == pytest.approx(wanted, rel=1e-12) and row["score"] > 30


@pytest.mark.parametrize(("slots", "tokens_per_slot"), [(2, 2000), (1 << 10, 4), (1 << 20, 4)])
def test_shards_workers_and_sketches_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: int, tokens_per_slot: int
) -> None:
    sentences = zipf_sentences(1000)
    run(tmp_path / "once", [sentences], [20, 10, 5])
    wanted = outputs(tmp_path / "once")
    use_small_sketches(monkeypatch, slots, tokens_per_slot)
    for name, parts, workers in (("two", 2, 1), ("many", 23, 3)):
        bounds = np.linspace(0, len(sentences), parts + 1).astype(int)
        run(tmp_path / name, [sentences[a:b] for a, b in pairwise(bounds)], [20, 10, 5], workers=workers)
        found = outputs(tmp_path / name)
        tokens = {"vocab/words.arrow", "vocab/manifest.json"}  # name the token shards, which differ here
        assert {key for key in wanted if found[key] != wanted[key]} <= tokens
        loaded = [Vocab.load(tmp_path / which / "vocab/words.arrow").fingerprint for which in ("once", name)]
        assert loaded[0] == loaded[1]


@pytest.mark.parametrize("count", [254, 255, 256, 300, 1000])
def test_full_counters_lose_no_phrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Counters are of a byte. Both phrases have a score of 18, the pair a b one of 0.72."""
    use_small_sketches(monkeypatch, slots=2, tokens_per_slot=4000)
    sentences = [["a", "b"], ["c", "x"], ["y", "d"]] * count + [["a"], ["b"], ["e"]] * (4 * count)
    run(tmp_path, [sentences], [17.99], delta=0)
    assert found_phrases(tmp_path) == [(1, "c", "x", count, count), (1, "y", "d", count, count)]


def test_counters_that_are_full_stay_so() -> None:
    sketch = pair_counts.Sketch(4)
    for number in (1, 254, 255, 3):
        sketch.add((np.repeat(np.array([0, 3], dtype=np.uint32), number),))
        sketch.add((np.array([1], dtype=np.uint32),))
    assert sketch.counters.tolist() == [255, 4, 0, 255]


def test_phrases_do_not_reach_over_the_end_of_a_sentence(tmp_path: Path) -> None:
    run(tmp_path, [[["a"], ["b"]] * 50 + [["c", "d"]] * 50], [0.1], delta=0)
    assert found_phrases(tmp_path) == [(1, "c", "d", 50, 50)]


def test_a_word_that_is_in_a_phrase_already_joins_no_other_in_the_same_pass(tmp_path: Path) -> None:
    run(tmp_path, [[["a", "b", "c"], ["b", "c"], ["x"], ["a", "a", "a"]] * 20], [0.5, 0.5], delta=0)
    assert encoded_sentences(tmp_path)[:4] == [["a_b_c"], ["b_c"], ["x"], ["a_a_a"]]
    assert [row for row in found_phrases(tmp_path) if row[0] == 1 and row[1] == "b"] == [(1, "b", "c", 40, 20)]


def test_what_joins_to_the_same_string_is_the_same_word(tmp_path: Path) -> None:
    """Also a token that has stood in the text with its underscore; it is no occurrence of the pair."""
    sentences = [["a", "b"]] * 20 + [["a_b", "c"]] * 30 + [["x"]] * 50
    run(tmp_path, [sentences], [0.5], delta=1)
    assert found_phrases(tmp_path) == [(1, "a", "b", 20, 20), (1, "a_b", "c", 30, 30)]
    assert sorted(set(map(tuple, encoded_sentences(tmp_path)))) == [("a_b",), ("a_b_c",), ("x",)]
    run(tmp_path / "apart", [[["a", "b"]] * 20 + [["a_b"]] * 30 + [["x"]] * 50], [0.5], delta=1)
    vocab = Vocab.load(tmp_path / "apart/vocab/words.arrow")
    assert list(zip(vocab.words, vocab.counts.tolist(), strict=True)) == [("a_b", 50), ("x", 50)]


def test_without_thresholds_nothing_is_written_but_an_empty_list(tmp_path: Path) -> None:
    content, encoded = run(tmp_path, [zipf_sentences(300)], [])
    assert "phrases" not in content and "joined_tokens" not in encoded
    assert set(read_manifest(tmp_path / "vocab", "vocab")["files"]) == {"words.arrow", "sampling.arrow", "vocab.tsv"}
    assert vocabulary_sources(tmp_path / "vocab/words.arrow")[1] == ""
    assert len(Phrases.load(tmp_path / "vocab/phrases.arrow", "")) == 0
    (tmp_path / "vocab/phrases.arrow").unlink()  # nothing reads it
    config = EncodeConfig(shard_tokens=5000)
    again = encode_corpus(tmp_path / "tokenize", tmp_path / "vocab/words.arrow", config, tmp_path / "encode")
    assert again == encoded


def test_thresholds_that_nothing_reaches_leave_the_words_as_they_are(tmp_path: Path) -> None:
    """So that DVC encodes nothing anew."""
    run(tmp_path / "none", [zipf_sentences(300)], [])
    content, _ = run(tmp_path / "high", [zipf_sentences(300)], [1e9, 1e9])
    assert [each["phrases"] for each in content["phrases"]["passes"]] == [0, 0]
    without, high = outputs(tmp_path / "none"), outputs(tmp_path / "high")
    assert {name for name in without if without[name] != high[name]} == {"vocab/manifest.json"}


def test_rare_phrases_are_dropped_like_rare_words(tmp_path: Path) -> None:
    sentences = [["a", "b"]] * 6 + [["a"], ["c"], ["d", "e"]] * 20
    content, encoded = run(tmp_path, [sentences], [1.0], delta=0, min_count=10)
    assert set(Vocab.load(tmp_path / "vocab/words.arrow").words) == {"a", "c", "d_e"}
    assert content["dropped"] == {
        "words_below_min_count": 1,
        "tokens_below_min_count": 6,
        "words_beyond_max_size": 0,
        "tokens_beyond_max_size": 0,
    }
    assert encoded["dropped"] == {"out_of_vocabulary_tokens": 6, "empty_sentences": 6}
    assert encoded["joined_tokens"] == 26


def test_phrases_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "a", [zipf_sentences(1500)], [30])
    run(tmp_path / "b", [zipf_sentences(1500)], [30, 10])
    path = tmp_path / "a/vocab/phrases.arrow"
    path.write_bytes((tmp_path / "b/vocab/phrases.arrow").read_bytes())
    config = EncodeConfig(shard_tokens=5000)
    folders = (tmp_path / "a/tokenize", tmp_path / "a/vocab/words.arrow", config, tmp_path / "a/encode")
    with pytest.raises(ArtifactError, match=r"phrases.arrow holds phrases .* were counted with phrases .*repro vocab"):
        encode_corpus(*folders)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"phrases.arrow is missing. Run: dvc repro vocab"):
        encode_corpus(*folders)


@pytest.mark.parametrize("numbers", [[2, 1], [0, 1], [-1, -1]])
def test_a_list_whose_passes_do_not_rise_is_refused(tmp_path: Path, numbers: list[int]) -> None:
    text, zeros = pa.array(["a", "b"], pa.large_string()), pa.array(np.zeros(2, np.int64))
    columns = [pa.array(numbers, pa.int32()), text, text, zeros, zeros, pa.array([0.0, 0.0])]
    phrases = Phrases(pa.record_batch(columns, schema=PHRASES_SCHEMA))
    phrases.save(tmp_path / "phrases.arrow")
    with pytest.raises(ArtifactError, match=r"is damaged: its passes do not rise from 1. Run: dvc repro vocab"):
        Phrases.load(tmp_path / "phrases.arrow", phrases.fingerprint)


def test_the_fingerprint_depends_on_passes_parts_and_their_boundaries() -> None:
    def fingerprint(*rows: tuple[int, str, str]) -> str:
        names = ("pass", "first", "second")
        listed = [dict(zip(names, row, strict=True)) | {"count": 1, "joined": 1, "score": 1.0} for row in rows]
        return Phrases(pa.RecordBatch.from_pylist(listed, schema=PHRASES_SCHEMA)).fingerprint

    prints = [
        fingerprint((1, "ab", "c")),
        fingerprint((1, "a", "bc")),
        fingerprint((2, "ab", "c")),
        fingerprint((1, "ab", "c"), (1, "c", "d")),
        fingerprint((1, "ab", "c"), (2, "c", "d")),
        no_phrases().fingerprint,
    ]
    assert len(set(prints)) == len(prints)


def test_word_numbers_that_the_dictionary_does_not_have_are_refused(tmp_path: Path) -> None:
    folder = tokenized(tmp_path, "a b c a", tokenizer="whitespace")
    replace_once(folder / "tokens-00000.arrow", *np.array([[0, 1, 2, 0], [0, 1, 3, 0]], dtype=np.int32))
    with pytest.raises(ArtifactError, match=r"tokens-00000.arrow is damaged: .* 3 words. Run: dvc repro tokenize"):
        build_vocab(folder, vocab_config(phrases=phrases_config(1.0)), tmp_path / "vocab", workers=2)
    assert not (tmp_path / "vocab").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"thresholds": (1.0, -1.0)}, r"vocab.phrases.thresholds.1 is -1.0, but must be a score from 0 to 1e15"),
        ({"thresholds": (1.0,) * 17}, r"vocab.phrases.thresholds is .* but must be 16 passes at most"),
        ({"delta": -1}, r"vocab.phrases.delta is -1, but must be from 0 to 2\^40"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        phrases_config(*values.get("thresholds", ()), delta=values.get("delta", 5))


# ---- beside word2phrase.c


@pytest.fixture
def word2phrase() -> Path:
    """word2vec's program, from the source distribution of PyPI's word2vec: gcc -O3 -o word2phrase word2phrase.c."""
    program = Path(os.environ.get("WORDLAB_PEERS", "")) / "word2phrase"
    if "WORDLAB_PEERS" not in os.environ or not program.is_file():
        pytest.skip("WORDLAB_PEERS names no folder with word2vec's program word2phrase")
    return program


def joined_by_program(program: Path, words: list[str], folder: Path, threshold: float) -> list[str]:
    """One pass over one line: over line ends the program counts pairs that it does not join."""
    (folder / "in.txt").write_text(" ".join(words) + "\n")
    options = ["-train", "in.txt", "-output", "out.txt", "-threshold", str(threshold), "-debug", "0"]
    subprocess.run([program, *options], cwd=folder, check=True, capture_output=True)
    return (folder / "out.txt").read_text().split()


def test_word2phrase_joins_the_same(tmp_path: Path, word2phrase: Path) -> None:
    """Two passes. Between them `_` is replaced, since the program takes a joined word for a pair of its parts."""
    words = [word for sentence in zipf_sentences(2000) for word in sentence]
    run(tmp_path, [[words]], [29.3, 9.7])
    once = joined_by_program(word2phrase, words, tmp_path, 29.3)
    twice = joined_by_program(word2phrase, [word.replace("_", "=") for word in once], tmp_path, 9.7)
    (ours,) = encoded_sentences(tmp_path)
    assert ours == [word.replace("=", "_") for word in twice]
    assert "new_york_times" in ours and ours != words


# ---- to the end


def test_phrase_analogies_are_answered(tmp_path: Path) -> None:
    """City and newspaper, whose name has two words: words of the town stand beside both, and words of their kind."""
    params = load_params(ROOT / "params.yaml")
    rng = np.random.default_rng(1)
    towns, sentences = range(6), []
    for _ in range(200):
        for town in towns:
            for kind, name in (("mayor", [f"city{town}"]), ("editor", [f"the{town}", f"gazette{town}"])):
                near = [f"street{town}.{i}" for i in rng.integers(5, size=3)] + [
                    f"{kind}{i}" for i in rng.integers(5, size=3)
                ]
                rng.shuffle(near)
                sentences.append([*near[:3], *name, *near[3:]])
    questions = [
        Question("papers", f"City{a}", f"The{a}_Gazette{a}", f"City{b}", f"The{b}_Gazette{b}")
        for a in towns
        for b in towns
        if a != b
    ]
    for name, thresholds in (("words", []), ("phrases", [40.0])):
        folder = tmp_path / name
        run(folder, [sentences], thresholds, subsample_t=0.0)
        data = TrainingData.open(folder / "vocab", folder / "encode")
        model, train = model_config(dim=16, window=5), train_config(lr=0.1, epochs=8)
        engine, _ = train_model(data, model, train, seed=1, threads=2, show_progress=False)
        save_model(folder / "model", engine, data, replace(params, model=model, train=train), seed=1)
        sets = EvaluationSets({"google-phrase-analogies": questions}, {})
        score = evaluate(Embeddings.load(folder / "model"), sets, restrict_vocab=0).scores["google_phrase_analogy"]
        if thresholds:
            assert score["coverage"] == 100 and score["value"] > 80
        else:
            assert score["coverage"] == 0 and score["value"] is None
