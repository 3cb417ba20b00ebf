"""Preprocessing in processes, threads and on a Dask cluster: the same bytes, whatever becomes of workers."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cluster_tasks
from tests.text_helpers import tokenize_config, vocab_config, written
from wordlab.code_identity import code_identity
from wordlab.counting import build_vocab
from wordlab.encoding import encode_corpus
from wordlab.errors import ConfigError, CorpusError, ResourceError
from wordlab.parallel import Workers, map_tasks
from wordlab.sections.encode import EncodeConfig
from wordlab.tokenizing import tokenize_corpus

NEEDS_DASK = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import distributed"], capture_output=True).returncode != 0,
    reason="dask.distributed is not installed (extra cluster)",
)
SHARDS = 40


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text for SHARDS shards of 64 KiB, with more words in each: enough for three groups of dictionaries."""
    lines = (f"word{i % 97} other{i % 1009} new{i} le\u0301gume{i % 13} STOP.\n" for i in range(120_000))
    text = "".join(lines).encode()[: SHARDS * 65_500]
    return written(tmp_path_factory.mktemp("corpus") / "corpus.txt", text[: text.rindex(b"\n") + 1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster_tasks.Cluster]:
    with cluster_tasks.cluster(tmp_path_factory.mktemp("cluster"), 2) as running:
        yield running


def preprocess(corpus: Path, folder: Path, workers: int | Workers) -> dict[str, str]:
    """SHA-256 of all files of the three stages, by path."""
    tokenize_corpus([corpus], tokenize_config(shard_bytes=1 << 16), folder / "tokenize", workers)
    build_vocab(folder / "tokenize", vocab_config(min_count=2), folder / "vocab", workers)
    config = EncodeConfig(shard_tokens=50_000)
    encode_corpus(folder / "tokenize", folder / "vocab/words.arrow", config, folder / "encode", workers)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def in_one_thread(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = preprocess(corpus, tmp_path_factory.mktemp("one"), 1)
    assert sum(name.startswith("tokenize/tokens-") for name in found) >= SHARDS - 2
    assert sum(name.startswith("encode/ids-") for name in found) > 3
    return found


@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_processes_and_threads_give_the_bytes_of_one_thread(
    executor: str, corpus: Path, in_one_thread: dict[str, str], tmp_path: Path
) -> None:
    assert preprocess(corpus, tmp_path, Workers(3, executor)) == in_one_thread  # type: ignore[arg-type]


@NEEDS_DASK
def test_a_cluster_gives_the_same_bytes_also_when_a_worker_is_killed(
    cluster: cluster_tasks.Cluster, corpus: Path, in_one_thread: dict[str, str], tmp_path: Path
) -> None:
    seen, is_over = [], threading.Event()

    def kill_midway() -> None:
        while len(seen) < 3 and not is_over.is_set():
            seen[:] = tmp_path.glob("tokenize.parts/*/records/*.json")
            time.sleep(0.002)
        cluster.workers[1].kill()

    killer = threading.Thread(target=kill_midway)
    killer.start()
    found = preprocess(corpus, tmp_path, Workers(1, "dask", cluster.address))
    is_over.set()
    killer.join()
    assert cluster.workers[1].wait() == -9 and 3 <= len(seen) < SHARDS - 5, "the worker was not killed midway"
    assert found == in_one_thread


@NEEDS_DASK
def test_an_error_on_a_worker_arrives_once_as_the_message_it_is(cluster: cluster_tasks.Cluster, tmp_path: Path) -> None:
    workers = Workers(1, "dask", cluster.address)
    source = written(tmp_path / "broken.txt", "good line\n" * 1000 + "bad\0line\n")
    with pytest.raises(CorpusError, match=r"broken.txt holds a NUL byte at offset 10003"):
        tokenize_corpus([source], tokenize_config(shard_bytes=1 << 10), tmp_path / "out", workers)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.txt", "out.parts"]
    work = functools.partial(cluster_tasks.fail_noting, folder=tmp_path)
    with pytest.raises(ValueError, match="task 3 is broken"):
        list(map_tasks(work, range(9), workers, tmp_path))
    calls = (tmp_path / "calls").read_text().split()
    assert calls.count("3") == 1 and len(calls) == len(set(calls))


@NEEDS_DASK
def test_a_task_that_kills_its_workers_is_given_up(cluster: cluster_tasks.Cluster, tmp_path: Path) -> None:
    cluster.start_workers(1)
    with pytest.raises(ResourceError, match="several workers of the Dask cluster, and each was killed"):
        list(map_tasks(cluster_tasks.die, range(1), Workers(1, "dask", cluster.address), tmp_path))


@NEEDS_DASK
def test_workers_with_other_code_are_refused(
    cluster: cluster_tasks.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two before have lost their lives in the test above: only the one with the other code is there."""
    shutil.copytree(cluster_tasks.ROOT / "src/wordlab", tmp_path / "src/wordlab")
    (tmp_path / "src/wordlab/__init__.py").write_text('"""Another."""\n')
    [other] = cluster.start_workers(1, tmp_path / "src")
    try:
        own = code_identity()["wordlab's source"]
        message = (
            rf"1 workers .* cannot take part: tcp://.* has wordlab's source [0-9a-f]+, not {own}\. .*docs/cluster.md"
        )
        with pytest.raises(ConfigError, match=message):
            list(map_tasks(len, ["a"], Workers(1, "dask", cluster.address), tmp_path))
    finally:
        other.kill()
        other.wait()


@NEEDS_DASK
def test_a_lost_scheduler_is_told(cluster: cluster_tasks.Cluster, tmp_path: Path) -> None:
    """The last test of this cluster."""
    cluster.start_workers(1)
    threading.Timer(1, cluster.scheduler.kill).start()
    with pytest.raises(ResourceError, match=r"scheduler at .* was lost: .*finished shards are kept"):
        list(map_tasks(cluster_tasks.sleep_a_minute, range(2), Workers(1, "dask", cluster.address), tmp_path))


@NEEDS_DASK
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "http://127.0.0.1:80", "no-such-file.json"])
def test_an_address_without_a_scheduler_is_told(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordlab.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(
        ConfigError, match=rf"dask_address is '{address}', where no Dask scheduler was found: .*tcp://h"
    ):
        list(map_tasks(len, ["a"], Workers(1, "dask", address), tmp_path))


def test_a_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"run.executor is dask, but the package .* is not installed. .*\[cluster\]"):
        list(map_tasks(len, ["a"], Workers(1, "dask", "tcp://127.0.0.1:1"), tmp_path))


def test_a_worker_that_sees_another_folder_says_so(tmp_path: Path) -> None:
    from wordlab.cluster import _probe, worker_complaint

    own = tuple(code_identity().items())
    with _probe(tmp_path) as (path, word):
        assert worker_complaint(own, path, word) == ""
        assert worker_complaint(own, path, "other") == f"does not see the folder {tmp_path}"
        assert worker_complaint((*own, ("numpy ", "1.0")), path, word) == "has numpy  missing, not 1.0"
    assert worker_complaint(own, path, word + "2") == f"does not see the folder {tmp_path}"
    assert not list(tmp_path.iterdir())
