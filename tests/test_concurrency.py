"""Several processes at once: readers of a model that is replaced, stages on one output, experiments side by side."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import make_model_folder
from wordlab import versions
from wordlab.artifacts import output_folder, write_manifest
from wordlab.claims import claim
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError
from wordlab.vocab import Vocab

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


# ---- a model that is replaced while it is read


def versioned_model(folder: Path, version: int, words: int = 3000) -> None:
    """Write a model all of whose words and numbers say its version, in the place of another one, as stage train does.

    The number of words and the sizes of all files are the same in every version.
    """
    with output_folder(folder) as building:
        np.save(building / "input_vectors.npy", np.full((words, 4), version, np.float32))
        np.save(building / "output_vectors.npy", np.full((words, 4), version, np.float32))
        vocab = Vocab.build([f"v{version % 1000:03d}w{word:05d}" for word in range(words)], np.arange(words, 0, -1))
        vocab.save(building / "words.arrow")
        write_manifest(building, "train", {"seed": 1, "config": {}, "vocabulary": vocab.fingerprint})


READER = """
    import sys, time
    from pathlib import Path
    from wordlab.embeddings import Embeddings
    from wordlab.errors import ArtifactError

    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    seen, refused = set(), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            model = Embeddings.load(folder, mmap=True, output_vectors=True)
        except ArtifactError as error:
            assert "/proc/" not in str(error), error
            refused += 1
            continue
        for _ in range(2):
            said = {int(model.index[0][1:4]), int(model.index[len(model) - 1][1:4])}
            said |= set(map(int, model.input_vectors[:, 0])) | set(map(int, model.output_vectors[:, 0]))
            assert len(said) == 1, f"a mix of versions {said}"
        seen |= said
    print(len(seen), refused)
"""


def exchange_files(folder: Path, version: int) -> None:
    """Put another version's files in the place of the old ones one by one, as DVC does."""
    other = folder.with_name("other")
    shutil.rmtree(other, ignore_errors=True)
    versioned_model(other, version)
    for file in sorted(other.iterdir(), reverse=version % 2 == 0):
        file.replace(folder / file.name)
        time.sleep(0.003)


@pytest.mark.parametrize("replace", [versioned_model, exchange_files], ids=["as stage train does", "as DVC does"])
def test_two_readers_of_a_model_that_a_third_process_replaces_see_one_version_each_time(
    tmp_path: Path, replace: object
) -> None:
    folder = tmp_path / "seed-1"
    versioned_model(folder, 0)
    command = [sys.executable, "-c", textwrap.dedent(READER), str(folder), "3"]
    readers = [subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    version = 0
    while any(reader.poll() is None for reader in readers):
        version += 1
        replace(folder, version % 1000)  # type: ignore[operator]
        time.sleep(0.02)
    for reader in readers:
        output, _ = reader.communicate()
        assert reader.returncode == 0
        versions_seen, refused = map(int, output.split())
        assert versions_seen > 3, f"{versions_seen} of {version} versions seen, {refused} times refused"


def test_words_of_one_model_and_vectors_of_another_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange of files that stopped half way: sizes fit, the vocabulary fits, the numbers are another model's."""
    old, new = tmp_path / "old", tmp_path / "new"
    versioned_model(old, 1)
    versioned_model(new, 2)
    (new / "input_vectors.npy").replace(old / "input_vectors.npy")
    with pytest.raises(ArtifactError, match=r"old/input_vectors\.npy has changed since it was written: its SHA-256"):
        Embeddings.load(old, mmap=True)


def test_files_that_have_lain_still_are_not_read_to_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model_folder(tmp_path / "model")
    monkeypatch.setattr(versions, "YOUNG_SECONDS", -1.0)
    monkeypatch.setattr("wordlab.artifacts.sha256_file", lambda path: pytest.fail("all bytes were read"))
    assert len(Embeddings.load(tmp_path / "model", mmap=True)) == 5


def test_a_folder_that_never_keeps_still_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "PATIENCE_SECONDS", 0.2)
    make_model_folder(tmp_path / "model")

    def load(held: Path) -> None:
        (held / "words.arrow").touch()

    with pytest.raises(ArtifactError, match="model has been changing for 0 s while it was read"):
        versions.of_one_version(tmp_path / "model", "train", load)


def test_what_is_wrong_with_a_folder_is_told_by_its_own_name_and_at_once(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "model")
    (folder / "words.arrow").unlink()
    started = time.monotonic()
    with pytest.raises(ArtifactError) as caught:
        Embeddings.load(folder)
    assert str(folder / "words.arrow") in str(caught.value) and "/proc/" not in str(caught.value)
    assert time.monotonic() - started < versions.PATIENCE_SECONDS / 2


def test_open_files_do_not_pile_up(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        Embeddings.load(folder)
        with pytest.raises(ArtifactError):
            Embeddings.load(tmp_path / "empty")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ---- claims


CLAIM = """
    import sys
    from pathlib import Path
    from wordlab.claims import claim
    from wordlab.stage import run_stage

    def main():
        claim(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
        print("claimed", flush=True)
        sys.stdin.read()

    run_stage(main)
"""


def claiming(folder: Path, *names: str) -> subprocess.Popen[str]:
    """A process that claims the first name for itself and the others for reading, and holds them until told."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CLAIM), *names],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes data/encode and reads data/vocab."""
    process = claiming(tmp_path, "data/encode", "data/vocab")
    assert process.stdout is not None and process.stdout.readline() == "claimed\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("names", "in_use"),
    [
        (["data/encode"], "data/encode is in use: process"),
        (["data/train/seed-1", "data/encode"], "data/encode is in use: process"),
        (["data/vocab"], "data/vocab is in use: process"),
        (["data/train/seed-1", "data/vocab"], None),
        (["data/evaluate/seed-1"], None),
    ],
)
def test_one_writes_or_several_read(
    tmp_path: Path, holder: subprocess.Popen[str], names: list[str], in_use: str | None
) -> None:
    output, error = claiming(tmp_path, *names).communicate("")
    if in_use is None:
        assert (output, error) == ("claimed\n", "")
    else:
        assert output == "" and in_use in error and "Traceback" not in error
        assert "Wait for it to end, or end it, then run this again." in error
        assert str(holder.pid) in error or "another process" in error


def test_a_claim_ends_with_its_process_however_it_ends(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    assert claiming(tmp_path, "data/encode").communicate("") == ("claimed\n", "")


def test_a_process_is_never_in_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    claim(Path("data/tokenize"), [Path("data/download")])
    claim(Path("data/vocab"), [Path("data/tokenize")])
    claim(Path("data/tokenize"), [Path("data/download")])


@pytest.mark.parametrize(("stage", "claimed"), [("vocab", "data/vocab"), ("train --seed 1", "data/train/seed-1")])
def test_the_second_of_two_stages_on_one_output_is_refused_before_it_begins(
    tmp_path: Path, stage: str, claimed: str
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    first = claiming(tmp_path, claimed)
    assert first.stdout is not None and first.stdout.readline() == "claimed\n"
    command = [sys.executable, "-m", f"stages.{stage.split()[0]}", *stage.split()[1:]]
    second = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    first.communicate("")
    assert second.returncode == 1 and "Traceback" not in second.stderr
    assert f"error: {claimed} is in use: " in second.stderr
    assert not (tmp_path / "data").exists()
    free = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "does not exist" in free.stderr or "is missing" in free.stderr  # its input, now that nobody is in the way
