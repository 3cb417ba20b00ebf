"""Stage `train` as DVC runs it: a process of its own, equal runs equal bytes, nothing half-written ever."""

from __future__ import annotations

import contextlib
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
SETTINGS = {"dim": 12, "epochs": 2, "damping": 4, "threads": 2, "device": "cpu"}
"""Of 20 words each has dozens of steps in a micro-batch: more damping than a usual corpus needs."""


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


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}


def hear_interrupts() -> None:
    """In the new process: what a shell starts in the background ignores Ctrl-C, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stages.train", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_interrupts,
        text=True,
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
    assert run(write_params(project, threads=3), "--seed", "1")[0] == 0
    assert model_of(project) == first


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
    assert refused(project, "--seed", "1").endswith("manifest.json is missing. Run: dvc repro encode")


def started(folder: Path) -> subprocess.Popen[str]:
    """A run of seed 1 that has said what it trains on."""
    process = start(folder, "--seed", "1")
    assert process.stderr is not None
    while "training on the CPU" not in (line := process.stderr.readline()):
        assert line, "the run ended before it trained"
    return process


def wait_until(process: subprocess.Popen[str], ready: Path | None) -> None:
    """Until a path exists, or 0.3 seconds; the process must still be running then."""
    deadline = time.monotonic() + 60
    while ready is not None and not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    if ready is None:
        time.sleep(0.3)
    assert process.poll() is None, "the run was over before it could be stopped"


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
    process = started(project)
    wait_until(process, building if when == "writing" else None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
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


def test_a_run_stopped_from_the_keyboard_ends_at_once_and_writes_nothing(project: Path) -> None:
    """Told again where need be: numba swallows an interrupt that comes while it loads what it has compiled."""
    process = started(write_params(project, epochs=50_000))
    for _ in range(5):
        wait_until(process, None)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=6)
            break
    _, errors = process.communicate(timeout=10)
    assert process.returncode in (130, -signal.SIGINT), errors
    assert "stopped from the keyboard" in errors and "Traceback" not in errors
    assert not (project / "data/train").exists() and not (project / "metrics").exists()


INTERRUPTED = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from stages import train
from wordlab.stage import run_stage

submit, calls = ThreadPoolExecutor.submit, []

def interrupted(self, *arguments, **options):
    if threading.current_thread() is threading.main_thread():
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
    return submit(self, *arguments, **options)

ThreadPoolExecutor.submit = interrupted
sys.argv = ["train", "--seed", "1"]
run_stage(train.main)
"""


def test_an_interrupt_while_threads_start_does_not_hang(project: Path) -> None:
    """A thread whose team never becomes whole would wait at the barrier for ever, and the process with it."""
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, timeout=20)
    assert done.returncode == 130 and "stopped from the keyboard" in done.stderr, done.stderr
