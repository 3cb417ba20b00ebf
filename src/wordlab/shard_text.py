"""The text of one shard as it is tokenized: normalised, then filtered line by line; and the pass before it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wordlab.duplicates import find_duplicates, shard_verdicts
from wordlab.line_filters import LineKeys, filtered_text, line_keys
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.shard_sums import Arrays, KeptSum, Run, addends
from wordlab.spans import ShardTask
from wordlab.text import normalized_text


def shard_text(task: ShardTask, config: TokenizeConfig, verdicts: Path) -> tuple[bytes, Counter[str]]:
    """Text of a shard in UTF-8, and what was dropped, by reason. verdicts: a folder with those over repeated lines."""
    text, dropped = _normalized(task, config)
    if config.filters.drop_some:
        repeated = shard_verdicts(verdicts, task.index) if config.filters.look_ahead else None
        text = filtered_text(text, config.filters, repeated, dropped)
    return text, dropped


@dataclass(frozen=True)
class ShardPass:
    """A pass over all of the text, before the first shard is tokenized."""

    tasks: Iterable[ShardTask]
    kept: KeptSum
    """Where what shards give is kept until the pass is done."""
    run: Run[Any]
    """Has it done on workers."""
    keys_of: Callable[[ShardTask], Sequence[str]]
    """Keys that stand for what a shard gives, if that depends on no other shard."""


def judge_lines(config: TokenizeConfig, folder: Path, verdicts: Path, shards: ShardPass) -> dict[str, int]:
    """Look through all shards for lines that are repeated; write verdicts into `folder`. Returns what to report.

    verdicts: of passes before this one, of which there is none.
    """
    tasks = ((task.index, task) for task in shards.tasks)
    found = addends(shards.kept, tasks, functools.partial(_shard_keys, config=config), shards.run, shards.keys_of)
    repeated = find_duplicates((LineKeys(int(number[0]), *keys) for number, *keys in found), config.filters, folder)
    return {"repeated_lines": repeated}


def _shard_keys(task: ShardTask, config: TokenizeConfig) -> Arrays:
    """What decides which lines of a shard are repeated: `LineKeys`, as arrays."""
    keys = line_keys(_normalized(task, config)[0], config.filters)
    return np.array([keys.num_lines]), keys.lines, keys.hashes, keys.compared, keys.signatures


def _normalized(task: ShardTask, config: TokenizeConfig) -> tuple[bytes, Counter[str]]:
    return normalized_text(task.read(), config.invalid_bytes, config.normalizer == "korean", config.filters.by_document)
