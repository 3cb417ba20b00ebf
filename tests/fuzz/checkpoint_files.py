"""The reader of checkpoints: a header of JSON, a mapped table, a checksum over both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.reader import Reader, on_file
from wordlab.checkpoint_file import MAGIC, read_checkpoint, write_checkpoint

_IDENTITY = {"seed": 1, "engine": {"name": "cpu"}, "code": "a" * 64}
_CHECKSUM = 32
_NUMBERS = (0, 1, -1, 3, 16, 2**31, 2**63, 10**30, 1.0, 1e308, True, None, "ab", [], [0], {}, "9" * 5000)


def _read(path: Path) -> str:
    state, table = read_checkpoint(path, _IDENTITY)
    assert table.dtype == np.float32 and table.nbytes <= path.stat().st_size
    float(np.asarray(table[-1, -1]))
    return f"a table of {min(len(table), 99)} rows, {len(state)} entries"


def _seeds(folder: Path) -> list[bytes]:
    path, seeds = folder / "a.ckpt", []
    for rows, columns, identity in ((3, 16, _IDENTITY), (1, 1, _IDENTITY), (2, 5, {"seed": 2})):
        write_checkpoint(
            path, identity, {"segments": 3, "curve": [{"loss": 0.5}]}, np.ones((rows, columns), np.float32)
        )
        seeds.append(path.read_bytes())
    return seeds


def _build(rng: Random, seeds: list[bytes]) -> bytes:
    """A header with some of its values exchanged, before the right table or a part of one."""
    header = {"identity": _IDENTITY, "state": {"segments": 3}, "shape": [3, 16]}
    for _ in range(rng.randrange(3)):
        header[rng.choice(("identity", "state", "shape"))] = rng.choice(_NUMBERS)  # type: ignore[assignment]
    if rng.random() < 0.7:
        header["shape"] = [rng.choice(_NUMBERS) for _ in range(rng.choice((1, 2, 2, 2, 3)))]
    text = json.dumps(header).encode()
    text = mutations.mutated_tree(rng, text) if rng.random() < 0.3 else text
    length = rng.choice((len(text), len(text), len(text), 0, 2**63, len(text) + 7))
    return MAGIC + length.to_bytes(8, "little") + text + bytes(rng.choice((192, 192, 4, 0))) + bytes(_CHECKSUM)


def _mend(rng: Random, data: bytes) -> bytes:
    """The right checksum over whatever it has become."""
    body = data[:-_CHECKSUM]
    return body + hashlib.sha256(body).digest()


READERS = (
    Reader(
        name="checkpoint",
        what="checkpoints of a training",
        open=on_file(_read, "segment-000000000003.ckpt"),
        seeds=_seeds,
        tokens=(MAGIC, b'"shape": ', b'"identity": ', b"[", b"{", b"null", b"1e999", b"-1", b"9" * 400),
        build=_build,
        finish=_mend,
        guided=True,
    ),
)
