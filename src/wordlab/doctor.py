"""`wordlab doctor`: is this machine fit for the current params.yaml, and does it repeat its results bit by bit?

Every finding is fine, worth noting, or wrong; what is wrong has a next step and makes the exit status 1. Everything is
looked at afresh; nothing is remembered and nothing is changed but the cache of compiled functions.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wordlab import preflight, preflight_text
from wordlab.config import Params, load_params
from wordlab.errors import ArtifactError, WordlabError
from wordlab.limits import cpu_quota, disk_bounds, gpu_bound, in_units, lines, memory_bounds
from wordlab.machine import choose_device, cpu_model, installed_version, nvidia_gpu
from wordlab.needs import DATA, Need
from wordlab.preflight_peers import need_of_peer
from wordlab.stage import available_cores

LIBRARIES = (
    *("wordlab", "dvc", "torch", "numba", "llvmlite", "numpy", "scipy", "pyarrow", "sentencepiece", "gensim"),
    *("scikit-learn", "matplotlib", "threadpoolctl", "zstandard"),
)
INSTALL = "pip install -c constraints.txt -e ."
FEATURES = ("avx2", "fma", "avx512f")
FINE, NOTE, WRONG = "fine", "note", "wrong"


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    section: str
    topic: str
    found: str
    state: str = FINE
    next_step: str = ""


def examine(root: Path = Path("/")) -> Iterator[Finding]:
    """All findings, one after the other, the slow ones last. root: where proc/ and sys/ are; another one in tests."""
    params, problem = _params()
    yield problem or Finding("settings", "params.yaml", "every key known, every value in range")
    yield _mirror()
    yield from _machine(root, params)
    yield from _software()
    yield from _compiled()
    if params is not None:
        yield from _stages(params)
        yield from _on_gpu(params, root)
        yield from _same_bits(params)


def _params() -> tuple[Params | None, Finding | None]:
    try:
        return load_params(), None
    except WordlabError as error:
        step = "Correct params.yaml, or run this where it lies; stages and determinism were not looked at."
        return None, Finding("settings", "params.yaml", str(error), WRONG, step)


def _mirror() -> Finding:
    from wordlab.locations import MIRROR_VARIABLE, mirror_folder

    folder = mirror_folder()
    if folder is None:
        return Finding("settings", MIRROR_VARIABLE, "not set: files come from the web or installed packages")
    if folder.is_dir():
        return Finding("settings", MIRROR_VARIABLE, f"{folder}, tried first")
    step = f"Set {MIRROR_VARIABLE} to a folder that is there, or unset it."
    return Finding("settings", MIRROR_VARIABLE, f"{folder}, which is no folder", WRONG, step)


def _machine(root: Path, params: Params | None) -> Iterator[Finding]:
    yield Finding("machine", "system", platform.platform())
    yield _cores(root, params)
    yield _features(root)
    for bound in memory_bounds(root):
        yield Finding("machine", "memory", f"{in_units(bound.free_bytes)} free: {bound.source}")
    for bound in disk_bounds(Path("data")):
        yield Finding("machine", "disk", f"{in_units(bound.free_bytes)} free: {bound.source}")
    yield from _gpu(root)
    if params is not None:
        yield _device(params, root)


def _cores(root: Path, params: Params | None) -> Finding:
    cores, quota = available_cores(), cpu_quota(root)
    found = f"{cpu_model(root)}: {cores} of {os.cpu_count()} cores for this process"
    threads = (params.run.threads if params else 0) or cores
    if quota is not None and quota < threads:
        step = f"Threads wait for one another at every step. Run with: dvc exp run -S run.threads={max(1, int(quota))}"
        return Finding("machine", "processor", f"{found}, but a control group leaves {quota:g} of them", NOTE, step)
    if threads > cores:
        step = "Set run.threads to 0 (all cores) in params.yaml."
        return Finding("machine", "processor", f"{found}, but run.threads is {threads}", NOTE, step)
    return Finding("machine", "processor", found)


def _features(root: Path) -> Finding:
    flags = next((line for line in lines(root / "proc/cpuinfo") if line.startswith(("flags", "Features"))), "").split()
    found = ", ".join(f"{name}: {'yes' if name in flags else 'no'}" for name in FEATURES)
    if platform.machine() == "x86_64" and not {"avx2", "fma"} <= set(flags):
        return Finding("machine", "vectors", found, NOTE, "Training works and is several times slower here.")
    return Finding("machine", "vectors", found)


def _gpu(root: Path) -> Iterator[Finding]:
    name, torch_version = nvidia_gpu(root), installed_version("torch") or "not installed"
    if name is None:
        yield Finding("machine", "GPU", f"no NVIDIA GPU; torch {torch_version}")
        return
    driver = next(iter(lines(root / "proc/driver/nvidia/version")), "driver's version unknown")
    yield Finding("machine", "GPU", f"{name}; {driver}")
    bound = gpu_bound()
    if bound is not None:
        yield Finding("machine", "torch on it", f"torch {torch_version}: {in_units(bound.free_bytes)} free")
        return
    why = f"torch {torch_version} cannot use it"
    if "+cpu" in torch_version:
        why += ", being the build for CPUs"
    step = "To use the GPU, install a torch built for the CUDA of this driver: https://pytorch.org/get-started/locally"
    yield Finding("machine", "torch on it", why, NOTE, step)


def _device(params: Params, root: Path) -> Finding:
    try:
        return Finding("machine", "run.device", choose_device(params.run.device, root)[1])
    except WordlabError as error:
        return Finding("machine", "run.device", str(error), WRONG, "Run with: dvc exp run -S run.device=auto")


def _software() -> Iterator[Finding]:
    yield Finding("software", "python", f"{platform.python_version()}, {sys.executable}")
    wanted = _wanted_versions()
    for name in LIBRARIES:
        version = installed_version(name)
        if version is None:
            state = NOTE if name == "wordlab" else WRONG  # it may be used from its sources
            yield Finding("software", name, "not installed", state, f"Run: {INSTALL}")
        elif name in wanted and not wanted[name].contains(version, prereleases=True):
            found = f"{version}, but this version of wordlab needs {wanted[name]}"
            yield Finding("software", name, found, WRONG, f"Run: {INSTALL}")
        else:
            yield Finding("software", name, version)
    yield _blas()


def _wanted_versions() -> dict[str, Any]:
    """Library -> the versions that wordlab's installed metadata asks for; empty where it is not installed."""
    import importlib.metadata

    from packaging.requirements import Requirement

    if installed_version("wordlab") is None:
        return {}
    wanted = [Requirement(text) for text in importlib.metadata.requires("wordlab") or []]
    return {requirement.name: requirement.specifier for requirement in wanted if requirement.marker is None}


def _blas() -> Finding:
    """The kernel that matrix products take in evaluation; some libraries take old ones on new processors."""
    import numpy  # noqa: F401 - loads its library
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    used = [
        f"{pool.get('internal_api')} {pool.get('version')}, {pool.get('architecture', 'unknown')} kernels"
        for pool in threadpool_info()
        if pool.get("user_api") == "blas"
    ]
    return Finding("software", "BLAS", "; ".join(dict.fromkeys(used)) or "unknown")


def _compiled() -> Iterator[Finding]:
    try:
        from numba.core import config

        import wordlab.compiled  # noqa: F401 - decides on the folder
    except ImportError as error:
        yield Finding("software", "compile cache", f"numba cannot be loaded: {error}", WRONG, f"Run: {INSTALL}")
        return
    folder = Path(config.CACHE_DIR)  # type: ignore[attr-defined]
    held = sum(file.stat().st_size for file in folder.glob("**/*") if file.is_file())
    found = f"{folder}, {in_units(held)}" if held else f"{folder}, empty: the first training compiles for a minute"
    yield Finding("software", "compile cache", found)


def _stages(params: Params) -> Iterator[Finding]:
    for stage in preflight.ESTIMATES:
        yield _stage(stage, partial(_need, stage, params))
    for program in params.peers.programs:
        yield _stage(f"peers, {program}", partial(need_of_peer, program, params.seeds[0], params))


def _stage(stage: str, need_of: Callable[[], Need]) -> Finding:
    try:
        need = need_of()
    except ArtifactError:
        return Finding("stages", stage, "known once the stages before it have run", NOTE, "Run: dvc repro")
    except WordlabError as error:
        return Finding("stages", stage, str(error), WRONG, "Correct params.yaml.")
    bounds = memory_bounds()
    found = (
        f"memory {in_units(need.memory_bytes):>7} of {in_units(bounds[0].free_bytes):>7} free, "
        f"disk {in_units(need.disk_bytes):>7} of {in_units(disk_bounds(need.folder)[0].free_bytes):>7} free"
    )
    for check in (preflight.require_memory_for, preflight.require_disk_for):
        try:
            check(need)
        except WordlabError as error:
            return Finding("stages", stage, found, WRONG, str(error))
    return Finding("stages", stage, found)


def _on_gpu(params: Params, root: Path) -> Iterator[Finding]:
    """What stage train will take on a GPU, where it is to train there."""
    topic = "train, its GPU"
    try:
        if choose_device(params.run.device, root)[0] != "cuda":
            return
        from wordlab.torch_engine.choice import plan_gpu
        from wordlab.training import TrainingData

        data = TrainingData.open(DATA / "vocab", DATA / "encode")
        _, found = plan_gpu(params.run.device, data, params.model, params.train, params.cuda)
    except ArtifactError:
        yield Finding("stages", topic, "known once the stages before it have run", NOTE, "Run: dvc repro encode")
    except (WordlabError, ImportError) as error:
        yield Finding("stages", topic, str(error), WRONG, "Or train on the CPU: dvc exp run -S run.device=cpu")
    else:
        yield Finding("stages", topic, found)


def _need(stage: str, params: Params) -> Need:
    try:
        return preflight.need_of(stage, params, params.seeds[0])
    except ArtifactError:
        if stage != "tokenize":
            raise
        return preflight_text.tokenize_need(preflight_text.corpus_text_bytes(params), params)


def _same_bits(params: Params) -> Iterator[Finding]:
    from wordlab.selftest import trained_digest

    most = max(2, available_cores())
    try:
        once, again, together = (trained_digest(params, threads) for threads in (1, 1, most))
    except ImportError as error:
        yield Finding("determinism", "training", f"could not be tried: {error}", WRONG, f"Run: {INSTALL}")
        return
    tried = f"{params.model.arch}, 1 thread twice and {most} threads"
    if once == again == together:
        yield Finding("determinism", "training", f"{tried}: the same bits, {once[:12]}")
        return
    differ = "1 thread differs from itself" if once != again else f"{most} threads differ from 1"
    step = (
        "Results here cannot be repeated, which this program promises. Look for failing memory or processor; remove "
        "the compile cache and try again; if it stays so, report it with the output of: wordlab doctor --json"
    )
    yield Finding("determinism", "training", f"{tried}: {differ}", WRONG, step)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """For machines: whether all is well, and every finding."""
    return {
        "ok": all(finding.state != WRONG for finding in findings),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }


def show(findings: Iterator[Finding], write: Callable[[str], None]) -> list[Finding]:
    """Write the findings for people as they come; returns them."""
    seen: list[Finding] = []
    topic = ""
    for finding in findings:
        if not seen or finding.section != seen[-1].section:
            write(f"{chr(10) if seen else ''}{finding.section}")
            topic = ""
        mark = {FINE: " ", NOTE: "-", WRONG: "!"}[finding.state]
        write(f"{mark} {'' if finding.topic == topic else finding.topic:<16} {finding.found}")
        if finding.next_step and finding.state != FINE:
            write(f"  {'':<16} {finding.next_step}")
        topic = finding.topic
        seen.append(finding)
    wrong = [finding.topic for finding in seen if finding.state == WRONG]
    write("")
    write(f"wrong: {', '.join(wrong)} (marked with !)" if wrong else "nothing is wrong")
    return seen
