"""How a stage script runs: what it says, how it ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wordlab import stage
from wordlab.errors import WordlabError
from wordlab.stage import StoppedError, StopSignals, run_stage, say_dropped

SRC = Path(__file__).parents[1] / "src"


def test_what_was_left_out_is_told_by_reason(capsys: pytest.CaptureFixture[str]) -> None:
    say_dropped({"empty_sentences": 1234, "nul_bytes": 1})
    assert capsys.readouterr().err == "  dropped: 1,234 empty sentences\n  dropped: 1 nul bytes\n"


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (WordlabError("no words. Use more."), 1, "error: no words. Use more."),
        (StoppedError(signal.SIGTERM, "stopped at 3 %"), 143, "stopped at 3 %"),
        (StoppedError(signal.SIGINT, "stopped at 3 %"), 130, "stopped at 3 %"),
        (KeyboardInterrupt(), 130, "stopped from the keyboard"),
        (OSError(errno.EIO, "Input/output error", "data/x"), 1, f"error: data/x: Input/output error. {stage.ADVICE}"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            f"error: a file: No space left on device. {stage.ADVICE}",
        ),
    ],
)
def test_a_stage_that_fails_or_is_stopped_says_so_in_one_line(
    error: BaseException, status: int, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        run_stage(main)
    assert end.value.code == status
    assert capsys.readouterr().err == f"\n{shown}\n"


def test_a_mistake_of_ours_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(FileNotFoundError):
        run_stage(lambda: Path("no/such/file").read_bytes())


def test_a_signal_is_noted_and_an_echo_of_it_does_not_end_what_is_about_to_end() -> None:
    before = {number: signal.getsignal(number) for number in stage.STOPS}
    with StopSignals() as stop:
        assert stop.number is None
    assert {number: signal.getsignal(number) for number in stage.STOPS} == before
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) == before[signal.SIGINT]


@pytest.mark.parametrize(
    ("second", "wait_seconds", "ends"),
    [(signal.SIGINT, 0, True), (signal.SIGTERM, 0, False), (signal.SIGTERM, 11, True), (signal.SIGHUP, 9, False)],
)
def test_a_second_signal_ends_at_once_unless_it_may_be_an_echo_of_the_first(
    second: signal.Signals, wait_seconds: float, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[int] = []
    now = [100.0]
    monkeypatch.setattr(stage.time, "monotonic", lambda: now[0])
    with monkeypatch.context() as patch, StopSignals() as stop:
        patch.setattr(signal, "raise_signal", raised.append)
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] += wait_seconds
        os.kill(os.getpid(), second)
        assert stop.number == signal.SIGTERM
    assert raised == ([second] if ends else [])


def test_what_was_ignored_stays_ignored() -> None:
    """A shell starts what runs in the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.number is None
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_caught() -> None:
    found = []

    def use() -> None:
        with StopSignals() as stop:
            found.append(stop.number)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [None]


ORPHAN = """
import os, subprocess, sys
from wordlab.stage import run_stage
if sys.argv[1] == "parent":  # starts the stage and is gone
    subprocess.Popen([sys.executable, "-c", sys.argv[2], "stage", str(os.getpid())])
else:
    import time
    while sys.argv[1] == "stage" and os.getppid() == int(sys.argv[2]):
        time.sleep(0.01)
    run_stage(lambda: print("ran"))
"""


def test_a_stage_whose_dvc_is_gone_already_ends_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the stage's modules were loaded, too early for the kernel to tell."""
    environment = os.environ | {"PYTHONPATH": str(SRC), "DVC_STAGE": "train@1"}
    command = [sys.executable, "-c", ORPHAN, "parent", ORPHAN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, start_new_session=True)
    assert "stopped: DVC, which started this stage, is gone" in done.stderr and "ran" not in done.stdout


def test_a_stage_with_its_dvc_runs() -> None:
    environment = os.environ | {"PYTHONPATH": str(SRC), "DVC_STAGE": "train@1"}
    command = [sys.executable, "-c", ORPHAN, "stage with its parent"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr
