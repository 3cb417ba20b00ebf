"""One file over http(s): resumed, retried, timed out.

A host that cannot be reached at all is given up at once and not asked again in this run: without a network, the next
location should be tried after seconds. A host that has answered gets several tries with growing pauses.
"""

from __future__ import annotations

import http.client
import json
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wordlab.artifacts import unwritable_as_error
from wordlab.errors import DownloadError
from wordlab.stage import progress, say

CONTACT_SECONDS = 12.0
"""Longest wait for the head of an answer, name look-up and redirects included."""
IMPATIENT_SECONDS = 3.0
"""The same, where another host was waited for in vain and none has answered: there is probably no network."""
STALL_SECONDS = 30.0
"""Longest wait for more of a body."""
TRIES = 5
MAX_PAUSE_SECONDS = 60.0
"""A server that wants a longer pause (Retry-After) is given up."""

_CHUNK_BYTES = 1 << 18
_RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}


class _Again(Exception):
    """A try failed in a way that another one may not. `pause_seconds`: what the server asked for, if it did."""

    def __init__(self, reason: str, pause_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


class Client:
    """Fetches files over http(s) and remembers which hosts answered."""

    def __init__(self, pause_seconds: float = 1.0) -> None:
        """pause_seconds: before the second try; doubled before each further one."""
        self._pause_seconds = pause_seconds
        self._answered: set[str] = set()
        self._unreachable: dict[str, str] = {}

    def fetch(self, url: str, partial: Path, max_bytes: int) -> None:
        """Fetch `url` into `partial`, going on where an earlier try stopped. `max_bytes`: more is an error.

        What has arrived stays in `partial` on failure, and beside it a note that says of which version it is.
        Raises DownloadError with the reason.
        """
        host = urlsplit(url).netloc
        if host in self._unreachable:
            raise DownloadError(self._unreachable[host])
        pause = self._pause_seconds
        for number in range(1, TRIES + 1):
            try:
                self._try(url, host, partial, max_bytes)
                return
            except _Again as failure:
                wanted = failure.pause_seconds
                if number == TRIES or (wanted is not None and wanted > MAX_PAUSE_SECONDS):
                    asked = f"; the server asks for a pause of {wanted:.0f} s" if wanted else ""
                    raise DownloadError(f"{failure}, at try {number} of {TRIES}{asked}") from None
                pause_now = pause if wanted is None else wanted
                say(f"{url}: {failure}; next try in {pause_now:.0f} s")
                time.sleep(pause_now)
                pause *= 2

    def _try(self, url: str, host: str, partial: Path, max_bytes: int) -> None:
        offset, validator = _resumable(partial)
        headers = {"User-Agent": "wordlab", "Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
        with self._open(urllib.request.Request(url, headers=headers), host, partial) as response:
            resumed = response.status == 206 and _range_start(response) == offset
            if response.status == 206 and not resumed:
                discard(partial)
                raise _Again("the server sent another part of the file than asked for")
            start = offset if resumed else 0
            length = response.headers.get("Content-Length")
            total = start + int(length) if length and length.isdigit() else None
            if total is not None and total > max_bytes:
                raise DownloadError(f"the file has {total} bytes, more than the {max_bytes} it can have")
            _note(partial, response.headers)
            size = self._receive(response, partial, start, total, max_bytes, urlsplit(url).path.rpartition("/")[2])
        if total is not None and size != total:
            raise _Again(f"the connection ended after {size} of {total} bytes")

    def _receive(self, response: Any, partial: Path, start: int, total: int | None, max_bytes: int, name: str) -> int:
        """Append the body to `partial` from `start` on. Returns the size of the file then, in bytes.

        An error of this machine's disk is no error of the network: another try or location would not help.
        """
        size = start
        with (
            progress(total, "B", name, initial=start) as bar,
            unwritable_as_error(partial),
            partial.open("r+b" if start else "wb") as file,
        ):
            file.seek(start)
            file.truncate()
            while data := _read_some(response):
                size += len(data)
                if size > max_bytes:
                    raise DownloadError(f"the file has more than the {max_bytes} bytes it can have; stopped there")
                file.write(data)
                bar.update(len(data))
        return size

    def _open(self, request: urllib.request.Request, host: str, partial: Path) -> Any:
        """The server's answer, once its head is there. Raises _Again or DownloadError."""
        impatient = self._unreachable and not self._answered
        try:
            response = _within(IMPATIENT_SECONDS if impatient else CONTACT_SECONDS, request)
        except urllib.error.HTTPError as error:
            self._answered.add(host)
            with error:
                if error.code == 416:  # what is there is not a beginning of what the server has now
                    discard(partial)
                    raise _Again("the file on the server has changed") from None
                reason = f"HTTP status {error.code} {error.reason}"
                if error.code in _RETRIED_STATUS:
                    raise _Again(reason, _retry_after(error.headers)) from None
                raise DownloadError(reason) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = f"the host cannot be reached ({_reason(error)})"
            if host in self._answered:
                raise _Again(reason) from None
            self._unreachable[host] = reason
            raise DownloadError(reason) from None
        self._answered.add(host)
        return response


def discard(partial: Path) -> None:
    """Remove what arrived of a file, and the note beside it."""
    partial.unlink(missing_ok=True)
    _note_path(partial).unlink(missing_ok=True)


def _within(seconds: float, request: urllib.request.Request) -> Any:
    """urlopen with one limit for all of it. Its own limit holds for each address of a host, and not for the look-up."""
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()
    given_up = threading.Event()

    def ask() -> None:
        try:
            result = urllib.request.urlopen(request, timeout=STALL_SECONDS)
        except Exception as error:  # noqa: BLE001 - it is raised again in the waiting thread
            result = error
        outcome.put(result)
        if given_up.is_set() and hasattr(result, "close"):
            result.close()

    threading.Thread(target=ask, name=f"asking {request.host}", daemon=True).start()
    try:
        result = outcome.get(timeout=seconds)
    except queue.Empty:
        given_up.set()
        raise TimeoutError(f"no answer within {seconds:.0f} s") from None
    if isinstance(result, Exception):
        raise result
    return result


def _read_some(response: Any) -> bytes:
    """The next piece of the body, empty at its end. Raises _Again."""
    try:
        return response.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _Again(f"the connection broke ({_reason(error)})") from None


def _note_path(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _note(partial: Path, headers: Any) -> None:
    """Remember which version of the file arrives, so that a later try can ask for the rest of the same one."""
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    path = _note_path(partial)
    with unwritable_as_error(path):
        path.write_text(json.dumps({"validator": validator}), encoding="utf-8")


def _resumable(partial: Path) -> tuple[int, str]:
    """Bytes that are there already, and the validator of their version; (0, "") where one cannot go on from them."""
    try:
        offset = partial.stat().st_size
        validator = json.loads(_note_path(partial).read_text(encoding="utf-8"))["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""
    return (offset, validator) if offset and isinstance(validator, str) and validator else (0, "")


def _range_start(response: Any) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _retry_after(headers: Any) -> float | None:
    """Seconds of a Retry-After header, which may also be a date."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
