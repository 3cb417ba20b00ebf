"""Stage `train` as DVC runs it: a process of its own, equal runs equal bytes, nothing half-written, nothing lost."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import train
from tests.engine import topic_sentences, write_data
from tests.stage_runs import (
    GOES_ON,
    checkpoints,
    environment,
    kill,
    killed,
    model_of,
    run,
    said,
    started,
    wait_until,
    write_params,
)
from wordlab.artifacts import read_manifest
from wordlab.checkpoints import STALE_DAYS
from wordlab.claims import release
from wordlab.embeddings import Embeddings
from wordlab.kernels.cpu import CpuEngine
from wordlab.stage import run_stage

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """params.yaml, data/vocab and data/encode of 400 sentences."""
    write_data(tmp_path, topic_sentences(400))
    return write_params(tmp_path)


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
    assert measured["outcome"] == "finished" and measured["health"]["warnings"] == [] and measured["resumes"] == 0
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
    assert "usage: python -m stages.train" in shown and "--seed" in shown
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


LONG = 5000
"""Epochs that take a second or two."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All bytes of a run of LONG epochs."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_data(folder, topic_sentences(400))
    assert run(write_params(folder, epochs=LONG, threads=1), "--seed", "1")[0] == 0
    return model_of(folder)


def test_a_run_killed_while_it_writes_its_model_leaves_nothing_to_trust(project: Path) -> None:
    """At most a folder whose name ends in .tmp, which the next run removes."""
    write_data(project, topic_sentences(50), words=[f"word{word_id}" for word_id in range(4000)])
    write_params(project, dim=2048)
    building = project / "data/train/seed-1.tmp"
    process = started(project)
    wait_until(process, project, building.exists)
    kill(process, project)
    assert building.exists()
    assert run(project, "--seed", "1")[0] == 0
    assert not building.exists()
    read_manifest(project / "data/train/seed-1", "train", verify=True)


def test_killed_again_and_again_it_goes_on_to_the_same_bytes(project: Path, uninterrupted: dict[str, bytes]) -> None:
    """SIGKILL at random moments; another number of threads at each start."""
    draw = random.Random(4)
    for number in range(3):
        write_params(project, epochs=LONG, threads=1 + number % 2)
        shown = killed(project, draw.uniform(0, 0.1))
        assert (GOES_ON in shown) == (number > 0), shown
    status, errors = run(project, "--seed", "1")
    assert status == 0 and GOES_ON in errors and "over 4 starts" in errors, errors
    assert model_of(project) == uninterrupted
    measured = json.loads((project / "metrics/run/seed-1.json").read_text())
    assert measured["resumes"] == 3 and measured["checkpoints"]["written"] >= 3
    assert list((project / ".wordlab/checkpoints").iterdir()) == []


def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_one_before(project: Path) -> None:
    write_data(project, topic_sentences(50), words=[f"word{word_id}" for word_id in range(4000)])
    write_params(project, dim=1024, epochs=60)
    assert run(project, "--seed", "1")[0] == 0
    right = model_of(project)
    shutil.rmtree(project / "data/train")
    shutil.rmtree(project / "metrics")
    process = started(project, checkpoint_seconds="0")
    wait_until(process, project, lambda: len(checkpoints(project)) == 2)
    half = project / ".wordlab/checkpoints"
    wait_until(process, project, lambda: bool(list(half.glob("*/*.ckpt.tmp"))))
    kill(process, project)
    assert len(list(half.glob("*/*.tmp"))) == 1, "the kill came too late to show anything"
    status, errors = run(project, "--seed", "1")
    assert status == 0 and GOES_ON in errors and "damaged" not in errors, errors
    assert model_of(project) == right


def test_a_damaged_checkpoint_is_never_used(project: Path, uninterrupted: dict[str, bytes]) -> None:
    """The newest: the one before goes on. All: it starts anew."""
    write_params(project, epochs=LONG, threads=1)
    killed(project, 0.2)
    newest = checkpoints(project)[-1]
    content = bytearray(newest.read_bytes())
    content[-50] ^= 1  # in the rows
    newest.write_bytes(content)
    shown = killed(project, 0.1)
    assert f"{newest.name} is damaged: its SHA-256 differs" in shown and GOES_ON in shown
    damaged = checkpoints(project)
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-100])
    status, errors = run(project, "--seed", "1")
    assert status == 0 and errors.count("is damaged") == len(damaged) and GOES_ON not in errors, errors
    assert model_of(project) == uninterrupted


def test_checkpoints_of_other_parameters_are_not_used_and_wait_for_their_return(
    project: Path, uninterrupted: dict[str, bytes]
) -> None:
    killed(write_params(project, epochs=LONG, threads=1), 0.1)
    left = checkpoints(project)
    status, errors = run(write_params(project, epochs=50), "--seed", "1")
    assert status == 0 and GOES_ON not in errors, errors
    assert "checkpoints of 1 other unfinished trainings take" in errors and f"after {STALE_DAYS} days" in errors
    assert model_of(project) != uninterrupted
    assert checkpoints(project) == left
    status, errors = run(write_params(project, epochs=LONG, threads=1), "--seed", "1")
    assert status == 0 and GOES_ON in errors
    assert model_of(project) == uninterrupted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_asked_to_stop_says_how_far_it_came_and_goes_on_from_there(
    number: signal.Signals, project: Path, uninterrupted: dict[str, bytes]
) -> None:
    """At the usual times between checkpoints, of which there is none until then."""
    process = started(write_params(project, epochs=LONG, threads=1), checkpoint_seconds="")
    time.sleep(0.2)
    process.send_signal(number)
    assert process.wait(timeout=10) == 128 + number, said(project)
    by = "from the keyboard" if number == signal.SIGINT else "by SIGTERM"
    last = said(project).strip().splitlines()[-1]
    told = re.fullmatch(rf"stopped {by} at (\d+\.\d %) \([\d,]+ of [\d,]+ words\)\. A checkpoint keeps it: .*", last)
    assert told and "dvc repro" in last, said(project)
    assert "Traceback" not in said(project)
    assert not (project / "data/train").exists() and not (project / "metrics").exists()
    status, errors = run(project, "--seed", "1")
    assert status == 0 and f"{GOES_ON}{told[1]}" in errors, errors
    assert model_of(project) == uninterrupted


def test_a_second_ctrl_c_ends_a_run_at_once(project: Path) -> None:
    process = started(write_params(project, epochs=LONG, threads=1), checkpoint_seconds="")
    process.send_signal(signal.SIGSTOP)  # so that both are there before the first segment after them ends
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=10) in (-signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert not (project / "data/train").exists() and not (project / "metrics").exists()


def test_a_second_run_of_the_same_waits_and_takes_over_the_model(
    project: Path, uninterrupted: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As in two experiments at once: each in its own copy, the checkpoints in common."""
    main = tmp_path_factory.mktemp("main")
    copies = [main / ".dvc/tmp/exps" / name for name in ("one", "other")]
    for copy in copies:
        shutil.copytree(project, copy)
        write_params(copy, epochs=LONG, threads=1)
    processes = []
    for copy in copies:
        own = environment() | {"DVC_ROOT": str(main)}
        with (copy / "log.txt").open("w") as log:
            command = [sys.executable, "-m", "stages.train", "--seed", "1"]
            processes.append(subprocess.Popen(command, cwd=copy, env=own, stderr=log))
        wait_until(
            processes[-1], copy, lambda copy=copy: "train seed 1: " in said(copy) or "waiting for it" in said(copy)
        )
    assert f"the same training runs in process {processes[0].pid} already" in said(copies[1])
    assert [process.wait(60) for process in processes] == [0, 0]
    assert f"{GOES_ON}100.0 %" in said(copies[1])
    assert model_of(copies[0]) == model_of(copies[1]) == uninterrupted
    assert list((main / ".wordlab/checkpoints").iterdir()) == []


def test_a_diverged_run_leaves_no_model_but_its_curve_and_what_happened(project: Path) -> None:
    write_params(project, damping=0, epochs=50)
    text = re.sub(r"skipgram: 0\.\d+", "skipgram: 10.0", (project / "params.yaml").read_text())
    (project / "params.yaml").write_text(text)
    status, errors = run(project, "--seed", "1")
    assert status == 1 and "error: The training diverged: after " in errors and "Lower train.lr.skipgram" in errors
    assert not (project / "data/train").exists()
    measured = json.loads((project / "metrics/run/seed-1.json").read_text())
    assert measured["outcome"].startswith("The training diverged: ") and measured["outcome"] in errors
    assert (project / "metrics/curves/seed-1.tsv").read_text().startswith("step\ttokens\tloss\tlr\n")
    assert list((project / ".wordlab/checkpoints").iterdir()) == []


def explode(table: np.ndarray) -> None:
    table[3] *= 1e4


def level(table: np.ndarray) -> None:
    table[:20] = table[0]


def forget(table: np.ndarray) -> None:
    """Nothing: the learning rate does it."""


@pytest.mark.parametrize(
    ("spoil", "lr", "kind"),
    [(explode, 0.08, "long rows"), (level, 0.08, "equal vectors"), (forget, 1e-9, "nothing learned")],
    ids=["exploding rows", "constant vectors", "nothing learned"],
)
def test_a_model_that_is_no_good_is_told_of_and_recorded(
    spoil: Callable[[np.ndarray], None],
    lr: float,
    kind: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever the engine makes of its rows: here they are spoilt after the only segment."""
    text = re.sub(
        r"skipgram: 0\.\d+", f"skipgram: {lr:.10f}", write_params(project, epochs=1).joinpath("params.yaml").read_text()
    )
    (project / "params.yaml").write_text(text)
    train_segment = CpuEngine.train_segment

    def spoilt(self: CpuEngine, *arguments: object) -> tuple[float, float]:
        result = train_segment(self, *arguments)  # type: ignore[arg-type]
        spoil(self.table)
        return result

    monkeypatch.setattr(CpuEngine, "train_segment", spoilt)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["train", "--seed", "1"])
    try:
        run_stage(train.main)
    finally:
        release()
    measured = json.loads((project / "metrics/run/seed-1.json").read_text())
    (warning,) = measured["health"]["warnings"]
    assert warning.startswith(f"{kind}: ") and "train.lr.skipgram" in warning
    assert f"WARNING: {warning}" in capsys.readouterr().err and measured["outcome"] == "finished"


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
