"""A training on the torch engine that is killed or stopped goes on to the bytes it would have given.

On torch's CPU device, which a plan for a GPU is led to here: all but the device is what a GPU would do.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import train as stage
from tests.engine import (
    model_config,
    random_case,
    start_table,
    topic_sentences,
    train_config,
    use_short_segments,
    write_data,
)
from tests.stage_runs import GOES_ON, checkpoints, killed, model_of, write_params
from tests.torch_runs import needs_gpu
from wordlab import training_run
from wordlab.checkpoints import Checkpoints, hold_checkpoints
from wordlab.claims import release
from wordlab.divergence import DivergedError
from wordlab.engine import Engine
from wordlab.sections.cuda import CudaConfig
from wordlab.sections.train import Damping, LearningRates
from wordlab.stage import StoppedError
from wordlab.torch_engine import choice
from wordlab.torch_engine import engine as torch_engine
from wordlab.torch_engine.engine import TorchEngine
from wordlab.torch_engine.gpu import Gpu
from wordlab.training import Trained, TrainingData, end_checkpoints, train_model, training_identity

CUDA = CudaConfig(batch_tokens=48, deterministic=True, products="float32")
SEGMENT = 500
"""Tokens; the corpus below has two shards of three segments, read twice."""


class Killed(BaseException):
    """Stands for the end of a process: nothing catches it."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every segment, segments that are short, and a warm-up that ends in the second."""
    monkeypatch.setenv("WORDLAB_CHECKPOINT_SECONDS", "0")
    use_short_segments(monkeypatch, SEGMENT)
    monkeypatch.setattr(training_run, "CURVE_POINTS", 7)
    monkeypatch.setattr(torch_engine, "WARM_UP_TOKENS", SEGMENT + 100)
    monkeypatch.setattr(torch_engine, "WARM_UP_SHARE", 0.0)


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    return write_data(tmp_path, topic_sentences(270), subsample_t=0.05, shards=2)


def planned(
    data: TrainingData,
    monkeypatch: pytest.MonkeyPatch,
    arch: str = "skipgram",
    device: str = "cpu",
    kernels: str = "torch",
    warm_up_batch: int = 16,
    **changes: object,
) -> choice.Plan:
    """What would be done on a GPU of the name `device`; done on the CPU. changes: of CUDA."""
    gpu = Gpu(device, (9, 0), 9 * 10**9, 8 * 10**9)
    monkeypatch.setattr(choice, "find_gpu", lambda: gpu)
    monkeypatch.setattr(choice, "choose_kernels", lambda *given: (kernels, "a test"))
    monkeypatch.setattr(choice, "DEVICE", "cpu")
    train = train_config(epochs=2, batch_tokens=warm_up_batch)
    cuda = dataclasses.replace(CUDA, **changes)  # type: ignore[arg-type]
    plan, _ = choice.plan_gpu("cuda", data, model_config(arch), train, cuda)
    assert plan is not None
    return plan


def trained(
    data: TrainingData, plan: choice.Plan, checkpoints: Checkpoints | None = None, arch: str = "skipgram"
) -> tuple[Engine, Trained]:
    train = train_config(epochs=2, batch_tokens=16)
    return train_model(data, model_config(arch), train, 1, 1, False, checkpoints, plan)


def resumed(folder: Path, data: TrainingData, plan: choice.Plan, arch: str = "skipgram") -> tuple[Engine, Trained]:
    """Train with checkpoints, as far as it comes."""
    identity = training_identity(data, model_config(arch), plan.train, 1, plan.identity)
    with hold_checkpoints(folder, identity, plan.table_bytes) as held:
        assert held is not None
        engine, told = trained(data, plan, held, arch)
        end_checkpoints(held, engine, told)
    return engine, told


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int, how: Callable[[], object]) -> None:
    """Call `how` in the `at`-th segment that is trained from now on, after its work."""
    calls = itertools.count(1)
    train_segment = TorchEngine.train_segment

    def interrupted(self: TorchEngine, *arguments: object) -> tuple[float, float]:
        result = train_segment(self, *arguments)  # type: ignore[arg-type]
        if next(calls) == at:
            how()
        return result

    monkeypatch.setattr(TorchEngine, "train_segment", interrupted)


def kill() -> None:
    raise Killed


def kill_in_segment(
    at: int, folder: Path, data: TrainingData, plan: choice.Plan, monkeypatch: pytest.MonkeyPatch, arch: str
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupt(patch, at, kill)
        resumed(folder, data, plan, arch)


# ---- the engine


@pytest.mark.parametrize(
    ("arch", "resident"),
    [("skipgram", True), ("cbow", False), ("sent2vec", True)],
    ids=["resident", "streamed", "sentences"],
)
def test_killed_in_any_segment_it_goes_on_to_the_same_bits(
    arch: str, resident: bool, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table and curve, in the warm-up and after it, in each epoch; killed twice each time."""
    plan = dataclasses.replace(planned(data, monkeypatch, arch), resident=resident)
    right, told = trained(data, plan, arch=arch)
    assert told.segments == 12 and right.description["first_batch_tokens"] == 16 < right.train.batch_tokens
    for at in range(2, told.segments + 1):
        kill_in_segment(at, tmp_path / "kept", data, plan, monkeypatch, arch)
        again = 1 + at % 2
        if at - 1 + again <= told.segments:
            kill_in_segment(again, tmp_path / "kept", data, plan, monkeypatch, arch)
        engine, found = resumed(tmp_path / "kept", data, plan, arch)
        assert engine.read_table().tobytes() == right.read_table().tobytes(), at
        assert found.curve == told.curve and found.predictions == told.predictions
        assert found.resumes >= 1 and found.segments == told.segments
        assert list((tmp_path / "kept").iterdir()) == [], "the checkpoints of a finished training stay"


def test_in_fast_mode_it_goes_on_too(data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a model as good: on a GPU its bits vary from run to run anyway."""
    plan = planned(data, monkeypatch, deterministic=False)
    right, told = trained(data, plan)
    kill_in_segment(5, tmp_path / "kept", data, plan, monkeypatch, "skipgram")
    engine, found = resumed(tmp_path / "kept", data, plan)
    assert found.resumes == 1 and found.segments == told.segments
    assert np.linalg.norm(engine.read_table() - right.read_table()) < 1e-4 * np.linalg.norm(right.read_table())


def test_the_plan_knows_what_the_engine_will_say_of_itself(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes in (
        {},
        {"warm_up_batch": 32},
        {"batch_tokens": 32},
        {"deterministic": False},
        {"products": "bf16"},
        {"products": "tf32x3"},
    ):
        plan = planned(data, monkeypatch, **changes)
        engine, _ = trained(data, plan)
        assert isinstance(engine, TorchEngine)
        assert plan.identity == {
            **engine.description,
            "cuda": torch.version.cuda,
            "switches": plan.identity["switches"],
        }
        assert plan.table_bytes == engine.table.nbytes == engine.read_table().nbytes


def test_a_checkpoint_of_another_gpu_or_another_way_to_compute_is_not_used(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identity_of(plan: choice.Plan) -> dict[str, object]:
        return training_identity(data, model_config(), plan.train, 1, plan.identity)

    plan = planned(data, monkeypatch)
    right = identity_of(plan)
    with hold_checkpoints(tmp_path, right, 1) as held:
        assert held is not None
        held.write(3, {}, np.zeros((2, 16), np.float32))
    others = {
        "device": identity_of(planned(data, monkeypatch, device="Z1")),
        "kernels": identity_of(planned(data, monkeypatch, kernels="triton")),
        "products": identity_of(planned(data, monkeypatch, products="bf16")),
        "deterministic": identity_of(planned(data, monkeypatch, deterministic=False)),
        "first_batch_tokens": identity_of(planned(data, monkeypatch, warm_up_batch=32)),
        "batch_tokens": identity_of(planned(data, monkeypatch, batch_tokens=16)),
    }
    with monkeypatch.context() as patch:
        patch.setattr(torch.version, "cuda", "99.0")
        others["cuda"] = identity_of(plan)
    with monkeypatch.context() as patch:
        patch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        others["switches"] = identity_of(plan)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "SEGMENT_TOKENS", SEGMENT + 1)
        others["segment_tokens"] = identity_of(plan)
    others["the CPU"] = training_identity(data, model_config(), plan.train, 1)
    for name, identity in others.items():
        assert identity != right, name
        with hold_checkpoints(tmp_path, identity, 1) as held:
            assert held is not None and held.load() is None, name
    with hold_checkpoints(tmp_path, right, 1) as held:
        assert held is not None and held.load() is not None


def test_a_table_is_taken_over_from_a_mapped_file_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address stays, which CUDA graphs hold. A mapped file cannot be written, of which torch would warn."""
    monkeypatch.setattr(torch_engine, "PIECE_ROWS", 7)
    case = random_case(model_config(dim=20), train_config(), 50)
    engine = TorchEngine(case.model, case.train, case.tables, 1, device="cpu")
    table = np.zeros((engine.layout.table_rows, engine.layout.depth), np.float32)
    table[: engine.layout.nothing, :20] = start_table(case)
    table.tofile(tmp_path / "table")
    address = engine.table.data_ptr()
    engine.load_table(np.memmap(tmp_path / "table", np.float32, "r", shape=table.shape))
    assert np.array_equal(engine.read_table(), table) and engine.table.data_ptr() == address
    with pytest.raises(AssertionError):
        engine.load_table(table[:1])


def test_what_copying_the_table_takes_counts_as_what_a_checkpoint_takes(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TorchEngine.read_table

    def slow(self: TorchEngine) -> np.ndarray:
        time.sleep(0.05)
        return read(self)

    monkeypatch.setattr(TorchEngine, "read_table", slow)
    _, told = resumed(tmp_path / "kept", data, planned(data, monkeypatch))
    assert told.checkpoints == 11 and told.checkpoint_seconds > 11 * 0.05


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "fast"])
def test_a_training_that_diverges_is_stopped_on_this_engine_too(
    deterministic: bool, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not finite would not survive fixed-point sums, and is found all the same."""
    plan = planned(data, monkeypatch, deterministic=deterministic)
    wild = dataclasses.replace(
        plan.train,
        lr=LearningRates(skipgram=10.0, cbow=10.0, sent2vec=10.0),
        damping=Damping(skipgram=0, cbow=0, sent2vec=0, hs=0),
        lr_floor=1.0,
    )
    plan = dataclasses.replace(plan, train=wild)
    with pytest.raises(DivergedError, match=r"The training diverged: after [\d,]+ words the loss is .*Lower train.lr"):
        trained(data, plan)


@needs_gpu
@pytest.mark.parametrize("kernels", ["torch", "triton"])
def test_on_a_gpu_it_goes_on_to_the_same_bits(
    kernels: str, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(data, monkeypatch, device=torch.cuda.get_device_name(), kernels=kernels)
    monkeypatch.setattr(choice, "DEVICE", "cuda")
    right, told = trained(data, plan)
    assert plan.identity.items() > right.description.items()
    for at in (2, 4, 7):
        kill_in_segment(at, tmp_path / "kept", data, plan, monkeypatch, "skipgram")
    engine, found = resumed(tmp_path / "kept", data, plan)
    assert engine.read_table().tobytes() == right.read_table().tobytes() and found.curve == told.curve


# ---- the stage


LED_ASIDE = f"""
from stages import train
from wordlab.stage import run_stage
from wordlab.torch_engine import choice
from wordlab.torch_engine.gpu import Gpu

train.choose_device = lambda wanted: ("cuda", "")
choice.find_gpu = lambda: Gpu("cpu", (9, 0), 9 * 10**9, 8 * 10**9)
choice.choose_kernels = lambda *given: ("torch", "a test")
choice.DEVICE = "cpu"
choice.SEGMENT_TOKENS = {SEGMENT}
run_stage(train.main)
"""
"""Stage train for a GPU, led to the CPU."""
EPOCHS = 60


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stage `train` is for a GPU; the current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    write_data(folder, topic_sentences(270))
    write_params(folder, epochs=EPOCHS, device="cuda")
    monkeypatch.undo()  # of `often`: a process of its own has the usual warm-up
    monkeypatch.setenv("WORDLAB_CHECKPOINT_SECONDS", "0.05")
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(stage, "choose_device", lambda wanted: ("cuda", ""))
    monkeypatch.setattr(choice, "find_gpu", lambda: Gpu("cpu", (9, 0), 9 * 10**9, 8 * 10**9))
    monkeypatch.setattr(choice, "choose_kernels", lambda *given: ("torch", "a test"))
    monkeypatch.setattr(choice, "DEVICE", "cpu")
    monkeypatch.setattr(choice, "SEGMENT_TOKENS", SEGMENT)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train", "--seed", "1"])
    return folder


def test_a_stage_killed_and_stopped_goes_on_to_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL of a process of its own, then SIGTERM in this one, then to the end."""
    try:
        stage.main()
        right = model_of(project)
        assert "plain torch: a test" in capsys.readouterr().err
        for path in right:
            (project / path).unlink()
        (project / "data/train/seed-1").rmdir()
        (project / "metrics/run/seed-1.json").unlink()
        for folder in ("metrics/run", "metrics/curves", "metrics"):
            (project / folder).rmdir()
        release()
        shown = killed(project, random.Random(3).uniform(0, 0.1), ("-c", LED_ASIDE))
        assert GOES_ON not in shown and checkpoints(project)
        with monkeypatch.context() as patch, pytest.raises(StoppedError) as stopped:
            interrupt(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
            stage.main()
        assert stopped.value.number == signal.SIGTERM and "A checkpoint keeps it" in str(stopped.value)
        stage.main()
        assert GOES_ON in capsys.readouterr().err
        assert model_of(project) == right
        assert list((project / ".wordlab/checkpoints").iterdir()) == []
    finally:
        release()
