"""A server on this machine that behaves as it is told, badly above all, and rows of a catalog that point to it.

server.answers = [send(stop_after=1000), status(503), send()]     # one for each request, the last again and again
fetch(tmp_path, location("url", server.url))                      # -> the bytes that landed
failure(tmp_path, location("url", server.url))                    # -> the message
"""

from __future__ import annotations

import hashlib
import http.server
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from wordlab.catalog import Location, Row
from wordlab.errors import DownloadError
from wordlab.fetch import Fetcher
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

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that leaves in the middle is what some tests are about

        self._server = Quiet(("127.0.0.1", 0), Handler)
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


def raw(head: str, body: bytes = b"") -> Answer:
    """These bytes as they are, whatever they say. head: lines, without the empty one at the end."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head.strip().replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        handler.close_connection = True

    return answer


def reset(body: bytes = b"", length: int = len(TEXT)) -> Answer:
    """Send some bytes, or nothing at all, and then reset the connection."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        if body:
            handler.wfile.write(f'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: {length}\r\n\r\n'.encode() + body)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True

    return answer


def location(place: str, target: str, content: bytes = TEXT, **fields: str | int) -> Location:
    values = dict.fromkeys(("file", "container", "member", "archive_sha256"))
    values |= {"format": "text", "size_bytes": len(content), "sha256": sha256(content), **fields}
    return Location(place=place, target=target, **values)  # type: ignore[arg-type]


def row(*locations: Location, kind: str = "corpus") -> Row:
    return Row(
        name="some-row",
        kind=kind,
        language="en",
        licence="",
        description="",
        size_bytes=len(TEXT),
        needs=None,
        locations=locations,
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
