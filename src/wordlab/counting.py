"""Stage `vocab`: the shards' dictionaries -> one vocabulary. Reads tokens only to find phrases, and never text."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wordlab import dictionaries
from wordlab.artifacts import fingerprint, output_folder, write_manifest
from wordlab.dictionaries import BINS, map_dictionary, merged, merged_by_bins, write_binned
from wordlab.frequent_words import FrequentWords
from wordlab.parallel import Workers, as_workers, map_tasks
from wordlab.parts import Parts, Record, identity_of, kept_parts, make_part
from wordlab.phrase_counting import find_phrases
from wordlab.phrases import Phrases, no_phrases
from wordlab.sections.vocab import VocabConfig
from wordlab.shards import read_tokens_manifest, string_buffers
from wordlab.stage import progress
from wordlab.vocab import SamplingTables, Vocab
from wordlab.wordtable import WordTable

_LINES_TOGETHER = 1 << 16


def build_vocab(
    tokenize_folder: Path, config: VocabConfig, out_folder: Path, workers: int | Workers = 1
) -> dict[str, Any]:
    """Count, find phrases if there is a threshold for them, sort, cut; write words.arrow, phrases.arrow,
    sampling.arrow, vocab.tsv and the manifest. Returns the manifest's content.

    workers: that merge dictionaries; so many threads of this machine look for phrases.
    What is finished is kept beside out_folder until all is: a run that is killed goes on there.
    Raises CorpusError if fewer than two words are left.
    """
    workers = as_workers(workers)
    manifest = read_tokens_manifest(tokenize_folder)
    described = {"tokens": fingerprint(manifest["files"]), "config": dataclasses.asdict(config)}
    with kept_parts(out_folder, identity_of("vocab", **described), identity_of("vocab")) as parts:
        if config.phrases.thresholds:
            words, phrases, report = _count_with_phrases(tokenize_folder, manifest, config, parts, workers)
        else:
            words = FrequentWords(config.min_count, config.max_size)
            count_words(tokenize_folder, manifest, parts, workers, words)
            phrases, report = no_phrases(), {}
        return _written(out_folder, words, phrases, report, manifest, config)


def _written(
    out_folder: Path,
    words: FrequentWords,
    phrases: Phrases,
    report: dict[str, Any],
    manifest: dict[str, Any],
    config: VocabConfig,
) -> dict[str, Any]:
    """Write the files of the stage. Returns the manifest's content. report: of the phrases."""
    vocab, dropped = words.select(config)
    content = {
        "vocabulary": vocab.fingerprint,
        "num_words": len(vocab),
        "num_tokens": int(vocab.counts.sum()),
        "dropped": dropped,
        **report,
    }
    with output_folder(out_folder) as folder:
        vocab.save(folder / "words.arrow", fingerprint(manifest["files"]), phrases.fingerprint)
        if phrases:
            phrases.save(folder / "phrases.arrow")
        tables = SamplingTables.build(vocab.counts, config.subsample_t, config.noise_power)
        tables.save(folder / "sampling.arrow", vocab.fingerprint)
        _write_lines(folder / "vocab.tsv", vocab)
        write_manifest(folder, "vocab", content)
        if not phrases:  # for DVC, which wants each output there; nothing reads it, so no manifest lists it
            phrases.save(folder / "phrases.arrow")
    return content


def _write_lines(path: Path, vocab: Vocab) -> None:
    """Words and counts for people, made by Arrow, without a string of Python's for each."""
    nothing, tab, line_end = (pa.scalar(text, pa.large_string()) for text in ("", "\t", "\n"))
    with path.open("wb") as file:
        for start in range(0, len(vocab), _LINES_TOGETHER):
            words, counts = vocab.array.slice(start, _LINES_TOGETHER), vocab.counts[start : start + _LINES_TOGETHER]
            ends = pc.binary_join_element_wise(pc.cast(pa.array(counts), pa.large_string()), nothing, line_end)
            lines = pc.binary_join_element_wise(words, ends, tab)
            bounds, utf8 = string_buffers(lines)
            file.write(utf8[bounds[0] : bounds[-1]].data)


def _count_with_phrases(
    tokenize_folder: Path, manifest: dict[str, Any], config: VocabConfig, parts: Parts, workers: Workers
) -> tuple[FrequentWords, Phrases, dict[str, Any]]:
    """Words as they are counted with phrases joined, the phrases, and what the manifest says of them."""
    fewest = _fewest_in_phrases(config)
    counted = FrequentWords(fewest, keep_joined=True)
    count_words(tokenize_folder, manifest, parts, workers, counted)
    words, counts = counted.unordered()
    table = WordTable()
    table.add(words)
    shard_tokens = [shard["num_tokens"] for shard in manifest["shards"]]
    same_words = {"tokens": fingerprint(manifest["files"]), "fewest": fewest, "groups": _starts(manifest)}
    found = find_phrases(
        tokenize_folder,
        shard_tokens,
        table,
        counts,
        config.phrases,
        workers.number,
        parts,
        same_words,
        counted.rare_tokens,
    )
    left = found.counts > 0  # some words stand in phrases alone
    report = {"passes": found.passes, "words_in_phrases_alone": int((~left[: len(counts)]).sum())}
    words = table.words()
    frequent = counted.after_phrases(words.filter(pa.array(left)), found.counts[left], config)
    return frequent, found.phrases, {"phrases": report} if found.passes else {}


def _fewest_in_phrases(config: VocabConfig) -> int:
    """Tokens that a word must have to be looked at where phrases are joined.

    A pair occurs as often as its rarer word at most, and what occurs as often as delta or less is no phrase
    (wordlab.pair_counts). So whatever is that rare stays as it is, and need not be remembered word by word.
    """
    return min(config.min_count, config.phrases.delta + 1)


def count_words(
    tokenize_folder: Path, manifest: dict[str, Any], parts: Parts, workers: Workers, words: FrequentWords
) -> None:
    """Give `words` the distinct words of all shards with their counts; exact, whatever their number.

    Long corpora are counted in groups of shards, on several workers, and put together some bins of words at a time
    (wordlab.dictionaries). A group that is finished is kept in `parts`: a run that is killed goes on with the next.
    """
    num_shards = len(manifest["shards"])
    groups = _groups(manifest)
    if len(groups) < 2:
        paths = [tokenize_folder / _dictionary(index) for index in range(num_shards)]
        words.add(*merged(map(map_dictionary, progress(num_shards, "shard", "vocab", iterable=paths))))
        return
    keys = {group: _group_key(group, manifest) for group in groups}
    unfinished = [group for group in groups if parts.found(_group_name(group), keys[group]) is None]
    work = functools.partial(_count_group, tokenize_folder=tokenize_folder.absolute(), place=parts.place)
    tasks = [(group, keys[group]) for group in unfinished]
    with progress(num_shards, "shard", "vocab") as bar:
        bar.update(num_shards - sum(map(len, unfinished)))
        for group, record in zip(unfinished, map_tasks(work, tasks, workers, parts.place, True), strict=True):
            parts.add(_group_name(group), record)
            bar.update(len(group))
    found = [map_dictionary(parts.folder / f"{_group_name(group)}.arrow") for group in groups]
    bounds = [parts.found(_group_name(group), keys[group])["bounds"] for group in groups]
    with progress(BINS, "bin", "merge") as bar:
        for bins, dictionary in merged_by_bins(found, bounds, dictionaries.MERGED_BYTES):
            words.add(*dictionary)
            bar.update(len(bins))


def _groups(manifest: dict[str, Any]) -> list[range]:
    """Shards one after the other, as many as are merged together: by number and the size of their dictionaries."""
    groups: list[range] = []
    start = together = 0
    for index in range(len(manifest["shards"])):
        recorded = manifest["files"].get(_dictionary(index), {"size_bytes": 0})  # a missing one is told later
        if index > start and (
            index - start == dictionaries.SHARDS_TOGETHER
            or together + recorded["size_bytes"] > dictionaries.MERGED_BYTES
        ):
            groups.append(range(start, index))
            start, together = index, 0
        together += recorded["size_bytes"]
    return [*groups, range(start, len(manifest["shards"]))] if manifest["shards"] else []


def _starts(manifest: dict[str, Any]) -> list[int]:
    return [group.start for group in _groups(manifest)]


def _group_name(group: range) -> str:
    return f"words-{group.start:05d}"


def _group_key(group: range, manifest: dict[str, Any]) -> str:
    """Of what decides a group's words: its dictionaries."""
    return fingerprint([manifest["files"].get(_dictionary(index)) for index in group])


def _dictionary(index: int) -> str:
    return f"dictionary-{index:05d}.arrow"


def _count_group(task: tuple[range, str], tokenize_folder: Path, place: Path) -> Record:
    """Merge the dictionaries of a group of shards into one. The task is a group and its key."""
    group, key = task

    def work(folder: Path) -> dict[str, list[int]]:
        paths = [tokenize_folder / _dictionary(index) for index in group]
        dictionary = merged(map(map_dictionary, paths)) if len(paths) > 1 else map_dictionary(paths[0])
        return {"bounds": write_binned(folder / f"{_group_name(group)}.arrow", dictionary)}

    return make_part(place, _group_name(group), work, None, key)
