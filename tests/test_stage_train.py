"""Stage `train` as DVC runs it: a process of its own, equal runs equal bytes, nothing half-written ever."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stages import train
from tests.engine import topic_sentences, write_data
from wordlab.artifacts import read_manifest
from wordlab.embeddings import Embeddings
from wordlab.stage import run_stage

ROOT = Path(__file__).parents[1]
SETTINGS = {"dim": 12, "epochs": 2, "threads": 2, "device": "cpu"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """params.yaml, data/vocab and data/encode of 400 sentences."""
    write_data(tmp_path, topic_sentences(400))
    return write_params(tmp_path)


def write_params(folder: Path, **changes: object) -> Path:
    """The repository's params.yaml with the settings above and `changes`; the names are unique in the file."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for name, value in (SETTINGS | changes).items():
        text, replaced = re.subn(rf"^( +{name}:) [^\s#]+", rf"\1 {value}", text, flags=re.MULTILINE)
        assert replaced == 1, name
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    command = [sys.executable, "-m", "stages.train", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the stage to its end; returns its exit status and what it wrote to stderr."""
    process = start(folder, *arguments)
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def model_of(folder: Path) -> dict[str, bytes]:
    """Every byte that DVC tracks of a run of seed 1, by path."""
    paths = [*(folder / "data/train/seed-1").iterdir(), folder / "metrics/curves/seed-1.tsv"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refused(folder: Path, *arguments: str) -> str:
    """Run the stage, which must fail with one message; returns it. Nothing may have been written."""
    status, errors = run(folder, *arguments)
    assert status == 1 and "Traceback" not in errors, errors
    assert errors.count("error: ") == 1, errors
    assert not (folder / "data/train").exists() and not (folder / "metrics").exists()
    return errors.partition("error: ")[2].strip()


def test_a_run_writes_model_curve_and_speed(project: Path) -> None:
    status, errors = run(project, "--seed", "1")
    assert status == 0, errors
    assert "training on the CPU" in errors and re.search(
        r"seed 1: loss 0\.\d{4}, [\d.]+ M words/s on 2 threads", errors
    )
    manifest = read_manifest(project / "data/train/seed-1", "train", verify=True)
    assert (manifest["seed"], manifest["config"]["model"]["dim"]) == (1, 12)
    assert "run" not in manifest["config"], "run: says how, never what; DVC does not compare it"
    assert len(Embeddings.load(project / "data/train/seed-1").nearest("word3")) == 10
    header, *rows = (project / "metrics/curves/seed-1.tsv").read_text().splitlines()
    assert header == "step\ttokens\tloss\tlr"
    total = sum(map(len, topic_sentences(400)))
    assert [row.split("\t")[:2] for row in rows] == [["1", str(total)], ["2", str(2 * total)]]
    measured = json.loads((project / "metrics/run/seed-1.json").read_text())
    assert measured["threads"] == 2 and measured["device"] == "cpu" and measured["seconds"] > 0
    speed = measured["raw_words_per_second"]
    assert speed == pytest.approx(2 * total / measured["seconds"], rel=0.2)
    assert {"cpu_seconds", "peak_memory_bytes", "raw_words_per_cpu_second", "cpu", "libraries"} <= set(measured)


def test_equal_runs_write_equal_bytes_on_any_number_of_threads(project: Path) -> None:
    """Processes share nothing: no order of a set, no time, no address gets into a result. Seeds keep apart."""
    assert run(project, "--seed", "1")[0] == 0
    first = model_of(project)
    assert run(write_params(project, threads=1), "--seed", "2")[0] == 0
    assert model_of(project) == first, "another seed's run changed this one's files"
    vectors = [np.load(project / f"data/train/seed-{seed}/input_vectors.npy") for seed in (1, 2)]
    assert vectors[0].shape == vectors[1].shape and not np.any(vectors[0] == vectors[1])
    for threads in (1, 3):
        assert run(write_params(project, threads=threads), "--seed", "1")[0] == 0
        assert model_of(project) == first, threads


def test_cuda_where_it_cannot_be_had_is_one_clear_message(project: Path) -> None:
    message = refused(write_params(project, device="cuda"), "--seed", "1")
    assert message.startswith("params.yaml: run.device is cuda, which cannot be had: ")
    assert "Set run.device to auto or cpu" in message


@pytest.mark.parametrize("arguments", [[], ["--seed"], ["--seed", "one"], ["--seed", "1.5"], ["--seeds", "1"]], ids=str)
def test_a_wrong_seed_argument_is_told_with_the_usage(
    arguments: list[str], project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_stage(train.main)
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert "usage: train" in shown and "--seed" in shown
    assert not (project / "data/train").exists()


@pytest.mark.parametrize("seed", ["-1", str(1 << 63), "99999999999999999999999"])
def test_a_seed_out_of_range_is_one_clear_message(
    seed: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["train", "--seed", seed])
    with pytest.raises(SystemExit) as stop:
        run_stage(train.main)
    assert stop.value.code == 1
    assert f"error: --seed is {seed}, but must be from 0 to 2^63 - 1" in capsys.readouterr().err
    assert not (project / "data/train").exists()


def test_a_missing_input_is_named_with_the_stage_that_writes_it(project: Path) -> None:
    (project / "data/encode/manifest.json").unlink()
    assert refused(project, "--seed", "1").endswith("manifest.json is missing. Run: dvc repro --force encode")


def killed_when(folder: Path, ready: Path | None) -> None:
    """Start a run and kill it with SIGKILL, once `ready` is there or else after it began to train."""
    process = start(folder, "--seed", "1")
    assert process.stderr is not None
    while "training on the CPU" not in (line := process.stderr.readline()):
        assert line, "the run ended before it trained"
    deadline = time.monotonic() + 60
    while ready is not None and not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    if ready is None:
        time.sleep(0.3)
    assert process.poll() is None, "the run was over before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("when", ["training", "writing"])
def test_a_killed_run_leaves_nothing_to_trust_and_the_next_one_is_as_if_it_had_not_been(
    when: str, project: Path
) -> None:
    """While training, nothing is there; while writing, a folder whose name ends in .tmp at most."""
    if when == "training":
        write_params(project, epochs=50_000)
    else:
        write_data(project, topic_sentences(50), words=[f"word{word_id}" for word_id in range(4000)])
        write_params(project, dim=2048)
    building = project / "data/train/seed-1.tmp"
    killed_when(project, building if when == "writing" else None)
    assert not (project / "data/train/seed-1").exists() and not (project / "metrics").exists()
    assert building.exists() == (when == "writing")
    if when == "training":
        write_params(project)
    assert run(project, "--seed", "1")[0] == 0
    assert not building.exists()
    read_manifest(project / "data/train/seed-1", "train", verify=True)
    if when == "training":
        after = model_of(project)
        assert run(write_params(project), "--seed", "1")[0] == 0
        assert model_of(project) == after
