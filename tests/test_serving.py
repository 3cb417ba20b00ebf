"""Models in service: exact answers, one by one and together; threads; processes that share one copy; changing files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.helpers import make_model_folder
from wordlab import machine, nearest
from wordlab.artifacts import output_folder
from wordlab.embeddings import Embeddings
from wordlab.errors import QueryError, UnknownWordError
from wordlab.nearest import NearestRows

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(machine.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
PROCESSES = 10


def plain_best(vectors: NDArray[np.float32], query: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
    """Rows and cosines of the best, by sorting all of them, one row at a time and in float64."""
    cosines = []
    for row in vectors.astype(np.float64):
        with np.errstate(invalid="ignore"):
            lengths = np.sqrt((row**2).sum()) * np.sqrt((query.astype(np.float64) ** 2).sum())
            cosine = float((row * query).sum() / lengths) if lengths else 0.0
        cosines.append(-np.inf if np.isnan(cosine) else cosine)
    order = sorted(range(len(cosines)), key=lambda row: (-round(cosines[row], 14), row))
    return [(row, cosines[row]) for row in order[:count]]


def odd_matrix(draw: np.random.Generator, num_rows: int, dim: int) -> NDArray[np.float32]:
    """Random rows, among them zeros, copies, near copies, and rows of lengths from 1e-42 to 1e38 or not finite."""
    vectors = draw.normal(size=(num_rows, dim)).astype(np.float32)
    for row in range(num_rows):
        kind, other = draw.integers(10), draw.integers(num_rows)
        if kind == 0:
            vectors[row] = 0
        elif kind == 1:
            vectors[row] = vectors[other]
        elif kind == 2:
            vectors[row] = vectors[other] * np.float32(1 + 1e-6 * draw.normal())
        elif kind == 3:
            vectors[row] = np.sign(vectors[row]) * np.float32(10.0 ** draw.integers(-42, 38))
        elif kind == 4 and row % 3 == 0:
            vectors[row, draw.integers(dim)] = draw.choice([np.nan, np.inf, -np.inf])
    return vectors


# ---- exact


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 8, 301]), st.integers(1, 60), st.integers(1, 70))
@settings(max_examples=40, deadline=None)
@example(seed=13057, dim=3, num_rows=25, count=8)
def test_answers_are_those_of_plain_loops_in_float64(seed: int, dim: int, num_rows: int, count: int) -> None:
    """Whatever the numbers, the size of blocks, of the pool, and what is asked together."""
    draw = np.random.default_rng(seed)
    vectors = odd_matrix(draw, num_rows, dim)
    queries = np.nan_to_num(odd_matrix(draw, draw.integers(1, 9), dim), posinf=1, neginf=-1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "BLOCK_BYTES", int(draw.integers(4, 4 * dim * num_rows + 5)))
        patch.setattr(nearest, "POOL_ROWS", int(draw.integers(1, 200)))
        patch.setattr(nearest, "QUERIES_AT_ONCE", int(draw.integers(1, 9)))
        found = NearestRows(vectors).best(queries, count)
    for query, answer in zip(queries, found, strict=True):
        wanted = plain_best(vectors, query, count)
        assert answer.cosines.tolist() == pytest.approx([cosine for _, cosine in wanted], abs=1e-14)
        assert answer.cosines.tolist() == sorted(answer.cosines, reverse=True)
        one_more = plain_best(vectors, query, count + 1)  # the last may tie with the first that is left out
        close = {round(cosine, 12) for _, cosine in one_more}
        if len(close) == len(one_more):  # no ties, whose order float64's last bits decide
            assert answer.rows.tolist() == [row for row, _ in wanted]


def test_rows_that_float32_cannot_tell_apart_are_put_in_order() -> None:
    """2,000 rows whose cosines with the query lie closer together than a sum of 100 products in float32 is right."""
    draw = np.random.default_rng(0)
    vectors = (draw.normal(size=100) + 1e-6 * draw.normal(size=(2000, 100))).astype(np.float32)
    query = draw.normal(size=100).astype(np.float32)
    wide = vectors.astype(np.float64)
    exact = wide @ query / np.sqrt((wide**2).sum(axis=1))
    (answer,) = NearestRows(vectors).best(query[None], 10)
    assert answer.rows.tolist() == sorted(range(2000), key=lambda row: (-exact[row], row))[:10]
    in_float32 = np.argsort(-(vectors @ query) / np.linalg.norm(vectors, axis=1), kind="stable")[:10]
    assert set(answer.rows) - set(in_float32), "the case is too easy to show anything"


def test_many_rows_alike_come_in_row_order_from_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "POOL_ROWS", 500)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 1200)
    held = []
    add = nearest._Pool.add

    def watched(self: nearest._Pool, start: int, scores: NDArray[np.float32]) -> None:
        add(self, start, scores)
        held.append(sum(map(len, self.rows)))

    monkeypatch.setattr(nearest._Pool, "add", watched)
    (first, second) = NearestRows(np.ones((5000, 3), np.float32)).best(np.ones((2, 3), np.float32), 7)
    assert first.rows.tolist() == second.rows.tolist() == list(range(7))
    assert max(held) <= 500 + 2 * 100


def test_a_row_that_float32_cannot_measure_raises_no_bar_for_others() -> None:
    """The first row's products are rounded to whole units of the smallest number, to a cosine of 1 or 2; it is 0.82."""
    least = np.float32(1.4e-45)
    vectors = np.array([[least, least, 0], [1, 1, 1.2], [3e38, 3e38, 0]], np.float32)
    (answer,) = NearestRows(vectors).best(np.ones((1, 3), np.float32), 1)
    assert answer.rows.tolist() == [1]
    (answer,) = NearestRows(vectors).best(np.array([[1, 1, 0]], np.float32), 2)
    assert sorted(answer.rows) == [0, 2] and answer.cosines.tolist() == pytest.approx([1, 1], abs=1e-15)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 50]), st.integers(1, 30))
@settings(max_examples=10, deadline=None)
def test_what_is_asked_together_is_answered_as_one_by_one_to_the_last_bit(seed: int, dim: int, number: int) -> None:
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(200, dim)).astype(np.float32)
    model = Embeddings([f"w{row}" for row in range(200)], vectors)
    words = [f"w{row}" for row in draw.integers(0, 200, number)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "QUERIES_AT_ONCE", 8)
        together = model.nearest_many(words, 5)
    assert together == [model.nearest(word, 5) for word in words]


def test_words_and_vectors_may_be_asked_together() -> None:
    model = Embeddings(list("abc"), np.array([[1, 0], [1, 1], [0, 1]], np.float32))
    by_word, by_vector = model.nearest_many(["a", np.array([1, 0.1])], 2)
    assert [word for word, _ in by_word] == ["b", "c"] and [word for word, _ in by_vector] == ["a", "b"]
    assert model.nearest_many(np.array([[1, 0.1]]), 2) == [by_vector]
    assert model.nearest_many([]) == []


def test_questions_together_that_cannot_be_answered_say_why() -> None:
    model = Embeddings(list("abc"), np.eye(3, dtype=np.float32))
    with pytest.raises(QueryError, match=r"a list of words or vectors: give \['abc'\], or ask nearest"):
        model.nearest_many("abc")
    with pytest.raises(UnknownWordError, match="the word 'x' is not among the 3 words"):
        model.nearest_many(["a", "x"])
    with pytest.raises(QueryError, match=r"shape \(2,\), finite: True; this model answers vectors of 3 finite"):
        model.nearest_many(np.ones((2, 2)))
    with pytest.raises(QueryError, match="count is 0: ask for 1 word or more"):
        model.nearest_many(["a"], 0)


def test_lengths_are_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Embeddings(list("abc"), np.eye(3, dtype=np.float32))
    model.nearest("a")
    monkeypatch.setattr(nearest, "_block_lengths", lambda block: pytest.fail("the lengths were computed again"))
    assert model.analogy("a", "b", "c", method="mul") == []
    assert [word for word, _ in model.nearest("b")] == ["a", "c"]


# ---- threads


def test_threads_share_one_model() -> None:
    """All ask a fresh model at the same time, so that the first looks, scans and sorts fall together."""
    vectors = np.random.default_rng(3).normal(size=(5000, 20)).astype(np.float32)
    words = [f"w{row}" for row in range(5000)]
    alone = Embeddings(words, vectors)
    wanted = [(alone.nearest(word), alone.analogy("w1", word, "w2"), alone.index.row(word)) for word in words[:40]]
    for _ in range(3):
        shared, start = Embeddings(words, vectors), threading.Barrier(8)
        found: dict[int, list[object]] = {}

        def ask(
            number: int, shared: Embeddings = shared, start: threading.Barrier = start, found: dict = found
        ) -> None:
            start.wait()
            found[number] = [
                (shared.nearest(word), shared.analogy("w1", word, "w2"), shared.index.row(word)) for word in words[:40]
            ]

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(found[number] == wanted for number in range(8))


# ---- processes


SERVERS = """
import os, sys, time
from wordlab import versions
from wordlab.embeddings import Embeddings

def own_bytes():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:")) * 1024

versions.YOUNG_SECONDS = -1.0                           # as for a model written half a minute ago
Embeddings.load(sys.argv[2], mmap=True).nearest("w1")   # whatever a first call sets up once
for _ in range(int(sys.argv[3])):
    if os.fork() == 0:
        before, started = own_bytes(), time.process_time()
        model = Embeddings.load(sys.argv[1], mmap=True)
        opened, seconds = own_bytes() - before, time.process_time() - started
        model.nearest("w199999")
        told = (os.getpid(), opened, seconds, own_bytes(), "pandas" in sys.modules)
        os.write(1, (" ".join(map(str, told)) + "\\n").encode())
        sys.stdin.read()                                # until the test has looked
        os._exit(0)
sys.stdin.read()
"""


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """200,000 words, 80 MB; a fifteenth of a model of 1,000,000 x 300. Removed at the end."""
    vectors = np.tile(np.random.default_rng(5).normal(size=(1000, 100)).astype(np.float32), (200, 1))
    folder = make_model_folder(tmp_path / "large", [f"w{row}" for row in range(200_000)], vectors)
    yield folder
    shutil.rmtree(tmp_path)


def mapped_bytes(process: int, file: str) -> tuple[int, int]:
    """Resident and proportional size of a file that a process has mapped: the second counts what n share as 1/n."""
    found, inside = {"Rss:": 0, "Pss:": 0}, False
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        key, *rest = line.split()
        if "-" in key and not key.endswith(":"):
            inside = line.endswith(file)
        elif inside and key in found:
            found[key] += int(rest[0]) * 1024
    return found["Rss:"], found["Pss:"]


def test_ten_processes_share_one_copy_of_a_mapped_model(large: Path, tmp_path: Path) -> None:
    """Each has asked, so each has all 80 MB in its memory; together they take them once."""
    small = make_model_folder(tmp_path / "small", ["w0", "w1"])
    command = [sys.executable, "-c", SERVERS, str(large), str(small), str(PROCESSES)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True) as servers:
        assert servers.stdout
        told = [servers.stdout.readline().split() for _ in range(PROCESSES)]
        sizes = [mapped_bytes(int(process), "large/input_vectors.npy") for process, *_ in told]
        servers.communicate("")
    file_bytes = (large / "input_vectors.npy").stat().st_size
    assert sum(rss for rss, _ in sizes) > 0.99 * PROCESSES * file_bytes
    assert sum(pss for _, pss in sizes) < 1.01 * file_bytes
    for _, opened, seconds, own, pandas in told:
        assert int(opened) < 1_000_000
        assert int(own) < 100_000_000
        assert float(seconds) < 0.1
        assert pandas == "False", "a tenth of a second and 30 MB"


# ---- files that change


def test_an_open_model_stays_what_it_was_when_its_folder_is_replaced(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "seed-1", ["a", "b", "c"], np.array([[1, 0], [1, 1], [0, 1]], np.float32))
    model = Embeddings.load(folder, mmap=True)
    other = make_model_folder(tmp_path / "other", ["x", "y", "z"])
    with output_folder(folder) as building:
        for file in other.iterdir():
            shutil.copy(file, building / file.name)
    assert [word for word, _ in model.nearest("a")] == ["b", "c"]
    assert Embeddings.load(folder, mmap=True).words == ["x", "y", "z"]


def test_a_model_file_cut_short_in_place_ends_the_process_that_has_it_mapped(tmp_path: Path) -> None:
    """docs/RELIABILITY.md says so: nothing of ours cuts or overwrites a file in its place, and no program can go on."""
    folder = make_model_folder(tmp_path / "seed-1", [f"w{row}" for row in range(10_000)], np.ones((10_000, 100), "f4"))
    code = (
        "import os, sys; from wordlab.embeddings import Embeddings; model = Embeddings.load(sys.argv[1], mmap=True);"
        "os.truncate(sys.argv[1] + '/input_vectors.npy', 4096); print('cut', flush=True); model.nearest('w1')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("cut\n", -signal.SIGBUS)
