"""Checkpoints: whole or not there, of this training or not used, one training at a time, and hardly a cost."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from wordlab import checkpoint_file, checkpoints
from wordlab.checkpoint_file import read_checkpoint, write_checkpoint
from wordlab.checkpoints import Checkpoints, checkpoint_folder, fewest_seconds, hold_checkpoints
from wordlab.errors import ArtifactError, ConfigError

ROOT = Path(__file__).parents[1]
IDENTITY = {"seed": 1, "model": {"dim": 4, "edges": ("cut",)}, "code": "a" * 64}
STATE = {"segments": 3, "loss": 0.1 + 0.2, "curve": [{"loss": 1 / 3}, {"loss": 5e-324}]}
TABLE = np.random.default_rng(1).normal(size=(6, 16)).astype(np.float32)


@pytest.fixture(autouse=True)
def usual_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORDLAB_CHECKPOINT_SECONDS", raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of STATE and TABLE."""
    file = tmp_path / "segment-000000000003.ckpt"
    write_checkpoint(file, IDENTITY, STATE, TABLE)
    return file


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Checkpoints]:
    with hold_checkpoints(tmp_path, IDENTITY, TABLE.nbytes) as found:
        assert found is not None
        yield found


def test_state_and_table_come_back_to_the_bit(path: Path) -> None:
    state, table = read_checkpoint(path, IDENTITY)
    assert state == STATE
    assert table.dtype == np.float32 and table.shape == TABLE.shape and table.tobytes() == TABLE.tobytes()
    assert [file.name for file in path.parent.iterdir()] == [path.name], "a temporary file was left"


@pytest.mark.parametrize("shape", [(1, 1), (2, 16), (300_001, 16)], ids=str)
def test_tables_of_any_size_come_back(shape: tuple[int, int], tmp_path: Path) -> None:
    """The last one takes several pieces, the last of them not full."""
    table = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    write_checkpoint(tmp_path / "a.ckpt", IDENTITY, {}, table)
    assert np.array_equal(read_checkpoint(tmp_path / "a.ckpt", IDENTITY)[1], table)


def test_no_flipped_bit_and_no_missing_byte_is_overlooked(path: Path) -> None:
    """Anywhere: the magic number, lengths, header, padding, table and checksum."""
    right = path.read_bytes()
    draw = np.random.default_rng(2)
    wrong = []
    for at in [*range(16), *range(16, len(right), 5)]:
        wrong.append(right[:at] + bytes([right[at] ^ (1 << int(draw.integers(8)))]) + right[at + 1 :])
    wrong += [right[:size] for size in [*range(20), *range(20, len(right), 9), len(right) - 1]]
    wrong += [right + b"\0", right + right, b"\0" * len(right)]
    for content in wrong:
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"is damaged: "):
            read_checkpoint(path, IDENTITY)


@pytest.mark.parametrize(
    "header",
    ["[]", "{}", "{", '"\\ud800"', '{"identity": {}, "state": {}, "shape": [1]}', "[" * 100_000, "\xff"]
    + [
        f'{{"identity": {{}}, "state": {{}}, "shape": {text}}}'
        for text in (
            "[-6, -16]",
            "[6.0, 16]",
            "[1e99, 1]",
            '"ab"',
            "[1e308, 1e308]",
            '["ab", 1000000000000]',
            "[[0], 1000000000]",
        )
    ]
    + ['{"identity": [], "state": {}, "shape": [6, 16]}', '{"identity": {}, "state": 1, "shape": [6, 16]}'],
)
def test_a_header_of_another_form_is_damage_even_with_a_right_checksum(header: str, tmp_path: Path) -> None:
    text = header.encode("latin-1")
    body = checkpoint_file.MAGIC + len(text).to_bytes(8, "little") + text + TABLE.tobytes()
    (tmp_path / "a.ckpt").write_bytes(body + checkpoint_file.hashlib.sha256(body).digest())
    with pytest.raises(ArtifactError, match=r"is damaged: "):
        read_checkpoint(tmp_path / "a.ckpt", IDENTITY)


def test_a_length_beyond_the_file_allocates_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(checkpoint_file.MAGIC + b"\xff" * 8 + b"\0" * 200)
    with pytest.raises(ArtifactError, match=r"is damaged: 216 bytes do not begin like a checkpoint"):
        read_checkpoint(tmp_path / "a.ckpt", IDENTITY)


@pytest.mark.parametrize("key", [*IDENTITY, "more"])
def test_a_checkpoint_of_another_training_is_refused_by_what_it_says_inside(key: str, path: Path) -> None:
    """Also under the right name: a copied folder, an abbreviated name."""
    with pytest.raises(ArtifactError, match=rf"belongs to another training: {key} differ"):
        read_checkpoint(path, IDENTITY | {key: "changed"})


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_full_disk_leaves_the_checkpoint_before_and_the_training_goes_on(
    at: str, held: Checkpoints, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert held.write(1, STATE, TABLE)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if at == "fsync" else (Path, "replace", full)))
        assert not held.write(2, {"segments": 9}, TABLE)
    shown = capsys.readouterr().err
    assert "WARNING: no checkpoint was written" in shown and "No space left" in shown and "goes on" in shown
    assert sorted(file.name for file in held.folder.iterdir()) == ["lock", "segment-000000000001.ckpt"]
    found = held.load()
    assert found is not None and found[0] == STATE
    assert held.written == 1


def test_the_last_two_are_kept_and_the_newest_is_used(held: Checkpoints) -> None:
    for segments in (1, 9, 10, 11):
        held.write(segments, {"segments": segments}, TABLE)
    names = sorted(file.name for file in held.folder.glob("*.ckpt"))
    assert names == ["segment-000000000010.ckpt", "segment-000000000011.ckpt"]
    found = held.load()
    assert found is not None and found[0] == {"segments": 11}


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_used(
    held: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    for segments in (1, 2):
        held.write(segments, {"segments": segments}, TABLE)
    for segments, expected in ((2, {"segments": 1}), (1, None)):
        file = held.folder / f"segment-{segments:012d}.ckpt"
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        found = held.load()
        assert (found and found[0]) == expected
        shown = capsys.readouterr().err
        assert "WARNING: the checkpoint" in shown and file.name in shown and "is damaged" in shown
        assert not file.exists()


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    with hold_checkpoints(tmp_path, IDENTITY, 1) as first:
        assert first is not None
        first.write(1, STATE, TABLE)
        (first.folder / "segment-000000000002.ckpt.tmp").write_bytes(b"half")
    with hold_checkpoints(tmp_path, IDENTITY, 1) as second:
        assert second is not None and second.load() is not None
        assert list(second.folder.glob("*.tmp")) == []


def test_nothing_is_left_of_a_training_that_is_done_or_wrote_none(tmp_path: Path) -> None:
    for writes in (False, True):
        with hold_checkpoints(tmp_path, IDENTITY, 1) as held:
            assert held is not None
            if writes:
                held.write(1, STATE, TABLE)
                held.remove()
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_no_reason_not_to_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    with hold_checkpoints(tmp_path / "checkpoints", IDENTITY, 1) as held:
        assert held is None
    assert "WARNING: no checkpoints are kept" in capsys.readouterr().err


class Second(threading.Thread):
    """A second training of the same identity: waits for the lock, then holds it until told."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.has_it, self.may_end = threading.Event(), threading.Event()
        self.found: Any = "nothing yet"

    def run(self) -> None:
        with hold_checkpoints(self.root, IDENTITY, 1) as held:
            assert held is not None
            self.found = held.load()
            self.has_it.set()
            self.may_end.wait(20)


def wait_for(done: Any) -> None:
    until = time.monotonic() + 20
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_second_training_of_the_same_waits_and_takes_over_the_end_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold_checkpoints(tmp_path, IDENTITY, 1) as first:
        assert first is not None and not first.awaited()
        second = Second(tmp_path)
        second.start()
        wait_for(first.awaited)
        assert not second.has_it.wait(0.3), "two trainings hold the same checkpoints"
        first.write(7, STATE, TABLE)
    assert second.has_it.wait(20)
    assert second.found[0] == STATE
    second.may_end.set()
    second.join()
    shown = capsys.readouterr().err
    assert shown.count(f"the same training runs in process {os.getpid()} already; waiting") == 1


def test_a_second_training_is_not_misled_when_the_first_removes_the_folder(tmp_path: Path) -> None:
    """The lock it waits for is then that of a removed file; a third must not get another one beside it."""
    with hold_checkpoints(tmp_path, IDENTITY, 1) as first:
        assert first is not None
        second = Second(tmp_path)
        second.start()
        wait_for(first.awaited)
        first.remove()
    assert second.has_it.wait(20)
    third = Second(tmp_path)
    third.start()
    assert not third.has_it.wait(0.5), "two trainings hold the same checkpoints"
    second.may_end.set()
    assert third.has_it.wait(20)
    third.may_end.set()
    second.join()
    third.join()


def test_other_trainings_do_not_wait(tmp_path: Path) -> None:
    with hold_checkpoints(tmp_path, IDENTITY, 1) as one, hold_checkpoints(tmp_path, {"seed": 2}, 1) as other:
        assert one and other and one.folder != other.folder


def test_checkpoints_that_nobody_came_back_to_are_removed_unless_they_are_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {}
    for name in ("old", "fresh"):
        with hold_checkpoints(tmp_path, {"name": name}, 1) as held:
            assert held is not None
            held.write(1, {}, TABLE)
            folders[name] = held.folder
    with hold_checkpoints(tmp_path, {"name": "running"}, 1) as running:
        assert running is not None
        running.write(1, {}, TABLE)
        before = time.time() - (checkpoints.STALE_DAYS + 1) * 86400
        for file in (*folders["old"].glob("*.ckpt"), *running.folder.glob("*.ckpt")):
            os.utime(file, (before, before))
        capsys.readouterr()
        with hold_checkpoints(tmp_path, IDENTITY, 1):
            shown = capsys.readouterr().err
        assert running.folder.exists() and folders["fresh"].exists() and not folders["old"].exists()
    assert f"14 days ago or more: {folders['old']}" in shown
    assert "checkpoints of 2 other unfinished trainings take" in shown


class Clock:
    """Seconds that pass only when told."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("total_seconds", "cost_seconds", "table_bytes"),
    [
        (600, 0.2, 60e6),
        (600, 1, 60e6),
        (3600, 0.2, 60e6),
        (600, 10, 5e9),
        (7200, 30, 5e9),
        (3600, 5, 1e9),
        (600, 4, 1e9),
    ],
)
def test_checkpoints_take_less_than_two_percent_of_ten_minutes_or_more(
    total_seconds: float, cost_seconds: float, table_bytes: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments of a second each; what a checkpoint takes is known only after the first."""
    clock = Clock()

    def slow(*arguments: object) -> None:
        clock.now += cost_seconds

    monkeypatch.setattr(checkpoints, "time", clock)
    monkeypatch.setattr(checkpoints, "write_checkpoint", slow)
    held = Checkpoints(tmp_path, IDENTITY, int(table_bytes))
    while clock.now < total_seconds:
        clock.now += 1
        if held.due():
            held.write(1, STATE, TABLE)
    assert held.seconds == pytest.approx(held.written * cost_seconds)
    assert held.seconds <= 0.02 * total_seconds
    # and as many as that allows, at most one a minute
    assert held.written >= min(total_seconds / 60, 0.01 * total_seconds / cost_seconds) * 0.5 - 1


def test_a_short_training_writes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(checkpoints, "time", clock)
    held = Checkpoints(tmp_path, IDENTITY, 1000)
    clock.now = 59
    assert not held.due()
    clock.now = 60
    assert held.due()


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_wrong_time_between_checkpoints_is_refused(text: str) -> None:
    assert fewest_seconds({}) is None and fewest_seconds({"WORDLAB_CHECKPOINT_SECONDS": "0.5"}) == 0.5
    with pytest.raises(ConfigError, match=rf"WORDLAB_CHECKPOINT_SECONDS is '{text}', but must be a number of seconds"):
        fewest_seconds({"WORDLAB_CHECKPOINT_SECONDS": text})


def test_copies_of_the_project_share_the_main_checkouts_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, copy = tmp_path / "main", tmp_path / "main/.dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    wanted = main / ".wordlab/checkpoints"
    for here, environment in (
        (main, {}),
        (main, {"DVC_ROOT": str(main)}),
        (copy, {"DVC_ROOT": str(main)}),
        (main, {"DVC_ROOT": str(tmp_path / "another project")}),
    ):
        monkeypatch.chdir(here)
        assert checkpoint_folder(environment) == wanted


def test_a_copy_on_another_disk_is_known_by_the_link_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch/exps/tmpabc").mkdir(parents=True)
    (tmp_path / "main/.dvc").mkdir(parents=True)
    (tmp_path / "main/.dvc/tmp").symlink_to(tmp_path / "scratch")
    monkeypatch.chdir(tmp_path / "scratch/exps/tmpabc")
    assert checkpoint_folder({"DVC_ROOT": str(tmp_path / "main")}) == tmp_path / "main/.wordlab/checkpoints"


def test_git_and_dvc_do_not_see_the_folder() -> None:
    assert re.search(r"^/\.wordlab/$", (ROOT / ".gitignore").read_text(), re.MULTILINE)
    assert re.search(r"^\.wordlab/$", (ROOT / ".dvcignore").read_text(), re.MULTILINE)


def test_all_code_that_trains_is_in_the_digest() -> None:
    """What `train` depends on in dvc.yaml, where another test compares it with the imports."""
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["deps"]
    modules = {dep.removeprefix("src/wordlab/") for dep in listed if dep.startswith("src/wordlab/")}
    folders = [folder for folders in checkpoints.ENGINE_CODE.values() for folder in folders]
    covered = {module for module in modules if module.split("/")[0] in (*checkpoints.CODE, *folders)}
    assert modules == covered
    assert all((ROOT / "src/wordlab" / name).is_file() for name in checkpoints.CODE)
    assert all((ROOT / "src/wordlab" / name).is_dir() for name in folders)


@pytest.mark.parametrize("engine", checkpoints.ENGINE_CODE)
def test_an_engine_uses_no_code_of_another_that_its_digest_leaves_out(engine: str) -> None:
    others = {folder for folders in checkpoints.ENGINE_CODE.values() for folder in folders}
    others -= set(checkpoints.ENGINE_CODE[engine])
    for folder in checkpoints.ENGINE_CODE[engine]:
        for path in (ROOT / "src/wordlab" / folder).rglob("*.py"):
            for other in others:
                assert f"wordlab.{other}" not in path.read_text(), f"{path} imports from {other}"


def test_the_digest_follows_code_and_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the engine that trains, and not of the other: an edit there loses nobody's hours."""
    for name in (*checkpoints.CODE, "kernels/inner.py", "torch_engine/inner.py"):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("x = 1\n")
    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "checkpoints.py"))
    versions = {"numpy": "1", "numba": "1", "torch": "1", "triton": "1"}
    monkeypatch.setattr(checkpoints, "installed_version", versions.get)

    def digests() -> list[str]:
        return [checkpoints.code_digest(engine) for engine in ("cpu", "torch")]

    def changed(before: list[str]) -> list[bool]:
        return [old != new for old, new in zip(before, digests(), strict=True)]

    for name, who in (("training.py", [1, 1]), ("kernels/inner.py", [1, 0]), ("torch_engine/inner.py", [0, 1])):
        before = digests()
        (tmp_path / name).write_text("x = 2\n")
        assert changed(before) == who, name
    for name, who in (("numpy", [1, 1]), ("numba", [1, 0]), ("torch", [0, 1]), ("triton", [0, 1])):
        before = digests()
        versions[name] = "2"
        assert changed(before) == who, name
    assert checkpoints.code_digest("cpu") != checkpoints.code_digest("torch")
