"""Archives from strangers: one member comes out, nothing else happens."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from wordlab import archives
from wordlab.archives import read_content, read_sdist_file
from wordlab.errors import DownloadError

TEXT = b"some words of text\n" * 1000


def content(path: Path, container: str | None, member: str | None = None, size_bytes: int = len(TEXT)) -> bytes:
    return b"".join(read_content(path, container, member, size_bytes))


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("container", "compress"),
    [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress), ("zstd", zstandard.compress)],
)
def test_a_compressed_file_unpacks_up_to_the_size_the_catalog_says(tmp_path: Path, container: str, compress) -> None:
    path = tmp_path / "file"
    path.write_bytes(compress(TEXT))
    assert content(path, container) == TEXT
    with pytest.raises(DownloadError, match=r"unpacks to more than the 500 bytes that the catalog says; stopped there"):
        content(path, container, size_bytes=500)
    path.write_bytes(compress(TEXT)[:-10])
    with pytest.raises(DownloadError, match=f"the {container} file is damaged"):
        content(path, container)


def test_a_plain_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    assert content(path, None) == TEXT


def test_the_member_of_a_zip_comes_out(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"folder/": b"", "folder/other": b"x", "folder/text": TEXT})
    assert content(path, "zip", "folder/text") == TEXT


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_the_member_of_a_tar_comes_out_whatever_its_compression(tmp_path: Path, mode: str) -> None:
    entries = [(tarfile.TarInfo("./top/other"), b"x"), (tarfile.TarInfo("./top/text"), TEXT)]
    path = make_tar(tmp_path / "a.tar", *entries, mode=mode)
    assert content(path, "tar", "top/text") == TEXT


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/../../b", "a\\..\\b"])
def test_an_archive_with_a_path_that_escapes_is_not_opened(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "a.zip", {name: b"x", "text": TEXT})
    with pytest.raises(DownloadError, match=r"the zip holds the path .*, which leaves its folder; it is not opened"):
        content(path, "zip", "text")
    path = make_tar(tmp_path / "a.tar", (tarfile.TarInfo(name), b"x"), (tarfile.TarInfo("text"), TEXT))
    with pytest.raises(DownloadError, match=r"the tar holds the path .*, which leaves its folder; it is not opened"):
        content(path, "tar", "text")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_tar_member_that_is_no_regular_file_is_not_opened(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("text")
    info.type, info.linkname = kind, "/etc/passwd"
    path = make_tar(tmp_path / "a.tar", (info, b""))
    with pytest.raises(DownloadError, match="the tar's member text is a link or folder, not a file; it is not opened"):
        content(path, "tar", "text")


def test_a_zip_member_that_is_a_link_is_not_opened(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("text")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DownloadError, match="the zip's member text is a link or folder, not a file; it is not opened"):
        content(tmp_path / "a.zip", "zip", "text")


def test_a_bomb_that_declares_its_size_is_refused_before_unpacking(tmp_path: Path) -> None:
    bomb = bytes(50_000_000)
    path = make_zip(tmp_path / "a.zip", {"text": bomb})
    assert path.stat().st_size < 100_000
    with pytest.raises(DownloadError, match="text unpacks to 50000000 bytes, but the catalog says 1000"):
        content(path, "zip", "text", 1000)
    path = make_tar(tmp_path / "a.tar", (tarfile.TarInfo("text"), bomb))
    with pytest.raises(DownloadError, match="text unpacks to 50000000 bytes, but the catalog says 1000"):
        content(path, "tar", "text", 1000)


def test_a_bomb_that_lies_about_its_size_costs_no_more_than_that_size(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"text": bytes(5_000_000)})
    data = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(DownloadError, match="the zip file is damaged"):  # 1000 bytes come out, with a wrong CRC
        content(path, "zip", "text", 1000)


def test_a_tar_that_is_huge_before_the_wanted_member_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [(tarfile.TarInfo(f"{i}"), bytes(1000)) for i in range(4)]
    path = make_tar(tmp_path / "a.tar", *entries)
    monkeypatch.setattr(archives, "MAX_ARCHIVE_BYTES", 2500)
    with pytest.raises(
        DownloadError, match=r"more than 2500 bytes or .* entries without text; the search was given up"
    ):
        content(path, "tar", "text")


def test_a_missing_member_is_an_error_that_lists_what_is_there(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"enwik9": b"x"})
    with pytest.raises(DownloadError, match="the zip holds no enwik8, only: enwik9"):
        content(path, "zip", "enwik8")
    path = make_tar(tmp_path / "a.tar", (tarfile.TarInfo("enwik9"), b"x"))
    with pytest.raises(DownloadError, match="the tar holds no enwik8, only: enwik9"):
        content(path, "tar", "enwik8")


@pytest.mark.parametrize("container", ["zip", "tar", "gzip", "bzip2", "xz", "zstd"])
def test_an_error_page_in_place_of_an_archive_is_an_error(tmp_path: Path, container: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"<html>Please log in to this network</html>")
    with pytest.raises(DownloadError, match=f"the {container} file is damaged"):
        content(path, container, "text")


def test_a_file_of_a_source_distribution_is_found_below_its_top_folder(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a-1.tar.gz", (tarfile.TarInfo("a-1/setup.py"), b""), (tarfile.TarInfo("a-1/d/t"), TEXT))
    assert b"".join(read_sdist_file(path, "d/t")) == TEXT
    zipped = make_zip(tmp_path / "a-1.zip", {"a-1/d/t": TEXT})
    assert b"".join(read_sdist_file(zipped, "d/t")) == TEXT
    with pytest.raises(DownloadError, match=r"a-1.tar.gz holds no d/x"):
        list(read_sdist_file(path, "d/x"))
