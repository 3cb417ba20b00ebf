"""Locations tried in order, checked and kept in a store; all servers are on this machine."""

from __future__ import annotations

import gzip
import http.server
import importlib.metadata
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.misbehaving import TEXT, Server, failure, fetch, kept, location, send, sha256, status
from wordlab.catalog import Location
from wordlab.fetch import in_order, main_checkout


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORDLAB_MIRROR", raising=False)


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


# --- checksums and the order of locations


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


@pytest.fixture
def wheel(tmp_path: Path, sdist: bytes) -> bytes:
    """A wheel of another name in the same folder, whose metadata are all that pip needs to know."""
    packed = io.BytesIO()
    info = "wordlab_test_wheel-1.0.dist-info"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("wordlab_test_wheel/text.gz", gzip.compress(TEXT))
        archive.writestr("wordlab_test_wheel/text", TEXT)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: wordlab-test-wheel\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (tmp_path / "index/wordlab_test_wheel-1.0-py3-none-any.whl").write_bytes(packed.getvalue())
    return packed.getvalue()


def in_wheel(archive_sha256: str, file: str, **fields: str) -> Location:
    return location("wheel", "wordlab_test_wheel==1.0", file=file, archive_sha256=archive_sha256, **fields)


@pytest.mark.parametrize(("file", "fields"), [("text", {}), ("text.gz", {"container": "gzip"})])
def test_a_file_comes_out_of_a_wheel_that_is_not_installed(
    tmp_path: Path, wheel: bytes, file: str, fields: dict[str, str]
) -> None:
    assert fetch(tmp_path, in_wheel(sha256(wheel), f"wordlab_test_wheel/{file}", **fields)) == TEXT
    assert list((tmp_path / "store/partial").iterdir()) == []
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("wordlab-test-wheel")


def test_a_wheel_of_other_bytes_or_without_the_file_is_refused(tmp_path: Path, wheel: bytes) -> None:
    text = failure(tmp_path, in_wheel("0" * 64, "wordlab_test_wheel/text"))
    assert "wheel wordlab_test_wheel==1.0 (wordlab_test_wheel/text): pip download failed: THESE PACKAGES DO NOT" in text
    assert "holds no wordlab_test_wheel/other, only: wordlab_test_wheel/text.gz" in failure(
        tmp_path, in_wheel(sha256(wheel), "wordlab_test_wheel/other")
    )


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
        "import sys, pathlib, tests.misbehaving as t\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "t.Fetcher(folder / 'store').fetch(t.row(t.location('url', sys.argv[2])), folder / 'other')"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])}
    command = [sys.executable, "-c", program, str(tmp_path), server.url]
    with subprocess.Popen(command, env=environment) as other:
        begun.wait(20)
        assert fetch(tmp_path, location("url", server.url)) == TEXT
        assert other.wait(20) == 0
    assert (tmp_path / "other").read_bytes() == TEXT
    assert len(server.requests) == 1
