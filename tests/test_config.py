"""params.yaml is read as DVC reads it, and what cannot be is told by its key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from wordlab.config import Params, load_params
from wordlab.errors import ConfigError

TEXT = (Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8")


def with_value(key: str, value: str) -> str:
    """The repository's params.yaml with another text behind `key`, which is there once, or `section.key`."""
    section, _, name = key.rpartition(".")
    before = rf"(^ *{section}:[^\n]*\n(?: +\w+:[^\n]*\n)*?)" if section else "()"
    changed, times = re.subn(rf"{before}^( *{name}:)(?!$)[^#\n]*", rf"\1\2 {value} ", TEXT, flags=re.MULTILINE)
    assert times == 1, key
    return changed


def loaded(folder: Path, text: str) -> Params:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return load_params(path)


@pytest.mark.parametrize("text", ["010", "08", "+7", "1e1", "12", "5.0"])
def test_numbers_are_those_that_dvc_reads(tmp_path: Path, text: str) -> None:
    changed = with_value("epochs", text)
    assert loaded(tmp_path, changed).train.epochs == YAML(typ="safe").load(changed)["train"]["epochs"]


@pytest.mark.parametrize("text", ["1_00", "0x10", "0o10", "0b1", "1:30"])
def test_numbers_in_other_notations_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.epochs is '{text}', but must be a whole number"):
        loaded(tmp_path, with_value("epochs", text))


def test_words_that_an_older_yaml_takes_for_booleans_are_words(tmp_path: Path) -> None:
    assert loaded(tmp_path, with_value("neighbors", "[no, on, y, Yes, off]")).evaluate.neighbors == (
        *("no", "on", "y", "Yes", "off"),
    )
    with pytest.raises(ConfigError, match=r"tokenize\.lowercase is 'yes', but must be true or false"):
        loaded(tmp_path, with_value("lowercase", "yes"))
    with pytest.raises(ConfigError, match=r"evaluate\.neighbors\.0 is True, but must be text"):
        loaded(tmp_path, with_value("neighbors", "[true]"))


@pytest.mark.parametrize("text", ["True", "TRUE", "true"])
def test_booleans_are_those_of_yaml_1_2(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, with_value("lowercase", text)).tokenize.lowercase is True


def test_nothing_is_no_value(tmp_path: Path) -> None:
    for text in ("null", "~", ""):
        with pytest.raises(ConfigError, match=r"train\.epochs is None, but must be a whole number"):
            loaded(tmp_path, with_value("epochs", text))


COUNTS = [
    *("epochs", "block_tokens", "train.batch_tokens", "dim", "window", "negatives", "shard_bytes"),
    *("vocab_size", "sample_bytes", "min_count", "max_size", "shard_tokens", "restrict_vocab", "neighbors_count"),
    *("map_words", "threads", "workers", "block_negatives.skipgram", "block_negatives.cbow"),
]


@pytest.mark.parametrize("value", ["1e30", "1" + "0" * 400, "-1" + "0" * 400, str(1 << 62)])
@pytest.mark.parametrize("key", COUNTS)
def test_a_number_far_too_large_is_one_short_message(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^params\.yaml: [a-z_.]*\b{key} is ") as caught:
        loaded(tmp_path, with_value(key, value))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "key", ["subsample_t", "damping.cbow", "lr_floor", "noise_power", "character_coverage", "lr.cbow"]
)
def test_no_number_is_too_large_to_be_refused(tmp_path: Path, key: str) -> None:
    for value in ("1" + "0" * 400, "1" + "0" * 5000, "1e400", ".inf", ".nan", "1e300"):
        with pytest.raises(ConfigError):
            loaded(tmp_path, with_value(key, value))


def test_seeds_reach_to_the_largest_int64(tmp_path: Path) -> None:
    assert loaded(tmp_path, with_value("seeds", f"[0, {(1 << 63) - 1}]")).seeds == (0, (1 << 63) - 1)
    with pytest.raises(ConfigError, match=r"seeds\.0 is 9223372036854775808, but whole numbers must be between"):
        loaded(tmp_path, with_value("seeds", f"[{1 << 63}]"))
    with pytest.raises(ConfigError, match=r"seeds is \[-1\], but must be from 0 to 2\^63 - 1"):
        loaded(tmp_path, with_value("seeds", "[-1]"))


def test_an_unknown_key_or_choice_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key run\.treads\. Did you mean run\.threads\?"):
        loaded(tmp_path, TEXT.replace("  threads:", "  treads:"))
    with pytest.raises(ConfigError, match=r"unknown key 12345\. Known here: seeds, corpus, "):
        loaded(tmp_path, TEXT + '"12345": 1\n')
    with pytest.raises(ConfigError, match=r"model\.arch is 'skipgramm', .* Did you mean skipgram\?"):
        loaded(tmp_path, with_value("arch", "skipgramm"))


def test_hierarchical_softmax_has_no_output_vectors_to_compare_words_by(tmp_path: Path) -> None:
    text = with_value("objective", "hs").replace("vectors: input", "vectors: input+output")
    with pytest.raises(
        ConfigError, match=r"evaluate\.vectors is 'input\+output', but must be input with model\.objective"
    ):
        loaded(tmp_path, text)


@pytest.mark.parametrize(("key", "value", "only"), [("case", "exact", "ignore"), ("unknown", "wrong", "skip")])
def test_word2vecs_evaluator_has_no_switches(tmp_path: Path, key: str, value: str, only: str) -> None:
    text = with_value(key, value)
    loaded(tmp_path, text)
    with pytest.raises(ConfigError, match=rf"evaluate\.{key} is '{value}', but must be {only} with evaluate\.rules"):
        loaded(tmp_path, text.replace("rules: wordlab", "rules: word2vec"))


@pytest.mark.parametrize("objective", ["hs", "softmax"])
def test_padding_is_no_word_to_predict(tmp_path: Path, objective: str) -> None:
    text = with_value("objective", objective).replace("window_edges: cut", "window_edges: pad")
    with pytest.raises(ConfigError, match=r"model\.window_edges is 'pad', but must be cut or drop with arch skipgram"):
        loaded(tmp_path, text)
    assert loaded(tmp_path, text.replace("arch: skipgram", "arch: cbow")).model.window_edges == "pad"


@pytest.mark.parametrize("tokenizer", ["sentencepiece", "kiwi"])
def test_words_that_are_asked_about_must_have_been_counted(tmp_path: Path, tokenizer: str) -> None:
    text = with_value("tokenizer", tokenizer).replace("words: vocabulary", "words: corpus")
    told = rf"tokenize\.count_words is False, but must be true with tokenize\.tokenizer={tokenizer} and evaluate"
    with pytest.raises(ConfigError, match=told):
        loaded(tmp_path, text)
    assert loaded(tmp_path, text.replace("count_words: false", "count_words: true")).evaluate.words == "corpus"
    loaded(tmp_path, text.replace(f"tokenizer: {tokenizer} ", "tokenizer: words "))


@pytest.mark.parametrize("objective", ["ns", "hs", "softmax"])
def test_no_noise_words_are_refused_where_there_is_nothing_else(objective: str, tmp_path: Path) -> None:
    text = with_value("negatives", "0").replace("objective: ns ", f"objective: {objective} ")
    if objective != "ns":
        assert loaded(tmp_path, text).model.negatives == 0
        return
    with pytest.raises(
        ConfigError, match=r"negatives is 0, but must be from 1 to 1000000: without noise words nothing"
    ):
        loaded(tmp_path, text)
