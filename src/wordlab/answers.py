"""What an http server's answer says of a file: which part it is, of which version, and when to ask again.

Nothing in it is believed beyond what it costs to be wrong: numbers are bounded before they become numbers, text is made
printable before it is shown, and a redirect leads to http(s) only, never from https to http.
"""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from wordlab.errors import DownloadError

MAX_REDIRECTS = 10
SHOWN_CHARACTERS = 100
"""Of a server's own words."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_PACKED_SUFFIXES = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".z")


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s), a few, and none from https to http: what is fetched so could be anybody's."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadError(f"the server redirects from https to {printable(newurl)}, which is not followed")
        visited = getattr(req, "redirect_dict", {})
        if visited.get(newurl, 0) >= self.max_repeats or len(visited) >= self.max_redirections:
            raise DownloadError(f"the server redirects in circles, last to {printable(newurl)}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        target = headers.get("Location") or headers.get("URI")
        try:
            scheme = urlsplit(urljoin(req.full_url, target or "")).scheme
        except ValueError:
            scheme = ""
        try:
            if target and scheme not in ("http", "https"):
                raise DownloadError(f"the server redirects to {printable(target)}, which is neither http nor https")
            return super().http_error_302(req, fp, code, msg, headers)
        except DownloadError:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def content_length(headers: Any) -> int | None:
    """Bytes of the body; None where the server does not say, or says nonsense."""
    value = (headers.get("Content-Length") or "").strip()
    return int(value) if _NUMBER.fullmatch(value) else None


def content_range(headers: Any) -> tuple[int, int | None] | None:
    """First byte of the part that was sent and size of the whole file, None where unknown; None without a range."""
    match = _RANGE.fullmatch((headers.get("Content-Range") or "").strip())
    if not match or int(match[2]) < int(match[1]):
        return None
    whole = None if match[3] == "*" else int(match[3])
    return (int(match[1]), whole) if whole is None or int(match[2]) < whole else None


def whole_size(headers: Any) -> int | None:
    """Size of the file in the answer to a range that could not be satisfied: Content-Range: bytes */1234."""
    value = (headers.get("Content-Range") or "").strip().removeprefix("bytes */")
    return int(value) if _NUMBER.fullmatch(value) else None


def validator(headers: Any) -> str:
    """What names the version of a file: a strong ETag or the date of its last change; empty where there is neither."""
    etag = headers.get("ETag") or ""
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified") or ""


def unwanted_encoding(headers: Any, url: str) -> str | None:
    """The Content-Encoding where the server has packed the file for the way, though it was asked not to.

    Some servers name the packing of a file that is packed where it lies, `text.gz`, in this header; that is no packing
    for the way.
    """
    value = (headers.get("Content-Encoding") or "").strip().lower()
    if value in ("", "identity") or urlsplit(url).path.lower().endswith(_PACKED_SUFFIXES):
        return None
    return value


def retry_after(headers: Any) -> float | None:
    """Seconds of a Retry-After header, which may also be a date; None without one that can be read."""
    value = (headers.get("Retry-After") or "").strip()
    if re.fullmatch("[0-9]+", value):
        return float(value[:18])
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, until.timestamp() - time.time())


def printable(text: object) -> str:
    """A server's words for our messages: one line, no control characters, not too long."""
    line = "".join(character if character.isprintable() else "?" for character in str(text))
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "…"
