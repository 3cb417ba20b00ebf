"""Raw bytes: where shards are cut, and what is said about broken ones."""

import gzip
import pickle
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_helpers import written

from wordlab import spans
from wordlab.errors import CorpusError
from wordlab.spans import cut_into_shards, read_dump_head
from wordlab.text import normalized_text


def shard_data(files, shard_bytes, find_dumps=False):
    return [[span.data for span in task.spans] for task in cut_into_shards(files, shard_bytes, find_dumps)]


@given(lines=st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line)), shard_bytes=st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_shards_are_whole_lines_and_all_of_them(tmp_path_factory, lines, shard_bytes):
    data = b"\n".join([b"x", *lines])
    source = written(tmp_path_factory.getbasetemp() / "lines.txt", data)
    shards = [b"".join(parts) for parts in shard_data([source], shard_bytes)]
    assert b"".join(shards) == data
    for shard in shards[:-1]:
        assert len(shard) >= shard_bytes and shard.endswith(b"\n")
        assert b"\n" not in shard[shard_bytes - 1 : -1]


@pytest.mark.parametrize("read_bytes", [1, 3, 64])
@pytest.mark.parametrize("find_dumps", [False, True])
def test_cuts_do_not_depend_on_how_the_file_is_read(tmp_path, monkeypatch, read_bytes, find_dumps):
    page = "<page>{}</page>\n"
    text = "<mediawiki>\n" + "".join(page.format("x y\n" * (i % 7)) for i in range(60)) + "z" * 90 + "\n<page>end"
    source = written(tmp_path / "dump.xml", text)
    monkeypatch.setattr(spans, "LINE_LIMIT_BYTES", 30)
    monkeypatch.setattr(spans, "PAGE_LIMIT_BYTES", 30)
    expected = shard_data([source], 25, find_dumps)
    monkeypatch.setattr(spans, "_READ_BYTES", read_bytes)
    assert shard_data([source], 25, find_dumps) == expected
    assert b"".join(part for parts in expected for part in parts) == text.encode()


def test_small_files_share_a_shard_and_large_ones_are_cut(tmp_path):
    files = [written(tmp_path / str(i), f"file {i}\n" * n) for i, n in enumerate([1, 1, 3, 0, 1])]
    tasks = list(cut_into_shards(files, 20, False))
    assert [[(span.path.name, span.offset) for span in task.spans] for task in tasks] == [
        [("0", 0), ("1", 0), ("2", 0)],
        [("2", 7), ("4", 0)],
    ]
    assert [task.index for task in tasks] == [0, 1]


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4), max_bytes=st.integers(1, 120), shard=st.integers(1, 90)
)
@settings(max_examples=60, deadline=None)
def test_a_part_of_the_text_is_a_beginning_of_it_whatever_the_size_of_shards(tmp_path_factory, sizes, max_bytes, shard):
    base = tmp_path_factory.getbasetemp()
    files = [written(base / f"part-{i}", b"ab c\n" * size) for i, size in enumerate(sizes)]
    whole = b"".join(file.read_bytes() for file in files)
    spans = [span for task in cut_into_shards(files, shard, False, max_bytes=max_bytes) for span in task.spans]
    found = b"".join(span.data for span in spans)
    assert whole.startswith(found)
    assert len(found) == min(len(whole), -(-max_bytes // 5) * 5), "to the end of the line"


def test_a_part_of_a_dump_ends_with_a_page(tmp_path):
    page = "  <page>\n<title>x</title><text>a\nb</text>\n</page>\n"
    source = written(tmp_path / "dump.xml", "<mediawiki>\n" + page * 5 + "</mediawiki>")
    (task,) = cut_into_shards([source], 1000, True, max_bytes=70)
    assert task.spans[0].data.decode() == "<mediawiki>\n" + (page * 2).rstrip("\n")


def test_compressed_files_are_cut_alike(tmp_path):
    data = b"".join(b"line %d\n" % i for i in range(1000))
    plain, packed = written(tmp_path / "a.txt", data), written(tmp_path / "a.txt.gz", gzip.compress(data))
    assert shard_data([plain], 777) == shard_data([packed], 777)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"aaaa bbbb cccc dddd eeee ffff", [b"aaaa bbbb ", b"cccc dddd ", b"eeee ffff"]),
        (b"a" * 25, [b"a" * 11, b"a" * 11, b"aaa"]),
        ("é".encode() * 7, ["é".encode() * 5, "éé".encode()]),
    ],
)
@pytest.mark.parametrize("read_bytes", [1, 5, 1 << 20])
def test_a_line_without_end_is_cut_at_white_space_or_between_characters(
    tmp_path, monkeypatch, data, expected, read_bytes
):
    monkeypatch.setattr(spans, "LINE_LIMIT_BYTES", 7)
    monkeypatch.setattr(spans, "_READ_BYTES", read_bytes)
    monkeypatch.setattr(spans, "_HEAD_BYTES", 3)
    tasks = list(cut_into_shards([written(tmp_path / "long", data)], 4, False))
    assert [task.spans[0].data for task in tasks] == expected
    assert [task.spans[0].cut for task in tasks] == [True] * (len(expected) - 1) + [False]


def test_a_byte_order_mark_is_left_out_and_offsets_still_count_it(tmp_path):
    task = next(cut_into_shards([written(tmp_path / "bom", b"\xef\xbb\xbfword\n")], 100, False))
    assert task.spans[0].data == b"word\n" and task.spans[0].offset == 3


def test_dumps_are_cut_at_pages(tmp_path):
    page = "  <page>\n<title>x</title><text>a\nb</text>\n</page>\n"
    source = written(tmp_path / "dump.xml", "<mediawiki>\n" + page * 5 + "</mediawiki>")
    shards = [b"".join(parts).decode() for parts in shard_data([source], 60, find_dumps=True)]
    assert "".join(shards) == source.read_text()
    assert all(shard.endswith("</page>") for shard in shards[:-1]) and len(shards) == 4


def test_namespaces_are_read_from_the_head_of_a_dump():
    head = '<mediawiki><namespace key="-2">Medium</namespace><namespace key="0" /><namespace key="6">Datei</namespace>'
    assert read_dump_head(head.encode()).namespaces == ((-2, "Medium"), (6, "Datei"))
    assert read_dump_head(b"<page>\n<title>a dump without its head</title>") is not None
    assert read_dump_head(b"How <mediawiki> dumps hold a <page>") is None


def normalized(path, invalid_bytes="error", shard_bytes=1 << 20):
    texts, dropped = [], Counter()
    for task in cut_into_shards([path], shard_bytes, False):
        text, counts = normalized_text(task.spans, invalid_bytes)
        texts.append(text)
        dropped += counts
    return b"".join(texts), dict(dropped)


def test_broken_utf8_names_file_place_and_remedy(tmp_path):
    source = written(tmp_path / "latin1.txt", b"fine\n" * 30 + "café au lait".encode("latin-1"))
    with pytest.raises(CorpusError) as caught:
        normalized(source, shard_bytes=100)
    message = str(caught.value)
    assert f"{source} is not valid UTF-8: bytes e9 20 61 75 at offset 153" in message
    assert "download.corpus_format.encoding=ENCODING" in message and "tokenize.invalid_bytes=drop" in message


def test_a_nul_byte_names_file_place_and_remedy(tmp_path):
    source = written(tmp_path / "binary", b"fine\nwor\0d")
    with pytest.raises(CorpusError, match=r"binary holds a NUL byte at offset 8, .*encoding=utf-16-le.*=drop"):
        normalized(source)


def test_broken_bytes_are_dropped_and_counted_where_wished(tmp_path):
    source = written(tmp_path / "broken", b"a\0\0b \xff\xfe c\xc3 d\xed\xa0\x80e")
    text, dropped = normalized(source, "drop")
    assert text == b"ab  c de" and dropped == {"nul_bytes": 2, "invalid_utf8_bytes": 6}


@pytest.mark.parametrize("character", ["é", "가", "🙂"])
def test_a_character_cut_off_by_the_end_of_the_file_is_dropped_and_counted(tmp_path, character):
    source = written(tmp_path / "cut", b"word " + character.encode()[:-1])
    text, dropped = normalized(source)
    assert text == b"word " and dropped == {"truncated_final_bytes": len(character.encode()) - 1}


def test_spans_of_several_files_do_not_run_together(tmp_path):
    files = [written(tmp_path / name, "no line end") for name in "ab"]
    task = next(cut_into_shards(files, 1000, False))
    assert normalized_text(task.spans, "error")[0] == b"no line end\nno line end"


def read_later(path, shard_bytes):
    return list(cut_into_shards([path], shard_bytes, False, read_later=True))


def test_what_is_read_later_is_not_read_before(tmp_path):
    """Of packed text it has to be."""
    text = b"a line of text\n" * 1000
    tasks = read_later(written(tmp_path / "text", text), 4000)
    assert len(pickle.dumps(tasks)) < 3000 and b"".join(task.read()[0].data for task in tasks) == text
    packed = read_later(written(tmp_path / "packed.gz", gzip.compress(text)), 4000)
    assert len(pickle.dumps(packed)) > 15_000 and [task.read() for task in packed] == [task.spans for task in packed]


def test_a_file_that_changes_before_it_is_read_is_told(tmp_path):
    path = written(tmp_path / "text", b"one\ntwo\n")
    first, second = read_later(path, 4)
    assert [first.read()[0].data, second.read()[0].data] == [b"one\n", b"two\n"]
    path.write_bytes(b"one\n")
    for task in (first, second):
        with pytest.raises(CorpusError, match=r"text has changed while it was read\. Leave it as it is .* dvc repro"):
            task.read()
    path.unlink()
    with pytest.raises(CorpusError, match=r"text cannot be read: No such file"):
        first.read()


def test_a_file_that_becomes_shorter_while_its_cuts_are_looked_for_is_told(tmp_path):
    path = written(tmp_path / "text", b"a line of text\n" * 300_000)
    tasks = cut_into_shards([path], 1_500_000, False, read_later=True)
    next(tasks)
    path.write_bytes(b"")
    with pytest.raises(CorpusError, match=r"text has changed while it was read\. Leave it as it is .* dvc repro"):
        for number, task in enumerate(tasks):
            assert number < 5 and len(task.spans) < 5
