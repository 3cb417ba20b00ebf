"""The programs that can be trained beside ours, and what each of them cannot do.

gensim      Word2Vec of gensim 4, reading a file (`corpus_file`); here anyway
fasttext    the C++ program by its own Python binding, PyPI `fasttext`; extra `peers`
word2vec    the C program, by Mikolov et al.; its binary lies in the folder that WORDLAB_PEERS names
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path

from wordlab.errors import ConfigError
from wordlab.sections.model import ModelConfig

VARIABLE = "WORDLAB_PEERS"
"""The folder of the C programs' binaries."""
FRESH_MEMORY = {"MALLOC_PERTURB_": "255"}
"""Environment in which programs run. fastText 0.9.3 draws a tenth of its first vectors in each thread and leaves the
others as memory was (densematrix.cc, uniformThread): with fewer than ten threads a run may end in NaN, or differ from
the next. By this, the GNU C library fills memory that it hands out with the complement of 255, which is 0."""
SEEDS = {
    "gensim": "its own: first vectors, and every random choice of its threads",
    "fasttext": "its own: first vectors, and every random choice of its threads",
    "word2vec": "none: the program takes no seed, so another one is the same run again. On one thread all are alike to "
    "the bit, and its spread is zero",
}
"""Program -> what a seed of params.yaml is to it."""
OBJECTIVES = {"gensim": ("ns", "hs"), "fasttext": ("ns", "hs", "softmax"), "word2vec": ("ns", "hs")}
INSTALL = "pip install -c constraints.txt -e '.[peers]'"


def require_able(program: str, model: ModelConfig) -> None:
    """Raise ConfigError where the program has no such model: it would be compared with another one."""
    units = model.subwords.units
    reasons = {
        f"model.arch={model.arch}": model.arch == "sent2vec",
        f"model.objective={model.objective}": model.objective not in OBJECTIVES[program],
        f"model.window_edges={model.window_edges}": model.window_edges != "cut",
        f"model.subwords.units={units}": units == "jamo" or (units != "none" and program != "fasttext"),
    }
    unable = [what for what, it_cannot in reasons.items() if it_cannot]
    if unable:
        raise ConfigError(
            f"peers.programs lists {program}, which cannot train with {', '.join(unable)}. Take it out of the list, or "
            "compare another model."
        )


def find_binary(program: str) -> Path:
    """A C program in the folder that WORDLAB_PEERS names. Raises ConfigError where there is none that can be run."""
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        raise ConfigError(
            f"peers.programs lists {program}, a program whose binary must lie in a folder that {VARIABLE} names, which "
            f"is not set. Build it (docs/comparing.md), then: export {VARIABLE}=FOLDER"
        )
    path = Path(folder) / program
    if not path.is_file():
        raise ConfigError(f"{path} is not there. Build {program} (docs/comparing.md), or set {VARIABLE} to its folder.")
    if not os.access(path, os.X_OK):
        raise ConfigError(f"{path} may not be executed. Run: chmod +x {path}")
    return path.absolute()


def version_of(program: str) -> str:
    """How a program is called in results: `gensim 4.4.0`. Raises ConfigError where it is not there."""
    known: dict[str, Callable[[], str]] = {"word2vec": lambda: find_binary("word2vec").name}
    if program in known:
        return known[program]()
    try:
        return f"{program} {importlib.metadata.version(program)}"
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(f"peers.programs lists {program}, which is not installed. Run: {INSTALL}") from None
