"""How a stage script runs: one function, errors as one message, progress on the terminal."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from wordlab.errors import WordlabError


def run_stage(main: Callable[[], None]) -> None:
    """Call `main`; print a WordlabError as one message without a traceback and exit with status 1."""
    if "DVC_STAGE" in os.environ:
        end_with_parent()
    try:
        main()
    except WordlabError as error:
        print(f"\nerror: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nstopped from the keyboard", file=sys.stderr, flush=True)
        raise SystemExit(130) from None


def end_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it is gone.

    A killed DVC would leave its stage running, and the next `dvc repro` would start a second one on the same output.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


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
