"""Outputs killed and failed at every step of their making: old or new, never half, and the next run makes it good.

The quick part: what all stages write with (wordlab.artifacts), at every operation, and some stages at some. `make soak`
does it to all stages, and at random moments, and to the whole pipeline (tests/soak).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.soak import faults
from tests.soak.kills import kill_at_boundaries, kill_at_random
from tests.soak.syscalls import CHANGES, GROWS, OWNED, READS, WRITES, Fault, Watched, run_watched, unavailable
from tests.soak.workbench import STAGES, Stage, Workbench, digests
from wordlab import artifacts
from wordlab.artifacts import output_folder, read_manifest, write_manifest
from wordlab.errors import ArtifactError

ROOT = Path(__file__).parents[1]
WATCHED = pytest.mark.skipif(unavailable() is not None, reason=f"{unavailable()}")
PROGRAM = """
import sys
from pathlib import Path
from wordlab.artifacts import output_folder, write_json, write_manifest
from wordlab.errors import WordlabError

def main():
    with output_folder(Path("made/out")) as folder:
        (folder / "part").mkdir()
        (folder / "part/a").write_bytes(b"a" * 3000)
        (folder / "b").write_text(sys.argv[1])
        write_manifest(folder, "stage", {})
    write_json(Path("made/scores.json"), sys.argv[1])

try:
    main()
except WordlabError as error:
    sys.exit(f"error: {error}")
"""
"""Writes an output folder and a small file."""


@dataclass(frozen=True)
class Made:
    """What the program leaves: copies of its folder after no run, one with the word `old`, one with `new`."""

    base: Path

    def digests(self, word: str) -> dict[str, str]:
        return digests(self.base / word)

    def folder(self, start: str) -> Path:
        """A new folder as it was left."""
        return shutil.copytree(self.base / start, Path(tempfile.mkdtemp(dir=self.base)) / "folder")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """In memory where that can be: to sync a file hundreds of times takes long on a disk."""
    memory = Path("/dev/shm")
    base = tmp_path_factory.mktemp("made")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else base) as folder:
        for word in ("absent", "old", "new"):
            (Path(folder) / word).mkdir()
            if word != "absent":
                assert run(Path(folder) / word, word).status == 0
        yield Made(Path(folder))


def run(folder: Path, word: str = "new", fault: Fault | None = None) -> Watched:
    environment = {"PYTHONPATH": f"{ROOT / 'src'}"}
    return run_watched([sys.executable, "-P", "-c", PROGRAM, word], folder, folder, environment, fault)


def part(found: dict[str, str], name: str) -> dict[str, str]:
    return {path: digest for path, digest in found.items() if path == name or path.startswith(f"{name}/")}


def assert_whole(folder: Path, start: str, made: Made, where: str) -> None:
    """Each output is as it was, or new."""
    for name in ("made/out", "made/scores.json"):
        wanted = [part(made.digests(word), name) for word in (start, "new")]
        assert part(digests(folder), name) in wanted, where


@WATCHED
@pytest.mark.parametrize("start", ["absent", "old"])
def test_killed_at_any_step_an_output_is_as_it_was_or_new_and_never_gone(start: str, made: Made) -> None:
    for place in itertools.count():
        folder = made.folder(start)
        killed = run(folder, fault=Fault(CHANGES, place))
        if killed.struck is None:
            break
        where = f"before step {place}, {killed.struck}"
        assert killed.status == -signal.SIGKILL, where
        assert_whole(folder, start, made, where)
        assert run(folder).status == 0, where
        assert digests(folder) == made.digests("new"), where
    assert place >= 12, "the program was not seen"


@WATCHED
@pytest.mark.parametrize(
    ("kinds", "error"), [(GROWS, errno.ENOSPC), (WRITES, errno.EIO), (OWNED, errno.EROFS), (READS, errno.EIO)]
)
def test_an_error_at_any_step_is_told_once_and_harms_nothing(kinds: frozenset[str], error: int, made: Made) -> None:
    for place in itertools.count():
        folder = made.folder("old")
        failed = run(folder, fault=Fault(kinds, place, error))
        if failed.struck is None:
            break
        where = f"step {place}, {failed.struck}: {failed.output}"
        assert_whole(folder, "old", made, where)
        if failed.status or failed.struck.kind not in ("remove", "open"):  # what cannot be cleared away, can be later
            assert failed.status == 1 and failed.output.count("error: ") == 1, where
            assert os.strerror(error) in failed.output and "Traceback" not in failed.output, where
        if error == errno.ENOSPC:
            assert "Free some space on its disk, then run: dvc repro" in failed.output
            assert not list(folder.rglob("*.tmp")), where
        assert run(folder).status == 0, where
        assert digests(folder) == made.digests("new"), where
    assert place >= 3, "the program was not seen"


@WATCHED
@pytest.mark.parametrize("start", ["absent", "old"])
def test_all_bytes_are_on_the_disk_before_an_output_takes_its_place(start: str, made: Made) -> None:
    """Or a power failure could leave a folder with a manifest and without its data."""
    operations = run(made.folder(start)).operations
    moved = next(place for place, one in enumerate(operations) if one.kind == "move" and one.path == "made/out")
    before, after = operations[:moved], operations[moved + 1 :]
    for written in {one.path for one in before if one.name == "write"}:
        final = "made/out.tmp/manifest.json" if "manifest" in written else written
        last = max(place for place, one in enumerate(before) if one.name == "write" and one.path == written)
        assert any(one.name == "fsync" and one.path == final for one in before[last:]), written
    for folder in ("made/out.tmp", "made/out.tmp/part"):
        assert any(one.name == "fsync" and one.path == folder for one in before), folder
    assert any(one.name == "fsync" and one.path == "made" for one in after)


def test_an_output_replaces_another_where_folders_cannot_change_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in ("old", "new"):
        monkeypatch.setattr(artifacts, "_exchange", lambda first, second: False)
        with output_folder(tmp_path / "out") as folder:
            (folder / word).write_text(word)
            write_manifest(folder, "stage", {})
    assert list(read_manifest(tmp_path / "out", "stage", verify=True)["files"]) == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("link", [False, True])
def test_what_is_no_folder_is_not_replaced_by_one(link: bool, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").write_text("yours")
    if link:
        (tmp_path / "out").symlink_to("target")
    else:
        (tmp_path / "out").write_text("yours")
    with (
        pytest.raises(ArtifactError, match="out could not be written: Not a directory"),
        output_folder(tmp_path / "out"),
    ):
        pass
    file = tmp_path / ("target/file" if link else "out")
    assert file.read_text() == "yours" and not (tmp_path / "out.tmp").exists()


@pytest.mark.parametrize(("starter", "status"), [("os.getppid()", 0), ("os.getpid()", 1)])
def test_a_worker_ends_when_its_starter_was_killed_before_it_began(starter: str, status: int) -> None:
    """It would wait for ever: found by the soak, a kill while tokenize started its workers."""
    code = f"import os; from wordlab.parallel import _end_with_starter; _end_with_starter({starter})"
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == status


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """The first three stages."""
    with contextlib.closing(Workbench(tmp_path_factory.mktemp("bench"), STAGES[:3])) as bench:
        yield bench


TOKENIZE, VOCAB = STAGES[1:3]


@pytest.mark.slow
@WATCHED
@pytest.mark.parametrize("stage", [TOKENIZE, VOCAB], ids=lambda stage: stage.name)
def test_stages_killed_before_some_steps_start_again_to_the_same_bytes(stage: Stage, bench: Workbench) -> None:
    tally = kill_at_boundaries(bench, stage, most=2, seed=random.randrange(10**6))
    assert tally.tried == 4 and not tally.problems


@pytest.mark.slow
def test_a_stage_killed_at_random_moments_starts_again_to_the_same_bytes(bench: Workbench) -> None:
    tally = kill_at_random(bench, TOKENIZE, points=2, seed=random.randrange(10**6))
    assert tally.tried == 2 and not tally.problems


@pytest.mark.slow
@WATCHED
@pytest.mark.parametrize("kind", ["disk full", "read error"])
def test_a_stage_tells_of_a_failing_disk_and_mends_it_all_later(kind: str, bench: Workbench) -> None:
    tally = faults.inject(bench, VOCAB, kind, most=2, seed=random.randrange(10**6))
    assert tally.tried == 2 and not tally.problems


@pytest.mark.slow
def test_a_stage_on_a_small_disk_says_that_it_is_full(bench: Workbench) -> None:
    if reason := faults.may_mount(bench.work):
        pytest.skip(f"no tmpfs may be mounted here: {reason}")
    tally = faults.fill_tmpfs(bench, VOCAB, most=2, seed=random.randrange(10**6))
    assert tally.tried == 2 and not tally.problems


@pytest.mark.slow
def test_dates_and_a_jumping_clock_change_no_byte(bench: Workbench) -> None:
    tally = faults.jump_clock(bench, VOCAB, most=1, seed=random.randrange(10**6))
    assert tally.tried == 1 and not tally.problems
