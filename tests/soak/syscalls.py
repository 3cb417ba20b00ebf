"""Every file operation of a process, decided on from outside: let through, failed with an error, or the last one.

Linux hands chosen system calls of a process and its children to a listener before they happen (seccomp user
notification, kernel 5.5 and later, no privileges needed). So the program under test is the one that users run, and
writes of Arrow's C++ code are met like those of Python.

    run_watched(command, root, cwd, env)                      the operations below `root`, in order
    run_watched(..., fault=Fault(CHANGES, at=7))              killed by SIGKILL right before the eighth of them
    run_watched(..., fault=Fault(GROWS, 3, errno.ENOSPC))     the fourth and all later ones fail: the disk is full
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.soak.warm import WarmProcess, WarmStart

_X86, _ARM = 0, 1
_CALLS = {
    # name: numbers on x86-64 and aarch64, kind, where its paths are: fd, path or (at) folder and path, by argument
    "read": (0, 63, "read", ("fd0",)),
    "pread64": (17, 67, "read", ("fd0",)),
    "readv": (19, 65, "read", ("fd0",)),
    "preadv": (295, 69, "read", ("fd0",)),
    "write": (1, 64, "write", ("fd0",)),
    "pwrite64": (18, 68, "write", ("fd0",)),
    "writev": (20, 66, "write", ("fd0",)),
    "pwritev": (296, 70, "write", ("fd0",)),
    "ftruncate": (77, 46, "write", ("fd0",)),
    "sendfile": (40, 71, "write", ("fd0",)),
    "copy_file_range": (326, 285, "write", ("fd2",)),
    "fsync": (74, 82, "sync", ("fd0",)),
    "fdatasync": (75, 83, "sync", ("fd0",)),
    "open": (2, None, "open", ("path0",)),
    "openat": (257, 56, "open", ("at0",)),
    "creat": (85, None, "create", ("path0",)),
    "mkdir": (83, None, "create", ("path0",)),
    "mkdirat": (258, 34, "create", ("at0",)),
    "symlink": (88, None, "create", ("path1",)),
    "symlinkat": (266, 36, "create", ("at1",)),
    "link": (86, None, "create", ("path1",)),
    "linkat": (265, 37, "create", ("at2",)),
    "rename": (82, None, "move", ("path0", "path1")),
    "renameat": (264, 38, "move", ("at0", "at2")),
    "renameat2": (316, 276, "move", ("at0", "at2")),
    "unlink": (87, None, "remove", ("path0",)),
    "unlinkat": (263, 35, "remove", ("at0",)),
    "rmdir": (84, None, "remove", ("path0",)),
    "chmod": (90, None, "mode", ("path0",)),
    "fchmod": (91, 52, "mode", ("fd0",)),
    "fchmodat": (268, 53, "mode", ("at0",)),
}
CHANGES = frozenset({"create", "move", "remove", "sync", "mode"})
"""What changes the tree or its durability: the boundaries between which a kill can make a difference."""
GROWS = frozenset({"create", "write", "sync"})
"""What fails on a full disk."""
WRITES = frozenset({"write", "sync"})
"""What fails on a disk that breaks."""
READS = frozenset({"read", "open"})
OWNED = frozenset({"create", "move", "remove"})
"""What fails once permissions are gone or the disk is mounted read-only."""

_REQUEST, _ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")  # struct seccomp_notif, seccomp_notif_resp
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND
_GO_ON = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_COLUMN = {"x86_64": _X86, "aarch64": _ARM}
_HERE = ctypes.c_int32(-100).value  # AT_FDCWD
_PATH_BYTES = 4096


@dataclass(frozen=True)
class Operation:
    """A file operation below the root. path: relative to it, of the last file it names."""

    name: str
    kind: str
    path: str

    def __str__(self) -> str:
        return f"{self.name} {self.path}"


@dataclass(frozen=True)
class Fault:
    """What is to happen at an operation: the `at`-th, from 0, of those whose kind is among `kinds`."""

    kinds: frozenset[str]
    at: int
    error: int | None = None
    """Number of the error it fails with; None: the process is killed before it."""
    lasting: bool = True
    """Whether all later ones of these kinds fail as well."""


@dataclass(frozen=True)
class Watched:
    """How a watched run went. status: as of subprocess.Popen, negative for a signal."""

    status: int
    output: str
    operations: list[Operation]
    struck: Operation | None
    """The first operation that the fault has met."""


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction))]


def unavailable() -> str | None:
    """Why processes cannot be watched on this machine; None where they can."""
    if platform.machine() not in _SECCOMP:
        return f"knows no system calls of {platform.machine()}"
    try:
        done = run_watched(["/bin/true"], Path("/"), Path("/"), {})
    except OSError as error:
        return f"the system does not let a process be watched: {error}"
    return None if done.status == 0 else f"a watched process ended with status {done.status}"


def _numbers() -> dict[int, str]:
    column = _COLUMN[platform.machine()]
    numbers = {name: about[column] for name, about in _CALLS.items()}
    return {number: name for name, number in numbers.items() if isinstance(number, int)}


def _filter() -> _Program:
    """Ask the listener about the calls above, allow all others."""
    numbers = list(_numbers())
    load, jump, end = 0x20, 0x15, 0x06
    allow, ask = 0x7FFF0000, 0x7FC00000
    tests = [_Instruction(jump, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    code = [_Instruction(load, 0, 0, 0), *tests, _Instruction(end, 0, 0, allow), _Instruction(end, 0, 0, ask)]
    return _Program(len(code), (_Instruction * len(code))(*code))


def run_watched(
    command: Sequence[str],
    root: Path,
    cwd: Path,
    env: dict[str, str],
    fault: Fault | None = None,
    limit_seconds: float = 120,
    warm: WarmStart | None = None,
) -> Watched:
    """Run a command to its end; see its file operations below `root`, and do to it what `fault` says.

    warm: starts it, in the environment it has itself.
    Raises OSError where the system offers no listener, TimeoutError after `limit_seconds`.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as log:
        if warm:
            process: subprocess.Popen[bytes] | WarmProcess = warm.start(command, cwd, theirs, log.fileno())
        else:
            process = _started(command, cwd, env, theirs, log)
        _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
        watch = _Watch(listener, root.resolve(), fault)
        try:
            watch.follow(process, limit_seconds)
        finally:
            os.close(listener)
            process.kill()
            process.wait()
        log.seek(0)
        assert process.returncode is not None
        return Watched(process.returncode, log.read().decode(errors="replace"), watch.operations, watch.struck)


def _started(
    command: Sequence[str], cwd: Path, env: dict[str, str], listener_to: socket.socket, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    _filter()  # here, so that no module is imported between fork and exec
    try:  # close_fds: closing them may open /proc/self/fd, which nobody would answer yet
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: watch_this_process(listener_to),
            close_fds=False,
        )
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from None


def watch_this_process(listener_to: socket.socket) -> None:
    """Hand this process's file operations to a listener, for good, and send that to another process.

    Raises OSError where the system does not allow it.
    """
    libc, program = ctypes.CDLL(None, use_errno=True), _filter()
    no_new_privileges, set_filter, new_listener = 38, 1, 8
    libc.prctl(no_new_privileges, 1, 0, 0, 0)
    listener = libc.syscall(_SECCOMP[platform.machine()], set_filter, new_listener, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    socket.send_fds(listener_to, [b"."], [listener])
    os.close(listener)


class _Watch:
    """Answers the listener's questions."""

    def __init__(self, listener: int, root: Path, fault: Fault | None) -> None:
        self._listener = listener
        self._root = root
        self._fault = fault
        self._met = 0
        self._names = _numbers()
        self.operations: list[Operation] = []
        self.struck: Operation | None = None

    def follow(self, process: subprocess.Popen[bytes] | WarmProcess, limit_seconds: float) -> None:
        """Until the process and its children are gone."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        until = time.monotonic() + limit_seconds
        while time.monotonic() < until:
            events = poll.poll(200)
            if events and events[0][1] & select.POLLIN:
                self._answer()
            elif events or process.poll() is not None:  # all gone, or a child that idles
                return
        raise TimeoutError(f"{process.args} has not ended after {limit_seconds} s")

    def _answer(self) -> None:
        request = bytearray(_REQUEST.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, request)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):  # whoever asked is gone
                return
            raise
        question, process, _, number, _, _, *arguments = _REQUEST.unpack(request)
        decided = self._decide(process, self._names[number], arguments)
        if decided is None:
            os.kill(process, signal.SIGKILL)
            return
        answer = _ANSWER.pack(question, 0, -decided, 0 if decided else _GO_ON)
        with contextlib.suppress(FileNotFoundError):  # it was killed meanwhile
            fcntl.ioctl(self._listener, _SEND, bytearray(answer))

    def _decide(self, process: int, name: str, arguments: Sequence[int]) -> int | None:
        """0 to go on, the number of an error, or None to kill."""
        operation = self._operation(process, name, arguments)
        if operation is None:
            return 0
        self.operations.append(operation)
        fault = self._fault
        if fault is None or operation.kind not in fault.kinds:
            return 0
        place, self._met = self._met, self._met + 1
        if place < fault.at or (place > fault.at and not fault.lasting):
            return 0
        self.struck = self.struck or operation
        return fault.error

    def _operation(self, process: int, name: str, arguments: Sequence[int]) -> Operation | None:
        """The operation, if a file it names lies below the root."""
        kind, places = _CALLS[name][2:]
        if name == "openat":
            kind = "create" if arguments[2] & os.O_CREAT else "open"
        elif name == "open":
            kind = "create" if arguments[1] & os.O_CREAT else "open"
        with contextlib.suppress(OSError):  # the process, or what it names, is gone
            inside = [self._below_root(_named(process, place, arguments)) for place in places]
            if any(path is not None for path in inside):
                return Operation(name, kind, next(path for path in reversed(inside) if path is not None))
        return None

    def _below_root(self, path: str) -> str | None:
        path = os.path.normpath(path)
        root = str(self._root)
        return path[len(root) :].lstrip("/") or "." if path == root or path.startswith(root.rstrip("/") + "/") else None


def _named(process: int, place: str, arguments: Sequence[int]) -> str:
    """The absolute path that an argument of a call names."""
    kind, at = place[:-1], int(place[-1])
    if kind == "fd":
        return str(Path(f"/proc/{process}/fd/{_signed(arguments[at])}").readlink())
    path = _text(process, arguments[at + 1 if kind == "at" else at])
    if path.startswith("/"):
        return path
    folder = _signed(arguments[at]) if kind == "at" else _HERE
    start = Path(f"/proc/{process}/cwd" if folder == _HERE else f"/proc/{process}/fd/{folder}").readlink()
    return str(Path(start, path))


def _signed(argument: int) -> int:
    return ctypes.c_int32(argument & 0xFFFFFFFF).value


def _text(process: int, address: int) -> str:
    """A string of the process's memory. Read to the end of its page first: the next one may not be there."""
    found = b""
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        while b"\0" not in found and len(found) < _PATH_BYTES:
            found += memory.read(_PATH_BYTES - (address + len(found)) % _PATH_BYTES)
    return os.fsdecode(found.partition(b"\0")[0])
