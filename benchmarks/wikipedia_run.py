"""What benchmarks/wikipedia.py measures, in a process of its own: MediaWiki XML to running text, ours and theirs."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.jobs import BenchmarkError


def strip_ours(spec: Mapping[str, Any]) -> dict[str, Any]:
    """From spec["xml"] to text in spec["out"], in this process, as stage tokenize does it.

    The file spec["warm_up"] goes all the way before the timer starts, so that compiled functions are loaded.
    """
    from wordlab.spans import cut_into_shards
    from wordlab.text import normalized_text

    def work(xml: str) -> None:
        dropped: Counter[str] = Counter()
        with Path(spec["out"]).open("wb") as out:
            for task in cut_into_shards([Path(xml)], spec["shard_bytes"], find_dumps=True):
                text, lost = normalized_text(task.read(), "error")
                out.write(text)
                dropped += lost

    work(spec["warm_up"])
    return _timed(lambda: work(spec["xml"]), resource.RUSAGE_SELF)


def strip_theirs(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The same by WikiExtractor's command, with one process that extracts; its start is part of it."""
    command = [sys.executable, "-m", "wikiextractor.WikiExtractor", "--json", "--no-templates", "--quiet"]
    command += ["--processes", "1", "--bytes", "1G", "--output", str(spec["out"]), str(spec["xml"])]

    def work() -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BenchmarkError(f"WikiExtractor ended with status {done.returncode}: {done.stderr.strip()[-500:]}")

    return _timed(work, resource.RUSAGE_CHILDREN)


def _timed(work: Callable[[], None], who: int) -> dict[str, Any]:
    """Wall seconds, and the CPU seconds of this process or of those it starts."""

    def cpu_seconds() -> float:
        usage = resource.getrusage(who)
        return usage.ru_utime + usage.ru_stime

    started, cpu_started = time.perf_counter(), cpu_seconds()
    work()
    return {"wall_seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu_started}


WORK = {"strip_ours": strip_ours, "strip_theirs": strip_theirs}
