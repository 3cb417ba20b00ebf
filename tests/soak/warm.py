"""Stages started from a process that has imported everything: the same file operations in a tenth of the time.

    python -m tests.soak.warm SOCKET        serves until the other end is closed; started by `WarmStart`

Each stage is a fork of its own that runs the stage's module as `python -m` does. Kills at random moments use fresh
processes, since they should hit the start of one as well.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

IMPORTED = (
    *(f"stages.{name}" for name in ("download", "tokenize", "vocab", "encode", "train", "evaluate", "report")),
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
)


class WarmProcess:
    """A stage that the server has forked; as subprocess.Popen, as far as it is used."""

    def __init__(self, server: socket.socket, command: Sequence[str]) -> None:
        self.args = command
        self._server = server
        self.pid = int.from_bytes(server.recv(8), "little")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._server], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            status = int.from_bytes(self._server.recv(8), "little")
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class WarmStart:
    """The server's client."""

    def __init__(self, env: dict[str, str], root: Path) -> None:
        """Start the server. root: the checkout whose tests it is part of."""
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        paths = os.pathsep.join([env["PYTHONPATH"], str(root)])
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.warm", str(theirs.fileno())],
                env=env | {"PYTHONPATH": paths},
                pass_fds=[theirs.fileno()],
            )
        assert self._ours.recv(8) == b"ready", "the server of warm processes has not started"

    def start(self, command: Sequence[str], cwd: Path, listener_to: socket.socket, log: int) -> WarmProcess:
        """Start `python -m module argument ...`, watched: its listener is sent to `listener_to`."""
        assert command[1] == "-m", command
        request = json.dumps({"module": command[2], "arguments": command[3:], "cwd": str(cwd)}).encode()
        socket.send_fds(self._ours, [request], [listener_to.fileno(), log])
        return WarmProcess(self._ours, command)

    def close(self) -> None:
        self._ours.close()
        self._server.wait()


def serve(client: socket.socket, be_watched: Callable[[socket.socket], None]) -> None:
    """Fork a stage for each request; send its process number, and its status when it has ended."""
    for module in IMPORTED:
        importlib.import_module(module)
    client.send(b"ready")
    while True:
        try:
            request, handles, _, _ = socket.recv_fds(client, 1 << 16, 2)
        except ConnectionResetError:  # the other end is gone, with something of ours unread
            return
        if not request:
            return
        child = os.fork()
        if child == 0:
            client.close()
            _become(json.loads(request), socket.socket(fileno=handles[0]), handles[1], be_watched)
        for handle in handles:
            os.close(handle)
        client.send(child.to_bytes(8, "little"))
        client.send(os.waitpid(child, 0)[1].to_bytes(8, "little"))


def _become(
    request: dict[str, str], listener_to: socket.socket, log: int, be_watched: Callable[[socket.socket], None]
) -> None:
    """In the new process: run the module to its end, and end."""
    status = 1
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(request["cwd"])
        sys.argv = [request["module"], *request["arguments"]]
        sys.modules.pop(request["module"], None)  # it is about to be run as __main__
        be_watched(listener_to)
        listener_to.close()
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - a bug of the stage's, shown as Python shows it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    from tests.soak.syscalls import watch_this_process

    serve(socket.socket(fileno=int(sys.argv[1])), watch_this_process)
