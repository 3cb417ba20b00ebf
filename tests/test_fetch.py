"""Locations tried in order; files over http resumed, retried and checked. All servers are on this machine."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from wordlab import transfer
from wordlab.catalog import Location, Row
from wordlab.errors import ArtifactError, DownloadError, ResourceError
from wordlab.fetch import Fetcher, in_order, main_checkout
from wordlab.transfer import Client

TEXT = b"".join(b"line %d of the file\n" % i for i in range(20_000))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server:
    """Answers each GET with the next of `answers`, the last one again and again; `requests`: the headers of each."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [send()]
        self.requests: list[dict[str, str]] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(dict(self.headers.items()))
                answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/file"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def send(body: bytes = TEXT, etag: str = '"v1"', ranges: bool = True, stop_after: int | None = None) -> Answer:
    """A whole file, or the part asked for if the version fits; `stop_after`: close the connection after these bytes."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        start = 0
        if wanted and ranges and handler.headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if etag:
            handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start:][:stop_after])

    return answer


def status(code: int, **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORDLAB_MIRROR", raising=False)


def location(place: str, target: str, content: bytes = TEXT, **fields: str | int) -> Location:
    values = dict.fromkeys(("file", "container", "member", "archive_sha256"))
    values |= {"format": "text", "size_bytes": len(content), "sha256": sha256(content), **fields}
    return Location(place=place, target=target, **values)  # type: ignore[arg-type]


def row(*locations: Location, kind: str = "corpus") -> Row:
    return Row(
        name="some-row", kind=kind, language="en", licence="", description="", size_bytes=len(TEXT), locations=locations
    )


def fetch(tmp_path: Path, *locations: Location) -> bytes:
    target = tmp_path / "target"
    Fetcher(tmp_path / "store", Client(pause_seconds=0.01)).fetch(row(*locations), target)
    return target.read_bytes()


def failure(tmp_path: Path, *locations: Location) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path, *locations)
    return str(caught.value)


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "store").iterdir() if path.is_file() and path.suffix != ".lock")


# --- http


def test_a_file_is_fetched_checked_and_kept(tmp_path: Path, server: Server) -> None:
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert kept(tmp_path) == [sha256(TEXT)]
    assert list((tmp_path / "store/partial").iterdir()) == []


def test_what_is_in_the_store_is_not_fetched_again(tmp_path: Path, server: Server) -> None:
    fetch(tmp_path, location("url", server.url))
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert len(server.requests) == 1


def test_the_copy_can_be_changed_without_changing_the_store(tmp_path: Path, server: Server) -> None:
    fetch(tmp_path, location("url", server.url))
    (tmp_path / "target").write_bytes(b"changed")
    assert (tmp_path / "store" / sha256(TEXT)).read_bytes() == TEXT


def test_a_damaged_file_in_the_store_is_fetched_again(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(tmp_path, location("url", server.url))
    damaged = tmp_path / "store" / sha256(TEXT)
    damaged.chmod(0o644)
    damaged.write_bytes(TEXT[:-1] + b"!")
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert "has changed since it was fetched; it is fetched again" in capsys.readouterr().err


def test_a_broken_connection_is_resumed_where_it_stopped(tmp_path: Path, server: Server) -> None:
    server.answers = [send(stop_after=100_000), send(stop_after=100_000), send()]
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert [request.get("Range") for request in server.requests] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_later_run_goes_on_where_a_killed_one_stopped(tmp_path: Path, server: Server) -> None:
    server.answers = [send(stop_after=1000)] * transfer.TRIES + [send()]
    assert "the connection ended after 1000 of" in failure(tmp_path, location("url", server.url)).replace(
        "5000", "1000"
    )
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert server.requests[-1]["Range"] == "bytes=5000-"


def test_a_file_that_changed_on_the_server_is_fetched_from_its_start(tmp_path: Path, server: Server) -> None:
    server.answers = [send(b"x" * 5000, etag='"v0"', stop_after=1000), send()]
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert server.requests[1]["If-Range"] == '"v0"'


def test_a_server_that_ignores_ranges_is_fetched_from_the_start(tmp_path: Path, server: Server) -> None:
    server.answers = [send(stop_after=1000), send(ranges=False)]
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert server.requests[1]["Range"] == "bytes=1000-"


def test_without_a_version_from_the_server_nothing_is_resumed(tmp_path: Path, server: Server) -> None:
    server.answers = [send(etag="", stop_after=1000), send(etag="")]
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert "Range" not in server.requests[1]


def test_a_range_that_cannot_be_satisfied_starts_from_the_start(tmp_path: Path, server: Server) -> None:
    server.answers = [send(stop_after=1000), status(416), send()]
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert "Range" not in server.requests[2]


def test_a_redirect_is_followed(tmp_path: Path, server: Server) -> None:
    server.answers = [status(302, Location="/elsewhere"), send()]
    assert fetch(tmp_path, location("url", server.url)) == TEXT


def test_a_missing_file_is_not_asked_for_again(tmp_path: Path, server: Server) -> None:
    server.answers = [status(404)]
    assert f"1. {server.url}: HTTP status 404 Not Found" in failure(tmp_path, location("url", server.url))
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again_after_the_pause_it_asks_for(tmp_path: Path, server: Server) -> None:
    server.answers = [status(503, Retry_After="1"), status(500), send()]
    start = time.monotonic()
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert 1 <= time.monotonic() - start < 5


def test_a_pause_may_be_given_as_a_date(tmp_path: Path, server: Server) -> None:
    server.answers = [status(503, Retry_After=formatdate(time.time() - 60, usegmt=True)), send()]
    assert fetch(tmp_path, location("url", server.url)) == TEXT


def test_a_server_that_asks_for_a_long_pause_is_given_up(tmp_path: Path, server: Server) -> None:
    server.answers = [status(429, Retry_After="3600")]
    text = failure(tmp_path, location("url", server.url))
    assert "HTTP status 429 Too Many Requests, at try 1 of 5; the server asks for a pause of 3600 s" in text


def test_a_server_that_stays_busy_is_given_up_after_some_tries(tmp_path: Path, server: Server) -> None:
    server.answers = [status(503)]
    assert "HTTP status 503 Service Unavailable, at try 5 of 5" in failure(tmp_path, location("url", server.url))
    assert len(server.requests) == 5


def test_a_host_that_cannot_be_reached_is_asked_once_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        start = time.monotonic()
        text = failure(tmp_path, location("url", url + "a"), location("url", url + "b"))
    assert time.monotonic() - start < 2
    assert f"1. {url}a: the host cannot be reached (Connection refused)" in text
    assert f"2. {url}b: the host cannot be reached (Connection refused)" in text


def test_a_host_that_does_not_answer_is_given_up_soon(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "CONTACT_SECONDS", 0.2)
    done = threading.Event()
    server.answers = [lambda handler: (done.wait(5), status(404)(handler))[1]]
    text = failure(tmp_path, location("url", server.url))
    done.set()
    assert "the host cannot be reached (no answer within 0 s)" in text
    for thread in threading.enumerate():  # let it end, so that it is not cut off in the middle
        if thread.name.startswith("asking"):
            thread.join(5)


def test_when_no_host_answers_the_next_ones_are_given_less_time(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "IMPATIENT_SECONDS", 0.1)
    done = threading.Event()
    server.answers = [lambda handler: (done.wait(5), status(404)(handler))[1]]
    refused = location("url", "http://127.0.0.1:9/a")
    assert "2. " + server.url + ": the host cannot be reached (no answer within 0 s)" in failure(
        tmp_path, refused, location("url", server.url)
    )
    done.set()
    for thread in threading.enumerate():
        if thread.name.startswith("asking"):
            thread.join(5)


def test_a_file_larger_than_it_can_be_is_not_fetched(tmp_path: Path, server: Server) -> None:
    server.answers = [send(TEXT + b"more")]
    text = failure(tmp_path, location("url", server.url))
    assert f"the file has {len(TEXT) + 4} bytes, more than the {len(TEXT)} it can have" in text


# --- checksums and the order of locations


class FullDisk(io.RawIOBase):
    """A file on a disk without space."""

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, *_: int) -> int:
        return 0

    def truncate(self, *_: object) -> int:
        return 0

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("size", [100, len(TEXT)], ids=["when it is closed", "at once"])
def test_a_full_disk_is_no_broken_connection(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    original = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, *rest, **named: (
            io.BufferedWriter(FullDisk()) if path.name == "url.part" else original(path, *rest, **named)
        ),
    )
    server.answers = [send(TEXT[:size])]
    with pytest.raises(ResourceError, match=r"url\.part could not be written: No space left on device\. Free some"):
        fetch(tmp_path, location("url", server.url, TEXT[:size]))
    assert len(server.requests) == 1


def test_a_place_that_cannot_be_written_is_no_broken_connection(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactError, match=r"url\.part could not be written: Is a directory"):
        (tmp_path / "url.part").mkdir()
        Client().fetch(server.url, tmp_path / "url.part", len(TEXT))
    with pytest.raises(ArtifactError, match=r"url\.part\.json could not be written: No such file"):
        Client().fetch(server.url, tmp_path / "nowhere" / "url.part", len(TEXT))
    assert len(server.requests) == 2


def test_a_wrong_checksum_names_both_sums_and_the_next_location_is_tried(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = TEXT[:-1] + b"!"
    server.answers = [send(wrong), send()]
    assert fetch(tmp_path, location("url", server.url), location("url", server.url + "2")) == TEXT
    expected = (
        f"{server.url}: wrong checksum: the content has SHA-256 {sha256(wrong)}, but the catalog says {sha256(TEXT)}"
    )
    assert expected in capsys.readouterr().err
    assert kept(tmp_path) == [sha256(TEXT)]


def test_the_sum_of_an_archive_is_checked_before_it_is_opened(tmp_path: Path, server: Server) -> None:
    server.answers = [send(b"no zip at all")]
    place = location("url", server.url, container="zip", member="text", archive_sha256="0" * 64)
    text = failure(tmp_path, place)
    assert (
        f"wrong checksum: the archive has SHA-256 {sha256(b'no zip at all')}, but the catalog says {'0' * 64}" in text
    )
    assert list((tmp_path / "store/partial").iterdir()) == []


def test_the_member_of_a_fetched_zip_is_the_content(tmp_path: Path, server: Server) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("text", TEXT)
    server.answers = [send(packed.getvalue())]
    place = location("url", server.url, container="zip", member="text", archive_sha256=sha256(packed.getvalue()))
    assert fetch(tmp_path, place) == TEXT


def test_when_all_locations_fail_each_is_listed_with_its_reason_and_a_way_out(tmp_path: Path, server: Server) -> None:
    server.answers = [status(404)]
    text = failure(
        tmp_path, location("url", server.url), location("mirror", "a/b"), location("package", "no", file="f")
    )
    assert text == (
        "some-row could not be had from any of its 3 locations:\n"
        f"  1. {server.url}: HTTP status 404 Not Found\n"
        "  2. mirror a/b: WORDLAB_MIRROR is not set\n"
        "  3. package no (f): the package is not installed\n"
        "Check the network and run it again, or set WORDLAB_MIRROR to a folder that holds the file at the path of its "
        "mirror location, or let corpus: in params.yaml name a file of your own."
    )
    assert not (tmp_path / "target").exists()


def test_a_mirror_comes_first_where_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, mirror = location("url", "http://example.org/a"), location("mirror", "a/text")
    assert in_order((url, mirror)) == [url, mirror]
    monkeypatch.setenv("WORDLAB_MIRROR", str(tmp_path / "mirror"))
    assert in_order((url, mirror)) == [mirror, url]
    assert f"1. mirror a/text: the folder that WORDLAB_MIRROR names has no such file: {tmp_path}" in failure(
        tmp_path, mirror
    )
    (tmp_path / "mirror/a").mkdir(parents=True)
    (tmp_path / "mirror/a/text").write_bytes(TEXT)
    assert fetch(tmp_path, url, mirror) == TEXT


def test_a_file_that_only_looks_like_the_right_one_is_refused_from_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of text8 under the name of text8 must not pass as text8."""
    monkeypatch.setenv("WORDLAB_MIRROR", str(tmp_path))
    (tmp_path / "text").write_bytes(TEXT[:1000])
    assert f"the content has SHA-256 {sha256(TEXT[:1000])}, but" in failure(tmp_path, location("mirror", "text"))


# --- packages and source distributions


def test_a_file_of_an_installed_package_is_read_where_it_is(tmp_path: Path) -> None:
    import yaml

    source = Path(yaml.__file__).with_name("tokens.py").read_bytes()
    assert fetch(tmp_path, location("package", "PyYAML", source, file="yaml/tokens.py")) == source
    text = failure(tmp_path, location("package", "PyYAML", file="yaml/nothing.py"))
    assert f"version {yaml.__version__}, which is installed, has no such file" in text


@pytest.fixture
def sdist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A source distribution with a build backend of its own, in a folder that pip takes for its only index."""
    backend = (
        "from pathlib import Path\n"
        "def prepare_metadata_for_build_wheel(folder, settings=None):\n"
        f"    Path({str(tmp_path / 'ran')!r}).touch()\n"
        "    info = Path(folder, 'wordlab_test_data-1.0.dist-info')\n"
        "    info.mkdir()\n"
        "    (info / 'METADATA').write_text('Metadata-Version: 2.1\\nName: wordlab-test-data\\nVersion: 1.0\\n')\n"
        "    return info.name\n"
        "def build_wheel(*_): raise SystemExit('not asked for')\n"
    )
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {"pyproject.toml": project.encode(), "backend.py": backend.encode(), "data/text.gz": gzip.compress(TEXT)}
    files["PKG-INFO"] = b"Metadata-Version: 2.1\nName: wordlab-test-data\nVersion: 1.0\n"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"wordlab_test_data-1.0/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    index = tmp_path / "index"
    index.mkdir()
    (index / "wordlab_test_data-1.0.tar.gz").write_bytes(packed.getvalue())
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return packed.getvalue()


def in_sdist(archive_sha256: str, file: str = "data/text.gz", version: str = "1.0") -> Location:
    target = f"wordlab_test_data=={version}"
    return location("sdist", target, file=file, container="gzip", archive_sha256=archive_sha256)


def test_a_file_comes_out_of_a_source_distribution(tmp_path: Path, sdist: bytes) -> None:
    assert fetch(tmp_path, in_sdist(sha256(sdist))) == TEXT
    assert list((tmp_path / "store/partial").iterdir()) == []


def test_no_code_of_a_source_distribution_runs_before_its_sum_is_checked(tmp_path: Path, sdist: bytes) -> None:
    text = failure(tmp_path, in_sdist("0" * 64))
    assert (
        "sdist wordlab_test_data==1.0 (data/text.gz): pip download failed: THESE PACKAGES DO NOT MATCH THE HASHES"
        in text
    )
    assert not (tmp_path / "ran").exists()


def test_a_source_distribution_that_is_not_there_says_so(tmp_path: Path, sdist: bytes) -> None:
    text = failure(tmp_path, in_sdist(sha256(sdist), version="2.0"))
    assert "pip download failed: Could not find a version that satisfies the requirement wordlab_test_data==2.0" in text


# --- places


def test_experiments_in_temporary_copies_share_the_store_of_the_main_checkout(tmp_path: Path) -> None:
    for copy in (".dvc/tmp/exps/tmp12ab", ".dvc/tmp/exps/standalone/tmp12ab", ".dvc/tmp/exps/standalone/tmp12ab/deep"):
        (tmp_path / copy).mkdir(parents=True, exist_ok=True)
        assert main_checkout(tmp_path / copy) == tmp_path
    assert main_checkout(tmp_path) == tmp_path


def test_two_runs_at_once_fetch_a_file_once(tmp_path: Path, server: Server) -> None:
    begun = threading.Event()

    def slowly(handler: http.server.BaseHTTPRequestHandler) -> None:
        begun.set()
        time.sleep(0.3)
        send()(handler)

    server.answers = [slowly]
    program = (
        "import sys, pathlib, test_fetch as t\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "t.Fetcher(folder / 'store').fetch(t.row(t.location('url', sys.argv[2])), folder / 'other')"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    command = [sys.executable, "-c", program, str(tmp_path), server.url]
    with subprocess.Popen(command, env=environment) as other:
        begun.wait(20)
        assert fetch(tmp_path, location("url", server.url)) == TEXT
        assert other.wait(20) == 0
    assert (tmp_path / "other").read_bytes() == TEXT
    assert len(server.requests) == 1
