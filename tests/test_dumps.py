"""Dumps of wikis: the newest and that of a date, checked by their publisher's list; all servers are on this machine."""

from __future__ import annotations

import bz2
import hashlib
import http.server
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from stages import download
from tests.misbehaving import Server, send, status
from wordlab import dumps
from wordlab.artifacts import read_manifest
from wordlab.catalog import DumpRow, load_catalog, load_dumps
from wordlab.decompression import open_text_stream
from wordlab.dumps import Dump, DumpFetcher, FetchedDump, find_dump
from wordlab.errors import ConfigError, DownloadError, ResourceError
from wordlab.rawtext import corpus_files
from wordlab.transfer import TRIES, Client

ROOT = Path(__file__).parents[1]
END = "pages-articles-multistream.xml.bz2"
TEXT = b"<mediawiki>\n" + b"<page><text>one two three</text></page>\n" * 99
CONTENT = bz2.compress(TEXT)
SHA1 = hashlib.sha1(CONTENT).hexdigest()


def sums(date: str, content: bytes = CONTENT) -> bytes:
    """A list as publishers make them: names carry the date, also in the list of the newest."""
    lines = [(b"x", "pages-articles.xml.bz2"), (content, END), (b"y", f"{END}.torrent")]
    return "".join(f"{hashlib.sha1(data).hexdigest()}  kowiki-{date}-{end}\n" for data, end in lines).encode()


class Site:
    """A server with these files; `asked` notes the paths."""

    def __init__(self, server: Server) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.stop_after: int | None = None
        self.base = server.url.removesuffix("file")
        server.answers = [self._answer]

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path.rpartition("/")[2])
        content = self.files.get(handler.path)
        stop_after = self.stop_after if handler.path.endswith("bz2") else None
        (status(404) if content is None else send(content, stop_after=stop_after))(handler)

    def publish(self, date: str, content: bytes = CONTENT, newest: bool = True) -> None:
        self.files[f"/kowiki/{date}/kowiki-{date}-sha1sums.txt"] = sums(date)
        self.files[f"/kowiki/{date}/kowiki-{date}-{END}"] = content
        if newest:
            self.files["/kowiki/latest/kowiki-latest-sha1sums.txt"] = sums(date)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("WORDLAB_MIRROR", raising=False)
    server = Server()
    yield Site(server)
    server.close()


def row(*locations: tuple[str, str]) -> DumpRow:
    about = {"language": "ko", "licence": "free", "description": "made here"}
    return DumpRow(name="kowiki", file=END, locations=locations, **about)


def fetch(tmp_path: Path, site: Site, date: str, *more: tuple[str, str]) -> FetchedDump:
    fetcher = DumpFetcher(tmp_path / "store", Client(pause_seconds=0.01))
    return fetcher.fetch(Dump(row(("url", site.base), *more), date))


def failure(tmp_path: Path, site: Site, date: str) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path, site, date)
    return str(caught.value)


def test_a_dump_of_a_date_is_fetched_and_checked_by_the_publishers_list(tmp_path: Path, site: Site) -> None:
    site.publish("20261101")
    found = fetch(tmp_path, site, "20261101")
    assert found.path.read_bytes() == CONTENT and found.path.name == f"kowiki-20261101-{END}"
    assert (found.sha1, found.sha256) == (SHA1, hashlib.sha256(CONTENT).hexdigest())
    assert site.asked == ["kowiki-20261101-sha1sums.txt", f"kowiki-20261101-{END}"]
    again = fetch(tmp_path, site, "20261101")
    assert again == found and len(site.asked) == 2


def test_the_newest_dump_is_the_one_its_list_names(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.publish("20261001")
    assert fetch(tmp_path, site, "latest").dump.name == "kowiki-20261001"
    assert "It is the dump of 20261001. For the same text next month, too: corpus: kowiki-20261001" in (
        capsys.readouterr().err
    )
    site.publish("20261101")
    found = fetch(tmp_path, site, "latest")
    assert found.dump.name == "kowiki-20261101" and found.describe()["dump"]["date"] == "20261101"
    assert fetch(tmp_path, site, "latest") == found
    assert site.asked.count(f"kowiki-20261101-{END}") == 1


def test_other_bytes_than_the_lists_are_refused_and_not_kept(tmp_path: Path, site: Site) -> None:
    site.publish("20261101", CONTENT + b"!")
    other = hashlib.sha1(CONTENT + b"!").hexdigest()
    assert f"wrong checksum: it has SHA-1 {other}, but its publisher's list says {SHA1}" in failure(
        tmp_path, site, "20261101"
    )
    assert not any("bz2" in path.name for path in (tmp_path / "store").iterdir())


def test_a_dump_that_is_deleted_by_now_is_told_with_what_there_is(tmp_path: Path, site: Site) -> None:
    site.publish("20261101")
    fetch(tmp_path, site, "20261101")
    text = failure(tmp_path, site, "20250101")
    assert f"kowiki-20250101 could not be had from any of its 1 locations:\n  1. {site.base}: HTTP status 404" in text
    assert "Fetched before, and still here: kowiki-20261101. Dumps are deleted after some months: kowiki-latest" in text
    assert f"{site.base}kowiki/" not in text and "with kowiki/ behind it lists those there are" in text


def test_a_dump_that_is_not_finished_is_told(tmp_path: Path, site: Site) -> None:
    site.publish("20261101")
    path = "/kowiki/20261101/kowiki-20261101-sha1sums.txt"
    site.files[path] = b"\n".join(line for line in sums("20261101").splitlines() if b"multi" not in line)
    assert f"names no kowiki-20261101-{END}: that dump is not finished" in failure(tmp_path, site, "20261101")
    site.files[path] = b"<html>\xff not a list at all</html>"
    assert "that dump is not finished" in failure(tmp_path, site, "20261101")


def test_a_fetch_goes_on_in_a_later_run(tmp_path: Path, site: Site) -> None:
    site.publish("20261101")
    site.stop_after = 10
    assert f"the connection ended after {10 * TRIES} of {len(CONTENT)} bytes" in failure(tmp_path, site, "20261101")
    site.stop_after = None
    assert fetch(tmp_path, site, "20261101").path.read_bytes() == CONTENT
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [
        f"kowiki-20261101-{END}",
        "kowiki-20261101.sha1",
        "kowiki.lock",
    ]


@pytest.mark.parametrize("date", ["20261101", "latest"])
def test_a_kept_dump_that_has_changed_is_fetched_again(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str], date: str
) -> None:
    site.publish("20261101")
    path = fetch(tmp_path, site, date).path
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert fetch(tmp_path, site, date).path.read_bytes() == CONTENT
    assert "has changed since it was fetched" in capsys.readouterr().err


def test_a_dump_that_does_not_fit_on_the_disk_is_refused_before_it_comes(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish("20261101")
    asked = []

    def require_disk(need_bytes: int, path: Path, remedy: str) -> None:
        asked.append(need_bytes)
        raise ResourceError("no room")

    monkeypatch.setattr(dumps, "require_disk", require_disk)
    with pytest.raises(ResourceError, match="no room"):
        fetch(tmp_path, site, "20261101")
    assert asked == [len(CONTENT)] and not any("bz2" in path.name for path in (tmp_path / "store").iterdir())


def mirrored(folder: Path, date: str, content: bytes = CONTENT) -> Path:
    """A mirror with a dump of this date, the newest."""
    for name in (date, "latest"):
        (folder / "dumps/kowiki" / name).mkdir(parents=True, exist_ok=True)
        (folder / f"dumps/kowiki/{name}/kowiki-{name}-sha1sums.txt").write_bytes(sums(date))
    (folder / f"dumps/kowiki/{date}/kowiki-{date}-{END}").write_bytes(content)
    return folder


def test_a_dump_in_a_mirror_comes_first_and_is_read_where_it_lies(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.publish("20261101")
    mirror = mirrored(tmp_path / "mirror", "20261020")
    monkeypatch.setenv("WORDLAB_MIRROR", str(mirror))
    for date in ("latest", "20261020"):
        found = fetch(tmp_path, site, date, ("mirror", "dumps"))
        assert found.path == mirror / f"dumps/kowiki/20261020/kowiki-20261020-{END}"
    assert not site.asked
    mirrored(tmp_path / "mirror", "20261020", b"damaged")
    assert fetch(tmp_path, site, "latest", ("mirror", "dumps")).dump.date == "20261101"


def test_names_of_dumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(load_dumps()) == {"kowiki", "enwiki"} and not set(load_dumps()) & set(load_catalog())
    newest = find_dump("kowiki-latest")
    assert newest is not None and newest.path_of("sha1sums.txt") == "kowiki/latest/kowiki-latest-sha1sums.txt"
    assert newest.row.locations[0] == ("url", "https://dumps.wikimedia.org/")
    assert find_dump("enwik8") is None and find_dump("path/to/own-20261101") is None
    with pytest.raises(ConfigError, match="Name the newest, enwiki-latest, or one by its date, enwiki-YYYYMMDD"):
        find_dump("enwiki")
    with pytest.raises(ConfigError, match=r"no file or folder here, and no dump .* Did you mean kowiki-20261101\?"):
        find_dump("kowikt-20261101")
    (tmp_path / "news-20261101").mkdir()
    assert find_dump("news-20261101") is None


GOOD = {
    "kind": "dump",
    "language": "ko",
    "licence": "free",
    "description": "made here",
    "file": END,
    "locations": [{"url": "https://example.org/dumps/"}],
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"file": "../x"}, "file is '../x', which is no name"),
        ({"size_bytes": 3}, "unknown key 'size_bytes'"),
        ({"locations": []}, "locations must be a list of at least one"),
        ({"locations": [{"url": "https://example.org/dumps"}]}, "is no http.s. address that ends in /"),
        ({"locations": [{"url": "ftp://example.org/"}]}, "is no http.s. address"),
        ({"locations": [{"mirror": "../dumps"}]}, "leaves its folder"),
        ({"locations": [{"mirror": "dumps", "url": "https://a/"}]}, "it names 2 of url, mirror"),
        ({"locations": [{"sha256": "a" * 64}]}, "unknown key 'sha256'"),
    ],
)
def test_a_row_of_a_dump_with_a_mistake_is_told(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump({"kowiki": GOOD}))
    assert load_dumps(path)["kowiki"].locations == (("url", "https://example.org/dumps/"),)
    path.write_text(yaml.safe_dump({"kowiki": GOOD | changes}))
    with pytest.raises(ConfigError, match=f"catalog.yaml: kowiki.*{problem}"):
        load_dumps(path)


def test_stage_download_links_a_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("WORDLAB_MIRROR", str(mirrored(tmp_path / "mirror", "20261020")))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["corpus"], params["download"]["evaluation_sets"] = "kowiki-latest", []
    Path("params.yaml").write_text(yaml.safe_dump(params))
    download.main()
    corpus = read_manifest(Path("data/download/corpus"), "download")["corpus"]
    assert corpus["dump"] == {"date": "20261020", "sha1": SHA1, "sha256": hashlib.sha256(CONTENT).hexdigest()}
    assert (corpus["name"], corpus["language"], corpus["files"][0]["format"]) == ("kowiki-20261020", "ko", "bzip2")
    (file,) = corpus_files()
    with open_text_stream(file.path) as stream:
        assert stream.read() == TEXT
    assert Path("data/source").is_symlink()
