"""One file over http(s): resumed, retried, timed out, and of one version from its first byte to its last.

A host that cannot be reached at all is given up at once and not asked again in this run: without a network, the next
location should be tried after seconds. A host that has answered gets several tries with growing pauses.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from wordlab import answers
from wordlab.artifacts import unwritable_as_error
from wordlab.errors import DownloadError
from wordlab.stage import progress, say

CONTACT_SECONDS = 12.0
"""Longest wait for the head of an answer, name look-up and redirects included."""
IMPATIENT_SECONDS = 3.0
"""The same, where another host was waited for in vain and none has answered: there is probably no network."""
STALL_SECONDS = 30.0
"""Longest wait for more of a body."""
SLOW_SECONDS = 60.0
SLOW_BYTES = 60_000
"""Of a body that brings fewer bytes than this in so many seconds, no more is waited for: a drip never stalls."""
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

    def fetch(
        self,
        url: str,
        partial: Path,
        max_bytes: int,
        size_bytes: int | None = None,
        require: Callable[[int], None] = lambda more_bytes: None,
    ) -> bool:
        """Fetch `url` into `partial`, going on where an earlier try stopped. Returns whether it is put together so.

        max_bytes: more is an error.   size_bytes: what the file must have, where that is known.
        require: told how many bytes are still to come, where the server says so, before any does; raises if that is
        too much.
        What has arrived stays in `partial` on failure, and beside it a note that says of which version it is.
        Raises DownloadError with the reason.
        """
        host = urlsplit(url).netloc
        if host in self._unreachable:
            raise DownloadError(self._unreachable[host])
        if size_bytes and _resumable(partial)[0] == size_bytes:
            return True
        pause = self._pause_seconds
        pieced = False
        for number in range(1, TRIES + 1):
            try:
                return self._try(url, host, partial, max_bytes, size_bytes, require) or pieced
            except _Again as failure:
                wanted = failure.pause_seconds
                if number == TRIES or (wanted is not None and wanted > MAX_PAUSE_SECONDS):
                    asked = f"; the server asks for a pause of {wanted:.0f} s" if wanted else ""
                    raise DownloadError(f"{failure}, at try {number} of {TRIES}{asked}") from None
                pause_now = max(pause, wanted or 0.0)
                say(f"{url}: {failure}; next try in {pause_now:.0f} s")
                time.sleep(pause_now)
                pause *= 2
        raise AssertionError("the last try returns or raises")

    def _try(
        self,
        url: str,
        host: str,
        partial: Path,
        max_bytes: int,
        size_bytes: int | None,
        require: Callable[[int], None],
    ) -> bool:
        offset, version = _resumable(partial)
        headers = {"User-Agent": "wordlab", "Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": version}
        with self._open(urllib.request.Request(url, headers=headers), host, partial, offset) as response:
            if response is None:
                return True
            start, total = _part(response, offset, version, partial)
            encoding = answers.unwanted_encoding(response.headers, url)
            if encoding:
                wanted = "though it was asked for the file as it is"
                raise DownloadError(f"the server packs it (Content-Encoding: {answers.printable(encoding)}), {wanted}")
            if total is not None:
                _require_size(total, max_bytes, size_bytes)
                require(total - start)
            if not start:
                discard(partial)  # before the note: bytes of one version never lie beside the note of another
            _note(partial, response.headers)
            size = self._receive(response, partial, start, total, max_bytes, urlsplit(url).path.rpartition("/")[2])
        expected = total if total is not None else size_bytes
        if expected is not None and size != expected:
            raise _Again(f"the connection ended after {size} of {expected} bytes")
        return bool(start)

    def _receive(self, response: Any, partial: Path, start: int, total: int | None, max_bytes: int, name: str) -> int:
        """Append the body to `partial` from `start` on. Returns the size of the file then, in bytes.

        An error of this machine's disk is no error of the network: another try or location would not help.
        """
        size = start
        pace = _Pace()
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
                pace.check(len(data))
        return size

    @contextlib.contextmanager
    def _open(self, request: urllib.request.Request, host: str, partial: Path, offset: int) -> Iterator[Any]:
        """The server's answer, once its head is there; None where it says that nothing is missing from `partial`.

        Raises _Again or DownloadError.
        """
        impatient = self._unreachable and not self._answered
        try:
            response = _within(IMPATIENT_SECONDS if impatient else CONTACT_SECONDS, request)
        except urllib.error.HTTPError as error:
            self._answered.add(host)
            with error:
                self._refused(error, partial, offset)
            yield None
            return
        except DownloadError:
            self._answered.add(host)
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._no_answer(error, host)
        self._answered.add(host)
        with response:
            yield response

    def _refused(self, error: urllib.error.HTTPError, partial: Path, offset: int) -> None:
        """Raise for an answer of 300 and above, but for the one that says that `partial` is whole."""
        if error.code == 416:
            if offset and answers.whole_size(error.headers) == offset:
                return
            discard(partial)  # what is there is not a beginning of what the server has now
            raise _Again("the file on the server has changed") from None
        reason = f"HTTP status {error.code} {answers.printable(error.reason)}"
        if error.code in _RETRIED_STATUS:
            raise _Again(reason, answers.retry_after(error.headers)) from None
        raise DownloadError(reason) from None

    def _no_answer(self, error: Exception, host: str) -> NoReturn:
        broken = isinstance(error, http.client.HTTPException | ConnectionResetError) or isinstance(
            getattr(error, "reason", None), ConnectionResetError
        )
        if broken:  # somebody is there
            self._answered.add(host)
            raise _Again(f"the connection broke before an answer ({_reason(error)})") from None
        reason = f"the host cannot be reached ({_reason(error)})"
        if host in self._answered:
            raise _Again(reason) from None
        self._unreachable[host] = reason
        raise DownloadError(reason) from None


class _Pace:
    """Watches that a body comes faster than a drip."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._bytes = 0

    def check(self, num_bytes: int) -> None:
        """Count bytes that have come. Raises _Again if they come too slowly."""
        self._bytes += num_bytes
        seconds = time.monotonic() - self._since
        if seconds >= SLOW_SECONDS:
            if self._bytes < SLOW_BYTES:
                raise _Again(f"only {self._bytes} bytes came in {seconds:.0f} s")
            self._since, self._bytes = time.monotonic(), 0


def _part(response: Any, offset: int, version: str, partial: Path) -> tuple[int, int | None]:
    """Where in the file the body begins, and the size of the whole file, None where unknown. Raises _Again."""
    length = answers.content_length(response.headers)
    if response.status != 206:
        return 0, length
    sent = answers.content_range(response.headers)
    if sent is None or sent[0] != offset:
        discard(partial)
        raise _Again("the server sent another part of the file than asked for")
    now = answers.validator(response.headers)
    if offset and now and now != version:
        discard(partial)
        raise _Again("the file on the server has changed")
    start, whole = sent
    if whole is None and length is not None:
        whole = start + length
    return start, whole


def _require_size(total: int, max_bytes: int, size_bytes: int | None) -> None:
    if total > max_bytes:
        raise DownloadError(f"the file has {total} bytes, more than the {max_bytes} it can have")
    if size_bytes is not None and total != size_bytes:
        raise DownloadError(f"the file has {total} bytes, but must have {size_bytes}: it is another file")


def discard(partial: Path) -> None:
    """Remove what arrived of a file, and the note beside it."""
    with unwritable_as_error(partial):
        partial.unlink(missing_ok=True)
        _note_path(partial).unlink(missing_ok=True)


def _within(seconds: float, request: urllib.request.Request) -> Any:
    """urlopen with one limit for all of it. Its own limit holds for each address of a host, and not for the look-up."""
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()
    given_up = threading.Event()

    def ask() -> None:
        try:
            result = urllib.request.build_opener(answers.Redirects).open(request, timeout=STALL_SECONDS)
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
    path = _note_path(partial)
    with unwritable_as_error(path):
        path.write_text(json.dumps({"validator": answers.validator(headers)}), encoding="utf-8")


def _resumable(partial: Path) -> tuple[int, str]:
    """Bytes that are there already, and the validator of their version; (0, "") where one cannot go on from them."""
    try:
        offset = partial.stat().st_size
        validator = json.loads(_note_path(partial).read_text(encoding="utf-8"))["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""
    return (offset, validator) if offset and isinstance(validator, str) and validator else (0, "")


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    return answers.printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)
