"""Corpora named by URLs: the bytes of local ones, read by ranges, and what is told when a store does not give them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib.util
import io
import lzma
import os
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from stages import download, tokenize
from tests import cluster_tasks
from tests.remote_runs import MISSING, s3_server
from tests.test_cluster import NEEDS_DASK
from tests.text_helpers import read_sentences, tokenize_config, written
from wordlab import remote_files, spans
from wordlab.artifacts import read_manifest
from wordlab.corpus_format import file_kind, look_at_kinds, open_corpus_text
from wordlab.errors import ArtifactError, ConfigError, CorpusError, DownloadError
from wordlab.opened_ahead import opened_ahead
from wordlab.own_corpus import find_own
from wordlab.parallel import Workers
from wordlab.rawtext import corpus_files
from wordlab.remote_corpus import RemoteCorpus, describe_remote, find_remote, is_url
from wordlab.remote_files import AT_ONCE, RemoteFile
from wordlab.sections.download import CorpusFormatConfig
from wordlab.spans import cut_into_shards
from wordlab.tokenizing import tokenize_corpus

ROOT = Path(__file__).parents[1]
AUTO = CorpusFormatConfig(kind="auto", field="text", encoding="utf-8")
MANY = 8
"""Questions that are asked of a store beside each other, at least."""
TEXT = "".join(f"Zeile {i} von {i % 7} 한국어 und mehr.\n" for i in range(3000)).encode()


class Watched(MemoryFileSystem):
    """Files in memory that note what is read of them, and refuse those named so; slow ones wait for one another."""

    protocol = "watched"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in the class above
    pseudo_dirs = [""]  # noqa: RUF012
    read_bytes = 0
    meanwhile: Any = None
    """Called when a file is read."""
    questions: ClassVar[Counter[str]] = Counter()
    """Asked of each file: what it is, and to open it."""
    at_once = most_at_once = 0
    """Questions under way, and the most that ever were."""
    seconds = 0.0
    """That a question waits at most until MANY were under way at once."""

    def info(self, path: str, **options: Any) -> Any:
        with self._question(path):
            return super().info(path, **options)

    @contextlib.contextmanager
    def _question(self, path: str) -> Iterator[None]:
        with _CHANGED:
            Watched.questions[path.rpartition("/")[2]] += 1
            Watched.at_once += 1
            Watched.most_at_once = max(Watched.at_once, Watched.most_at_once)
            _CHANGED.notify_all()
            if not _CHANGED.wait_for(lambda: Watched.most_at_once >= MANY, Watched.seconds):
                Watched.seconds /= 2  # where none come, the test is to end
        try:
            yield
        finally:
            with _CHANGED:
                Watched.at_once -= 1

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(path.replace("watched://", "memory://"))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "refused" in path and mode == "rb":
            raise PermissionError("who are you?")
        if "broken" in path and mode == "rb":
            raise RuntimeError("no such luck\nat all")
        with self._question(path) if mode == "rb" else contextlib.nullcontext():
            file = super()._open(path, mode, **options)
        return _Noted(file) if mode == "rb" else file


_CHANGED = threading.Condition()


class _Noted(io.BytesIO):
    def __init__(self, file: Any) -> None:
        super().__init__(file.getvalue())

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        Watched.read_bytes += len(data)
        if Watched.meanwhile:
            Watched.meanwhile()
        return data


fsspec.register_implementation("watched", Watched, clobber=True)
fsspec.register_implementation("nowhere", "no_such_package.FileSystem", clobber=True, errtxt="Install no_such_package")


@pytest.fixture
def store() -> Iterator[Watched]:
    system = fsspec.filesystem("watched")
    yield system
    Watched.store.clear()
    Watched.pseudo_dirs[:] = [""]
    Watched.meanwhile = None
    Watched.read_bytes = Watched.most_at_once = 0
    Watched.seconds = 0.0
    Watched.questions.clear()


def put(store: Watched, **files: bytes) -> None:
    for name, content in files.items():
        store.pipe_file(f"/corpus/{name.replace('__', '/').replace('_', '.')}", content)


def the_file(url: str) -> RemoteFile:
    (file,) = find_remote(url).files()
    return file


def cuts(
    path: Any, shard_bytes: int, max_bytes: int, by_document: bool, read_later: bool = False
) -> list[list[tuple[Any, ...]]]:
    tasks = cut_into_shards(
        [path], shard_bytes, True, max_bytes=max_bytes, read_later=read_later, by_document=by_document
    )
    return [[(s.offset, s.data, s.starts_file, s.ends_file, s.cut, s.dump) for s in task.read()] for task in tasks]


@given(
    content=st.lists(
        st.sampled_from([b"word ", b"\n", b"\n\n", b"\n \r\n", "가".encode(), b"</page>", b"x" * 9]), max_size=40
    ).map(b"".join),
    head=st.sampled_from([b"", b"\xef\xbb\xbf", b"<mediawiki>\n"]),
    shard_bytes=st.integers(1, 60),
    max_bytes=st.integers(0, 90),
    by_document=st.booleans(),
)
def test_cuts_are_those_of_a_file_read_through(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    head: bytes,
    shard_bytes: int,
    max_bytes: int,
    by_document: bool,
) -> None:
    path = written(tmp_path_factory.getbasetemp() / "cuts", head + content)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "LINE_LIMIT_BYTES": 20,
            "PAGE_LIMIT_BYTES": 30,
            "_LOOK_BYTES": 8,
            "_HEAD_BYTES": 16,
        }.items():
            patch.setattr(spans, name, value)
        here = cuts(path, shard_bytes, max_bytes, by_document)
        assert cuts(the_file(f"file://{path}"), shard_bytes, max_bytes, by_document) == here
        assert cuts(path, shard_bytes, max_bytes, by_document, read_later=True) == here
    assert not content or max_bytes or b"".join(span[1] for task in here for span in task) in head + content


def test_who_cuts_plain_text_reads_little_of_it(store: Watched) -> None:
    put(store, large_txt=b"a line of text\n" * 400_000)
    tasks = list(cut_into_shards([the_file("watched://corpus/large.txt")], 1 << 20, True))
    assert len(tasks) == 6 and Watched.read_bytes < 8 * (3 << 16)
    assert b"".join(span.data for span in tasks[3].read()).count(b"\n") == len(tasks[3].read()[0].data) // 15


def many_files(store: Watched, number: int = 90) -> tuple[CorpusFormatConfig, list[RemoteFile]]:
    """Small files whose names do not tell what they are, in a store whose answers take a while."""
    for index in range(number):
        store.pipe_file(f"/many/{index:05d}", b"file %d has words\n" % index * 20)
    files = find_remote("watched://many").files()
    Watched.seconds = 1.0
    return AUTO, files


def test_many_files_are_looked_at_beside_each_other(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, files = many_files(store)
    corpus = describe_remote(find_remote("watched://many"), stored)
    assert [file["path"] for file in corpus["files"]] == [file.name for file in files]
    assert MANY <= Watched.most_at_once <= remote_files.AT_ONCE
    asked = Watched.questions.copy()
    look_at_kinds(files, stored)
    assert {file_kind(file, stored) for file in files} == {"text"}
    assert Watched.questions == asked and set(asked.values()) == {2}, "a file was looked at again"


@pytest.mark.parametrize("kind", ["auto", "text"])
def test_many_files_are_tokenized_without_waiting_for_each(store: Watched, tmp_path: Path, kind: str) -> None:
    stored, files = many_files(store)
    stored = CorpusFormatConfig(kind=kind, field="text", encoding="utf-8")
    look_at_kinds(files, stored)
    Watched.most_at_once = 0  # from here on, files are asked for when they are opened
    tasks = tokenized_alone(files, tmp_path / "there", stored)
    assert tasks > 5 and MANY <= Watched.most_at_once <= remote_files.AT_ONCE
    whole = Counter(Watched.questions.values()).most_common(1)[0][0]
    assert whole <= 7 and max(Watched.questions.values()) <= 10, "more questions of a file than need be"
    here = [written(tmp_path / file.name, b"file %d has words\n" % index * 20) for index, file in enumerate(files)]
    Watched.most_at_once = 0
    assert tokenized_alone(here, tmp_path / "here", stored) == tasks and Watched.most_at_once == 0
    assert read_sentences(tmp_path / "there") == read_sentences(tmp_path / "here")


def tokenized_alone(files: list[Any], folder: Path, stored: CorpusFormatConfig) -> int:
    content = tokenize_corpus(files, tokenize_config(shard_bytes=1 << 12), folder, 1, stored)
    return len(content["shards"])


def test_of_several_files_that_cannot_be_read_the_first_is_told(store: Watched, tmp_path: Path) -> None:
    stored, files = many_files(store, 40)
    Watched.seconds = 0
    for index in (33, 30, 35):
        store.pipe_file(f"/many/{index:05d}", b"now another text\n")
    for _ in range(5):
        with pytest.raises(CorpusError, match=r"many/00030 has changed"):
            look_at_kinds(files, stored)
    look_at_kinds(files[:30], stored)
    with pytest.raises(CorpusError, match=r"many/00030 has changed"):
        tokenize_corpus(files, tokenize_config(shard_bytes=1 << 12), tmp_path / "out", 1, stored)


def test_files_that_were_opened_ahead_are_closed_and_told_in_their_turn() -> None:
    opened: list[int] = []
    closed: list[int] = []

    class File:
        def __init__(self, number: int) -> None:
            if number == 9:
                raise CorpusError("the ninth")
            opened.append(number)
            self.number = number

        def close(self) -> None:
            closed.append(self.number)

    given: list[int] = []
    with pytest.raises(CorpusError, match="the ninth"):
        for file in opened_ahead(range(100), File, lambda number: number % 5 != 4):
            given.append(file.number)
    assert given == list(range(9)) and set(opened) - set(given) == set(closed) and len(opened) < 9 + 2 * AT_ONCE
    files = opened_ahead(range(100), File, lambda number: False)
    assert [next(files).number for _ in range(3)] == [0, 1, 2]
    files.close()
    assert opened[-3:] == [0, 1, 2], "a file was opened that is not to be opened ahead"


def test_a_stream_is_asked_for_in_growing_pieces_that_are_bounded(store: Watched) -> None:
    put(store, large_txt=bytes(20_000_000))
    sizes = []
    Watched.meanwhile = lambda: sizes.append(Watched.read_bytes)
    with the_file("watched://corpus/large.txt").open() as stream:
        assert len(stream.read(20_000_000)) == 20_000_000
    pieces = [now - before for before, now in zip([0, *sizes], sizes, strict=False)]
    assert pieces[:8] == [1 << 16 << number for number in range(8)] and max(pieces) == 1 << 23


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}


def table(kind: str) -> bytes:
    rows, out = pa.table({"text": TEXT.decode().splitlines()}), io.BytesIO()
    if kind == "parquet":
        pq.write_table(rows, out)
    else:
        with pa.ipc.new_file(out, rows.schema) as writer:
            writer.write_table(rows)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["txt", *(f"txt.{kind}" for kind in PACKED), "jsonl.gz", "parquet", "arrow", "cp949"])
def test_every_format_is_read_in_a_store_as_it_is_here(store: Watched, tmp_path: Path, kind: str) -> None:
    stored = CorpusFormatConfig(kind="auto", field="text", encoding="cp949" if kind == "cp949" else "utf-8")
    content = b"\n".join(b'{"text": "one %d"}' % i for i in range(999)) if "jsonl" in kind else TEXT
    content = TEXT.decode().encode("cp949") if kind == "cp949" else content
    content = table(kind) if kind in ("parquet", "arrow") else content
    content = PACKED[kind.partition(".")[2]](content) if "." in kind else content
    path = written(tmp_path / f"corpus.{kind}", content)
    store.pipe_file(f"/corpus/corpus.{kind}", content)
    with open_corpus_text(path, stored, "error", Counter()) as here:
        expected = here.read()
    with open_corpus_text(the_file(f"watched://corpus/corpus.{kind}"), stored, "error", Counter()) as there:
        assert there.read() == expected and len(expected) > 5000


def test_files_are_those_a_folder_here_would_have(store: Watched, tmp_path: Path) -> None:
    files = {"b.txt": b"1", "a/z.txt": b"2", "a/.hidden": b"3", ".git/x.txt": b"4", "a/y.gz.txt": b"5", "c.xml": b"6"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path / name, content)
        store.pipe_file(f"/bucket/deep/{name}", content)
    for pattern in ("", "/*.txt", "/**/*.txt", "/a/?.txt", "/[bc].*"):
        here = [path.relative_to(tmp_path).as_posix() for path in find_own(f"{tmp_path}{pattern}", {}).files()]
        there = find_own(f"watched://bucket/deep{pattern}", {}).files()
        assert [file.url.removeprefix("watched://bucket/deep/") for file in there] == here
    with pytest.raises(CorpusError, match=r"None of the 4 files in watched://bucket/deep matches \*.md. Correct"):
        find_own("watched://bucket/deep/*.md", {}).files()


def test_marks_of_folders_are_no_files(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty objects in S3, as its console makes them, which are listed as files."""
    put(store, a_txt=TEXT, sub__b_txt=TEXT)
    found = store.find("/corpus", detail=True)
    marks = {name: {"name": name, "size": 0, "type": "file"} for name in ("/corpus", "/corpus/", "/corpus/sub/")}
    monkeypatch.setattr(Watched, "find", lambda *_, **__: found | marks)
    files = describe_remote(find_remote("watched://corpus"), AUTO)["files"]
    assert [file["path"] for file in files] == ["a.txt", "sub/b.txt"]


def test_a_key_with_two_slashes_is_not_taken_for_another(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {f"/corpus{end}": {"size": 5, "type": "file", "ETag": end} for end in ("/a.txt", "//a.txt")}
    monkeypatch.setattr(Watched, "find", lambda *_, **__: found)
    put(store, a_txt=TEXT)
    with pytest.raises(CorpusError, match=r"'/a\.txt' in watched://corpus has :: or an empty part in its name"):
        find_remote("watched://corpus").files()


def test_what_a_url_is() -> None:
    assert is_url("s3://bucket/wiki/*.txt.gz") and is_url("memory://x")
    assert not is_url("enwik8") and not is_url("path/to/own.txt") and not is_url("s3:/bucket") and not is_url("s3://")
    assert find_remote("s3://bucket/wiki/*/a.gz") == RemoteCorpus("s3://bucket/wiki", "*/a.gz")
    assert find_remote("https://host/file.txt?part=*") == RemoteCorpus("https://host/file.txt?part=*", "")
    with pytest.raises(ConfigError, match="a URL in a URL"):
        find_remote("zip://*.txt::s3://bucket/a.zip")
    for url in (
        "sftp://me:s3cr3t@host/x",
        "https://h/a.txt?v=2&X-Amz-Signature=s3cr3t",
        "https://h/a?sig=s3cr3t",
        "https://h/a?api_key=s3cr3t",
    ):
        with pytest.raises(ConfigError, match="a URL with a password or a signature in it") as caught:
            find_remote(url)
        assert "s3cr3t" not in str(caught.value)
    assert find_remote("sftp://me@host/x").root == "sftp://me@host/x"
    with pytest.raises(ConfigError, match="names no bucket or folder"):
        find_remote("s3://*/wiki")


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("nonsense://x/y", ConfigError, "fsspec knows no file system nonsense://. Among those it knows: s3, gs,"),
        ("nowhere://x/y", ConfigError, r"nowhere:// needs a package that is not installed \(Install no_such_package\)"),
        ("watched://corpus/none.txt", CorpusError, "watched://corpus/none.txt is not there, or no longer. Correct"),
        ("watched://corpus/refused.txt", DownloadError, "may not be read: PermissionError: who are you.. Give this"),
        ("watched://corpus/broken.txt", DownloadError, "cannot be read: RuntimeError: no such luck at all. Check the"),
    ],
)
def test_what_goes_wrong_in_a_store_is_told(store: Watched, url: str, error: type[Exception], message: str) -> None:
    put(store, refused_txt=b"x", broken_txt=b"x")
    with pytest.raises(error, match=message):
        the_file(url).head()


def test_a_web_address_has_the_format_of_its_path() -> None:
    def named(url: str) -> tuple[str, str, str]:
        file = RemoteFile(url, 1, "")
        return file_kind(file, AUTO), file.name, file.suffix

    packed = ("jsonl", "a.jsonl.gz", ".gz")
    assert (
        named("https://host/data/a.jsonl.gz?download=true&to=/x.txt") == packed == named("http://host/a.jsonl.gz#top")
    )
    assert named("s3://bucket/a?b.jsonl") == ("jsonl", "a?b.jsonl", ".jsonl")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"a\xff.txt", r"'a\\udcff\.txt' in .* is not UTF-8\. Rename it"),
        (b"a::b.txt", "has :: or an empty part in its"),
    ],
)
def test_a_file_whose_name_cannot_be_in_a_url_is_named(tmp_path: Path, name: bytes, message: str) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"text\n")
    with pytest.raises(CorpusError, match=message):
        find_remote(f"file://{tmp_path}").files()


def test_a_file_that_has_changed_is_refused_before_during_and_after_reading(store: Watched) -> None:
    put(store, own_txt=TEXT)
    old = the_file("watched://corpus/own.txt")
    put(store, own_txt=TEXT)  # the same bytes, written anew: a store in memory tells no checksum
    for read in (old.open, old.head, lambda: old.read_part(5, 5)):
        with pytest.raises(CorpusError, match=r"has changed since the download stage looked: .*repro --force download"):
            read()
    new = the_file("watched://corpus/own.txt")
    Watched.meanwhile = lambda: put(store, own_txt=TEXT + b"more")
    for read in (lambda file: file.open().read(), lambda file: file.read_part(0, 9)):
        with pytest.raises(CorpusError, match=f"it had {len(TEXT)} bytes .created.* and has {len(TEXT) + 4} "):
            read(new)
        put(store, own_txt=TEXT)
        new = the_file("watched://corpus/own.txt")


def test_versions_are_the_nearest_to_the_content_that_a_store_tells() -> None:
    def version(**info: Any) -> str:
        return remote_files.as_version({"type": "file", "size": 3, **info}, "s3://b/k")[1]

    assert version(ETag='"abc"', LastModified="today") == "ETag abc"
    assert version(md5Hash="m", etag="e", generation="7") == "md5Hash m"
    assert version(mtime=1.5) == version(mtime=datetime.fromtimestamp(1.5, UTC)) == "mtime 1970-01-01T00:00:01.500000Z"
    assert version() == ""
    with pytest.raises(CorpusError, match="s3://b/k is no file whose size is known"):
        remote_files.as_version({"type": "file", "size": None}, "s3://b/k")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_corpus(project: Path, corpus: str, workers: int = 1) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["corpus"] = corpus
    params["download"]["evaluation_sets"] = []
    params["tokenize"]["shard_bytes"] = 1 << 16
    params["run"]["workers"] = workers
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def test_stages_read_a_corpus_in_a_store(project: Path, store: Watched) -> None:
    put(store, wiki__1_txt=TEXT, wiki__2_txt_gz=gzip.compress(TEXT), notes_md=b"no")
    set_corpus(project, "watched://corpus/wiki/*")
    download.main()
    corpus = read_manifest(Path("data/download/corpus"), "download")["corpus"]
    assert corpus["url"] == "watched://corpus/wiki" and corpus["name"] == "wiki" and corpus["own"]
    assert [(file["path"], file["format"]) for file in corpus["files"]] == [("1.txt", "text"), ("2.txt.gz", "gzip")]
    assert all(file["version"].startswith("created 20") for file in corpus["files"])
    assert Path("data/source").read_text().startswith("watched://corpus/wiki: read where it lies; data/download/corp")
    first = Path("data/download/corpus/manifest.json").read_bytes()
    download.main()
    assert Path("data/download/corpus/manifest.json").read_bytes() == first
    tokenize.main()
    assert len(read_sentences(Path("data/tokenize"))) == 6000
    put(store, wiki__1_txt=TEXT)
    with pytest.raises(CorpusError, match=r"watched://corpus/wiki/1\.txt has changed"):
        tokenize.main()
    download.main()
    assert Path("data/download/corpus/manifest.json").read_bytes() != first
    set_corpus(project, "enwik8-own.txt")
    written(project / "enwik8-own.txt", TEXT)
    download.main()
    assert Path("data/source").is_symlink() and corpus_files()[0].size_bytes == len(TEXT)
    set_corpus(project, "watched://corpus/wiki/2.txt.gz")
    download.main()
    assert not Path("data/source").is_symlink() and str(corpus_files()[0].path) == "watched://corpus/wiki/2.txt.gz"


def test_a_store_that_tells_no_versions_is_told(
    store: Watched, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, own_txt=TEXT)
    corpus = find_remote("watched://corpus/own.txt")
    describe_remote(corpus, AUTO)
    assert "by their sizes alone" not in capsys.readouterr().err
    monkeypatch.setattr(remote_files, "_TIMES", ())
    assert describe_remote(corpus, AUTO)["files"][0]["version"] == ""
    assert "watched://corpus/own.txt: no checksum and no time is told" in capsys.readouterr().err


def test_a_damaged_record_of_a_corpus_in_a_store_is_told(project: Path, store: Watched) -> None:
    put(store, own_txt=TEXT)
    set_corpus(project, "watched://corpus/own.txt")
    download.main()
    path = Path("data/download/corpus/manifest.json")
    for old, new in ((b'"version"', b'"vision"'), (b"watched://", b"nothing")):
        kept = path.read_bytes()
        path.write_bytes(kept.replace(old, new))
        with pytest.raises(ArtifactError, match="is damaged"):
            corpus_files()
        path.write_bytes(kept)


@pytest.mark.skipif(bool(MISSING), reason=f"not installed (extra s3-test): {', '.join(MISSING)}")
def test_worker_processes_open_the_files_of_a_bucket_themselves(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(tmp_path) as (address, account):
        for name, value in (account | {"AWS_ENDPOINT_URL": address, "AWS_MAX_ATTEMPTS": "1"}).items():
            monkeypatch.setenv(name, value)
        bucket = fsspec.filesystem("s3", skip_instance_cache=True)
        bucket.pipe_file("models/wiki/1.txt", TEXT)
        bucket.pipe_file("models/wiki/2.txt.bz2", bz2.compress(TEXT))
        set_corpus(project, "s3://models/wiki/*.txt*", workers=2)
        download.main()
        (first, _) = read_manifest(Path("data/download/corpus"), "download")["corpus"]["files"]
        assert first["version"].startswith("ETag ")
        with monkeypatch.context() as patch:
            patch.setattr(RemoteFile, "read_part", lambda *_: pytest.fail("read in the first process"))
            tokenize.main()
        found = read_sentences(Path("data/tokenize"))
        files = [written(tmp_path / name, TEXT) for name in ("1.txt", "2.txt")]
        tokenize_corpus(files, tokenize_config(sentences="punctuation", shard_bytes=1 << 16), tmp_path / "here", 1)
        assert found == read_sentences(tmp_path / "here")
        set_corpus(project, "s3://models/wiki/*.txt*")
        bucket.pipe_file("models/wiki/1.txt", TEXT.lower())
        with pytest.raises(CorpusError, match=r"s3://models/wiki/1\.txt has changed .*ETag"):
            tokenize.main()
        bucket.rm("models/wiki/1.txt")
        with pytest.raises(CorpusError, match=r"s3://models/wiki/1\.txt is not there, or no longer"):
            tokenize.main()
    with pytest.raises(DownloadError, match=r"s3://models/wiki/1\.txt cannot be read: EndpointConnectionError"):
        tokenize.main()


@NEEDS_DASK
def test_workers_of_a_cluster_open_the_files_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "own.txt", TEXT)
    config = tokenize_config(shard_bytes=1 << 15)
    tokenize_corpus([path], config, tmp_path / "here", 1)
    monkeypatch.setattr(RemoteFile, "read_part", lambda *_: pytest.fail("read in the first process"))
    with cluster_tasks.cluster(tmp_path, 1) as running:
        workers = Workers(executor="dask", dask_address=running.address)
        tokenize_corpus([the_file(f"file://{path}")], config, tmp_path / "there", workers)
    for file in (tmp_path / "here").iterdir():
        assert (tmp_path / "there" / file.name).read_bytes() == file.read_bytes()


def test_packages_of_a_store_are_looked_for_when_they_are_needed() -> None:
    """A corpus that lies here needs none of them."""
    assert importlib.util.find_spec("no_such_package") is None
    assert find_remote("nowhere://x/y").root == "nowhere://x/y"
