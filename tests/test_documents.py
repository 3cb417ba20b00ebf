"""Filters that leave out whole documents: what a document is in each format, wherever shards end."""

from __future__ import annotations

import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text_helpers import filters_config, read_sentences, tokenize_config, tokenized, written
from wordlab import spans
from wordlab.artifacts import read_manifest
from wordlab.corpus_format import open_corpus_text
from wordlab.documents import as_document, split_documents
from wordlab.sections.download import CorpusFormatConfig
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.spans import cut_into_shards
from wordlab.text import normalized_text
from wordlab.tokenizing import tokenize_corpus

TEXTS = ["one two\nthree", "four", "one two\n\n \nthree", "four\nfive", "four", "한국어 문장\nfour"]
"""The third is the first, and the fifth the second, as a document."""
AUTO = CorpusFormatConfig(kind="auto", field="text", encoding="utf-8")
DROP = filters_config(unit="documents", duplicates="drop")


@given(st.lists(st.text(alphabet="ab \n\t\r\u3000가", max_size=12)))
def test_documents_come_back_whole_from_a_stream(texts: list[str]) -> None:
    documents = [text.encode() for text in texts]
    lines = [[line for line in document.split(b"\n") if line.strip()] for document in documents]
    stream = b"".join(map(as_document, documents))
    found = [document.strip(b"\n").split(b"\n") for document in split_documents(stream)]
    assert found == [kept for kept in lines if kept]


def in_shards_of(size: int, **changes: Any) -> TokenizeConfig:
    """A configuration with smaller shards than params.yaml may ask for."""
    config = tokenize_config(**changes)
    object.__setattr__(config, "shard_bytes", size)
    return config


def in_format(folder: Path, kind: str) -> Path:
    path = folder / f"corpus.{kind}"
    if kind == "txt":
        squeezed = (text.replace("\n\n \n", "\n") for text in TEXTS)
        written(path, "\n" + "\n \t\r\n\n".join(squeezed))
    elif kind == "jsonl":
        written(path, "\n".join(json.dumps({"text": text}) for text in [*TEXTS, None, "\n"]))
    elif kind == "parquet":
        pq.write_table(pa.table({"text": TEXTS}), path)
    elif kind == "doc":
        head = '<doc id="{0}" url="u{0}" title="Title {0}">\nTitle {0}\n\n'
        pages = (head.format(i) + escape(text) + "\n&#10;\n</doc>\n" for i, text in enumerate(TEXTS))
        written(path, "".join(pages).replace("</doc>\n<doc", "<doc", 1))  # one end is missing
    else:
        page = "<page><title>T{0}</title><ns>0</ns><revision><text>{1}</text></revision></page>\n"
        pages = (page.format(i, escape(text)) for i, text in enumerate(TEXTS))
        written(path, "<mediawiki>\n" + "".join(pages) + "</mediawiki>\n")
    return path


@pytest.mark.parametrize("shard_bytes", [16, 1 << 20])
@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet", "doc", "xml"])
def test_a_page_a_row_and_a_paragraph_are_documents(tmp_path: Path, kind: str, shard_bytes: int) -> None:
    config = in_shards_of(shard_bytes, normalizer="wiki", filters=DROP)
    content = tokenize_corpus([in_format(tmp_path, kind)], config, tmp_path / "tokenize", 1, AUTO)
    kept = [["one", "two"], ["three"], ["four"], ["four"], ["five"], ["한국어", "문장"], ["four"]]
    assert read_sentences(tmp_path / "tokenize") == kept
    assert content["dropped"]["duplicate_documents"] == 2 and "duplicate_lines" not in content["dropped"]
    assert len(content["shards"]) > 1 or shard_bytes > 16


def test_lengths_are_those_of_documents(tmp_path: Path) -> None:
    text = "ab\ncd\n\nabcdef\n\nab\n\n\nabc\ndef\nghi"
    limits = filters_config(unit="documents", min_chars=4, max_chars=8)
    folder = tokenized(tmp_path, text, filters=limits)
    assert read_sentences(folder) == [["ab"], ["cd"], ["abcdef"]]
    assert read_manifest(folder, "tokenize")["dropped"] == {"long_documents": 1, "short_documents": 1}


def many_documents() -> list[str]:
    """With copies here and there, and near-copies of which one word differs."""
    texts = [" ".join(f"w{(i * 7 + j * j) % 997}" for j in range(40)) for i in range(60)]
    texts = [text.replace(" w", "\nw", 2) for text in texts]
    near = [text.replace("w1", "x1", 1) if "w1" in text else text for text in texts[10:20]]
    return [*texts, texts[3], *near, texts[40], texts[3]]


@pytest.mark.parametrize("near", [0.0, 0.8])
def test_the_same_documents_stay_whatever_the_shards_and_workers(tmp_path: Path, near: float) -> None:
    if near:
        pytest.importorskip("rensa", reason="near-duplicates need the extra `filters`")
    path = written(tmp_path / "corpus.txt", "\n\n".join(many_documents()))
    found = {}
    for name, shard_bytes, workers in (("one", 1 << 20, 1), ("many", 700, 1), ("two", 700, 2)):
        filters = filters_config(unit="documents", duplicates="drop", near_duplicates=near)
        config = in_shards_of(shard_bytes, filters=filters)
        dropped = tokenize_corpus([path], config, tmp_path / name, workers)["dropped"]
        found[name] = read_sentences(tmp_path / name)
        assert dropped == {"duplicate_documents": 3} | ({"near_duplicate_documents": 10} if near else {})
    documents = many_documents()
    documents = documents[:60] + ([] if near else documents[61:71])
    assert found["one"] == [line.split() for text in documents for line in text.split("\n")]
    assert found["many"] == found["two"] == found["one"]
    for file in (tmp_path / "many").iterdir():
        assert (tmp_path / "two" / file.name).read_bytes() == file.read_bytes()


def test_shards_end_with_a_document_and_one_too_long_is_cut_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "PAGE_LIMIT_BYTES", 30)
    texts = [f"a{i}\nb{i}" for i in range(40)] + ["word " * 40] + ["last"]
    path = written(tmp_path / "corpus.txt", "\n\n".join(texts))
    tasks = list(cut_into_shards([path], 20, False, by_document=True))
    assert b"".join(task.read()[0].data for task in tasks) == path.read_bytes()
    counts: Counter[str] = Counter()
    documents = []
    for task in tasks:
        text, dropped = normalized_text(task.read(), "error", by_document=True)
        documents += [document.decode().strip("\n") for document in split_documents(text)]
        counts += dropped
    assert documents[:40] == texts[:40] and documents[-1] == "last" and len(documents) > 42
    assert counts["cut_documents"] == len(documents) - 42


def test_a_line_that_a_normalizer_empties_does_not_end_a_document(tmp_path: Path) -> None:
    path = written(tmp_path / "corpus.txt", "첫 줄\n()\n둘째 줄\n\n첫 줄\n[]\n둘째 줄\n")
    config = tokenize_config(normalizer="korean", filters=DROP)
    content = tokenize_corpus([path], config, tmp_path / "tokenize", 1)
    assert content["dropped"] == {"duplicate_documents": 1, "empty_brackets": 2}
    assert read_sentences(tmp_path / "tokenize") == [["첫", "줄"], ["둘째", "줄"]]


def test_the_unit_alone_changes_nothing(tmp_path: Path) -> None:
    for name, unit in (("lines", "lines"), ("documents", "documents")):
        config = in_shards_of(10, filters=filters_config(unit=unit))
        tokenize_corpus([in_format(tmp_path, "doc")], config, tmp_path / name, 1, AUTO)
    files = sorted((tmp_path / "lines").glob("*.arrow"))
    assert len(files) > 8
    for file in files:
        assert (tmp_path / "documents" / file.name).read_bytes() == file.read_bytes()


def test_rows_are_written_as_before_where_lines_are_the_unit(tmp_path: Path) -> None:
    for kind in ("jsonl", "doc", "parquet"):
        with open_corpus_text(in_format(tmp_path, kind), AUTO, "error", Counter()) as stream:
            text = stream.read()
        blank = b"" if kind == "doc" else b" "  # WikiExtractor's lines lose blanks at their ends
        assert text.count(b"one two\n\n" + blank + b"\nthree\n") == 1
