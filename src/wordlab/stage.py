"""How a stage script runs: one function, errors as one message, progress on the terminal."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from tqdm import tqdm

from wordlab.errors import WordlabError
from wordlab.parent import GONE, follow_parent

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a stage to stop: Ctrl-C, a scheduler or a DVC that has gone, a terminal that has closed."""
DISK_TROUBLE = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE)
"""Errors that come from the machine and not from us, wherever they are met."""
ADVICE = (
    "The disk or its permissions refuse it. See to that, then run the same again: what is half-written is not used."
)
SAME_STOP_SECONDS = 10.0
"""A second SIGTERM or SIGHUP within this time counts as the first: a scheduler's goes to every process of a job, so
that DVC ends too, whose end is another SIGTERM for its stage."""


class StoppedError(Exception):
    """A stage ends because it was asked to; `number` is the signal."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def run_stage(main: Callable[[], None]) -> None:
    """Call `main`; print a WordlabError as one message without a traceback and exit with status 1.

    A stage that is stopped exits with 128 and the signal's number, as a shell would say.
    """
    try:
        if "DVC_STAGE" in os.environ:
            end_with_parent()
        main()
    except WordlabError as error:
        _end(f"error: {error}", 1)
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        _end(f"error: {error.filename or 'a file'}: {error.strerror}. {ADVICE}", 1)
    except StoppedError as stop:
        _end(str(stop), 128 + stop.number)
    except KeyboardInterrupt:
        _end("stopped from the keyboard", 130)


def _end(message: str, status: int) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"\n{message}", file=sys.stderr, flush=True)
    raise SystemExit(status) from None


def end_with_parent() -> None:
    """Get a SIGTERM when the process that started this one is gone. Raises StoppedError where it is gone already.

    A killed DVC would leave its stage running, and the next `dvc repro` would start a second one on the same output.
    """
    if not follow_parent():
        raise StoppedError(signal.SIGTERM, GONE)


class StopSignals:
    """While active, notes the first signal of STOPS in `number` instead of letting it end the process.

    A second Ctrl-C, or a second signal of the others after SAME_STOP_SECONDS, ends the process at once. Ones that this
    process was started to ignore stay ignored. Only the main thread gets signals; in others this does nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._noted = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        """What was asked to stop is about to end and to say so: the same stop may still come a second time."""
        for number, handler in self._before.items():
            if self.number is None or number == signal.SIGINT:
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number, self._noted = number, time.monotonic()
        elif number == signal.SIGINT or time.monotonic() - self._noted > SAME_STOP_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def take_no_arguments(stage: str, purpose: str | None) -> None:
    """For a stage that params.yaml tells all: say what it does where --help asks, and refuse any other argument."""
    argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=purpose).parse_args()


def say(message: str) -> None:
    """Print a line that stays, above any progress bar."""
    tqdm.write(message, file=sys.stderr)


def say_dropped(dropped: Mapping[str, int]) -> None:
    """A line for each reason why something was left out: dropped: 12 empty sentences."""
    for reason, number in dropped.items():
        say(f"  dropped: {number:,} {reason.replace('_', ' ')}")


def progress(total: int | None, unit: str, desc: str, **options: Any) -> tqdm:
    """A progress bar on stderr; where that is no terminal, a line every ten seconds instead."""
    interactive = sys.stderr.isatty()
    return tqdm(
        total=total,
        unit=unit,
        desc=desc,
        unit_scale=True,
        dynamic_ncols=interactive,
        mininterval=0.2 if interactive else 10.0,
        maxinterval=10.0 if interactive else 60.0,
        **options,
    )


def available_cores() -> int:
    """Cores this process may run on (affinity masks of containers and schedulers included)."""
    return len(os.sched_getaffinity(0))
