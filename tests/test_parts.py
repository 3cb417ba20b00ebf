"""Finished parts of a killed stage: used again where nothing has changed, and never else."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.text_helpers import phrases_config, tokenize_config, vocab_config, written
from wordlab.artifacts import fingerprint, read_manifest
from wordlab.counting import build_vocab
from wordlab.encoding import encode_corpus
from wordlab.errors import ConfigError, CorpusError, ResourceError
from wordlab.parts import Parts, kept_parts, make_part
from wordlab.sections.encode import EncodeConfig
from wordlab.tokenizing import tokenize_corpus

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys, time
from pathlib import Path
from tests import test_parts
from wordlab import parts

stage, folder, name, after = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def slow_part(*arguments, make_part=parts.make_part):
    time.sleep(0.01 if len(test_parts.records(folder, stage, name)) < after else 30)
    return make_part(*arguments)

for module in ("tokenizing", "counting", "encoding", "shard_sums"):
    __import__(f"wordlab.{module}")
    sys.modules[f"wordlab.{module}"].make_part = slow_part
test_parts.STEPS[stage](folder)
"""
"""One stage in a process of its own, which takes its time over each part, and a long time once it is to be killed."""
SHARD_BYTES, SHARD_TOKENS = 1 << 11, 1000


def tokenize(folder: Path, **changes: object) -> None:
    config = tokenize_config(**{"shard_bytes": SHARD_BYTES} | changes)
    tokenize_corpus([folder / "corpus.txt"], config, folder / "tokenize", 1)


def vocab(folder: Path) -> None:
    build_vocab(folder / "tokenize", vocab_config(min_count=2), folder / "vocab", 1)


def encode(folder: Path, shard_tokens: int = SHARD_TOKENS) -> None:
    words = folder / "vocab/words.arrow"
    encode_corpus(folder / "tokenize", words, EncodeConfig(shard_tokens=shard_tokens), folder / "encode", 1)


def phrases(folder: Path, thresholds: tuple[float, ...] = (2, 1), **changes: int) -> None:
    config = vocab_config(**{"min_count": 3} | changes, phrases=phrases_config(*thresholds, delta=2))
    build_vocab(folder / "tokenize", config, folder / "phrases", 1)


STEPS = {"tokenize": tokenize, "vocab": vocab, "encode": encode, "phrases": phrases}
BEFORE = {"tokenize": (), "vocab": ("tokenize",), "encode": ("tokenize", "vocab"), "phrases": ("tokenize",)}


def write_corpus(folder: Path) -> Path:
    """Text for 35 shards and more."""
    text = "".join(f"word{i % 97} of other{i % 1009} rare{i} and the.\n" for i in range(2000))
    return written(folder / "corpus.txt", text)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def prepared(folder: Path, stage: str) -> dict[str, str]:
    """All before the stage, and the SHA-256 of what it gives uninterrupted, which is gone again."""
    write_corpus(folder)
    for name in (*BEFORE[stage], stage):
        STEPS[name](folder)
    found = digests(folder / stage)
    subprocess.run(["rm", "-r", folder / stage], check=True)
    return found


def records(folder: Path, stage: str, name: str = "") -> list[Path]:
    """Of the parts whose names begin so."""
    return sorted(folder.glob(f"{stage}.parts/*/records/{name}*.json"))


def killed(folder: Path, stage: str, after: int, name: str = "") -> None:
    """Run the stage, and kill it once so many of its parts of this name are finished."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    command = [sys.executable, "-c", PROGRAM, stage, str(folder), name, str(after)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 120
            while len(records(folder, stage, name)) < after:
                assert process.poll() is None and time.monotonic() < deadline, "the stage ended before it was killed"
                time.sleep(0.001)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL and not (folder / stage).exists()


@pytest.mark.parametrize(("stage", "moments"), [("tokenize", (3, 7)), ("vocab", (1,)), ("encode", (3,))])
def test_a_killed_stage_goes_on_to_the_same_bytes(
    stage: str, moments: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = prepared(tmp_path, stage)
    files_before: dict[str, int] = {}
    for after in moments:
        killed(tmp_path, stage, after)
        files = {path.name: path.stat().st_ino for path in tmp_path.glob(f"{stage}.parts/*/files/*.arrow")}
        assert files_before.items() <= files.items(), "what was finished was made again"
        files_before = files
    capsys.readouterr()
    number = len(records(tmp_path, stage))
    STEPS[stage](tmp_path)
    assert f"going on: an earlier run has finished {number} parts" in capsys.readouterr().err
    assert digests(tmp_path / stage) == wanted
    if stage != "vocab":
        finished = {path.name: path.stat().st_ino for path in (tmp_path / stage).iterdir()}
        recorded = {name for name in files_before if name in finished and finished[name] == files_before[name]}
        assert len(recorded) >= number, "what was finished was made again"
    assert not list(tmp_path.glob("*.parts")) and not list(tmp_path.rglob("*.tmp"))


def stopped(folder: Path, monkeypatch: pytest.MonkeyPatch, after: int = 5) -> list[Path]:
    """A run of tokenize that ends over a full memory after so many shards; its records."""
    calls = []

    def failing(place: Path, name: str, *given: object) -> object:
        calls.append(name)
        if len(calls) > after:
            raise ResourceError("no memory")
        return make_part(place, name, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("wordlab.tokenizing.make_part", failing)
        with pytest.raises(ResourceError, match="no memory"):
            tokenize(folder)
    found = records(folder, "tokenize")
    assert len(found) == after
    return found


def made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> int:
    """Tokenize; how many shards were not taken from the run before."""
    made = []
    with monkeypatch.context() as patched:
        patched.setattr("wordlab.tokenizing.make_part", lambda *given: made.append(given) or make_part(*given))
        tokenize(folder, **changes)
    assert not list(folder.glob("*.parts"))
    return len(made)


def num_shards(folder: Path) -> int:
    return len(read_manifest(folder / "tokenize", "tokenize", verify=True)["shards"])


def test_what_has_changed_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_corpus(tmp_path)
    stopped(tmp_path, monkeypatch)
    assert made_anew(tmp_path, monkeypatch) == num_shards(tmp_path) - 5
    stopped(tmp_path, monkeypatch)
    assert made_anew(tmp_path, monkeypatch, lowercase=False) == num_shards(tmp_path)
    stopped(tmp_path, monkeypatch)
    times = corpus.stat()
    corpus.write_bytes(corpus.read_bytes().replace(b"word1 ", b"Word1 "))
    os.utime(corpus, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert made_anew(tmp_path, monkeypatch) == num_shards(tmp_path)
    stopped(tmp_path, monkeypatch)
    monkeypatch.setattr("wordlab.parts.code_identity", lambda: {"wordlab's source": "other"})
    assert made_anew(tmp_path, monkeypatch) == num_shards(tmp_path)


def test_damaged_parts_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a power failure leaves files that no disk was asked to hold; each of these eight in another way."""
    write_corpus(tmp_path)
    tokenize(tmp_path)
    wanted = digests(tmp_path / "tokenize")
    found = stopped(tmp_path, monkeypatch, 10)
    files = [found[0].parents[1] / f"files/tokens-{index:05d}.arrow" for index in range(3)]
    files[0].write_bytes(files[0].read_bytes()[:-1])
    files[1].write_bytes(bytes(files[1].stat().st_size))
    files[2].unlink()
    found[3].write_bytes(found[3].read_bytes()[:-3])
    content = json.loads(found[4].read_bytes())
    content["record"]["report"]["num_tokens"] += 1
    found[4].write_text(json.dumps(content))
    for path, damage in ((found[5], "[" * 10**5), (found[6], '{"record": [], "fingerprint": 1}')):
        path.write_text(damage)
    found[7].unlink()
    found[7].mkdir()
    (files[0].parent / "stray.arrow").write_text("of another run")
    (found[0].parents[1] / "00009.0123.tmp").mkdir()
    assert made_anew(tmp_path, monkeypatch) == num_shards(tmp_path) - 2
    assert digests(tmp_path / "tokenize") == wanted


def test_a_damaged_record_has_no_file_removed_that_is_not_its_own(tmp_path: Path) -> None:
    parts = with_part(tmp_path, {"a": 1}, {"c": 1}, "")
    kept = written(tmp_path / "kept", "text")
    (parts.folder / "link").symlink_to(kept)
    for number, name in enumerate(("../../../kept", str(kept), "link")):
        digest = hashlib.sha256(b"text").hexdigest()
        record = {"key": "a", "files": {name: {"size_bytes": 4, "sha256": digest}}, "report": 1}
        content = {"record": record, "fingerprint": fingerprint(record)}
        (parts.place / f"records/{number}.json").write_text(json.dumps(content))
    parts = Parts(tmp_path / "out.parts", {"a": 1}, {"c": 1})
    assert parts.names("") == ["one"] and kept.read_text() == "text" and len(list(parts.folder.iterdir())) == 1


def test_files_of_another_size_are_not_taken(tmp_path: Path) -> None:
    wanted = prepared(tmp_path, "encode")
    killed(tmp_path, "encode", 3)
    encode(tmp_path, 700)
    assert digests(tmp_path / "encode") != wanted
    assert {shard["num_tokens"] <= 700 for shard in read_manifest(tmp_path / "encode", "encode", True)["shards"]} == {
        True
    }


@pytest.mark.parametrize("error", [CorpusError("no text"), ConfigError("no such thing"), KeyboardInterrupt()])
def test_what_is_finished_is_kept_whatever_ends_the_run(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), kept_parts(tmp_path / "out", {"a": 1}) as parts:
        make_part(parts.place, "one", lambda folder: {"files": len(str(folder))})
        raise error
    with kept_parts(tmp_path / "out", {"a": 1}) as parts:
        assert parts.num_kept == 1 and parts.found("one") and not parts.of_other_work
    assert not list(tmp_path.iterdir())


def with_part(folder: Path, identity: dict[str, int], common: dict[str, int], key: str) -> Parts:
    """Parts of this work, with one that has this key."""
    parts = Parts(folder / "out.parts", identity, common)
    record = make_part(parts.place, "one", lambda part: (part / "file").write_text("text"), None, key)
    assert parts.add("one", record) == 4
    return parts


def test_parts_of_other_work_are_taken_by_their_key_alone(tmp_path: Path) -> None:
    with_part(tmp_path, {"a": 1}, {"c": 1}, "same")
    parts = Parts(tmp_path / "out.parts", {"a": 2}, {"c": 1})
    assert parts.of_other_work and parts.found("one", "another", "same") == 4
    assert not parts.found("one") and not list(parts.folder.iterdir()), "a part of another key is left"
    with_part(tmp_path, {"a": 2}, {"c": 1}, "")
    assert not Parts(tmp_path / "out.parts", {"a": 3}, {"c": 1}).found("one"), "its key is the whole of other work"
    with_part(tmp_path, {"a": 3}, {"c": 1}, "same")
    parts = Parts(tmp_path / "out.parts", {"a": 3}, {"c": 2})
    assert not parts.num_kept and len(list((tmp_path / "out.parts").iterdir())) == 1


def test_a_worker_of_the_run_before_writes_into_nothing_that_was_taken_over(tmp_path: Path) -> None:
    before = with_part(tmp_path, {"a": 1}, {"c": 1}, "same")

    def late(folder: Path) -> None:
        (folder / "file").write_text("of before")
        now = Parts(tmp_path / "out.parts", {"a": 2}, {"c": 1})
        assert now.found("one", "same") == 4

    with pytest.raises(FileNotFoundError):
        make_part(before.place, "one", late, None, "same")
    parts = Parts(tmp_path / "out.parts", {"a": 2}, {"c": 1})
    assert (parts.folder / "file").read_text() == "text" and not list(parts.place.glob("*.tmp"))


def test_an_output_has_no_file_of_a_part_that_nobody_asked_for(tmp_path: Path) -> None:
    with_part(tmp_path, {"a": 1}, {"c": 1}, "same")
    with kept_parts(tmp_path / "out", {"a": 2}, {"c": 1}) as parts:
        parts.add("two", make_part(parts.place, "two", lambda folder: (folder / "other").write_text("text")))
        make_part(parts.place, "three", lambda folder: (folder / "late").write_text("by a worker that was given up"))
        parts.publish(tmp_path / "out", "tokenize", {})
    assert list(read_manifest(tmp_path / "out", "tokenize", verify=True)["files"]) == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_that_has_not_begun_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ResourceError), kept_parts(tmp_path / "out", {}):
        raise ResourceError("no memory")
    assert not list(tmp_path.iterdir())


def test_a_part_of_a_run_that_is_over_goes_nowhere(tmp_path: Path) -> None:
    """A worker of a cluster may go on when its run is over, and another has begun."""
    before = Parts(tmp_path / "out.parts", {"a": 1})
    now = Parts(tmp_path / "out.parts", {"a": 2})
    with pytest.raises(FileNotFoundError):
        make_part(before.place, "00000", lambda folder: (folder / "file").write_text("old"))
    assert not list(now.folder.iterdir()) and [path.name for path in tmp_path.iterdir()] == ["out.parts"]
