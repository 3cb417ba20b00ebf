"""Files over http from servers that misbehave: resumed, retried, or refused; nothing wrong ever lands."""

from __future__ import annotations

import errno
import gzip
import http.server
import io
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.misbehaving import TEXT, Answer, Server, failure, fetch, kept, location, raw, reset, send, sha256, status
from wordlab import answers, transfer
from wordlab.errors import ArtifactError, DownloadError, ResourceError
from wordlab.transfer import Client


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORDLAB_MIRROR", raising=False)


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
    server.answers = [send(b"x" * N, etag='"v0"', stop_after=1000), send()]
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


# --- whatever a server does, nothing wrong lands


def ok(headers: str = "", body: bytes = TEXT, code: str = "200 OK") -> Answer:
    """An answer with these headers, one a line."""
    return raw(f"HTTP/1.1 {code}\n{headers}".strip(), body)


def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
    """The whole file, a byte at a time."""
    handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(TEXT)}\r\n\r\n".encode())
    for byte in TEXT[:50]:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)
    handler.close_connection = True


def stall(handler: http.server.BaseHTTPRequestHandler) -> None:
    """The beginning of the file, and then nothing for a while."""
    handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(TEXT)}\r\n\r\n".encode() + TEXT[:1000])
    time.sleep(1)
    handler.close_connection = True


def soon(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


N = len(TEXT)
WRONG = TEXT[:-1] + b"!"
MISBEHAVIOUR: dict[str, tuple[list[Answer], str]] = {
    "fewer bytes than promised": ([ok(f"Content-Length: {N}", TEXT[:500])], f"the connection ended after 500 of {N}"),
    "fewer bytes, without a length": ([ok("", TEXT[:500])], f"the connection ended after 500 of {N} bytes, at try 2"),
    "too short a length": ([ok("Content-Length: 500")], f"the file has 500 bytes, but must have {N}: it is another"),
    "too long a length": ([ok(f"Content-Length: {N + 1}")], f"the file has {N + 1} bytes, more than the {N} it can"),
    "a negative length": ([ok("Content-Length: -5", TEXT[:500])], "the connection ended after 500 of"),
    "an endless length": (
        [ok(f"Content-Length: {'9' * 5000}", TEXT + b"more")],
        f"more than the {N} bytes it can have",
    ),
    "a page instead of the file": ([ok("Content-Length: 12", b"<html>log in")], "but must have"),
    "an empty file": ([ok("Content-Length: 0", b"")], f"the file has 0 bytes, but must have {N}"),
    "no content": ([ok("", b"", "204 No Content")], f"the connection ended after 0 of {N} bytes"),
    "the right size, another content": ([ok(f"Content-Length: {N}", WRONG)], "wrong checksum: the content has SHA-256"),
    "packed on the way": (
        [ok("Content-Encoding: gzip", gzip.compress(TEXT))],
        "the server packs it (Content-Encoding: gzip), though it was asked for the file as it is",
    ),
    "a broken chunk": ([ok("Transfer-Encoding: chunked", b"fff\r\nabc")], "the connection"),
    "no http at all": ([raw("SSH-2.0-OpenSSH_9.9")], "the connection broke before an answer (SSH-2.0-OpenSSH_9.9"),
    "a status with control characters": ([raw("HTTP/1.1 404 \x1b[2Jgone\x07")], "HTTP status 404 ?[2Jgone?"),
    "a status that goes on and on": ([raw("HTTP/1.1 404 " + "x" * 5000)], "HTTP status 404 " + "x" * 100 + "…"),
    "reset before the answer": (
        [reset()],
        "the connection broke before an answer (Connection reset by peer), at try 2",
    ),
    "reset in the middle": ([reset(TEXT[:70_000])], "the connection broke (Connection reset by peer), at try 2 of 2"),
    "drips": ([drip], "bytes came in 0 s, at try 2 of 2"),
    "stalls": ([stall], "the connection broke (timed out), at try 2 of 2"),
    "gone": ([status(410)], "HTTP status 410 Gone"),
    "a part nobody asked for": (
        [ok(f"Content-Range: bytes 5-9/{N}", b"x" * 5, "206 Part")],
        "another part of the file",
    ),
    "always a part": ([ok(f"Content-Range: bytes 0-9/{N}", TEXT[:10], "206 Part")], f"ended after 10 of {N} bytes"),
    "a part without saying which": ([ok("", TEXT[:10], "206 Part")], "another part of the file than asked for"),
    "a part that ends before it begins": ([ok(f"Content-Range: bytes 9-5/{N}", b"", "206 Part")], "another part"),
    "a part of another file": (
        [ok("Content-Range: bytes 0-9/99", TEXT[:10], "206 Part")],
        "the file has 99 bytes, but",
    ),
    "redirects to itself": ([status(302, Location="/file")], "the server redirects in circles, last to http"),
    "redirects to a disk": ([status(302, Location="file:///etc/hostname")], "neither http nor https"),
    "redirects to ftp": ([status(301, Location="ftp://127.0.0.1/file")], "redirects to ftp://127.0.0.1/file, which is"),
    "redirects to no address": ([status(302, Location="http://[")], "redirects to http://[, which is neither"),
    "redirects to nowhere": ([status(302)], "HTTP status 302 Found"),
    "redirects on and on": (
        [status(302, Location=f"/{number}") for number in range(20)],
        "the server redirects in circles, last to",
    ),
    "busy": ([status(503)], "HTTP status 503 Service Unavailable, at try 2 of 2"),
    "busy for hours": ([status(429, Retry_After="7200")], "at try 1 of 2; the server asks for a pause of 7200 s"),
    "busy until tomorrow": ([status(503, Retry_After=soon(86400))], "at try 1 of 2; the server asks for a pause of 8"),
    "busy for ever": ([status(503, Retry_After="9" * 400)], "at try 1 of 2; the server asks for a pause of 1000000000"),
    "busy for nonsense": ([status(503, Retry_After="soon")], "HTTP status 503 Service Unavailable, at try 2 of 2"),
    "busy for a strange number": ([status(503, Retry_After="\xb2")], "Service Unavailable, at try 2 of 2"),
    "no range will do": ([send(stop_after=500), status(416)], "the file on the server has changed, at try 2 of 2"),
}


@pytest.mark.parametrize("name", list(MISBEHAVIOUR))
def test_nothing_wrong_lands_and_the_next_location_is_tried(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for limit, value in {"TRIES": 2, "STALL_SECONDS": 0.2, "SLOW_SECONDS": 0.2, "CONTACT_SECONDS": 5.0}.items():
        monkeypatch.setattr(transfer, limit, value)
    server.answers, expected = MISBEHAVIOUR[name]
    server.answers = list(server.answers)
    text = failure(tmp_path, location("url", server.url))
    assert f"1. {server.url}: " in text and expected in text and "Check the network and run it again" in text
    assert all(line.isprintable() for line in text.splitlines())
    assert not (tmp_path / "target").exists() and kept(tmp_path) == []

    good = Server()
    try:
        server.answers = list(MISBEHAVIOUR[name][0])
        assert fetch(tmp_path, location("url", server.url), location("url", good.url)) == TEXT
    finally:
        good.close()
    assert f"some-row could not be had from {server.url}: " in capsys.readouterr().err
    assert kept(tmp_path) == [sha256(TEXT)]


def test_a_redirect_from_https_to_http_is_not_followed() -> None:
    asked = urllib.request.Request("https://example.org/text")
    handler = answers.Redirects()
    handler.add_parent(urllib.request.OpenerDirector())
    with pytest.raises(DownloadError, match=r"redirects from https to http://example\.org/text, which is not followed"):
        handler.http_error_302(asked, io.BytesIO(), 302, "Found", {"location": "http://example.org/text"})
    to = "https://example.org/other"
    assert handler.redirect_request(asked, io.BytesIO(), 302, "Found", {}, to).full_url == to  # type: ignore[union-attr]


# --- one version from the first byte to the last


def test_a_part_of_another_version_is_thrown_away(tmp_path: Path, server: Server) -> None:
    """A server that knows ranges but not If-Range."""
    other = ok(f'ETag: "v2"\nContent-Range: bytes 500-{N - 1}/{N}', b"x" * (N - 500), "206 Part")
    server.answers = [send(stop_after=500), other, send()]
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert [request.get("Range") for request in server.requests] == [None, "bytes=500-", None]


def test_what_came_in_pieces_and_is_wrong_is_fetched_again_from_its_start(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that changed on the server, which gives all versions the same ETag."""
    server.answers = [send(WRONG[:600][::-1] + WRONG[600:], stop_after=500), send(), send()]
    assert fetch(tmp_path, location("url", server.url)) == TEXT
    assert "it came in pieces and is fetched again from its start" in capsys.readouterr().err
    assert [request.get("Range") for request in server.requests] == [None, "bytes=500-", None]


def test_what_came_in_one_piece_and_is_wrong_is_not_fetched_again(tmp_path: Path, server: Server) -> None:
    server.answers = [send(WRONG)]
    assert "wrong checksum" in failure(tmp_path, location("url", server.url))
    assert len(server.requests) == 1


def test_bytes_of_one_version_never_lie_beside_the_note_of_another(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the moment after the note was written."""
    partial = tmp_path / "url.part"
    server.answers = [send(b"x" * N, etag='"v0"', stop_after=500), send(etag='"v1"')]
    monkeypatch.setattr(transfer, "TRIES", 1)
    with pytest.raises(DownloadError):
        Client().fetch(server.url, partial, N)
    noted = transfer._note

    def note_and_die(*arguments: object) -> None:
        noted(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "_note", note_and_die)
    with pytest.raises(KeyboardInterrupt):
        Client().fetch(server.url, partial, N)
    assert not partial.exists()


def test_a_file_that_is_there_whole_is_not_asked_for_again(tmp_path: Path, server: Server) -> None:
    """Killed between the last byte and the checksum."""
    partial = tmp_path / "url.part"
    Client().fetch(server.url, partial, N, N)
    assert Client().fetch(server.url, partial, N, N) is True
    assert len(server.requests) == 1
    server.answers = [status(416, Content_Range=f"bytes */{N}")]
    assert Client().fetch(server.url, partial, 2 * N) is True  # the size of an archive is not known before
    assert partial.read_bytes() == TEXT and server.requests[1]["Range"] == f"bytes={N}-"


def test_a_packed_file_may_name_its_packing(tmp_path: Path, server: Server) -> None:
    packed = gzip.compress(TEXT)
    server.answers = [ok(f"Content-Encoding: x-gzip\nContent-Length: {len(packed)}", packed)]
    url = server.url + "s/text.gz"
    assert fetch(tmp_path, location("url", url, container="gzip", archive_sha256=sha256(packed))) == TEXT


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7, 7),
        (" 7 ", 7, 7),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 1e9, 1e10),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
        ("Thu, 01 Jan 1970 00:00:00 -0000", 0, 0),
    ],
)
def test_pauses_are_read_in_both_forms(value: str, low: float, high: float) -> None:
    assert low <= (answers.retry_after({"Retry-After": value}) or 0) <= high


def test_a_server_that_asks_for_no_pause_is_not_hammered(tmp_path: Path, server: Server) -> None:
    server.answers = [status(503, Retry_After="0"), send()]
    started = time.monotonic()
    Client(pause_seconds=0.3).fetch(server.url, tmp_path / "url.part", N)
    assert time.monotonic() - started >= 0.3
