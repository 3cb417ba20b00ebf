"""The text of one shard as it is tokenized: normalised, then filtered line by line; and the pass before it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from wordlab.duplicates import find_duplicates, shard_verdicts
from wordlab.line_filters import LineKeys, filtered_text, line_keys
from wordlab.parallel import Workers, map_tasks
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.spans import ShardTask
from wordlab.text import normalized_text


def shard_text(task: ShardTask, config: TokenizeConfig, verdicts: Path) -> tuple[bytes, Counter[str]]:
    """Text of a shard in UTF-8, and what was dropped, by reason. verdicts: a folder with those over repeated lines."""
    text, dropped = _normalized(task, config)
    if config.filters.drop_some:
        repeated = shard_verdicts(verdicts, task.index) if config.filters.look_ahead else None
        text = filtered_text(text, config.filters, repeated, dropped)
    return text, dropped


def judge_lines(
    tasks: Iterable[ShardTask], config: TokenizeConfig, folder: Path, workers: int | Workers, shared: Path
) -> dict[str, int]:
    """Look through all shards for lines that are repeated; write verdicts into `folder`. Returns what to report.

    shared: a folder that the workers of a cluster see.
    """
    work = functools.partial(shard_keys, config=config)
    repeated = find_duplicates(map_tasks(work, tasks, workers, shared), config.filters, folder)
    return {"repeated_lines": repeated}


def shard_keys(task: ShardTask, config: TokenizeConfig) -> LineKeys:
    """What decides which lines of a shard are repeated."""
    return line_keys(_normalized(task, config)[0], config.filters)


def _normalized(task: ShardTask, config: TokenizeConfig) -> tuple[bytes, Counter[str]]:
    return normalized_text(task.read(), config.invalid_bytes, config.normalizer == "korean", config.filters.by_document)
