"""Stage `tokenize`: raw files -> shards of local word ids, each beside its dictionary. The only pass over text.

A shard is worked on by one process from raw bytes to finished files; nothing it writes depends on another shard or on
the number of workers. What is finished when the stage is killed stays (wordlab.parts).
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from wordlab.corpus_format import TEXT, is_plain_text, look_at_kinds, open_corpus_text
from wordlab.decompression import sniff_format
from wordlab.duplicates import VERDICTS
from wordlab.errors import CorpusError
from wordlab.line_filters import filter_versions
from wordlab.morphemes import kiwi_versions
from wordlab.parallel import Workers, as_workers, map_tasks
from wordlab.part_keys import PartKeys
from wordlab.parts import Parts, Record, kept_parts, make_part
from wordlab.piece_training import train_pieces
from wordlab.pieces import MODEL
from wordlab.remote_files import CorpusPath, RemoteFile, size_of
from wordlab.sections.download import CorpusFormatConfig
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.shard_sums import KeptSum
from wordlab.shard_text import ShardPass, judge_lines
from wordlab.shard_tokens import ShardReport, tokenize_shard
from wordlab.spans import ShardTask, cut_into_shards
from wordlab.stage import progress, say


def tokenize_corpus(
    files: Sequence[CorpusPath],
    config: TokenizeConfig,
    out_folder: Path,
    workers: int | Workers,
    stored: CorpusFormatConfig = TEXT,
) -> dict[str, Any]:
    """Tokenize the files, in this order, into out_folder. Returns the manifest's content. stored: how they are.

    Goes on with the shards that an earlier run has finished before it ended, if they would be the same now. Raises
    CorpusError if there is nothing to learn from or the text is broken.
    """
    versions = _versions(config)  # what is missing is told before anything is read
    look_at_kinds(files, stored)
    workers = as_workers(workers)
    keys = PartKeys(files, config, stored, versions)
    with kept_parts(out_folder, keys.identity, keys.common) as parts:
        before: list[str] = []
        total = _bytes_to_read(files, config, stored)
        for name, description, work in _passes_before(config):
            key = keys.of_pass(name, before)
            kept = KeptSum(parts, f"before-{name}", keys.of_reading(name, before))
            if parts.found(name, key) is None:
                tasks = _tasks(files, config, stored, Counter(), workers, announce=False)
                run = functools.partial(map_tasks, workers=workers, shared=parts.place)
                keys_of = functools.partial(keys.of_shard, before=[name, *before])
                with progress(total, "B", description) as bar:
                    shards = ShardPass(_shown(tasks, bar), kept, run, keys_of)
                    one_pass = functools.partial(work, config, verdicts=parts.folder, shards=shards)
                    parts.add(name, make_part(parts.place, name, one_pass, None, key))
            kept.remove()  # here too if it was there: a run may have been killed just before
            before.append(parts.digest(name))
        dropped: Counter[str] = Counter()
        keyed = ((task, keys.of_shard(task, before)) for task in _tasks(files, config, stored, dropped, workers))
        reports = _all_shards(keyed, config, parts, workers, total)
        content = _manifest_content(reports, dropped) | versions
        if content["num_tokens"] == 0:
            parts.remove()  # there is nothing in them
            raise CorpusError(_no_tokens_message(files, reports, dropped))
        keys.require_unchanged()
        parts.publish(out_folder, "tokenize", content)
    return content


def _passes_before(config: TokenizeConfig) -> list[tuple[str, str, Callable[..., dict[str, int]]]]:
    """What has to see all of the text before the first shard is tokenized, in this order: name, what is shown, work."""
    passes: list[tuple[str, str, Callable[..., dict[str, int]]]] = []
    if config.filters.look_ahead:
        passes.append((VERDICTS, "look for repeated lines", judge_lines))
    if config.tokenizer == "sentencepiece":
        passes.append((MODEL, "sample sentences", train_pieces))
    return passes


def _shown(tasks: Iterable[ShardTask], bar: Any) -> Iterator[ShardTask]:
    """The same, shown as done when the next one is asked for."""
    for task in tasks:
        yield task
        bar.update(task.raw_bytes)


def _all_shards(
    tasks: Iterable[tuple[ShardTask, list[str]]],
    config: TokenizeConfig,
    parts: Parts,
    workers: Workers,
    total: int | None,
) -> list[ShardReport]:
    """Have every shard worked on that is not finished yet. Their reports, in order. tasks: with their keys."""
    reports: dict[str, Any] = {}
    with progress(total, "B", "tokenize") as bar:

        def unfinished() -> Iterator[tuple[ShardTask, str]]:
            for task, keys in tasks:
                name = _part_name(task)
                reports[name] = parts.found(name, *keys)
                if reports[name] is None:
                    yield task, keys[0]
                else:
                    bar.update(reports[name]["raw_bytes"])

        work = functools.partial(_make_shard, config=config, place=parts.place)
        for name, record in map_tasks(work, unfinished(), workers, parts.place):
            reports[name] = parts.add(name, record)
            bar.update(reports[name]["raw_bytes"])
    return [ShardReport(**report) for report in reports.values()]


def _part_name(task: ShardTask) -> str:
    return f"{task.index:05d}"


def _make_shard(keyed: tuple[ShardTask, str], config: TokenizeConfig, place: Path) -> tuple[str, Record]:
    task, key = keyed

    def work(folder: Path) -> dict[str, Any]:
        return dataclasses.asdict(tokenize_shard(task, config, folder, place / "files"))

    return _part_name(task), make_part(place, _part_name(task), work, None, key)


def _versions(config: TokenizeConfig) -> dict[str, Any]:
    """What else decides the tokens, where that is not part of this project."""
    kiwi = {"kiwi": kiwi_versions()} if config.tokenizer == "kiwi" else {}
    return kiwi | filter_versions(config.filters)


def _tasks(
    files: Sequence[CorpusPath],
    config: TokenizeConfig,
    stored: CorpusFormatConfig,
    dropped: Counter[str],
    workers: Workers,
    announce: bool = True,
) -> Iterator[ShardTask]:
    """All shards; says of each file whether `wiki` finds nothing to strip. dropped: counts rows that gave no text."""
    find_dumps = config.normalizer in ("wiki", "korean")
    announce = announce and config.normalizer == "wiki"  # with korean there is something to do to any text
    by_document = config.filters.by_document
    reading = functools.partial(open_corpus_text, stored=stored, invalid=config.invalid_bytes, by_document=by_document)
    open_text = functools.partial(reading, dropped=dropped, threads=workers.cores)  # that unpack, ahead of the workers
    read_later = workers.executor != "dask"  # a cluster's hosts need not have the corpus
    ahead = functools.partial(_may_open_ahead, stored=stored)
    cutting = (config.shard_bytes, find_dumps, open_text, config.max_bytes, read_later, by_document, ahead)
    for task in cut_into_shards(files, *cutting):
        for span in task.spans:
            if announce and span.dump is None and span.starts_file:
                say(f"{span.path} is no MediaWiki dump: its text is taken as it is (tokenize.normalizer=plain)")
        yield task


def _may_open_ahead(path: CorpusPath, stored: CorpusFormatConfig) -> bool:
    """Whether opening a file takes long, but neither memory nor counts what is dropped: plain text in a store."""
    return isinstance(path, RemoteFile) and sniff_format(path) == "text" and is_plain_text(path, stored)


def total_bytes(files: Sequence[CorpusPath], stored: CorpusFormatConfig = TEXT) -> int | None:
    """Bytes of text in the files; None where that is not known before they are read."""
    if any(sniff_format(path) != "text" or not is_plain_text(path, stored) for path in files):
        return None
    return sum(size_of(path) for path in files)


def _bytes_to_read(files: Sequence[CorpusPath], config: TokenizeConfig, stored: CorpusFormatConfig) -> int | None:
    size = total_bytes(files, stored)
    return min(size, config.max_bytes) if size and config.max_bytes else size


def _manifest_content(reports: Sequence[ShardReport], dropped_rows: Counter[str]) -> dict[str, Any]:
    dropped = sum((Counter(report.dropped) for report in reports), dropped_rows)
    return {
        "raw_bytes": sum(report.raw_bytes for report in reports),
        "num_tokens": sum(report.num_tokens for report in reports),
        "num_sentences": sum(report.num_sentences for report in reports),
        "dropped": dict(sorted(dropped.items())),
        "shards": [
            {"num_tokens": r.num_tokens, "num_sentences": r.num_sentences, "num_words": r.num_words} for r in reports
        ],
    }


def _no_tokens_message(files: Sequence[CorpusPath], reports: Sequence[ShardReport], dropped: Counter[str]) -> str:
    rows = "".join(f", {count} {reason.replace('_', ' ')}" for reason, count in sorted((+dropped).items()))
    raw_bytes = sum(report.raw_bytes for report in reports)
    names = ", ".join(str(path) for path in files[:3]) + (", ..." if len(files) > 3 else "")
    return (
        f"The corpus holds no words: {raw_bytes} bytes in {len(files)} files ({names}){rows}. Check corpus, "
        "download.corpus_format, tokenize.normalizer and tokenize.tokenizer in params.yaml, then run: dvc repro"
    )
