"""Corpora as people store them: JSONL, tables, WikiExtractor's output, other encodings; and files by a pattern."""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from text_helpers import read_sentences, tokenize_config, written

from wordlab import records
from wordlab.artifacts import read_manifest, write_manifest
from wordlab.corpus_format import TEXT, file_kind, is_plain_text, open_corpus_text, recorded_format, text_factor
from wordlab.errors import ArtifactError, ConfigError, CorpusError
from wordlab.own_corpus import describe_own, find_own
from wordlab.sections.download import CorpusFormatConfig
from wordlab.tokenizing import tokenize_corpus, total_bytes
from wordlab.transcoding import utf8_pieces

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}
DOCUMENTS = ["one two", "three\nfour", "한국어 문장", "", "five"]
KOREAN = "한국어 문장 하나\n두 번째 문장\n" * 3


def stored(kind: str = "auto", field: str = "text", encoding: str = "utf-8") -> CorpusFormatConfig:
    return CorpusFormatConfig(kind=kind, field=field, encoding=encoding)  # type: ignore[arg-type]


def read(path: Path, how: CorpusFormatConfig | None = None, invalid: str = "error") -> tuple[bytes, dict[str, int]]:
    dropped: Counter[str] = Counter()
    with open_corpus_text(path, how or stored(), invalid, dropped) as stream:  # type: ignore[arg-type]
        return stream.read(), dict(dropped)


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


# ---- JSONL


@pytest.mark.parametrize("suffix", PACKERS)
def test_the_field_of_each_row_is_read_packed_or_not(tmp_path: Path, suffix: str) -> None:
    rows = [{"id": i, "text": text, "title": "no"} for i, text in enumerate(DOCUMENTS)]
    path = written(tmp_path / f"a.jsonl{suffix}", PACKERS[suffix](jsonl(*rows)))
    assert read(path) == ("\n".join([*DOCUMENTS, ""]).encode(), {})
    assert read(path, stored(field="title"))[0] == b"no\n" * 5
    assert total_bytes([path], stored()) is None


def test_empty_lines_a_byte_order_mark_and_a_last_line_without_end(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", b'\xef\xbb\xbf{"text": "a"}\r\n\n  \n{"text": "b", "n": 1e999, "m": NaN}')
    assert read(path) == (b"a\nb\n", {})


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b'{"text": "a"', "it is no JSON: Expecting ',' delimiter at character 13"),
        (b"[1]", "it is JSON, but no object with fields"),
        (b'{"txt": "a", "id": 3}', r"it has no field 'text' \(download.corpus_format.field\); its fields: 'txt', 'id'"),
        (b'{"text": ["a"]}', "its field 'text' holds .'a'., which is no text"),
        (b'{"text": 17}', "its field 'text' holds 17, which is no text"),
        (b'{"text": "a\\u0000"}', "its field 'text' holds a NUL character"),
        (b'{"text": "\\ud800"}', "its field 'text' holds half of a surrogate pair"),
        (
            b'{"text": "\xff"}',
            r"it is not valid UTF-8 \(invalid start byte at byte 10 of the row\); if .*corpus_format.encoding",
        ),
        (b'{"text": "a\0"}', "it holds a NUL character"),
        (b"[" * 100_000, "its values are nested too deeply"),
        (b'{"text": "' + b"x" * 300 + b'"}', "it is longer than 256 bytes"),
    ],
)
def test_a_row_that_cannot_be_read_is_told_with_its_line_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: bytes, problem: str
) -> None:
    if row.endswith(b'x"}'):
        monkeypatch.setattr(records, "ROW_LIMIT_BYTES", 256)
    path = written(tmp_path / "a.jsonl", b'{"text": "a"}\n\n' + row + b'\n{"text": "b"}\n')
    with pytest.raises(CorpusError, match=rf"a\.jsonl, line 3: {problem}.*tokenize\.invalid_bytes=drop"):
        read(path)
    assert read(path, invalid="drop") == (b"a\nb\n", {"invalid_rows": 1})


def test_rows_whose_text_is_null_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", jsonl({"text": None}, {"text": "a"}))
    assert read(path) == (b"a\n", {"rows_without_text": 1})


@settings(deadline=None)  # the first call loads libraries
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)))
def test_any_text_comes_back_from_json_and_from_a_table(tmp_path_factory: pytest.TempPathFactory, texts: list[str]):
    folder = tmp_path_factory.mktemp("any")
    wanted = "".join(text + "\n" for text in texts).encode()
    plain = [json.dumps({"text": text}).encode() + b"\n" for text in texts]  # all else than ASCII written \uXXXX
    assert read(written(folder / "a.jsonl", b"".join(plain)), stored("jsonl"))[0] == wanted
    assert read(arrow_file(folder / "a.arrow", pa.array(texts, pa.string())), stored("arrow"))[0] == wanted


# ---- tables


def table(texts: pa.Array) -> pa.Table:
    return pa.table({"id": pa.array(range(len(texts))), "text": texts, "n": pa.array([[1]] * len(texts))})


def parquet_file(path: Path, texts: pa.Array, **options: Any) -> Path:
    pq.write_table(table(texts), path, row_group_size=3, **options)
    return path


def arrow_file(path: Path, texts: pa.Array) -> Path:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table(texts).schema) as writer:
        writer.write_table(table(texts), max_chunksize=2)
    return path


def arrow_stream(path: Path, texts: pa.Array) -> Path:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table(texts).schema, options=options) as writer:
        writer.write_table(table(texts), max_chunksize=2)
    return path


WRITERS = [parquet_file, arrow_file, arrow_stream]
TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int8(), pa.string())]


def table_name(writer: Callable[..., Path]) -> str:
    return "a.parquet" if writer is parquet_file else "a.arrow"


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_the_column_of_a_table_is_read(tmp_path: Path, writer: Callable[..., Path], type_: pa.DataType) -> None:
    texts = [None, *DOCUMENTS * 200]
    path = writer(tmp_path / table_name(writer), pa.array(texts, pa.string()).cast(type_))
    text, dropped = read(path)
    assert text == "".join(f"{one}\n" for one in texts[1:]).encode() and dropped == {"rows_without_text": 1}
    assert not is_plain_text(path, stored())


@pytest.mark.parametrize("writer", WRITERS)
def test_a_row_of_a_table_that_is_no_text_is_told_or_dropped(tmp_path: Path, writer: Callable[..., Path]) -> None:
    values = pa.array([b"a", b"b\xff", b"c\0", b"d"], pa.binary())
    damaged = pa.StringArray.from_buffers(4, *values.buffers()[1:])  # says it is UTF-8
    for number, texts in enumerate((values, damaged)):
        path = writer(tmp_path / f"{number}{table_name(writer)}", texts)
        with pytest.raises(CorpusError, match=r"row 2: it is not valid UTF-8 .invalid start byte at byte 1.*=drop"):
            read(path)
        assert read(path, invalid="drop") == (b"a\nd\n", {"invalid_rows": 2})


@pytest.mark.parametrize("writer", WRITERS)
def test_a_column_that_is_missing_or_no_text_is_told_with_those_there_are(
    tmp_path: Path, writer: Callable[..., Path]
) -> None:
    path = writer(tmp_path / table_name(writer), pa.array(["a"]))
    with pytest.raises(CorpusError, match=r"has 0 columns 'body' .*; its columns: 'id', 'text', 'n'\. .*field=COLUMN"):
        read(path, stored(field="body"))
    with pytest.raises(CorpusError, match=r"column 'id' is int64, but must be a string"):
        read(path, stored(field="id"))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_table_that_is_cut_off_or_packed_is_an_error(tmp_path: Path, writer: Callable[..., Path]) -> None:
    path = writer(tmp_path / table_name(writer), pa.array(["a word"] * 50))
    data = path.read_bytes()
    written(path, data[: len(data) // 2])
    kind = "parquet" if writer is parquet_file else "arrow"
    for invalid in ("error", "drop"):
        with pytest.raises(CorpusError, match=f"cannot be read as {kind}: .* Fetch or write it again"):
            read(path, stored(kind), invalid)
    packed = written(tmp_path / f"{path.name}.gz", gzip.compress(data))
    with pytest.raises(CorpusError, match=rf"is a table \({kind}\) packed with gzip\. Unpack it"):
        read(packed)


def test_a_column_given_twice_is_ambiguous(tmp_path: Path) -> None:
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, twice.schema) as writer:
        writer.write_table(twice)
    with pytest.raises(CorpusError, match="has 2 columns 'text'"):
        read(tmp_path / "a.arrow")


# ---- WikiExtractor's output

EXTRACTED = """<doc id="12" url="https://x.org/wiki?curid=12" title="Cats &amp; dogs">
Cats & dogs

They are 3 &lt; 4 &amp;amp; a "doc".
한국어 <b>문장</b>
</doc>
<doc id="13" url="https://x.org/wiki?curid=13" title="Empty">
</doc>
<doc id="14" url="https://x.org/wiki?curid=14" title="Other">
No title here.
</doc>
"""


@pytest.mark.parametrize("suffix", PACKERS)
def test_pages_of_wikiextractor_leave_their_text(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"wiki_00{suffix}", PACKERS[suffix](EXTRACTED.encode()))
    assert file_kind(path, stored()) == "wikiextractor"
    text, dropped = read(path)
    assert text.decode().split("\n") == [
        *("", "", "", 'They are 3 < 4 &amp; a "doc".', "한국어 <b>문장</b>", "", "", ""),
        *("", "No title here.", "", ""),
    ]
    assert dropped == {}


def test_a_broken_line_of_wikiextractor_is_told_or_dropped(tmp_path: Path) -> None:
    path = written(tmp_path / "wiki_00", EXTRACTED.encode() + b"caf\xe9\n")
    with pytest.raises(CorpusError, match="wiki_00, line 12: it is not valid UTF-8"):
        read(path)
    assert read(path, invalid="drop")[1] == {"invalid_rows": 1}


# ---- encodings


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize(
    "encoding", ["cp949", "euc-kr", "utf-16", "utf-16-le", "utf-32", "johab", "iso2022_kr", "utf-7"]
)
def test_korean_in_any_encoding_is_the_same_text(tmp_path: Path, encoding: str, suffix: str) -> None:
    path = written(tmp_path / f"a.txt{suffix}", PACKERS[suffix](KOREAN.encode(encoding)))
    assert read(path, stored(encoding=encoding)) == (KOREAN.encode(), {})
    row = json.dumps({"text": KOREAN}, ensure_ascii=False).encode(encoding)
    rows = written(tmp_path / f"a.jsonl{suffix}", PACKERS[suffix](row))
    assert read(rows, stored(encoding=encoding))[0] == KOREAN.encode() + b"\n"


def test_characters_are_whole_wherever_the_reads_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for size in (1, 2, 3, 5):
        monkeypatch.setattr("wordlab.transcoding._READ_BYTES", size)
        path = written(tmp_path / f"{size}.txt", "가나다 latin 🙂".encode("utf-16-be"))
        assert read(path, stored(encoding="utf-16-be"))[0] == "가나다 latin 🙂".encode()


@pytest.mark.parametrize("size", [3, 1 << 20])
def test_broken_bytes_of_an_encoding_are_told_with_their_place_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("wordlab.transcoding._READ_BYTES", size)
    path = written(tmp_path / "a.txt", "가나 ".encode("cp949") + b"\xff\xff" + " 다\n".encode("cp949"))
    with pytest.raises(CorpusError) as caught:
        read(path, stored(encoding="cp949"))
    message = str(caught.value)
    assert "a.txt is not cp949: bytes ff" in message and "at offset 5 (" in message
    assert "download.corpus_format.encoding=ENCODING" in message and "tokenize.invalid_bytes=drop" in message
    assert read(path, stored(encoding="cp949"), "drop") == ("가나  다\n".encode(), {"invalid_bytes": 2})


def test_each_byte_of_a_broken_character_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"a\0\x00\xd8b\0")
    assert read(path, stored(encoding="utf-16-le"), "drop") == (b"ab", {"invalid_bytes": 2})


def test_a_character_cut_off_by_the_end_is_dropped_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "word 가".encode("cp949")[:-1])
    assert read(path, stored(encoding="cp949")) == (b"word ", {"truncated_final_bytes": 1})


def test_nul_characters_and_halves_of_pairs_are_told_or_dropped(tmp_path: Path) -> None:
    nul = written(tmp_path / "a.txt", "a\0b".encode("utf-16"))
    with pytest.raises(CorpusError, match="holds a NUL character when it is read as utf-16"):
        read(nul, stored(encoding="utf-16"))
    assert read(nul, stored(encoding="utf-16"), "drop") == (b"ab", {"nul_bytes": 1})
    half = written(tmp_path / "b.txt", b"a+2AA-b")
    with pytest.raises(CorpusError, match="half of a surrogate pair"):
        read(half, stored(encoding="utf-7"))
    assert read(half, stored(encoding="utf-7"), "drop")[0] == b"ab"


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
@pytest.mark.parametrize("invalid", ["error", "drop"])
def test_utf16_that_is_said_to_be_utf8_is_told_with_the_parameter(tmp_path: Path, mark: bytes, invalid: str) -> None:
    path = written(tmp_path / "a.txt", mark + b"a\0")
    with pytest.raises(
        CorpusError, match=r"begins with f. f., the byte order .* download.corpus_format.encoding=utf-16"
    ):
        read(path, invalid=invalid)


def test_utf16_without_a_mark_is_not_guessed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "word".encode("utf-16-be"))
    with pytest.raises(CorpusError, match=r"has no byte order mark, so utf-16 does not say .*encoding=utf-16-le"):
        read(path, stored(encoding="utf-16"))


def test_an_escape_sequence_that_does_not_end_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"\x1b$))))))))")
    with pytest.raises(CorpusError, match=r"a.txt is not iso2022_kr: pending buffer overflow, at offset 0\. If it is"):
        read(path, stored(encoding="iso2022_kr"), "drop")


@pytest.mark.parametrize(
    "encoding", ["", "klingon", "rot13", "zlib", "idna", "unicode-escape", "undefined", "a\0", "x" * 300]
)
def test_what_is_no_encoding_of_files_is_refused(encoding: str) -> None:
    with pytest.raises(ConfigError, match=r"download\.corpus_format\.encoding is .*, but must be an encoding that"):
        stored(encoding=encoding)


def test_a_field_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"download\.corpus_format\.field is '', but must be the name"):
        stored(field="")


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["cp949", "utf-16-le", "utf-7", "shift_jis", "hz", "utf-8"]))
def test_any_bytes_become_text_or_are_dropped(data: bytes, encoding: str) -> None:
    import io

    dropped: Counter[str] = Counter()
    text = b"".join(utf8_pieces(io.BytesIO(data), Path("x"), encoding, "drop", dropped))
    assert "\0" not in text.decode()
    if not dropped:
        assert text.decode() == data.decode(encoding)


# ---- which form a file has


def test_auto_goes_by_name_and_first_bytes_and_a_named_kind_by_nothing(tmp_path: Path) -> None:
    parquet = parquet_file(tmp_path / "no-suffix", pa.array(["a"]))
    arrow = arrow_file(tmp_path / "nor-here", pa.array(["a"]))
    found = {path.name: file_kind(path, stored()) for path in (parquet, arrow)}
    for name in ("a.txt", "a.JSONL.gz", "a.ndjson", "a.json", "a.jsonl.bak"):
        data = b'{"text": "a"}'
        found[name] = file_kind(written(tmp_path / name, gzip.compress(data) if ".gz" in name else data), stored())
    assert found == {
        **{"no-suffix": "parquet", "nor-here": "arrow", "a.txt": "text", "a.JSONL.gz": "jsonl"},
        **{"a.ndjson": "jsonl", "a.json": "text", "a.jsonl.bak": "text"},
    }
    assert file_kind(tmp_path / "a.ndjson", stored("text")) == "text"
    assert read(tmp_path / "a.json", stored("jsonl")) == (b"a\n", {})


def test_estimates_count_tables_as_compressed_and_other_encodings_double(tmp_path: Path) -> None:
    plain = written(tmp_path / "a.txt", b"a")
    table_path = parquet_file(tmp_path / "a.parquet", pa.array(["a"]))
    packed = written(tmp_path / "a.txt.gz", gzip.compress(b"a"))
    factors = [
        text_factor(path, how, 5)
        for path in (plain, table_path, packed)
        for how in (stored(), stored(encoding="cp949"))
    ]
    assert factors == [1, 2, 5, 10, 5, 10]
    assert total_bytes([plain], stored()) == 1 and total_bytes([plain], stored(encoding="cp949")) is None


# ---- through the stages


def test_a_folder_of_every_form_is_tokenized_as_the_same_text(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    files = [
        written(folder / "a.txt", "\n".join(DOCUMENTS)),
        written(folder / "b.jsonl.gz", gzip.compress(jsonl(*({"text": text} for text in DOCUMENTS)))),
        parquet_file(folder / "c.parquet", pa.array(DOCUMENTS)),
        arrow_stream(folder / "d.arrow", pa.array(DOCUMENTS)),
        written(folder / "wiki_00", EXTRACTED),
    ]
    content = tokenize_corpus(files, tokenize_config(), tmp_path / "out", 1, stored())
    one = [["one", "two"], ["three"], ["four"], ["한국어", "문장"], ["five"]]
    wiki = [["they", "are", "3", "4", "amp", "a", "doc"], ["한국어", "b", "문장", "b"], ["no", "title", "here"]]
    assert read_sentences(tmp_path / "out") == one * 4 + wiki
    assert content["dropped"] == {}


@pytest.mark.parametrize(("tokenizer", "workers"), [("words", 2), ("sentencepiece", 1)])
def test_dropped_rows_are_counted_once_in_the_manifest(tmp_path: Path, tokenizer: str, workers: int) -> None:
    rows = [{"text": f"some words to learn pieces, {i}"} for i in range(100)]
    path = written(tmp_path / "a.jsonl", jsonl(*rows, {"text": None}) + b"broken\n")
    config = tokenize_config(tokenizer=tokenizer, invalid_bytes="drop", shard_bytes=1 << 10)
    tokenize_corpus([path], config, tmp_path / "out", workers, stored())
    dropped = read_manifest(tmp_path / "out", "tokenize")["dropped"]
    assert dropped == {"invalid_rows": 1, "rows_without_text": 1}


def test_a_corpus_of_dropped_rows_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", b"broken\n" * 3)
    with pytest.raises(CorpusError, match=r"holds no words: 0 bytes in 1 files \(.*\), 3 invalid rows\. Check"):
        tokenize_corpus([path], tokenize_config(invalid_bytes="drop"), tmp_path / "out", 1, stored())


def test_how_a_corpus_is_stored_is_recorded_and_read_back(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    written(own / "a.txt", "a")
    how = stored("jsonl", "body", "cp949")
    folder = tmp_path / "download" / "corpus"
    folder.mkdir(parents=True)
    write_manifest(folder, "download", {"corpus": describe_own(find_own(str(own), {}), how)})
    assert recorded_format(tmp_path / "download") == how
    write_manifest(folder, "download", {"corpus": {"own": False}})
    assert recorded_format(tmp_path / "download") == TEXT
    for damaged in (3, {"kind": "auto"}, {"kind": "auto", "field": "", "encoding": "x"}):
        write_manifest(folder, "download", {"corpus": {"corpus_format": damaged}})
        with pytest.raises(ArtifactError, match=r"manifest.json is damaged: .* Run: dvc repro download"):
            recorded_format(tmp_path / "download")


# ---- files by a pattern


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    for name in ("a.jsonl", "x/b.jsonl", "x/y/c.jsonl", "x/y/c.txt", ".hidden/d.jsonl", "[odd]/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "a"}')
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.jsonl", ["a.jsonl"]),
        ("**/*.jsonl", ["a.jsonl", "x/b.jsonl", "x/y/c.jsonl"]),
        ("x/**", ["x/b.jsonl", "x/y/c.jsonl", "x/y/c.txt"]),
        ("x/*/c.*", ["x/y/c.jsonl", "x/y/c.txt"]),
        ("**/y/?.txt", ["x/y/c.txt"]),
        ("[odd]", ["[odd]/e.txt"]),
        ("[[]odd]/*", ["[odd]/e.txt"]),
    ],
)
def test_a_pattern_chooses_files_of_a_folder(crawl: Path, pattern: str, names: list[str]) -> None:
    own = find_own(f"{crawl}/{pattern}", {})
    assert [path.relative_to(crawl).as_posix() for path in own.files()] == names
    files = describe_own(own, stored())["files"]
    assert [(own.path / file["path"]).relative_to(crawl).as_posix() for file in files] == names


def test_a_pattern_that_matches_nothing_is_told(crawl: Path) -> None:
    with pytest.raises(CorpusError, match=r"None of the 5 files in .* matches \*\.csv\. Correct corpus: .*hidden"):
        find_own(f"{crawl}/*.csv", {}).files()
    with pytest.raises(ConfigError, match="is neither a row of the catalog nor a file or folder"):
        find_own(f"{crawl}/none/*.csv", {})
