"""What a remote of DVC must do: give a fresh clone all data, so that nothing runs again."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.pipeline_project import Project

MISSING = [name for name in ("dvc_s3", "moto", "flask") if importlib.util.find_spec(name) is None]
"""What a server of S3's kind in the test, and DVC as its client, lack here."""
ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def push_clone_pull(project: Project, folder: Path, url: str, **settings: str) -> Project:
    """Push the project's data to a remote, clone the project, and pull. Returns the clone, whose data are the same."""
    project.dvc("remote", "add", "--default", "store", url)
    for name, value in settings.items():
        project.dvc("remote", "modify", "store", name, value)
    project.run("git", "commit", "--quiet", "-am", "remote")
    project.dvc("push")
    project.run("git", "clone", "--quiet", str(project.root), str(folder / "clone"))
    clone = Project(folder / "clone", project.environment | {"DVC_SITE_CACHE_DIR": str(folder / "site")})
    clone.dvc("pull")
    return clone


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server of S3's kind on this machine with a bucket `models`; its address, and the environment of its clients."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            _make_bucket(address)
            yield address, {**ACCOUNT, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        finally:
            server.kill()


def _make_bucket(address: str) -> None:
    request = urllib.request.Request(f"{address}/models", method="PUT")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 60
    while True:
        try:
            with direct.open(request, timeout=10):
                return
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.1)


def with_environment(project: Project, more: dict[str, str]) -> Project:
    return replace(project, environment=project.environment | more)
