"""`wordlab doctor`: what it looks at, what it calls wrong, and what it says to do."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path

import pytest

from tests.engine import topic_sentences, write_data
from tests.helpers import make_root
from wordlab import cli, doctor, preflight
from wordlab.config import load_params
from wordlab.doctor import FINE, NOTE, WRONG, Finding, as_json, examine, show
from wordlab.limits import Bound
from wordlab.torch_engine import choice
from wordlab.torch_engine.gpu import Gpu

ROOT = Path(cli.__file__).parents[2]
CPU = {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Imaginary 9000\nflags\t\t: fpu avx2 fma\n"}
GPU = {
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Module  570.1\n",
    "proc/driver/nvidia/gpus/0000:01/information": "Model: \t\t NVIDIA Z1\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORDLAB_MIRROR", raising=False)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the training."""
    monkeypatch.setattr(doctor, "_same_bits", lambda params: iter(()))


def found(topic: str, root: Path = Path("/")) -> Finding:
    return next(finding for finding in examine(root) if finding.topic == topic)


def test_on_a_fit_machine_nothing_is_wrong_and_the_bits_are_the_same(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["doctor"])
    out = capsys.readouterr().out
    for line in ("  params.yaml      every key known, every value in range", "stages", "  tokenize         memory "):
        assert line in out
    assert "skipgram, 1 thread twice and " in out and ": the same bits, " in out
    assert out.endswith("\nnothing is wrong\n") and max(map(len, out.splitlines())) < 250


def test_programs_that_are_listed_are_stages_too(project: Path, quick: None) -> None:
    assert not any(finding.topic.startswith("peers") for finding in examine())
    text = (project / "params.yaml").read_text().replace("programs: []", "programs: [gensim, word2vec]")
    (project / "params.yaml").write_text(text)
    assert found("peers, word2vec").found == "known once the stages before it have run"


def test_json_says_the_same(project: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    topics = [finding["topic"] for finding in report["findings"]]
    wanted = {"params.yaml", "WORDLAB_MIRROR", "processor", "memory", "disk", "GPU", "run.device", "compile cache"}
    assert wanted | {"python", "dvc", "numba", "numpy", "BLAS", *preflight.ESTIMATES} <= set(topics)
    assert report["findings"][0] == {
        "section": "settings",
        "topic": "params.yaml",
        "found": "every key known, every value in range",
        "state": "fine",
        "next_step": "",
    }


def test_bits_that_differ_are_wrong(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = {1: "a" * 64}
    fake = types.SimpleNamespace(trained_digest=lambda params, threads: digests.get(threads, "b" * 64))
    monkeypatch.setitem(sys.modules, "wordlab.selftest", fake)
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor"])
    assert caught.value.code == 1
    out = capsys.readouterr().out
    assert "! training         skipgram, 1 thread twice and " in out and "threads differ from 1" in out
    assert "Results here cannot be repeated" in out and out.endswith("wrong: training (marked with !)\n")
    turns = iter("abc")
    fake.trained_digest = lambda params, threads: next(turns)
    assert "1 thread differs from itself" in next(doctor._same_bits(load_params())).found


def test_wrong_parameters_are_told_and_the_rest_is_looked_at(
    project: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace("  epochs: 5", "  epochs: five"))
    with pytest.raises(SystemExit):
        cli.main(["doctor"])
    out = capsys.readouterr().out
    assert "! params.yaml      params.yaml: train.epochs is 'five', but must be a whole number." in out
    assert "numba" in out and "\nstages" not in out and out.endswith("wrong: params.yaml (marked with !)\n")


def test_a_stage_that_would_not_fit_is_wrong(project: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = Bound(150_000_000, "memory.max of control group /job, 200 MB", "Give the container or job more memory")
    for module in ("doctor", "machine"):
        monkeypatch.setattr(f"wordlab.{module}.memory_bounds", lambda root=None: [bound])
    monkeypatch.setattr(preflight, "held_bytes", lambda: 0)  # what the tests before have left in this process
    finding = found("tokenize")
    assert finding.state == WRONG and "of  150 MB free" in finding.found
    assert "(memory.max of control group /job, 200 MB). Give the container or job more memory, or use" in (
        finding.next_step
    )


def test_stages_whose_input_is_not_there_yet_are_noted(project: Path, quick: None) -> None:
    finding = found("encode")
    assert finding.state == NOTE and finding.found == "known once the stages before it have run"
    assert found("tokenize").state == FINE  # from the catalog


def test_a_corpus_that_is_nowhere_is_wrong(project: Path, quick: None) -> None:
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("\ncorpus: enwik8", "\ncorpus: enwik88"))
    finding = found("tokenize")
    assert finding.state == WRONG and "neither a row of the catalog nor a file or folder" in finding.found


def test_a_mirror_that_is_no_folder_is_wrong(project: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("WORDLAB_MIRROR").state == FINE
    monkeypatch.setenv("WORDLAB_MIRROR", str(project))
    assert found("WORDLAB_MIRROR").found == f"{project}, tried first"
    monkeypatch.setenv("WORDLAB_MIRROR", str(project / "nothing"))
    finding = found("WORDLAB_MIRROR")
    assert finding.state == WRONG and "or unset it" in finding.next_step


def test_fewer_cores_worth_of_time_than_threads_are_noted(project: Path, quick: None, tmp_path: Path) -> None:
    group = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}
    finding = found("processor", make_root(tmp_path / "root", CPU | group))
    assert finding.state == NOTE and "a control group leaves 0.5 of them" in finding.found
    assert "dvc exp run -S run.threads=1" in finding.next_step
    assert found("processor", make_root(tmp_path / "other", CPU)).state == FINE
    assert found("vectors", tmp_path / "other").found == "avx2: yes, fma: yes, avx512f: no"


def test_a_gpu_that_torch_cannot_use_is_noted_with_the_reason(
    project: Path, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(tmp_path / "root", CPU | GPU)
    monkeypatch.setattr(doctor, "gpu_bound", lambda: None)
    monkeypatch.setattr(doctor, "installed_version", lambda name: "2.13.0+cpu")
    found_on = {finding.topic: finding for finding in doctor._gpu(root)}
    assert found_on["GPU"].found == "NVIDIA Z1; NVRM version: NVIDIA UNIX Module  570.1"
    assert found_on["torch on it"].state == NOTE
    assert found_on["torch on it"].found == "torch 2.13.0+cpu cannot use it, being the build for CPUs"
    monkeypatch.setattr(doctor, "gpu_bound", lambda: Bound(10**9, "Z1", ""))
    assert {finding.topic: finding.found for finding in doctor._gpu(root)}["torch on it"] == (
        "torch 2.13.0+cpu: 1 GB free"
    )
    assert doctor._device(load_params(), root).state == FINE


@pytest.mark.parametrize(
    ("free_bytes", "state", "text"),
    [
        (8 * 10**9, FINE, "training on Z1, "),
        (10**6, WRONG, "40 vectors of 100 numbers need "),
        (0, WRONG, "run.device is cuda, which cannot be had: a build without CUDA"),
    ],
)
def test_what_training_takes_on_a_gpu_is_compared_with_what_is_free_there(
    free_bytes: int, state: str, text: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = load_params()
    root = make_root(tmp_path / "root", CPU | GPU)
    assert list(doctor._on_gpu(params, root)) == [], "auto trains on the CPU"
    params = dataclasses.replace(params, run=dataclasses.replace(params.run, device="cuda"))
    (missing,) = doctor._on_gpu(params, root)
    assert missing.state == NOTE and missing.next_step == "Run: dvc repro encode"
    write_data(project, topic_sentences(100))
    gpu = Gpu("Z1", (9, 0), 9 * 10**9, free_bytes) if free_bytes else "a build without CUDA"
    monkeypatch.setattr(choice, "find_gpu", lambda: gpu)
    monkeypatch.setattr(choice, "choose_kernels", lambda *given: ("torch", "a test"))
    (found,) = doctor._on_gpu(params, root)
    assert found.state == state and text in found.found, found
    assert (found.next_step != "") == (state == WRONG)


def test_a_library_that_is_missing_or_too_old_is_wrong(
    project: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from packaging.specifiers import SpecifierSet

    versions = {"dvc": None, "numba": "0.1"}
    monkeypatch.setattr(doctor, "installed_version", lambda name: versions.get(name, "9999"))
    monkeypatch.setattr(doctor, "_wanted_versions", lambda: {"numba": SpecifierSet(">=0.68")})
    software = {finding.topic: finding for finding in doctor._software()}
    assert software["dvc"].state == WRONG and software["dvc"].next_step == f"Run: {doctor.INSTALL}"
    assert software["numba"].found == "0.1, but this version of wordlab needs >=0.68"
    assert software["numpy"].state == FINE


def test_the_page_marks_what_is_wrong_and_what_is_worth_noting() -> None:
    findings = [
        Finding("machine", "memory", "1 GB"),
        Finding("machine", "memory", "2 GB", NOTE, "Have more."),
        Finding("stages", "train", "9 GB", WRONG, "Do with less."),
    ]
    page: list[str] = []
    assert show(iter(findings), page.append) == findings
    assert page == [
        "machine",
        "  memory           1 GB",
        "-                  2 GB",
        "                   Have more.",
        "\nstages",
        "! train            9 GB",
        "                   Do with less.",
        "",
        "wrong: train (marked with !)",
    ]
    assert as_json(findings)["ok"] is False and as_json(findings[:2])["ok"] is True
