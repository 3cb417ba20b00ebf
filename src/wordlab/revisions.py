"""Files of git revisions and DVC experiments, read without checking anything out.

A finished DVC experiment is a commit that no branch holds, under refs/exps/<its base's hash>/<its name>. What git keeps
of it (metrics, params.yaml, dvc.lock) is read by `git show`, what DVC keeps through DVC's cache, or its remote.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordlab.errors import ArtifactError, suggestion

_EXPERIMENT = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/([^/]+)")
LIST_THEM = "Experiments are listed by: dvc exp list --all-commits; revisions by: git log"


@dataclass(frozen=True)
class Revision:
    """A commit, and what the user calls it."""

    name: str
    commit: str
    """All 40 digits."""
    base: str | None
    """Of an experiment: the commit it started from."""


def experiments(root: Path) -> list[Revision]:
    """All DVC experiments of the repository that `root` lies in, by base and name; none outside a repository."""
    listed = _git(root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps/") or b""
    found = []
    for line in listed.decode("utf-8", errors="replace").splitlines():
        name, _, commit = line.rpartition(" ")
        match = _EXPERIMENT.fullmatch(name)
        if match:
            found.append(Revision(match[3], commit, match[1] + match[2]))
    return found


def commit_of(root: Path, name: str) -> str | None:
    """The commit that git knows by this name: branch, tag, hash or its start, HEAD~2; None if it knows none."""
    if name.startswith("-"):
        return None
    found = _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return found.decode().strip() if found else None


def find_revision(root: Path, name: str) -> Revision | None:
    """The experiment of this name, or else the git revision; None if there is neither.

    Of several experiments of one name, the one that started from the commit that is checked out counts.
    Raises ArtifactError if none of them did.
    """
    named = [experiment for experiment in experiments(root) if experiment.name == name]
    if len(named) > 1:
        here = commit_of(root, "HEAD")
        of_here = [experiment for experiment in named if experiment.base == here]
        if not of_here:
            hashes = ", ".join(f"{one.commit[:7]} (from {(one.base or '')[:7]})" for one in named)
            raise ArtifactError(f"there are {len(named)} experiments named {name}: {hashes}. Name one by its hash.")
        return of_here[0]
    if named:
        return named[0]
    commit = commit_of(root, name)
    return Revision(name, commit, None) if commit else None


def unknown_revision(root: Path, name: str) -> ArtifactError:
    """What to tell of a name that stands for nothing."""
    known = [experiment.name for experiment in experiments(root)]
    hint = suggestion(name, known) if known else ""
    return ArtifactError(f"{name} is no DVC experiment, no git revision and no folder of results.{hint} {LIST_THEM}")


def read_committed(root: Path, commit: str, path: str) -> bytes | None:
    """A file as it is in a commit; path: relative to `root`, with slashes. None if the commit has no such file."""
    return _git(root, "show", f"{commit}:./{path}")


def list_committed(root: Path, commit: str, folder: str) -> list[str]:
    """Names of the files in a folder of a commit; none if it has no such folder."""
    listed = _git(root, "ls-tree", "-z", "--name-only", commit, f"./{folder}/") or b""
    return [Path(name).name for name in listed.decode("utf-8", errors="replace").split("\0") if name]


def _git(root: Path, *arguments: str) -> bytes | None:
    """Standard output of a git command; None if it fails, as it does where what is asked for is not there."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, timeout=60)
    except FileNotFoundError:
        raise ArtifactError("git was not found, which reads revisions and experiments. Install git.") from None
    except subprocess.TimeoutExpired:
        raise ArtifactError(
            f"git {arguments[0]} did not end within a minute in {root.absolute()}. Try again."
        ) from None
    if done.returncode != 0 and b"dubious ownership" in done.stderr:
        said = done.stderr.decode("utf-8", errors="replace").strip()
        raise ArtifactError(f"git refuses to read {root.absolute()}: {said}")
    return done.stdout if done.returncode == 0 else None


class CachedFiles:
    """Files that DVC keeps, as they belong to one commit."""

    def __init__(self, root: Path, commit: str) -> None:
        self.root, self.commit = root, commit
        self._opened: Any = None
        self._prefix = ""

    def read(self, path: str, most: int | None = None) -> bytes | None:
        """A file's bytes; None if DVC does not know it there, or neither its cache nor a remote holds it.

        most: only so many bytes of its beginning.
        Raises ArtifactError if there is no DVC repository, or it cannot be read.
        """
        from dvc.api import DVCFileSystem  # a second to import
        from dvc.exceptions import DvcException
        from dvc_data.index import DataIndexDirError

        try:
            if self._opened is None:
                # paths are then from git's root, where the project may be a folder (dvc init --subdir)
                self._opened = DVCFileSystem(str(self.root), rev=self.commit, subrepos=True)
                self._prefix = (_git(self.root, "rev-parse", "--show-prefix") or b"").decode().strip()
            with self._opened.open(self._prefix + path, "rb") as file:
                return bytes(file.read(-1 if most is None else most))
        except (FileNotFoundError, DataIndexDirError):  # a file, or the list of a folder's files
            return None
        except (DvcException, OSError) as error:
            raise ArtifactError(f"DVC cannot read {path} of {self.commit[:7]}: {str(error)[:300]}") from None
