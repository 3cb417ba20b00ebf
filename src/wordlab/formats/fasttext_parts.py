"""What fastText's .bin files are made of: their fixed parts, and parameters with their names here."""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wordlab.formats.contents import Contents

MAGIC = 793712314
VERSIONS = (11, 12)
END_OF_SENTENCE = "</s>"
START = struct.Struct("<ii")
ARGS = struct.Struct("<12id")
"""The fields of `Args`."""
DICTIONARY = struct.Struct("<3i2q")
ENTRY = struct.Struct("<qb")
MATRIX = struct.Struct("<?qq")
CBOW, SKIPGRAM, SUPERVISED = 1, 2, 3
_OBJECTIVES = {1: "hs", 2: "ns", 3: "softmax"}
_MOST_INT = 2**31 - 1


@dataclass(frozen=True)
class Args:
    """fastText's parameters that are in a file, in its order, with its defaults (args.cc, `Args::Args`)."""

    dim: int
    ws: int = 5
    epoch: int = 5
    min_count: int = 1
    neg: int = 5
    word_ngrams: int = 1
    loss: int = 2
    model: int = SKIPGRAM
    bucket: int = 0
    minn: int = 0
    maxn: int = 0
    lr_update_rate: int = 100
    t: float = 1e-4

    def pack(self) -> bytes:
        """The bytes in a file."""
        return ARGS.pack(*astuple(self))


def to_config(args: Args) -> dict[str, Any]:
    """What the parameters say, in the names of params.yaml."""
    model = {
        "arch": "skipgram" if args.model == SKIPGRAM else "cbow",
        "objective": _OBJECTIVES.get(args.loss, "ns"),
        "dim": args.dim,
        "window": args.ws,
        "negatives": args.neg,
    }
    return {
        "model": model,
        "train": {"epochs": args.epoch},
        "vocab": {"min_count": args.min_count, "subsample_t": args.t},
    }


def of_contents(contents: Contents) -> Args:
    """fastText's parameters, from how the model was trained; what is not known has fastText's default."""
    config, defaults = contents.config or {}, Args(contents.vectors.shape[1])
    objectives = {name: number for number, name in _OBJECTIVES.items()}
    args = replace(
        defaults,
        ws=_known(config, "model", "window", defaults.ws),
        epoch=_known(config, "train", "epochs", defaults.epoch),
        min_count=_known(config, "vocab", "min_count", defaults.min_count),
        neg=_known(config, "model", "negatives", defaults.neg),
        loss=objectives.get(_known(config, "model", "objective", "ns"), defaults.loss),
        model=SKIPGRAM if _known(config, "model", "arch", "skipgram") == "skipgram" else CBOW,
        t=_known(config, "vocab", "subsample_t", defaults.t),
    )
    if contents.subwords is None:
        return args
    ngrams = contents.subwords.ngrams
    return replace(args, bucket=ngrams.buckets, minn=ngrams.min_n, maxn=ngrams.max_n)


def _known(config: dict[str, Any], section: str, key: str, default: Any) -> Any:
    """A parameter, or the default where there is none that a file can hold."""
    values = config.get(section)
    value = values.get(key) if isinstance(values, dict) else None
    fits = isinstance(value, type(default)) and (not isinstance(value, int) or 0 <= value <= _MOST_INT)
    return value if fits else default


def end_of_sentence(words: pa.LargeStringArray) -> int | None:
    """Row of the word `</s>`."""
    row = pc.index(words, pa.scalar(END_OF_SENTENCE, pa.large_string())).as_py()
    return None if row < 0 else row
