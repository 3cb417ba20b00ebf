"""Ways to spoil a file: systematic ones, random ones on bytes, and random ones on trees of plain values.

All are quick, a few microseconds each: the readers shall take the time.
"""

from __future__ import annotations

import copy
import json
import re
import struct
from random import Random
from typing import Any

MOST_BYTES = 1 << 16
_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 64, 127, 128, 255, 256, 4096, 65535, 65536, 1 << 20, 1 << 24)
_LIMITS = (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_BYTES = b"\x00\x01\x7f\x80\xff \n\r\t\"'.,:;-+0159{}[]<>&*|\\/eE"
_DECIMALS = (b"0", b"1", b"2", b"-1", b"00", b"65537", b"1000000", b"2147483648", b"9" * 18, b"9" * 19, b"9" * 400)
_DIGITS = re.compile(rb"[0-9]+")
SYSTEMATIC_BYTES = 1 << 11
"""Places of a seed that are changed one by one; those of a longer seed are spread evenly."""
_CHANGES = 5


def num_systematic(seeds: list[bytes]) -> int:
    """How many systematic inputs there are."""
    return sum(1 + min(len(seed), SYSTEMATIC_BYTES) * _CHANGES for seed in seeds)


def systematic(seeds: list[bytes], number: int) -> bytes | None:
    """Systematic input `number`: a seed, cut at a place, or with the byte there changed; None beyond the last."""
    for seed in seeds:
        places = min(len(seed), SYSTEMATIC_BYTES)
        if number < 1 + places * _CHANGES:
            return _spoiled(seed, number, places)
        number -= 1 + places * _CHANGES
    return None


def _spoiled(seed: bytes, number: int, places: int) -> bytes:
    if number == 0:
        return seed
    step, change = divmod(number - 1, _CHANGES)
    place = step * len(seed) // places
    if change == 0:
        return seed[:place]
    byte = seed[place]
    new = (0, 0xFF, byte ^ 1, byte ^ 0x80)[change - 1]
    return seed[:place] + bytes([new]) + seed[place + 1 :]


def mutated(rng: Random, data: bytes, seeds: list[bytes], tokens: tuple[bytes, ...]) -> bytes:
    """A file with one to eight random changes."""
    changed = bytearray(data)
    for _ in range(1 << rng.randrange(4)):
        _OPERATIONS[int(rng.random() * len(_OPERATIONS))](rng, changed, seeds, tokens)
    return bytes(changed[:MOST_BYTES])


def _place(rng: Random, data: bytearray) -> int:
    return int(rng.random() * len(data))


def _flip_bit(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _set_byte(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    if data:
        data[_place(rng, data)] = rng.choice(_BYTES) if rng.random() < 0.5 else rng.randrange(256)


def _set_number(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    """Write a telling number over 1, 2, 4 or 8 bytes, mostly where such a number would be aligned."""
    size = 1 << rng.randrange(4)
    if len(data) < size:
        return
    place = rng.randrange(len(data) - size + 1)
    if rng.random() < 0.8:
        place -= place % size
    kind = rng.random()
    if kind < 0.4:
        number = rng.choice(_NUMBERS)
    elif kind < 0.6:
        number = rng.choice(_LIMITS)
    elif kind < 0.8:
        number = len(data) + rng.randrange(-16, 17)
    else:
        number = int.from_bytes(data[place : place + size], "little") + rng.randrange(-8, 9)
    if rng.random() < 0.15:
        number = -number
    order = "little" if rng.random() < 0.8 else "big"
    data[place : place + size] = (number % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]


def _set_decimal(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    """Put another number in the place of one that is written in digits."""
    match = _DIGITS.search(data, _place(rng, data)) or _DIGITS.search(data)
    if match:
        data[match.start() : match.end()] = rng.choice(_DECIMALS)


def _cut(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    del data[_place(rng, data) :]


def _drop(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    start = _place(rng, data)
    del data[start : start + 1 + int(rng.expovariate(0.1))]


def _repeat(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    start = _place(rng, data)
    part = bytes(data[start : start + 1 + int(rng.expovariate(0.05))])
    times = 1 if rng.random() < 0.9 else 1 << rng.randrange(1, 12)
    data[start:start] = part * min(times, MOST_BYTES // (len(part) + 1))


def _move(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    start = _place(rng, data)
    part = data[start : start + 1 + int(rng.expovariate(0.05))]
    place = _place(rng, data)
    data[place : place + len(part)] = part


def _insert(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    part = rng.choice(tokens) if tokens and rng.random() < 0.8 else bytes([rng.choice(_BYTES)])
    if rng.random() < 0.1:
        part *= 1 << rng.randrange(1, 12)
    place = _place(rng, data)
    data[place:place] = part


def _splice(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    """The beginning of this file and the end of another one."""
    other = rng.choice(seeds)
    place = _place(rng, data)
    data[place:] = other[min(place, len(other)) if rng.random() < 0.5 else rng.randrange(len(other) + 1) :]


def _append(rng: Random, data: bytearray, seeds: list[bytes], tokens: tuple[bytes, ...]) -> None:
    data += rng.choice(seeds) if rng.random() < 0.3 else rng.randbytes(rng.randrange(1, 40))


_OPERATIONS = (
    *(_flip_bit, _set_byte, _set_number, _set_number, _set_number, _set_decimal, _cut, _drop, _repeat, _move),
    *(_insert, _insert, _splice, _append),
)


_LEAVES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), "", " ", "a", "\0", "\ud800", "../x", "/etc/passwd", "a" * 300, "null", "\n", "é"),
    *([], {}, [[]], [None], {"": None}, [1, "a"], {"path": "x"}, {"size_bytes": 1}),
)


def mutated_tree(rng: Random, tree: bytes) -> bytes:
    """JSON of dicts and lists with one to four random changes; NaN and halves of surrogate pairs are among them."""
    changed = json.loads(tree)
    for _ in range(1 << rng.randrange(3)):
        changed = _spoil_tree(rng, changed)
    return json.dumps(changed).encode()


def _spoil_tree(rng: Random, tree: Any) -> Any:
    """Change one place of a tree, any depth."""
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.03:
        return _leaf(rng)
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    key = keys[rng.randrange(len(keys))]
    kind = rng.random()
    if kind < 0.6:
        tree[key] = _spoil_tree(rng, tree[key])
    elif kind < 0.75:
        del tree[key]
    elif isinstance(tree, list):
        tree.insert(rng.randrange(len(tree) + 1), _leaf(rng))
    elif kind < 0.9:
        tree[str(rng.choice(("", key, key + "s", key.upper(), "x", "\ud800")))] = _leaf(rng)
    else:
        tree[key] = tree.pop(keys[rng.randrange(len(keys))])
    return tree


def _leaf(rng: Random) -> Any:
    if rng.random() < 0.05:
        value: Any = []
        for _ in range(rng.choice((3, 30, 300))):
            value = [value] if rng.random() < 0.5 else {"a": value}
        return value
    return copy.deepcopy(_LEAVES[rng.randrange(len(_LEAVES))])


def floats(rng: Random, count: int) -> bytes:
    """float32 numbers, little endian, some of them not finite."""
    odd = (0.0, -0.0, 1e38, 1e-45, float("inf"), float("nan"), 1.0)
    numbers = (rng.choice(odd) if rng.random() < 0.1 else rng.uniform(-1, 1) for _ in range(count))
    return struct.pack(f"<{count}f", *numbers)
