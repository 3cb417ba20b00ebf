"""The benchmark of memory: dictionaries whose counts are known, and what is made of measured peaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bench, size, size_words
from benchmarks.jobs import BenchmarkError
from tests.text_helpers import vocab_config
from wordlab.counting import build_vocab


def test_the_words_of_written_dictionaries_are_those_that_vocab_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SHARDS": 4, "COMMON": 50, "RARE": 300, "RAREST": 5000}.items():
        monkeypatch.setattr(size_words, name, value)
    wanted = size_words.write_dictionaries(tmp_path / "tokenize", 3)
    assert wanted["distinct"] > 500 and 50 < wanted["num_words"] < wanted["distinct"] < wanted["rows"]
    found = build_vocab(tmp_path / "tokenize", vocab_config(min_count=3), tmp_path / "vocab")
    size_words.check_found(found, wanted)
    for key in ("distinct", "num_words", "num_tokens"):
        with pytest.raises(BenchmarkError, match="stage vocab found"):
            size_words.check_found(found, wanted | {key: wanted[key] + 1})


def test_numbers_are_spelled_as_different_words() -> None:
    words = size_words.spelled(np.array([0, 1, 25, 26, 26**4, 299_999_999])).to_pylist()
    assert words[:2] == ["aaab", "baab"] and len(set(words)) == 6 and all(4 <= len(word) <= 7 for word in words)


def measured(**changes: int) -> dict[str, Any]:
    """Peaks of 100 MB, but for some."""
    found = {name: {"together": 10**8, "largest": 10**8} for name in size.parts()}
    found[size.WORDS_PART] |= {"rows": 9 * 10**7, "distinct": 3 * 10**7, "num_words": 10**6}
    for name, value in changes.items():
        found[name.replace("_", ", ").replace("MB", " MB").replace("GB", " GB")]["together"] = value
    return found


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"tokenize_8GB": 109_000_000, "encode_100MB": 108_000_000}, []),
        ({"tokenize_8GB": 111_000_000}, ["memory of stage tokenize is flat"]),
        ({"vocab_8GB": 89_000_000}, ["memory of stage vocab is flat"]),
    ],
)
def test_a_stage_is_flat_within_a_tenth(changes: dict[str, int], missed: list[str]) -> None:
    found = size.summarize(measured(**changes))
    assert bench.tell(found) == missed
    flat = {row[0]: row[-1] for row in found["tables"][0]["rows"]}
    assert [stage for stage in size.MEASURED if flat[stage] == "NO"] == [name.split()[3] for name in missed]


def test_too_few_words_or_too_much_memory_for_them_is_missed() -> None:
    for key, value in (("distinct", 3 * 10**7 - 1), ("together", size.LIMIT_BYTES)):
        peaks = measured()
        peaks[size.WORDS_PART][key] = value
        assert bench.tell(size.summarize(peaks)) == ["vocab counts many distinct words"]


def test_parts_that_are_measured_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(size, "measure_part", lambda _, name: asked.append(name) or {"together": len(asked)})
    size.measure(tmp_path, "vocab, 8 GB")
    found = size.measure(tmp_path)
    assert asked == ["vocab, 8 GB", *(name for name in size.parts() if name != "vocab, 8 GB")]
    assert size.measure(tmp_path) == found and found["vocab, 8 GB"] == {"together": 1}


def test_the_benchmark_runs_by_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(bench.BY_NAME_ALONE) <= set(bench.BENCHMARKS)
    asked = []
    for name in bench.BENCHMARKS:
        monkeypatch.setitem(bench.BENCHMARKS, name, lambda *_, name=name: asked.append(name))
    for arguments in (["all"], ["size"]):
        monkeypatch.setattr("sys.argv", ["bench", *arguments])
        bench.main()
    assert asked == [*(name for name in bench.BENCHMARKS if name != "size"), "size"]
