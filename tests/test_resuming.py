"""What of a stage's finished work is good for the next run: after a kill, a broken file, or a change of parameters."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import test_parts
from tests.test_parts import digests, killed, phrases, prepared, records, write_corpus
from tests.text_helpers import filters_config, sentencepiece_config, tokenize_config, vocab_config, written
from wordlab import joined_shards, pair_counts, piece_training, shard_sums, shard_text
from wordlab.artifacts import read_manifest
from wordlab.counting import build_vocab
from wordlab.duplicates import VERDICTS
from wordlab.errors import ConfigError, CorpusError, ResourceError
from wordlab.parts import Parts, make_part
from wordlab.pieces import MODEL
from wordlab.sections.download import CorpusFormatConfig
from wordlab.tokenizing import tokenize_corpus

PASSES, READINGS = 2, 3
"""Passes over the tokens to find phrases, and how often each reads every shard."""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The token shards that are read from now on to find phrases."""
    found: list[int] = []
    map_shard = joined_shards.map_shard

    def noted(folder: Path, index: int, table: Any) -> Any:
        found.append(index)
        return map_shard(folder, index, table)

    monkeypatch.setattr(joined_shards, "map_shard", noted)
    return found


def fail_after(patch: pytest.MonkeyPatch, module: str, number: int) -> list[str]:
    """Let the memory be full when so many parts are finished; their names."""
    made: list[str] = []

    def failing(place: Path, name: str, *given: Any) -> Any:
        if len(made) >= number:
            raise ResourceError("no memory")
        record = make_part(place, name, *given)
        made.append(name)
        return record

    patch.setattr(f"wordlab.{module}.make_part", failing)
    return made


def fail_to_remove_after(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the memory be full when so many parts are removed."""
    removed: list[str] = []
    remove = Parts.remove_part

    def failing(parts: Parts, name: str) -> None:
        if len(removed) >= number:
            raise ResourceError("no memory")
        removed.append(name)
        remove(parts, name)

    patch.setattr(Parts, "remove_part", failing)


def test_killed_passes_for_phrases_go_on_with_the_shards_that_are_missing(tmp_path: Path, read: list[int]) -> None:
    wanted = prepared(tmp_path, "phrases")
    num_shards = len(read_manifest(tmp_path / "tokenize", "tokenize")["shards"])
    assert len(read) == num_shards * READINGS * PASSES and num_shards > 30
    killed(tmp_path, "phrases", 5, "pass-1-pairs-0.shard.")
    assert len(records(tmp_path, "phrases", "pass-1-sketch-0.sum.")) == 1
    assert not records(tmp_path, "phrases", "pass-1-sketch-0.shard.")
    killed(tmp_path, "phrases", 7, "pass-2-joined.shard.")
    finished = len(records(tmp_path, "phrases", "pass-2-joined.shard."))
    read.clear()
    phrases(tmp_path)
    assert read == list(range(finished, num_shards)), "a shard was worked on again, or was not"
    assert digests(tmp_path / "phrases") == wanted
    assert not list(tmp_path.glob("*.parts")) and not list(tmp_path.rglob("*.tmp"))


def part_sizes(folder: Path, kind: str) -> list[int]:
    """Bytes of the files that are kept, of sums or of what shards add to them."""
    return [path.stat().st_size for path in folder.glob(f"phrases.parts/*/files/*.{kind}.*")]


@pytest.mark.parametrize("kept_bytes", [0, 300, 1 << 26])
def test_passes_for_phrases_go_on_wherever_they_ended(
    kept_bytes: int, tmp_path: Path, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums that are written after every shard, after a few, and at the end; sketches of several parts."""
    monkeypatch.setattr(shard_sums, "KEPT_BYTES", kept_bytes)
    monkeypatch.setattr(pair_counts, "MOST_SLOTS", 1 << 11)
    monkeypatch.setattr(pair_counts, "FEWEST_SLOTS", 2)
    wanted = prepared(tmp_path, "phrases")
    in_all = len(read)
    assert in_all > 200
    finished = 0
    for number in (3, 50, 41, 60, 17):
        read.clear()
        with monkeypatch.context() as patch:
            made = fail_after(patch, "shard_sums", number)
            with pytest.raises(ResourceError, match="no memory"):
                phrases(tmp_path)
        finished += len([name for name in made if ".shard." in name])
        sums, added = (part_sizes(tmp_path, kind) for kind in ("sum", "shard"))
        assert sum(added) <= max(kept_bytes, sum(sums)) + 3 * max(added, default=0), "more is kept than need be"
    read.clear()
    phrases(tmp_path)
    assert len(read) == in_all - finished, "a shard was worked on again, or was not"
    assert digests(tmp_path / "phrases") == wanted


def stopped_in_second_pass(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ResourceError, match="no memory"):
        num_shards = len(read_manifest(folder / "tokenize", "tokenize")["shards"])
        fail_after(patch, "shard_sums", (num_shards + 1) * (READINGS + 1))
        phrases(folder)


def test_a_sum_and_what_it_stands_for_are_not_added_twice(
    tmp_path: Path, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends when a sum is written, and what it is the sum of is not removed yet."""
    monkeypatch.setattr(shard_sums, "KEPT_BYTES", 0)
    wanted = prepared(tmp_path, "phrases")
    in_all, finished = len(read), 0
    for number in (0, 5, 30):
        with monkeypatch.context() as patch:
            made = fail_after(patch, "shard_sums", 10**6)
            fail_to_remove_after(patch, number)
            with pytest.raises(ResourceError, match="no memory"):
                phrases(tmp_path)
        finished += len([name for name in made if ".shard." in name])
    assert finished > 30
    read.clear()
    phrases(tmp_path)
    assert len(read) == in_all - finished and digests(tmp_path / "phrases") == wanted


@pytest.mark.parametrize(
    ("thresholds", "changes", "readings"),
    [((2, 0.5), {}, 3), ((3, 1), {}, 6), ((2, 1), {"min_count": 2}, 6), ((2, 1, 0.5), {"max_size": 50}, 5)],
)
def test_of_passes_for_phrases_only_what_parameters_do_not_change_is_taken(
    thresholds: tuple[float, ...], changes: dict[str, int], readings: int, tmp_path: Path, read: list[int]
) -> None:
    """A run with thresholds 2 and 1 was killed after the first reading of its second pass."""
    write_corpus(tmp_path)
    test_parts.tokenize(tmp_path)
    num_shards = len(read_manifest(tmp_path / "tokenize", "tokenize")["shards"])
    phrases(tmp_path, thresholds, **changes)
    wanted = digests(tmp_path / "phrases")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ResourceError, match="no memory"):
        fail_after(patch, "shard_sums", (READINGS + 1) * (num_shards + 1))
        phrases(tmp_path)
    read.clear()
    phrases(tmp_path, thresholds, **changes)
    assert len(read) == readings * num_shards
    assert digests(tmp_path / "phrases") == wanted
    assert not list(tmp_path.glob("*.parts"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that stage tokenize makes from now on."""
    found: list[str] = []

    def noted(place: Path, name: str, *given: Any) -> Any:
        record = make_part(place, name, *given)
        found.append(name)
        return record

    monkeypatch.setattr("wordlab.tokenizing.make_part", noted)
    return found


def texts(folder: Path, number: int = 8) -> list[Path]:
    """Files of about three shards each."""
    folder.mkdir()
    lines = ["".join(f"file{file} word{i % 97} and number{i % 13}.\n" for i in range(250)) for file in range(number)]
    return [written(folder / f"{file}.txt", content) for file, content in enumerate(lines)]


def tokenize(files: Sequence[Path], output: Path, workers: int = 1, **changes: Any) -> None:
    tokenize_corpus(files, tokenize_config(**{"shard_bytes": 1 << 11} | changes), output, workers)


def assert_made_as_anew(files: Sequence[Path], output: Path, **changes: Any) -> None:
    """That the output has the bytes that a run gives which finds nothing, and nothing else is left."""
    tokenize(files, output.with_name("anew"), **changes)
    assert digests(output) == digests(output.with_name("anew"))
    assert not list(output.parent.glob("*.parts"))


def in_cp949(text: bytes) -> bytes:
    return text.replace(b"and", "그리고".encode("cp949"))


@pytest.mark.parametrize("executor", ["one", "two processes"])
def test_shards_before_a_broken_file_are_not_tokenized_again(executor: str, tmp_path: Path, made: list[str]) -> None:
    files = texts(tmp_path / "texts")
    good = files[5].read_bytes()
    files[5].write_bytes(in_cp949(good))
    with pytest.raises(CorpusError, match=r"5\.txt is not valid UTF-8"):
        tokenize(files, tmp_path / "out", 1 if executor == "one" else 2)
    finished = {path.stem for path in records(tmp_path, "out")}
    assert finished >= {f"{index:05d}" for index in range(12)}
    made.clear()
    files[5].write_bytes(good)
    tokenize(files, tmp_path / "out")
    assert made and all(int(name) >= 12 for name in made), "a shard was tokenized again"
    assert_made_as_anew(files, tmp_path / "out")


def test_shards_of_files_that_have_changed_are_tokenized_again(tmp_path: Path, made: list[str]) -> None:
    """Also where the bytes have the same number, and the file the time that it had."""
    files = texts(tmp_path / "texts")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ResourceError):
        fail_after(patch, "tokenizing", 20)
        tokenize(files, tmp_path / "out")
    times = files[2].stat()
    files[2].write_bytes(files[2].read_bytes().replace(b"word1 ", b"Word9 "))
    os.utime(files[2], ns=(times.st_atime_ns, times.st_mtime_ns))
    tokenize(files, tmp_path / "out")
    again = [int(name) for name in made if int(name) < 20]
    assert again and again == list(range(again[0], again[-1] + 1)) and len(again) <= 5, "only those of one file"
    assert_made_as_anew(files, tmp_path / "out")


@pytest.mark.parametrize("change", ["more", "gone"])
def test_a_file_that_changes_while_others_are_tokenized_is_told(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was read already: DVC would take its new content for that of the shards."""
    files = texts(tmp_path / "texts")
    content = files[1].read_bytes()

    def meanwhile(place: Path, name: str, *given: Any) -> Any:
        if name == "00012":
            files[1].write_bytes(content + b"more\n") if change == "more" else files[1].unlink()
        return make_part(place, name, *given)

    with monkeypatch.context() as patch, pytest.raises(CorpusError, match=r"1\.txt has changed while it was read"):
        patch.setattr("wordlab.tokenizing.make_part", meanwhile)
        tokenize(files, tmp_path / "out")
    files[1].write_bytes(content)
    tokenize(files, tmp_path / "out")
    assert_made_as_anew(files, tmp_path / "out")


def test_a_packed_file_that_was_cut_off_costs_only_its_own_shards(tmp_path: Path, made: list[str]) -> None:
    files = [written(path.with_suffix(".gz"), gzip.compress(path.read_bytes())) for path in texts(tmp_path / "texts")]
    good = files[6].read_bytes()
    files[6].write_bytes(good[:-100])
    with pytest.raises(CorpusError, match=r"6\.gz is damaged"):
        tokenize(files, tmp_path / "out")
    finished = set(made)
    assert len(finished) >= 15
    made.clear()
    files[6].write_bytes(good)
    tokenize(files, tmp_path / "out")
    assert not finished & set(made), "a shard was tokenized again"
    assert_made_as_anew(files, tmp_path / "out")


def test_shards_without_a_broken_byte_are_the_same_when_these_are_dropped(tmp_path: Path, made: list[str]) -> None:
    files = texts(tmp_path / "texts")
    files[5].write_bytes(in_cp949(files[5].read_bytes()))
    with pytest.raises(CorpusError, match=r"dvc exp run -S tokenize\.invalid_bytes=drop"):
        tokenize(files, tmp_path / "out")
    finished = set(made)
    made.clear()
    tokenize(files, tmp_path / "out", invalid_bytes="drop")
    assert len(finished) >= 12 and not finished & set(made), "a shard was tokenized again"
    assert read_manifest(tmp_path / "out", "tokenize", verify=True)["dropped"]["invalid_utf8_bytes"] > 100
    assert_made_as_anew(files, tmp_path / "out", invalid_bytes="drop")


def test_shards_that_may_have_lost_bytes_are_not_taken_where_these_are_an_error(tmp_path: Path) -> None:
    files = texts(tmp_path / "texts")
    files[1].write_bytes(in_cp949(files[1].read_bytes()))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ResourceError):
        fail_after(patch, "tokenizing", 20)
        tokenize(files, tmp_path / "out", invalid_bytes="drop")
    with pytest.raises(CorpusError, match=r"1\.txt is not valid UTF-8"):
        tokenize(files, tmp_path / "out")


def test_rows_that_are_dropped_are_the_same_after_an_error_over_them(tmp_path: Path, made: list[str]) -> None:
    """JSONL is read before it is cut: with `drop`, what follows a broken row stands in another place."""
    stored = CorpusFormatConfig(kind="auto", field="text", encoding="utf-8")
    rows = [f'{{"text": "row {i} of {i % 31} words"}}\n' for i in range(2000)]
    rows[1500] = "{broken\n"
    files = [written(tmp_path / f"{number}.jsonl", "".join(rows[number * 500 :][:500])) for number in range(4)]
    config = tokenize_config(shard_bytes=1 << 11)
    with pytest.raises(CorpusError, match=r"3\.jsonl, line 1: "):
        tokenize_corpus(files, config, tmp_path / "out", 1, stored)
    finished = set(made)
    made.clear()
    config = tokenize_config(shard_bytes=1 << 11, invalid_bytes="drop")
    tokenize_corpus(files, config, tmp_path / "out", 1, stored)
    assert len(finished) > 10 and not finished & set(made)
    tokenize_corpus(files, config, tmp_path / "anew", 1, stored)
    assert digests(tmp_path / "out") == digests(tmp_path / "anew")


def test_more_or_less_of_the_corpus_has_the_same_shards(tmp_path: Path, made: list[str]) -> None:
    files = texts(tmp_path / "texts")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ResourceError):
        fail_after(patch, "tokenizing", 20)
        tokenize(files, tmp_path / "out")
    tokenize(files, tmp_path / "out", max_bytes=15 << 11)
    num_shards = len(read_manifest(tmp_path / "out", "tokenize", verify=True)["shards"])
    assert 14 <= num_shards <= 15 and len(made) <= 1, "all but the last, at most, were there"
    assert_made_as_anew(files, tmp_path / "out", max_bytes=15 << 11)


def test_shards_of_other_parameters_are_not_taken(tmp_path: Path, made: list[str]) -> None:
    files = texts(tmp_path / "texts", 2)
    for changes in (
        {"lowercase": False},
        {"sentences": "punctuation"},
        {"shard_bytes": 1 << 10},
        {"count_words": True},
    ):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ResourceError):
            fail_after(patch, "tokenizing", 4)
            tokenize(files, tmp_path / "out")
        made.clear()
        tokenize(files, tmp_path / "out", **changes)
        num_shards = len(read_manifest(tmp_path / "out", "tokenize", verify=True)["shards"])
        assert len(made) == num_shards, changes
        assert_made_as_anew(files, tmp_path / "out", **changes)


def test_a_model_of_pieces_that_does_not_fit_costs_no_second_look_at_all_lines(tmp_path: Path, made: list[str]) -> None:
    files = texts(tmp_path / "texts", 2)
    changes = {"tokenizer": "sentencepiece", "filters": filters_config(duplicates="drop")}
    with pytest.raises(ConfigError, match="vocab_size=") as caught:
        tokenize(files, tmp_path / "out", **changes, sentencepiece=sentencepiece_config(vocab_size=5000))
    assert made == [VERDICTS]
    made.clear()
    size = int(str(caught.value).rpartition("=")[2])
    changes["sentencepiece"] = sentencepiece_config(vocab_size=size)
    tokenize(files, tmp_path / "out", **changes)
    assert made[0] == MODEL
    assert_made_as_anew(files, tmp_path / "out", **changes)


LOOK_AHEAD = {"tokenizer": "sentencepiece", "filters": filters_config(duplicates="drop", min_chars=3)}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """The shards that passes over all of the text look at from now on."""
    found: dict[str, list[int]] = {"lines": [], "sample": []}
    shard_keys, sample_shard = shard_text._shard_keys, piece_training.sample_shard

    def noted_keys(task: Any, config: Any) -> Any:
        found["lines"].append(task.index)
        return shard_keys(task, config)

    def noted_sample(task: Any, config: Any, verdicts: Path) -> Any:
        found["sample"].append(task[0].index)
        return sample_shard(task, config, verdicts)

    monkeypatch.setattr(shard_text, "_shard_keys", noted_keys)
    monkeypatch.setattr(piece_training, "sample_shard", noted_sample)
    return found


@pytest.mark.parametrize("kept_bytes", [0, 1 << 26])
def test_passes_before_the_first_shard_go_on_where_they_ended(
    kept_bytes: int, tmp_path: Path, seen: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_sums, "KEPT_BYTES", kept_bytes)
    files = texts(tmp_path / "texts")
    num_shards, finished = 24, 0
    for number in (9, 5, 14, 6):
        with monkeypatch.context() as patch:
            made = fail_after(patch, "shard_sums", number)
            with pytest.raises(ResourceError, match="no memory"):
                tokenize(files, tmp_path / "out", **LOOK_AHEAD)
        finished += len([name for name in made if ".shard." in name])
    assert num_shards - 3 < finished < 2 * num_shards
    tokenize(files, tmp_path / "out", **LOOK_AHEAD)
    num_shards = len(read_manifest(tmp_path / "out", "tokenize", verify=True)["shards"])
    in_all = [*seen["lines"], *seen["sample"]]
    assert len(in_all) == 2 * num_shards + 4, "each failure costs the shard that it met, and no other"
    assert_made_as_anew(files, tmp_path / "out", **LOOK_AHEAD)


def test_what_a_pass_needed_no_more_goes_in_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run was killed when the pass was done, and what the shards gave to it was not removed yet."""
    files = texts(tmp_path / "texts")
    with monkeypatch.context() as patch:
        fail_to_remove_after(patch, 0)
        with pytest.raises(ResourceError, match="no memory"):
            tokenize(files, tmp_path / "out", **LOOK_AHEAD)
    assert len(records(tmp_path, "out", "before-")) > 20 and records(tmp_path, "out", VERDICTS)
    with monkeypatch.context() as patch, pytest.raises(ResourceError):
        fail_after(patch, "shard_sums", 3)
        tokenize(files, tmp_path / "out", **LOOK_AHEAD)
    assert len(records(tmp_path, "out", "before-")) == 3, "what nobody will read takes room on the disk"
    tokenize(files, tmp_path / "out", **LOOK_AHEAD)
    assert_made_as_anew(files, tmp_path / "out", **LOOK_AHEAD)


def test_lines_before_a_broken_file_are_not_looked_at_again(tmp_path: Path, seen: dict[str, list[int]]) -> None:
    files = texts(tmp_path / "texts")
    good = files[5].read_bytes()
    files[5].write_bytes(in_cp949(good))
    with pytest.raises(CorpusError, match=r"5\.txt is not valid UTF-8"):
        tokenize(files, tmp_path / "out", **LOOK_AHEAD)
    assert set(seen["lines"]) >= set(range(13)) and not seen["sample"]
    seen["lines"].clear()
    files[5].write_bytes(good)
    tokenize(files, tmp_path / "out", **LOOK_AHEAD)
    assert min(seen["lines"]) >= 12
    assert_made_as_anew(files, tmp_path / "out", **LOOK_AHEAD)


def test_a_sample_is_not_drawn_again_for_a_smaller_model(tmp_path: Path, seen: dict[str, list[int]]) -> None:
    files = texts(tmp_path / "texts", 2)
    with pytest.raises(ConfigError, match="vocab_size is 5000"):
        tokenize(files, tmp_path / "out", **LOOK_AHEAD, sentencepiece=sentencepiece_config(vocab_size=5000))
    seen["sample"].clear()
    tokenize(files, tmp_path / "out", **LOOK_AHEAD)
    assert not seen["sample"]
    assert_made_as_anew(files, tmp_path / "out", **LOOK_AHEAD)


def test_a_corpus_without_a_word_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="The corpus holds no words"):
        tokenize([written(tmp_path / "own.txt", "... " * 2000)], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]


def test_words_are_not_counted_again_when_none_was_frequent_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordlab.dictionaries.SHARDS_TOGETHER", 3)
    tokenize(texts(tmp_path / "texts"), tmp_path / "tokenize")
    counted = fail_after(monkeypatch, "counting", 10**6)
    with pytest.raises(CorpusError, match=r"No word reaches vocab\.min_count=100000"):
        build_vocab(tmp_path / "tokenize", vocab_config(min_count=100000), tmp_path / "vocab")
    assert len(counted) > 5
    counted.clear()
    build_vocab(tmp_path / "tokenize", vocab_config(min_count=2), tmp_path / "vocab")
    assert not counted and not list(tmp_path.glob("*.parts"))
    build_vocab(tmp_path / "tokenize", vocab_config(min_count=2), tmp_path / "anew")
    assert counted and digests(tmp_path / "anew") == digests(tmp_path / "vocab")
