"""Is there enough memory and disk for a stage? Asked before it begins.

A stage that is killed for want of memory after an hour has said nothing and lost the hour. So each heavy stage asks
first: `begin("train", params, seed)`. The estimates (`preflight_text`, `preflight_models`) follow from sizes that are
known by then, of files, manifests and params.yaml; their constants are measured, and tests compare the whole with the
measured peak.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from wordlab import machine
from wordlab.claims import claim
from wordlab.config import Params
from wordlab.errors import ArtifactError, ConfigError, ResourceError
from wordlab.limits import held_bytes
from wordlab.needs import DATA, Need
from wordlab.preflight_models import evaluate, report, train
from wordlab.preflight_text import download, encode, tokenize, vocab
from wordlab.stage import say

VARIABLE = "WORDLAB_PREFLIGHT"
"""Set to `warn`, a stage says what it lacks and begins all the same. For whoever knows better than an estimate."""
ESTIMATES: dict[str, Callable[[Params, int | None], Need]] = {
    "download": download,
    "tokenize": tokenize,
    "vocab": vocab,
    "encode": encode,
    "train": train,
    "evaluate": evaluate,
    "report": report,
}
"""What each stage will take, of parameters and seed."""


def begin(stage: str, params: Params, seed: int | None = None) -> None:
    """Claim a stage's files for this process and see that memory and disk suffice. To be called before any work.

    Raises BusyError where another process is at work on the files, ResourceError where too little is free,
    ArtifactError where an input is missing.
    """
    output, inputs = files_of(stage, params, seed)
    claim(output, inputs)
    require(need_of(stage, params, seed))


def require(need: Need) -> None:
    """Raise ResourceError if what is free does not suffice; with WORDLAB_PREFLIGHT=warn only say so."""
    mode = os.environ.get(VARIABLE, "")
    if mode not in ("", "warn"):
        raise ConfigError(f"{VARIABLE} is {mode!r}, but must be warn or not set.")
    hint = f" (If you know that less is enough: {VARIABLE}=warn goes on all the same.)"
    for check in (require_memory_for, require_disk_for):
        try:
            check(need)
        except ResourceError as error:
            if mode != "warn":
                raise ResourceError(f"{error}{hint}") from None
            say(f"warning: {error}")


def require_memory_for(need: Need) -> None:
    more = max(0, need.memory_bytes - held_bytes())
    machine.require_memory(more, f"the processes of stage {need.stage}", need.lower, need.mapped_bytes)


def require_disk_for(need: Need) -> None:
    machine.require_disk(need.disk_bytes, need.folder, need.lower)


def files_of(stage: str, params: Params, seed: int | None = None) -> tuple[Path, list[Path]]:
    """What a stage writes, and the outputs of other stages that it reads."""
    of_seed = f"seed-{seed}"
    models, scores = ([DATA / name / f"seed-{number}" for number in params.seeds] for name in ("train", "evaluate"))
    table: dict[str, tuple[Path, list[Path]]] = {
        "download": (DATA / "download", []),
        "tokenize": (DATA / "tokenize", [DATA / "download"]),
        "vocab": (DATA / "vocab", [DATA / "tokenize"]),
        "encode": (DATA / "encode", [DATA / "tokenize", DATA / "vocab"]),
        "train": (DATA / "train" / of_seed, [DATA / "encode", DATA / "vocab"]),
        "evaluate": (
            DATA / "evaluate" / of_seed,
            [DATA / name for name in ("download", "tokenize", "vocab", f"train/{of_seed}")],
        ),
        "report": (DATA / "report", [*models, *scores]),
    }
    return table[stage]


def need_of(stage: str, params: Params, seed: int | None = None) -> Need:
    """What a stage will take, from what the stages before it have left. Raises ArtifactError where that is missing."""
    try:
        return ESTIMATES[stage](params, seed)
    except OSError as error:
        raise ArtifactError(
            f"{error.filename or DATA} cannot be read: {error.strerror}. Check its disk and that it is yours, then run "
            f"again: dvc repro {stage}"
        ) from None
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"The manifests that stage {stage} reads are damaged: {error!r} is not as it must be. "
            "Run: dvc repro --force"
        ) from None
