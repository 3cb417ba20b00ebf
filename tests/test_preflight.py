"""What a stage says it will need, held against what it takes; and what happens where there is less."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from wordlab import machine, preflight, preflight_models, preflight_text
from wordlab.artifacts import write_manifest
from wordlab.bzip2 import THREAD_BYTES
from wordlab.claims import release
from wordlab.config import Params, load_params
from wordlab.errors import ArtifactError, ConfigError, ResourceError
from wordlab.limits import Bound, held_bytes
from wordlab.needs import MINIMUM_DISK, Need
from wordlab.peers.programs import OBJECTIVES
from wordlab.peers.training_peer import require_possible
from wordlab.preflight import ESTIMATES, begin, need_of
from wordlab.preflight_peers import need_of_peer
from wordlab.preflight_text import tokenize_need
from wordlab.preflight_words import counted_words
from wordlab.shards import DICTIONARY_SCHEMA, write_batch

ROOT = Path(__file__).parents[1]
GB = 10**9
CORPUS_BYTES = 8_000_000
LOWEST, HIGHEST = 0.95, 1.8
"""The estimate, as a multiple of the measured peak, which sampling may miss, or workers whose own peaks do not meet.
Too low a one lets a stage be killed; too high a one forbids what would have worked."""


# ---- against what stages take


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of some size with many words, and parameters that give each stage something to hold."""
    folder = tmp_path_factory.mktemp("preflight")
    write_text(folder / "own.txt")
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["seeds"] = [1]
    tree["corpus"] = str(folder / "own.txt")
    tree["download"]["evaluation_sets"] = []
    tree["tokenize"] |= {"normalizer": "plain", "shard_bytes": 4_000_000}
    tree["vocab"]["min_count"] = 1
    tree["train"]["epochs"] = 1
    tree["model"]["dim"] = 200
    tree["evaluate"]["neighbors"] = ["aaaa"]
    tree["run"] = {"device": "cpu", "threads": 2, "workers": 2, "executor": "processes", "dask_address": ""}
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return folder


def write_text(path: Path) -> None:
    """Words of a power law over many, in sentences of ten."""
    draw = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    with path.open("w") as file:
        while file.tell() < CORPUS_BYTES:
            numbers = [int(300_000 ** draw.random()) for _ in range(2000)]
            words = ["".join(letters[number // 26**place % 26] for place in range(4)) for number in numbers]
            file.write("".join(" ".join(words[i : i + 10]) + ".\n" for i in range(0, 2000, 10)))


def run_stage(
    folder: Path, stage: str, environment: dict[str, str] | None = None, arguments: Sequence[str] = ()
) -> tuple[int, str]:
    """Run a stage; its highest sum of memory of all its processes, mapped files left out, and what it said."""
    arguments = arguments or (["--seed", "1"] if stage in ("train", "evaluate") else [])
    known = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]
    with (folder / "log.txt").open("w+") as log:
        running = subprocess.Popen(command, cwd=folder, env=known, stdout=log, stderr=log)
        highest = 0
        while running.poll() is None:
            highest = max(highest, sum(held_bytes(str(process)) for process in family(running.pid)))
            time.sleep(0.01)
        log.seek(0)
        return highest, f"{log.read()}status {running.returncode}"


def family(pid: int) -> list[int]:
    """A process and all it has started; one that is just being forked still shows its parent's memory as its own."""
    found = [pid]
    for process in found:
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            found += [int(child) for child in children if Path(f"/proc/{child}/cmdline").read_bytes() != command]
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def measured(project: Path) -> dict[str, tuple[Need, int, int]]:
    """Stage -> its estimate, its highest memory, and the bytes it wrote."""
    before = Path.cwd()
    os.chdir(project)
    try:
        found = {}
        for stage in ESTIMATES:
            params = load_params()
            highest, said = run_stage(project, stage)
            assert said.endswith("status 0"), said
            need = need_of(stage, params, 1)
            written = sum(file.stat().st_size for file in need.folder.rglob("*") if file.is_file())
            found[stage] = (need, highest, written)
        return found
    finally:
        os.chdir(before)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ESTIMATES)
def test_the_estimate_of_memory_is_near_what_a_stage_takes(
    measured: dict[str, tuple[Need, int, int]], stage: str
) -> None:
    need, highest, _ = measured[stage]
    print(f"{stage}: {need.memory_bytes / 1e6:.0f} MB estimated, {highest / 1e6:.0f} MB measured")
    assert LOWEST <= need.memory_bytes / highest <= HIGHEST


@pytest.mark.slow
@pytest.mark.parametrize("stage", ESTIMATES)
def test_the_estimate_of_disk_is_enough_and_not_far_too_much(
    measured: dict[str, tuple[Need, int, int]], stage: str
) -> None:
    need, _, written = measured[stage]
    print(f"{stage}: {need.disk_bytes / 1e6:.1f} MB estimated, {written / 1e6:.1f} MB measured")
    assert written <= need.disk_bytes <= 2 * written + MINIMUM_DISK


@pytest.mark.slow
def test_the_estimates_are_near_what_phrases_take(
    project: Path, measured: dict[str, tuple[Need, int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some thousands of phrases that chance has made, low as the thresholds are."""
    shutil.copytree(project, tmp_path / "project", ignore=shutil.ignore_patterns("train", "evaluate", "report"))
    monkeypatch.chdir(tmp_path / "project")
    tree = yaml.safe_load(Path("params.yaml").read_text())
    tree["vocab"]["phrases"] = {"thresholds": [5.0, 2.0], "delta": 1}
    Path("params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    params = load_params()
    for stage in ("vocab", "encode"):
        highest, said = run_stage(Path(), stage)
        assert said.endswith("status 0"), said
        need = need_of(stage, params)
        print(f"{stage}: {need.memory_bytes / 1e6:.0f} MB estimated, {highest / 1e6:.0f} MB measured, {said}")
        assert LOWEST <= need.memory_bytes / highest <= HIGHEST
        assert need.memory_bytes > measured[stage][0].memory_bytes
        written = sum(file.stat().st_size for file in need.folder.rglob("*") if file.is_file())
        assert written <= need.disk_bytes


@pytest.mark.slow
@pytest.mark.parametrize("program", OBJECTIVES)
def test_the_estimate_for_another_program_is_near_what_it_takes(
    project: Path,
    measured: dict[str, tuple[Need, int, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
) -> None:
    shutil.copytree(project, tmp_path / "project", ignore=shutil.ignore_patterns("train", "evaluate", "report"))
    monkeypatch.chdir(tmp_path / "project")
    tree = yaml.safe_load(Path("params.yaml").read_text())
    tree["peers"]["programs"] = [program]
    tree["model"] |= {"window": 1, "negatives": 1}  # less work, and as much memory
    Path("params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    params = load_params()
    try:
        require_possible(program, params)
    except ConfigError as error:
        pytest.skip(str(error))
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    highest, said = run_stage(Path(), "peers", paths, ("--program", program, "--seed", "1"))
    assert said.endswith("status 0"), said
    need = need_of_peer(program, 1, params)
    print(f"{program}: {need.memory_bytes / 1e6:.0f} MB estimated, {highest / 1e6:.0f} MB measured")
    assert LOWEST <= need.memory_bytes / highest <= HIGHEST
    written = sum(file.stat().st_size for file in need.folder.rglob("*") if file.is_file())
    assert written <= need.disk_bytes


# ---- where there is less


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of a few hundred words, with the outputs of all stages."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "own.txt").write_text(
        "the king saw the queen. the queen saw a man. a man and a woman saw the king.\n" * 9
    )
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["seeds"] = [1]
    tree["corpus"] = str(folder / "own.txt")
    tree["download"]["evaluation_sets"] = []
    tree["vocab"]["min_count"] = 1
    tree["model"]["dim"] = 8
    tree["run"] = {"device": "cpu", "threads": 1, "workers": 1, "executor": "processes", "dask_address": ""}
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    before = Path.cwd()
    os.chdir(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for stage in ESTIMATES:
                main_of(stage, patch)()
    finally:
        os.chdir(before)
        release()
    return folder


def main_of(stage: str, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The main function of a stage's script, the command line prepared for it."""
    patch.setattr(sys, "argv", [stage, *(["--seed", "1"] if stage in ("train", "evaluate") else [])])
    return importlib.import_module(f"stages.{stage}").main


@pytest.fixture
def here(small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(small)
    monkeypatch.delenv(preflight.VARIABLE, raising=False)
    yield small
    release()


def fingerprints(folder: Path) -> dict[str, tuple[int, int]]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock"]
    return {str(file): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.mark.parametrize("stage", ESTIMATES)
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_stage_that_needs_more_than_there_is_ends_before_it_begins(
    here: Path, monkeypatch: pytest.MonkeyPatch, stage: str, kind: str
) -> None:
    bound = Bound(1_000_000, "the made-up limit of this test", "Make it wider")
    monkeypatch.setattr(machine, f"{kind}_bounds", lambda place=None: [bound])
    if kind == "memory":
        monkeypatch.setattr(preflight, "held_bytes", lambda: 0)  # this process holds all that a stage needs
    before = fingerprints(here)
    with pytest.raises(ResourceError) as caught:
        main_of(stage, monkeypatch)()
    said = str(caught.value)
    assert "1 MB" in said and "(the made-up limit of this test). Make it wider, or use " in said
    assert need_of(stage, load_params(), 1).lower in said and "WORDLAB_PREFLIGHT=warn goes on all the same" in said
    assert (f"the processes of stage {stage} need" if kind == "memory" else f"data/{stage}") in said
    assert fingerprints(here) == before


def test_who_knows_better_is_warned_only(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "disk_bounds", lambda place: [Bound(1000, "the made-up limit", "Make it wider")])
    monkeypatch.setenv(preflight.VARIABLE, "warn")
    main_of("vocab", monkeypatch)()
    assert "warning: data/vocab will need about 20 MB, but its disk has 1 kB left" in capsys.readouterr().err
    monkeypatch.setenv(preflight.VARIABLE, "off")
    with pytest.raises(ConfigError, match="WORDLAB_PREFLIGHT is 'off', but must be warn or not set"):
        main_of("vocab", monkeypatch)()


def test_a_stage_under_a_ulimit_ends_with_a_message(here: Path) -> None:
    command = f"ulimit -v 8000000; exec {sys.executable} -m stages.train --seed 1"
    tree = yaml.safe_load((here / "params.yaml").read_text())
    tree["model"]["dim"] = tree["run"]["threads"] = 4096
    (here / "params.yaml").rename(here / "kept.yaml")
    try:
        (here / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(["sh", "-c", command], cwd=here, env=environment, capture_output=True, text=True)
    finally:
        (here / "kept.yaml").replace(here / "params.yaml")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: the processes of stage train need " in done.stderr and "(ulimit -v, 8.19 GB)" in done.stderr
    assert "Raise ulimit -v, or use a smaller model.dim" in done.stderr


def test_more_of_anything_needs_more(here: Path) -> None:
    params = load_params()
    for section, key, stage in [
        ("model", "dim", "train"),
        ("run", "threads", "train"),
        ("tokenize", "shard_bytes", "tokenize"),
    ]:
        larger = replaced(params, section, **{key: 8 * getattr(getattr(params, section), key)})
        if stage == "tokenize":
            few, many = (tokenize_need(10 * GB, which).memory_bytes for which in (params, larger))
        else:
            few, many = (need_of(stage, which, 1).memory_bytes for which in (params, larger))
        assert few < many, key
    small_text, large_text = (tokenize_need(size, params) for size in (GB, 10 * GB))
    assert small_text.memory_bytes == large_text.memory_bytes  # text is streamed
    assert 9 * small_text.disk_bytes < large_text.disk_bytes
    assert tokenize_need(10 * GB, replaced(params, "tokenize", max_bytes=GB)) == small_text
    assert tokenize_need(GB, replaced(params, "tokenize", max_bytes=10 * GB)) == small_text


def replaced(params: Params, section: str, **values: Any) -> Params:
    return dataclasses.replace(params, **{section: dataclasses.replace(getattr(params, section), **values)})


def test_distinct_words_are_foretold_from_two_shards(tmp_path: Path) -> None:
    """Words of a power law: their number grows like a power of the text."""
    draw = np.random.default_rng(1)
    seen: set[int] = set()
    for shard in range(32):
        numbers, counts = np.unique((1e6 ** draw.random(20_000)).astype(int), return_counts=True)
        seen |= set(numbers.tolist())
        words = pa.array([f"word{number}" for number in numbers], pa.large_string())
        batch = pa.record_batch([words, pa.array(counts)], schema=DICTIONARY_SCHEMA)
        write_batch(tmp_path / f"dictionary-{shard:05d}.arrow", batch)
    distinct, kept, word_bytes, exponent = counted_words(tmp_path, 32, 1)
    assert 0.3 < exponent < 0.9
    assert 0.7 < distinct / len(seen) < 1.5 and kept == distinct
    assert 9 <= word_bytes <= 11
    assert counted_words(tmp_path, 32, 64)[1] < distinct / 2


@pytest.mark.parametrize("kept", [(1,), (0,), ()])
def test_shards_without_a_word_are_no_damage(tmp_path: Path, kept: tuple[int, ...]) -> None:
    """As of a file of numbers alone."""
    for shard in range(2):
        words = pa.array(["one", "four"] if shard in kept else [], pa.large_string())
        batch = pa.record_batch([words, pa.array([3] * len(words), pa.int64())], schema=DICTIONARY_SCHEMA)
        write_batch(tmp_path / f"dictionary-{shard:05d}.arrow", batch)
    distinct, frequent, word_bytes, _ = counted_words(tmp_path, 2, 1)
    assert (distinct, frequent, word_bytes) == ((2, 2, 4) if kept else (0, 0, 0))


def test_damaged_manifests_are_told_of(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_text, "read_manifest", lambda *_: {"format": 1})
    with pytest.raises(ArtifactError, match=r"that stage encode reads are damaged: KeyError\('num_tokens'\)"):
        begin("encode", load_params())


def test_an_input_that_cannot_be_read_is_told_of(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(folder: Path) -> int:
        raise OSError(errno.EIO, "Input/output error", str(folder))

    monkeypatch.setattr(preflight_models, "_size_of", failing)
    message = r"data/encode cannot be read: Input/output error\. .*run again: dvc repro train"
    with pytest.raises(ArtifactError, match=message):
        begin("train", load_params(), 1)


def test_a_seed_that_is_trained_is_claimed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed: list[tuple[Path, list[Path]]] = []
    monkeypatch.setattr(preflight, "claim", lambda writes, reads: claimed.append((writes, reads)))
    begin("train", load_params(), 1)
    assert claimed == [(Path("data/train/seed-1"), [Path("data/encode"), Path("data/vocab")])]


def test_filters_count() -> None:
    params = load_params(ROOT / "params.yaml")
    plain = tokenize_need(10 * GB, params)
    needs = []
    for changes in ({"min_chars": 1}, {"duplicates": "drop"}, {"near_duplicates": 0.8}):
        filters = dataclasses.replace(params.tokenize.filters, **changes)
        needs.append(tokenize_need(10 * GB, replaced(params, "tokenize", filters=filters)))
    assert needs[0].memory_bytes == needs[2].memory_bytes > plain.memory_bytes
    assert plain.disk_bytes == needs[0].disk_bytes < needs[1].disk_bytes < needs[2].disk_bytes


def test_threads_that_unpack_bzip2_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "data" / "download" / "corpus"
    corpus.mkdir(parents=True)
    needs = {}
    for format, data in (("gzip", b"\x1f\x8b12345678"), ("bzip2", b"BZh91AY&SY")):
        (corpus / "a").write_bytes(data)
        files = [{"path": "a", "format": format, "size_bytes": len(data)}]
        write_manifest(corpus, "download", {"corpus": {"own": False, "files": files}})
        params = replaced(load_params(ROOT / "params.yaml"), "run", workers=4)
        needs[format] = need_of("tokenize", params).memory_bytes
    assert needs["bzip2"] - needs["gzip"] == 4 * THREAD_BYTES
