"""Stage download: catalog corpora copied, own corpora linked, DVC told about both."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from stages import download
from wordlab.artifacts import read_manifest
from wordlab.catalog import load_catalog
from wordlab.corpus_format import open_corpus_text, recorded_format
from wordlab.decompression import open_text_stream
from wordlab.errors import ConfigError, CorpusError, DownloadError
from wordlab.rawtext import corpus_files
from wordlab.sections.download import CorpusFormatConfig
from wordlab.stage import run_stage

ROOT = Path(__file__).parents[1]
TEXT = b"one two three\n"
PAIRS = b"a\tb\t1\n"
PAGES = b'<doc id="1" url="u" title="t">\nt\n\none two three.\n</doc>\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with parameters only, and a catalog of corpora and evaluation sets; the mirror has one of each."""
    project, mirror = tmp_path / "project", tmp_path / "mirror"
    project.mkdir()
    mirror.mkdir()
    (mirror / "text").write_bytes(TEXT)
    (mirror / "pairs.tsv").write_bytes(PAIRS)
    (mirror / "pages").write_bytes(PAGES)

    def row(kind: str, format: str, content: bytes, file: str) -> dict[str, object]:
        location = {"mirror": file, "format": format, "sha256": hashlib.sha256(content).hexdigest()}
        about = {"kind": kind, "language": "en", "licence": "free", "description": "made here"}
        return about | {"size_bytes": len(content), "locations": [location]}

    rows = {
        "small": row("corpus", "text", TEXT, "text"),
        "pages": row("corpus", "wikiextractor", PAGES, "pages"),
        "gone": row("corpus", "text", TEXT, "nothing"),
        "pairs": row("evaluation", "pairs_tsv", PAIRS, "pairs.tsv"),
        "lost-pairs": row("evaluation", "pairs_tsv", PAIRS + b"c\td\t2\n", "lost"),
        "questions": row("evaluation", "pairs_tsv", PAIRS, "pairs.tsv") | {"needs": "lost-pairs"},
    }
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(rows))
    monkeypatch.setattr(download, "load_catalog", lambda: load_catalog(tmp_path / "catalog.yaml"))
    monkeypatch.setenv("WORDLAB_MIRROR", str(mirror))
    monkeypatch.chdir(project)
    set_params(project, "small", ["pairs", "lost-pairs"])
    return project


def set_params(project: Path, corpus: str, evaluation_sets: list[str] | None = None) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["corpus"] = corpus
    params["download"]["evaluation_sets"] = evaluation_sets or []
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def corpus_bytes() -> bytes:
    parts = []
    for file in corpus_files():
        with open_text_stream(file.path) as stream:
            parts.append(stream.read())
    return b"".join(parts)


def test_a_corpus_of_the_catalog_is_copied_with_its_evaluation_sets(project: Path) -> None:
    download.main()
    assert corpus_bytes() == TEXT
    manifest = read_manifest(Path("data/download"), "download", verify=True)
    assert manifest["corpus"] == {"name": "small", "language": "en", "licence": "free", "own": False}
    assert manifest["evaluation"]["pairs"] == {"path": "evaluation/pairs/pairs.tsv", "format": "pairs_tsv"}
    assert Path("data/download/evaluation/pairs/pairs.tsv").read_bytes() == PAIRS
    assert Path("data/source").read_text() == "small: a row of the catalog, stored in data/download/corpus\n"


def test_a_corpus_of_the_catalog_is_read_in_the_format_of_its_row(project: Path) -> None:
    """The frames of WikiExtractor's pages are no text."""
    set_params(project, "pages", [])
    download.main()
    (file,) = corpus_files()
    text = open_corpus_text(file.path, recorded_format(), "error", Counter()).read()
    assert recorded_format().kind == "wikiextractor" and b"one two three." in text and b"<doc" not in text
    set_params(project, "small", [])
    download.main()
    assert "corpus_format" not in read_manifest(Path("data/download/corpus"), "download")["corpus"]


def test_what_a_set_needs_is_fetched_with_it(project: Path) -> None:
    set_params(project, "small", ["questions"])
    download.main()
    found = read_manifest(Path("data/download"), "download")["evaluation"]
    assert list(found) == ["questions", "lost-pairs"]
    set_params(project, "small", ["lost-pairs", "questions"])
    download.main()
    assert list(read_manifest(Path("data/download"), "download")["evaluation"]) == ["lost-pairs", "questions"]


def test_an_evaluation_set_that_cannot_be_had_is_recorded_as_absent(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download.main()
    absent = read_manifest(Path("data/download"), "download")["evaluation"]["lost-pairs"]["absent"]
    assert absent == "none of its 1 locations worked; try again: dvc repro --force download"
    assert not Path("data/download/evaluation/lost-pairs").exists()
    text = capsys.readouterr().err
    assert (
        "lost-pairs is absent, the run goes on without it:\n   1. mirror lost: the folder that WORDLAB_MIRROR" in text
    )
    assert "To try absent sets again, perhaps with WORDLAB_MIRROR set: dvc repro --force download" in text


def test_the_same_parameters_give_the_same_bytes(project: Path) -> None:
    def state() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}

    download.main()
    first = state()
    download.main()
    assert state() == first


def test_a_corpus_that_cannot_be_had_is_an_error_and_leaves_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_params(project, "gone")
    with pytest.raises(SystemExit) as ended:
        run_stage(download.main)
    assert ended.value.code == 1
    assert "error: gone could not be had from any of its 1 locations:" in capsys.readouterr().err
    assert list(Path("data").iterdir()) == []
    with pytest.raises(DownloadError):
        download.main()


def test_a_copy_made_by_an_experiment_uses_what_the_main_checkout_has(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dvc exp run --temp: no network, no mirror, and a relative path that only the main checkout has."""
    download.main()
    copy = project / ".dvc/tmp/exps/standalone/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.delenv("WORDLAB_MIRROR")
    set_params(copy, "small")
    download.main()
    assert corpus_bytes() == TEXT
    (project / "own.txt").write_bytes(b"own\n")
    set_params(copy, "own.txt")
    download.main()
    assert corpus_bytes() == b"own\n"


def test_an_own_file_is_linked_not_copied(project: Path) -> None:
    (project / "own.txt").write_bytes(b"own\n")
    set_params(project, "own.txt")
    download.main()
    assert Path("data/source").readlink() == project / "own.txt"
    assert corpus_bytes() == b"own\n"
    assert [path.name for path in Path("data/download/corpus").iterdir()] == ["manifest.json"]
    assert str(project) not in Path("data/download/corpus/manifest.json").read_text()


def test_an_own_folder_is_read_file_by_file_compressed_or_not(project: Path) -> None:
    (project / "own/b").mkdir(parents=True)
    (project / "own/b/1.txt").write_bytes(b"second\n")
    (project / "own/a.txt.gz").write_bytes(gzip.compress(b"first\n"))
    set_params(project, "own")
    download.main()
    assert corpus_bytes() == b"first\nsecond\n"
    files = read_manifest(Path("data/download/corpus"), "download")["corpus"]["files"]
    assert [(file["path"], file["format"]) for file in files] == [("a.txt.gz", "gzip"), ("b/1.txt", "text")]


def test_a_pattern_links_its_folder_and_how_files_are_stored_is_recorded(project: Path) -> None:
    (project / "own/b").mkdir(parents=True)
    (project / "own/b/1.jsonl").write_bytes(b'{"body": "second"}\n')
    (project / "own/a.jsonl.gz").write_bytes(gzip.compress(b'{"body": "first"}\n'))
    (project / "own/a.txt").write_bytes(b"no\n")
    set_params(project, "own/**/*.jsonl*")
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["download"]["corpus_format"]["field"] = "body"
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    download.main()
    assert Path("data/source").readlink() == project / "own"
    assert [file.path for file in corpus_files()] == [project / "own/a.jsonl.gz", project / "own/b/1.jsonl"]
    assert recorded_format() == CorpusFormatConfig(kind="auto", field="body", encoding="utf-8")
    texts = []
    for file in corpus_files():
        with open_corpus_text(file.path, recorded_format(), "error", Counter()) as stream:
            texts.append(stream.read())
    assert texts == [b"first\n", b"second\n"]
    set_params(project, "small")
    download.main()
    assert "corpus_format" not in read_manifest(Path("data/download/corpus"), "download")["corpus"]


def test_going_back_to_a_catalog_corpus_leaves_the_own_files_alone(project: Path) -> None:
    (project / "own").mkdir()
    (project / "own/a.txt").write_bytes(b"own\n")
    set_params(project, "own")
    download.main()
    set_params(project, "small")
    download.main()
    assert not Path("data/source").is_symlink()
    assert (project / "own/a.txt").read_bytes() == b"own\n"


def test_a_corpus_that_is_neither_row_nor_file_is_an_error_with_a_suggestion(project: Path) -> None:
    set_params(project, "smal")
    with pytest.raises(ConfigError) as caught:
        download.main()
    assert str(caught.value) == (
        "params.yaml: corpus is 'smal', which is neither a row of the catalog nor a file or folder: "
        f"there is no {project}/smal. Did you mean small?"
    )


@pytest.mark.parametrize(
    ("corpus", "problem"),
    [
        (".", "a folder that holds this project"),
        ("..", "a folder that holds this project"),
        ("data/download", "but DVC deletes .*data/download"),
        ("x" * 5000, "cannot be read: File name too long"),
        ("pairs", "which the catalog has as evaluation, not as corpus"),
    ],
)
def test_a_corpus_that_cannot_be_one_is_refused(project: Path, corpus: str, problem: str) -> None:
    (project / "data/download").mkdir(parents=True)
    set_params(project, corpus)
    with pytest.raises(ConfigError, match=problem):
        download.main()


def test_an_own_file_that_is_not_what_its_name_says_leaves_nothing(project: Path) -> None:
    (project / "own.zst").write_bytes(b"plain text")
    set_params(project, "own.zst")
    with pytest.raises(CorpusError, match=r"own\.zst is named as zstd, but its first bytes are those of text"):
        download.main()
    assert list(Path("data").iterdir()) == []


def test_an_unknown_evaluation_set_is_an_error_before_anything_is_fetched(project: Path) -> None:
    set_params(project, "small", ["pairs", "pears"])
    with pytest.raises(ConfigError, match=r"download\.evaluation_sets\.1 is 'pears', .* Did you mean pairs\?"):
        download.main()
    assert not (project / ".wordlab/downloads").exists()


def test_an_unwritable_output_is_an_error_with_the_next_step(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "data").write_text("a file where a folder should be")
    with pytest.raises(SystemExit):
        run_stage(download.main)
    assert "error: data/download could not be written: " in capsys.readouterr().err


DVC_YAML = """
stages:
  download:
    cmd: python -m stages.download
    params: [corpus, download]
    outs:
      - data/download
      - data/source: {cache: false, persist: true}
  tokenize:
    cmd: cat data/source/* > data/tokenize
    deps: [data/download/corpus, data/source]
    outs: [data/tokenize]
"""


def test_dvc_runs_tokenize_again_when_an_own_corpus_is_edited_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, own = tmp_path / "project", tmp_path / "own"
    project.mkdir()
    own.mkdir()
    (own / "a.txt").write_text("a\n")
    set_params(project, str(own))
    (project / "dvc.yaml").write_text(DVC_YAML)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(tmp_path / "config"),
        "DVC_NO_ANALYTICS": "1",
        "https_proxy": "http://127.0.0.1:9",  # where nobody listens: the set below comes from gensim's wheel
    }

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        result = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
        return result.stdout

    dvc("init", "--no-scm", "--quiet")
    assert "Running stage 'tokenize'" in dvc("repro")
    assert "Running" not in dvc("repro")
    (own / "b.txt").write_text("b\n")
    own.chmod(0o750)
    assert "Running stage 'tokenize'" in dvc("repro")
    assert (project / "data/tokenize").read_text() == "a\nb\n"
    assert stat.S_IMODE(own.stat().st_mode) == 0o750  # DVC took the link for a link
    assert json.loads((project / "data/download/corpus/manifest.json").read_text())["corpus"]["name"] == "own"
    set_params(project, str(own), ["google-analogies"])
    after_more_sets = dvc("repro")
    assert "Running stage 'download'" in after_more_sets
    assert "Running stage 'tokenize'" not in after_more_sets
