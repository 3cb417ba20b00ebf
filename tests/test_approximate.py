"""The approximate index: most of the exact answer, with exact cosines, and never of another model."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import make_model_folder
from wordlab import cli
from wordlab.approximate import FILE, ApproximateIndex, build_index, default_place
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, QueryError

needs_faiss = pytest.mark.skipif(
    importlib.util.find_spec("faiss") is None, reason="faiss is not installed: extra `index`"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """faiss's threads wait for each other at full speed, which on a busy machine takes minutes."""
    if importlib.util.find_spec("faiss") is None:
        yield
        return
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def make_model(folder: Path, num_words: int = 3000, dim: int = 15, seed: int = 0) -> Embeddings:
    """A model whose words lie around 60 centres, as those of real models crowd together; an odd number of columns."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(60, dim))
    vectors = centres[draw.integers(60, size=num_words)] + 0.5 * draw.normal(size=(num_words, dim))
    make_model_folder(folder, [f"w{row}" for row in range(num_words)], vectors.astype(np.float32))
    return Embeddings.load(folder, mmap=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Embeddings, Path]:
    folder = tmp_path_factory.mktemp("models")
    model = make_model(folder / "data/train/seed-1")
    build_index(model, folder / "data/index/seed-1")
    return model, folder / "data/index/seed-1"


@needs_faiss
def test_most_neighbours_are_found_and_their_cosines_are_exact(built: tuple[Embeddings, Path]) -> None:
    model, path = built
    index = ApproximateIndex.open(path, model)
    words = [f"w{row}" for row in range(0, 3000, 30)]
    exact, found = model.nearest_many(words), index.nearest_many(words, probes=30)
    assert sum(len(dict(a).keys() & dict(b).keys()) for a, b in zip(exact, found, strict=True)) > 0.9 * 1000
    for word, a, b in zip(words, exact, found, strict=True):
        known = dict(a)
        assert word not in dict(b) and len(b) == 10
        assert all(known.get(other, cosine) == cosine for other, cosine in b)
        assert [cosine for _, cosine in b] == sorted((cosine for _, cosine in b), reverse=True)
    assert index.nearest("w7") == index.nearest_many(["w7"])[0]
    assert index.nearest(model.vector("w7"), 1)[0][0] == "w7"


@needs_faiss
def test_more_probes_miss_less(built: tuple[Embeddings, Path]) -> None:
    model, path = built
    index = ApproximateIndex.open(path, model)
    words = [f"w{row}" for row in range(100)]
    exact = model.nearest_many(words)

    def found(probes: int) -> int:
        some = index.nearest_many(words, probes=probes)
        return sum(len(dict(a).keys() & dict(b).keys()) for a, b in zip(exact, some, strict=True))

    assert found(1) < found(8) <= found(10**9)


@needs_faiss
def test_the_same_model_gives_the_same_index_on_any_number_of_threads(tmp_path: Path) -> None:
    import faiss

    model = make_model(tmp_path / "seed-1", 400, 4)
    build_index(model, tmp_path / "one")
    try:
        faiss.omp_set_num_threads(2)
        build_index(model, tmp_path / "two")
    finally:
        faiss.omp_set_num_threads(1)
    assert (tmp_path / "one" / FILE).read_bytes() == (tmp_path / "two" / FILE).read_bytes()


@needs_faiss
def test_an_index_of_another_model_is_refused(built: tuple[Embeddings, Path], tmp_path: Path) -> None:
    _, path = built
    other = make_model(tmp_path / "seed-1", seed=1)
    with pytest.raises(
        ArtifactError, match=r"is the index of the vectors \w{6}, but those of this model are \w{12}\. B"
    ):
        ApproximateIndex.open(path, other)
    alone = Embeddings(other.words, other.input_vectors)
    with pytest.raises(
        ArtifactError, match=r"those of this model are of no folder\. Build it anew with: wordlab index"
    ):
        ApproximateIndex.open(path, alone)
    with pytest.raises(QueryError, match="an index belongs to a model folder"):
        build_index(alone, tmp_path / "index")


@needs_faiss
def test_a_missing_or_damaged_index_is_told_before_faiss_reads_it(
    built: tuple[Embeddings, Path], tmp_path: Path
) -> None:
    model, path = built
    with pytest.raises(ArtifactError, match=r"none does not exist\. Build it anew with: wordlab index"):
        ApproximateIndex.open(tmp_path / "none", model)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    data = bytearray((path / FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / FILE).write_bytes(data)
    (damaged / "manifest.json").write_bytes((path / "manifest.json").read_bytes())
    with pytest.raises(ArtifactError, match=r"has changed since it was written: its SHA-256 differs\. Build it anew"):
        ApproximateIndex.open(damaged, model)


@needs_faiss
def test_a_file_that_faiss_cannot_read_is_told(built: tuple[Embeddings, Path], tmp_path: Path) -> None:
    import hashlib

    model, path = built
    junk = b"junk" * 100
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"] = {FILE: {"size_bytes": len(junk), "sha256": hashlib.sha256(junk).hexdigest()}}
    (tmp_path / FILE).write_bytes(junk)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"rows\.faiss cannot be read: .*Build it anew with: wordlab index"):
        ApproximateIndex.open(tmp_path, model)


@needs_faiss
def test_rows_of_zeros_and_rows_that_are_not_finite_harm_no_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    vectors = np.random.default_rng(1).normal(size=(256, 3)).astype(np.float32)
    vectors[128], vectors[255] = 0, [np.nan, 1, 1]
    make_model_folder(tmp_path / "seed-1", [f"w{row}" for row in range(256)], vectors)
    model = Embeddings.load(tmp_path / "seed-1")
    build_index(model, tmp_path / "index")
    index = ApproximateIndex.open(tmp_path / "index", model)
    assert index.nearest(np.ones(3), 250, probes=100) == model.nearest(np.ones(3), 250)
    assert index.nearest_many([]) == []
    assert capfd.readouterr() == ("", "")


@needs_faiss
def test_what_cannot_be_asked_is_told(built: tuple[Embeddings, Path], tmp_path: Path) -> None:
    model, path = built
    index = ApproximateIndex.open(path, model)
    with pytest.raises(QueryError, match="count is 0 and probes is 64: ask for 1 or more of each"):
        index.nearest("w1", 0)
    tiny = make_model(tmp_path / "tiny", 255, 2)
    with pytest.raises(QueryError, match="a model of 255 words needs no index: nearest looks at all of them"):
        build_index(tiny, tmp_path / "index")
    with pytest.raises(QueryError, match="lists is 376: give 1 to 375 for 3,000 words, or 0 for a good number"):
        build_index(model, tmp_path / "index", lists=376)


def test_without_faiss_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    model = make_model(tmp_path / "seed-1", 10, 2)
    with pytest.raises(QueryError, match=r"faiss is not installed.*pip install -c constraints\.txt -e '\.\[index\]'"):
        build_index(model, tmp_path / "index")
    assert model.nearest("w1")


@needs_faiss
def test_the_command_builds_an_index_beside_the_model_and_asks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = make_model(Path("data/train/seed-1"), 500)
    assert default_place(Path("data/train/seed-1")) == tmp_path / "data/index/seed-1"
    asked = ["neighbors", "w1", "w2", "--model", "data/train/seed-1", "--approximate", "--count", "3"]
    with pytest.raises(SystemExit):
        cli.main(asked)
    assert "data/index/seed-1 does not exist. Build it anew with: wordlab index" in capsys.readouterr().err
    cli.main(["index", "--model", "data/train/seed-1"])
    assert "data/index/seed-1: index of data/train/seed-1, " in capsys.readouterr().out
    cli.main(asked)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "w1" and lines[4] == "w2" and len(lines) == 8
    assert lines[1] == f"  {model.nearest('w1', 1)[0][1]:6.3f}  {model.nearest('w1', 1)[0][0]}"
