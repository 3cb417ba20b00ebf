"""Lines too short, too long, or there before are left out: the same ones whatever the shards, each counted."""

import itertools
import sys
from collections import Counter
from random import Random

import numpy as np
import pytest
from text_helpers import filters_config as filters

from wordlab import duplicates
from wordlab.duplicates import find_duplicates, shard_verdicts
from wordlab.errors import ConfigError
from wordlab.line_filters import DUPLICATE, KEEP, LEAST_CHARACTERS, NEAR_DUPLICATE, filtered_text, line_keys

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]


def verdicts_of(folder, shards, config):
    """Verdicts over all lines of texts, shard by shard."""
    folder.mkdir()
    find_duplicates((line_keys(text.encode(), config) for text in shards), config, folder)
    return [shard_verdicts(folder, number).tolist() for number in range(len(shards))]


def sentence(rng, words=30):
    return " ".join(rng.choices(WORDS, k=words))


def changed(text, rng, words):
    parts = text.split()
    for place in rng.sample(range(len(parts)), words):
        parts[place] = rng.choice(WORDS) + "x"
    return " ".join(parts)


def jaccard(first, second):
    grams = [{text[i : i + 5] for i in range(len(text) - 4)} for text in (first, second)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


@pytest.mark.parametrize(
    ("limits", "kept", "counted"),
    [
        ({}, "한국어 문장\n\nab\n  a \nlong line", {}),
        ({"min_chars": 2}, "한국어 문장\n\nab\nlong line", {"short_lines": 1}),
        ({"min_chars": 7}, "\nlong line", {"short_lines": 3}),
        ({"max_chars": 6}, "한국어 문장\n\nab\n  a ", {"long_lines": 1}),
        ({"min_chars": 2, "max_chars": 2}, "\nab", {"short_lines": 1, "long_lines": 2}),
    ],
)
def test_lengths_are_in_characters_and_empty_lines_stay(limits, kept, counted):
    dropped = Counter()
    text = filtered_text("한국어 문장\n\nab\n  a \nlong line".encode(), filters(**limits), None, dropped)
    assert text.decode() == kept and dropped == counted


def test_of_equal_lines_the_first_stays_whatever_the_shards(tmp_path):
    lines = ["a", " b ", "", "b", "a\r", "A", "", "c", "a", "c"]
    expected = [KEEP, KEEP, KEEP, DUPLICATE, DUPLICATE, KEEP, KEEP, KEEP, DUPLICATE, DUPLICATE]
    config = filters(duplicates="drop")
    for size in (1, 3, 4, 10):
        shards = ["\n".join(lines[i : i + size]) for i in range(0, len(lines), size)]
        assert list(itertools.chain(*verdicts_of(tmp_path / str(size), shards, config))) == expected
    assert verdicts_of(tmp_path / "off", ["a\na"], filters(min_chars=1)) == [[KEEP, KEEP]]


def test_lines_out_of_limits_make_no_duplicates(tmp_path):
    config = filters(duplicates="drop", min_chars=3)
    assert verdicts_of(tmp_path / "x", ["ab\nab\nabc", "abc\nab"], config) == [[0, 0, 0], [DUPLICATE, 0]]


def test_many_lines_are_found_in_parts(tmp_path, monkeypatch):
    """As a Python dictionary finds them; written and sorted in many pieces."""
    monkeypatch.setattr(duplicates, "_BUFFERED", 100)
    rng = Random(1)
    shards = [[str(rng.randrange(3000)) for _ in range(700)] for _ in range(7)]
    seen: set[str] = set()
    expected = [[DUPLICATE if line in seen else seen.add(line) or KEEP for line in shard] for shard in shards]
    assert verdicts_of(tmp_path / "x", ["\n".join(shard) for shard in shards], filters(duplicates="drop")) == expected
    assert {path.name for path in (tmp_path / "x").iterdir()} == {duplicates.VERDICTS, duplicates.STARTS}


def test_similar_lines_are_found_and_others_are_not(tmp_path):
    """Pairs of any similarity: those well above the threshold go, those well below stay."""
    pytest.importorskip("rensa", reason="near-duplicates need the extra `filters`")
    rng = Random(1)
    firsts = [sentence(rng) for _ in range(300)]
    seconds = [changed(text, rng, number % 12) for number, text in enumerate(firsts)]
    config = filters(near_duplicates=0.7)
    found = verdicts_of(tmp_path / "x", ["\n".join(firsts), "\n".join(seconds)], config)
    assert found[0] == [KEEP] * 300
    similarity = np.array([jaccard(*pair) for pair in zip(firsts, seconds, strict=True)])
    dropped = np.array(found[1]) == NEAR_DUPLICATE
    assert dropped[similarity > 0.85].all() and (similarity > 0.85).sum() > 30
    assert not dropped[similarity < 0.5].any() and (similarity < 0.5).sum() > 30
    other = ["\n".join(firsts + seconds[:50]), "\n".join(seconds[50:200]), "\n".join(seconds[200:])]
    assert list(itertools.chain(*verdicts_of(tmp_path / "y", other, config))) == list(itertools.chain(*found))


def test_short_lines_are_not_compared_and_equal_ones_are_named_so(tmp_path):
    pytest.importorskip("rensa", reason="near-duplicates need the extra `filters`")
    rng = Random(2)
    text, short = sentence(rng), "x" * (LEAST_CHARACTERS - 1)
    korean = (
        "대한민국의 수도는 서울이고 가장 큰 도시도 서울이며 인구는 천만 명에 가깝다고 사람들은 말하곤 하였다고 한다"
    )
    lines = "\n".join([text, short, short, text, f"{text} {text.split()[0]}", korean, f"{korean}."])
    found = verdicts_of(tmp_path / "x", [lines], filters(near_duplicates=0.8, duplicates="drop"))
    assert found == [[KEEP, KEEP, DUPLICATE, DUPLICATE, NEAR_DUPLICATE, KEEP, NEAR_DUPLICATE]]
    found = verdicts_of(tmp_path / "y", [lines], filters(near_duplicates=0.8))
    assert found == [[KEEP, KEEP, KEEP, NEAR_DUPLICATE, NEAR_DUPLICATE, KEEP, NEAR_DUPLICATE]]


def test_a_corpus_of_nothing_has_no_verdicts(tmp_path):
    assert verdicts_of(tmp_path / "x", [], filters(duplicates="drop")) == []
    assert verdicts_of(tmp_path / "y", ["", "\n"], filters(duplicates="drop")) == [[0], [0, 0]]


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(ConfigError, match=r"near_duplicates needs the package rensa.*pip install .*\[filters\]"):
        line_keys(("x " * 50).encode(), filters(near_duplicates=0.8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_chars": -1}, r"tokenize.filters.min_chars is -1"),
        (
            {"min_chars": 5, "max_chars": 4},
            r"tokenize.filters.max_chars is 4, .* 0 \(no limit\) or more than min_chars, 5",
        ),
        ({"near_duplicates": 0.3}, r"tokenize.filters.near_duplicates is 0.3, .* 0 \(off\), or from 0.5 to 1"),
        ({"near_duplicates": float("nan")}, r"tokenize.filters.near_duplicates is nan"),
    ],
)
def test_limits_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        filters(**changes)
