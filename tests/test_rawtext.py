"""Which files are the corpus: those of a folder, and those that the download stage recorded."""

from pathlib import Path

import pytest

from wordlab.artifacts import write_manifest
from wordlab.corpus_listing import list_own_files
from wordlab.errors import ArtifactError, CorpusError
from wordlab.rawtext import CorpusFile, corpus_files


def test_a_folder_lists_its_files_in_one_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "a.txt", ".git/config", ".DS_Store", "B.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    names = [file.relative_to(tmp_path).as_posix() for file in list_own_files(tmp_path)]
    assert names == ["B.txt", "a.txt", "a/b/c.txt", "a/z.txt", "b.txt"]
    assert list_own_files(tmp_path / "a.txt") == [tmp_path / "a.txt"]


def test_the_index_beside_a_multistream_dump_is_no_text(tmp_path: Path) -> None:
    dump = "kowiki-20240801-pages-articles-multistream"
    names = [f"{dump}.xml.bz2", f"{dump}-index.txt.bz2", f"{dump}-index.txt", f"{dump}1.xml-p1p5.bz2", "index.txt"]
    for name in (*names, f"{dump}-index1.txt-p1p5.bz2"):
        (tmp_path / name).write_bytes(b"566:12:A")
    assert [file.name for file in list_own_files(tmp_path)] == ["index.txt", names[0], names[3]]
    assert list_own_files(tmp_path / names[1]) == [tmp_path / names[1]]


def test_a_folder_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds no files. Put the corpus there"):
        list_own_files(tmp_path)


def recorded(download: Path, own: bool, *names: str) -> None:
    files = [{"path": name, "format": "text", "size_bytes": 5} for name in names]
    (download / "corpus").mkdir(parents=True, exist_ok=True)
    write_manifest(download / "corpus", "download", {"corpus": {"name": "x", "own": own, "files": files}})


def test_corpus_files_come_from_the_folder_or_through_the_link(tmp_path: Path) -> None:
    download, source, own = tmp_path / "download", tmp_path / "source", tmp_path / "own"
    own.mkdir()
    (own / "a.txt").write_bytes(b"12345")
    source.symlink_to(own)
    recorded(download, True, "a.txt")
    assert corpus_files(download, source) == [CorpusFile(own / "a.txt", "text", 5)]
    source.unlink()
    source.symlink_to(own / "a.txt")
    recorded(download, True, "")
    assert corpus_files(download, source) == [CorpusFile(own / "a.txt", "text", 5)]
    (download / "corpus/enwik8").write_bytes(b"54321")
    recorded(download, False, "enwik8")
    assert corpus_files(download, source) == [CorpusFile(download / "corpus/enwik8", "text", 5)]


def test_a_corpus_that_changed_since_the_download_stage_is_refused(tmp_path: Path) -> None:
    download, source = tmp_path / "download", tmp_path / "source"
    source.write_bytes(b"1234567")
    recorded(download, True, "")
    with pytest.raises(
        ArtifactError, match=r"source has 7 bytes, but had 5 when the download stage looked. Run: dvc repro"
    ):
        corpus_files(download, source)
    source.unlink()
    source.symlink_to(tmp_path / "own.txt")
    with pytest.raises(ArtifactError, match=r"own\.txt cannot be read: No such file .* Run: dvc repro download"):
        corpus_files(download, source)
    source.unlink()
    with pytest.raises(ArtifactError, match=r"source cannot be read: .* Run: dvc repro download"):
        corpus_files(download, source)


def test_without_the_record_of_the_download_stage_the_error_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"does not exist. Run: dvc repro download"):
        corpus_files(tmp_path, tmp_path)
    (tmp_path / "corpus").mkdir()
    write_manifest(tmp_path / "corpus", "download", {})
    with pytest.raises(ArtifactError, match=r"names no corpus. Run: dvc repro download"):
        corpus_files(tmp_path, tmp_path)


def test_a_message_is_no_longer_than_people_read_whatever_a_manifest_names(tmp_path: Path) -> None:
    recorded(tmp_path / "download", False, "x" * 4000)
    with pytest.raises(ArtifactError, match=r"cannot be read: File name too long. Run: dvc repro download") as error:
        corpus_files(tmp_path / "download", tmp_path / "source")
    assert len(str(error.value)) < 1200
