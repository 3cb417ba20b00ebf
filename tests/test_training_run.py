"""A training that is killed, stopped and gone on with: the same bits, nothing done twice, everything told."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine import CpuEngine, model_config, topic_sentences, train_config, use_short_segments, write_data
from wordlab import training_run
from wordlab.checkpoints import hold_checkpoints
from wordlab.divergence import DivergedError
from wordlab.engine import Engine
from wordlab.stage import StoppedError
from wordlab.training import Trained, TrainingData, end_checkpoints, train_model, training_identity


class Killed(BaseException):
    """Stands for the end of a process: nothing catches it."""


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int, how: Callable[[], object]) -> None:
    """Call `how` in the `at`-th segment that is trained from now on, after its work."""
    trained, calls = CpuEngine.train_segment, []

    def train_segment(self: CpuEngine, *arguments: object) -> tuple[float, float]:
        result = trained(self, *arguments)  # type: ignore[arg-type]
        if arguments[-1] != 2:  # not the corpus of two words that the kernels are compiled on
            calls.append(arguments)
            if len(calls) == at:
                how()
        return result

    monkeypatch.setattr(CpuEngine, "train_segment", train_segment)


def kill() -> None:
    raise Killed


def uninterrupted(data: TrainingData) -> tuple[Engine, Trained]:
    return train_model(data, model_config("cbow"), train_config(epochs=2), 1, 2, show_progress=False)


def resumed(folder: Path, data: TrainingData, threads: int) -> tuple[Engine, Trained]:
    """Train with checkpoints after every segment, as far as it comes."""
    model, train = model_config("cbow"), train_config(epochs=2)
    identity = training_identity(data, model, train, 1)
    with hold_checkpoints(folder, identity, 1) as checkpoints:
        engine, trained = train_model(data, model, train, 1, threads, False, checkpoints)
        assert checkpoints is not None
        end_checkpoints(checkpoints, engine, trained)
    return engine, trained


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every segment, and segments that are short."""
    monkeypatch.setenv("WORDLAB_CHECKPOINT_SECONDS", "0")
    use_short_segments(monkeypatch, 700)
    monkeypatch.setattr(training_run, "CURVE_POINTS", 7)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("kills", [[1], [2, 1, 3], [5, 1, 1, 1, 6]], ids=str)
def test_a_training_killed_and_gone_on_with_ends_in_the_same_bits(
    kills: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after so many segments of each start; on another number of threads each time; the curve too."""
    data = write_data(tmp_path, topic_sentences(900), subsample_t=0.02, shards=3)
    right, told = uninterrupted(data)
    for number, at in enumerate(kills):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            interrupt(patch, at, kill)
            resumed(tmp_path / "checkpoints", data, 1 + number % 3)
    engine, trained = resumed(tmp_path / "checkpoints", data, 2)
    assert engine.table.tobytes() == right.table.tobytes()
    assert trained.curve == told.curve and trained.predictions == told.predictions
    assert trained.resumes == len([at for at in kills if at > 1]), "a start killed in its first segment leaves nothing"
    assert list((tmp_path / "checkpoints").iterdir()) == [], "the checkpoints of a finished training stay"


@pytest.mark.usefixtures("often")
def test_what_was_trained_before_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_data(tmp_path, topic_sentences(900))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupt(patch, 5, kill)
        resumed(tmp_path / "checkpoints", data, 1)
    starts: list[int] = []
    trained = CpuEngine.train_segment

    def train_segment(self: CpuEngine, *arguments: object) -> tuple[float, float]:
        if arguments[-1] != 2:
            starts.append(int(arguments[3]))  # type: ignore[call-overload]
        return trained(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(CpuEngine, "train_segment", train_segment)
    _, told = resumed(tmp_path / "checkpoints", data, 1)
    assert starts[0] == 4 * 700 and told.resumes == 1
    assert len(starts) + 4 == told.segments == 2 * math.ceil(data.corpus.num_tokens / 700)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_segment_and_leaves_a_checkpoint(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent twice, as when a scheduler ends DVC and stage alike; also in a training too short for checkpoints."""
    monkeypatch.delenv("WORDLAB_CHECKPOINT_SECONDS")
    monkeypatch.setattr(signal, "raise_signal", lambda number: None)
    data = write_data(tmp_path, topic_sentences(900))
    right, told = uninterrupted(data)

    def stop() -> None:
        os.kill(os.getpid(), number)
        if number != signal.SIGINT:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(StoppedError) as stopped:
        interrupt(patch, 3, stop)
        resumed(tmp_path / "checkpoints", data, 1)
    assert stopped.value.number == number
    by = "from the keyboard" if number == signal.SIGINT else f"by {number.name}"
    total = 2 * data.corpus.num_tokens
    message = f"stopped {by} at {100 * 2100 / total:.1f} % (2,100 of {total:,} words). A checkpoint keeps it: "
    assert str(stopped.value).startswith(message) and "dvc repro" in str(stopped.value)
    engine, trained = resumed(tmp_path / "checkpoints", data, 2)
    assert trained.resumes == 1 and trained.checkpoints == 1
    assert engine.table.tobytes() == right.table.tobytes() and trained.curve == told.curve


@pytest.mark.usefixtures("often")
def test_seconds_and_checkpoints_are_those_of_all_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_data(tmp_path, topic_sentences(900))
    passed = iter(range(10_000))
    monkeypatch.setattr(training_run.time, "perf_counter", lambda: float(next(passed)))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupt(patch, 4, kill)
        resumed(tmp_path / "checkpoints", data, 1)
    before = next(passed)
    _, trained = resumed(tmp_path / "checkpoints", data, 1)
    own = next(passed) - before - 2  # of this start: from its first reading of the clock to its last
    assert trained.seconds == own + 3  # a second from reading to reading, three checkpoints in the first start
    assert trained.checkpoints == trained.segments - 1
    assert trained.checkpoint_seconds > 0


def test_a_diverged_training_tells_how_far_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_short_segments(monkeypatch, 2000)
    data = write_data(tmp_path, topic_sentences(1000))
    with pytest.raises(DivergedError) as error:
        train = train_config(lr=10.0, damping=0.0, epochs=3, batch_tokens=1024)
        train_model(data, model_config(), train, 1, 1, show_progress=False)
    assert 0 < error.value.trained.tokens < 3 * data.corpus.num_tokens
    assert error.value.trained.seconds > 0
