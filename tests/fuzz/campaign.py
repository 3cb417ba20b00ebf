"""Runs a reader on hostile files in child processes: a crash, a hang or a huge allocation ends the child, not the run.

An input is a pure function of reader, seed and number (`reader.make_input`), so a child says in shared memory at which
number it is, and the parent knows which input ended it. A child's address space is limited to what it had after reading
the valid files plus `memory_bytes`; who asks for more gets a MemoryError, which is a finding even where the reader
turns it into an error of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz import mutations
from tests.fuzz.reader import Execution, Reader, make_input
from wordlab.errors import WordlabError
from wordlab.stage import end_with_parent

HANG_SECONDS = 30.0
"""A single execution may take this long on a busy machine before it is ended."""
SLOW_SECONDS = 2.0
"""Processor time that no file of 64 KiB justifies."""
LONGEST_MESSAGE = 4000
"""Characters; a message is for people."""
MOST_FINDINGS = 200
"""Different ends of child processes after which a reader is given up."""
_FLUSHED_EXECUTIONS = 2000
_NO_NUMBER = (1 << 64) - 1


@dataclass
class Result:
    """What a campaign against one reader found."""

    seeds: int = 0
    systematic: int = 0
    """Inputs that are a seed with one place changed; the others are random."""
    executions: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    """How often what happened: `text: ...` for what was read, error class and line for what was refused."""
    findings: dict[str, int] = field(default_factory=dict)
    """What must not happen -> number of the first input that made it happen."""


def run_campaign(reader: Reader, executions: int, seed: int, seconds: float, kept: Path | None = None) -> Result:
    """Execute inputs 0 to `executions` - 1, or as many as fit into `seconds`.

    kept: where the inputs of findings are left.
    """
    result = Result()
    with _memory_folder() as folder:
        seeds = _in_child_seeds(reader, folder)
        started = time.monotonic()
        result.seeds, result.systematic = len(seeds), min(mutations.num_systematic(seeds), executions // 2)
        shared = mmap.mmap(-1, 16)
        number = 0
        while number < executions and len(result.findings) < MOST_FINDINGS:
            left = seconds - (time.monotonic() - started)
            if left <= 0:
                break
            number = _run_child(reader, seeds, seed, range(number, executions), left, folder, shared, result)
        result.executions = number
    result.seconds = time.monotonic() - started
    if kept is not None:
        for finding, index in result.findings.items():
            kept.mkdir(parents=True, exist_ok=True)
            (kept / f"{reader.name}-{seed}-{index}").write_bytes(make_input(reader, seeds, seed, index))
            (kept / f"{reader.name}-{seed}-{index}.txt").write_text(finding + "\n")
    return result


@contextlib.contextmanager
def _memory_folder() -> Iterator[Path]:
    """A folder that no disk slows down, where there is one."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="wordlab-fuzz-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_child_seeds(reader: Reader, folder: Path) -> list[bytes]:
    """The reader's seeds, made in a child: this process, which forks, shall have no thread of a library."""
    place = folder / "seeds"
    place.mkdir()
    child = os.fork()
    if child == 0:
        _end_child(lambda: _write_seeds(reader, folder, place))
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise RuntimeError(f"the seeds of {reader.name} could not be made: see above")
    return [path.read_bytes() for path in sorted(place.iterdir())]


def _write_seeds(reader: Reader, folder: Path, place: Path) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    for number, data in enumerate(reader.seeds(scratch)):
        (place / f"{number:04d}").write_bytes(data)


def _end_child(work: object) -> None:
    """Call `work` and leave the process for good, without what this process' parent has registered for its end."""
    status = 1
    try:
        end_with_parent()
        work()  # type: ignore[operator]
        status = 0
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _run_child(
    reader: Reader,
    seeds: list[bytes],
    seed: int,
    numbers: range,
    seconds: float,
    folder: Path,
    shared: mmap.mmap,
    result: Result,
) -> int:
    """Execute `numbers` in one child, as far as it comes. Returns the first number that is left to do."""
    work = Path(tempfile.mkdtemp(dir=folder))
    report = work / "report"
    shared[:8] = struct.pack("<Q", _NO_NUMBER)
    child = os.fork()
    if child == 0:
        _end_child(lambda: _execute_all(reader, seeds, seed, numbers, seconds, work, report, shared))
    status, hung = _wait(child, shared)
    (at,) = struct.unpack("<Q", shared[:8])
    done = _take_report(report, result)
    shutil.rmtree(work, ignore_errors=True)
    if status == 0 and not hung:
        return done
    if at == _NO_NUMBER:
        raise RuntimeError(f"{reader.name} ended with status {status} before it had read anything: see above")
    how = f"no end within {HANG_SECONDS:.0f} s" if hung else f"crash: {_signal_name(status)}"
    result.findings.setdefault(f"{how} (input {at})", at)
    result.outcomes[how] += 1
    return at + 1


def _signal_name(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def _wait(child: int, shared: mmap.mmap) -> tuple[int, bool]:
    """Wait for a child; end it when it stays at one number for too long. Returns its status, and whether it hung."""
    seen, since = shared[:8], time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, False
        if shared[:8] != seen:
            seen, since = shared[:8], time.monotonic()
        elif time.monotonic() - since > HANG_SECONDS:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1], True
        time.sleep(0.02)


def _take_report(report: Path, result: Result) -> int:
    """Add what a child has reported, line by line, the last of which may be cut off. Returns the next number."""
    done = 0
    for line in report.read_text().splitlines() if report.exists() else []:
        try:
            part = json.loads(line)
        except ValueError:
            break
        done = part["next"]
        result.outcomes.update(part["outcomes"])
        for finding, index in part["findings"].items():
            result.findings.setdefault(finding, index)
    return done


def _execute_all(
    reader: Reader,
    seeds: list[bytes],
    seed: int,
    numbers: range,
    seconds: float,
    work: Path,
    report: Path,
    shared: mmap.mmap,
) -> None:
    """The child's part."""
    execute = prepare(reader, seeds, work)
    stop = time.monotonic() + seconds
    outcomes: Counter[str] = Counter()
    findings: dict[str, int] = {}
    with report.open("a") as file:
        for number in numbers:
            data = make_input(reader, seeds, seed, number)
            shared[:8] = struct.pack("<Q", number)
            label, is_finding = outcome(execute, data)
            outcomes[label] += 1
            if is_finding:
                findings.setdefault(label, number)
            last = number == numbers[-1] or time.monotonic() > stop
            if last or is_finding or number % _FLUSHED_EXECUTIONS == 0:
                print(
                    json.dumps({"next": number + 1, "outcomes": outcomes, "findings": findings}), file=file, flush=True
                )
                outcomes.clear()
                findings.clear()
            if last:
                return


def prepare(reader: Reader, seeds: list[bytes], folder: Path) -> Execution:
    """Make this process ready to execute hostile files: warnings are errors, memory is limited."""
    ctypes.CDLL(None).mallopt(-8, 2)  # M_ARENA_MAX: glibc reserves 64 MiB of addresses for each arena
    warnings.simplefilter("error")
    place = folder / "files"
    place.mkdir()
    execute = reader.open(place)
    for _ in range(3):  # threads and caches that come with the first files count as the process's own
        for data in seeds:
            outcome(execute, data)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + reader.memory_bytes, resource.RLIM_INFINITY))
    return execute


def outcome(execute: Execution, data: bytes) -> tuple[str, bool]:
    """What an execution comes to, in a word or two, and whether that is a finding."""
    started = time.process_time()
    try:
        label, is_finding = f"read: {execute(data)}", False
    except WordlabError as error:
        label, is_finding = _refusal(error)
    except Exception as error:  # noqa: BLE001 - whatever a reader raises is what is looked for
        label, is_finding = f"{type(error).__name__} at {_place(error)}", True
    if not is_finding and time.process_time() - started > SLOW_SECONDS:
        return f"slow, {label}", True
    return label, is_finding


def _refusal(error: WordlabError) -> tuple[str, bool]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return f"too much memory at {_place(error)}", True
        cause = cause.__cause__ or cause.__context__
    message = str(error)
    if len(message) > LONGEST_MESSAGE:
        return f"a message of more than {LONGEST_MESSAGE} characters at {_place(error)}", True
    while isinstance(error.__context__, WordlabError):
        error = error.__context__
    reason = error.__context__
    return f"{type(error).__name__} at {_place(error)}" + (f" from {type(reason).__name__}" if reason else ""), False


def _place(error: BaseException) -> str:
    """File and line of our code where an error was raised, and those of its caller: who checks, and for whom."""
    found: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "/wordlab/" in name or "/tests/fuzz/" in name:
            found.append(f"{name.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(found[-2:]))
