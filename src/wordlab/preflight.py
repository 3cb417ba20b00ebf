"""What a stage will need, told before it begins: memory of all its processes, and disk.

A stage that is killed for want of memory after an hour has said nothing and lost the hour. So each heavy stage asks
first: `begin("train", params, seed)`. The estimates follow from sizes that are known by then (files, manifests,
params.yaml); the constants are measured, and tests compare the whole with the measured peak. Memory here is what must
be there: a process's own pages. Mapped files are left out, since the kernel gives their pages up; they count under a
limit of the address space.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wordlab import machine
from wordlab.artifacts import read_manifest
from wordlab.claims import claim
from wordlab.config import Params
from wordlab.errors import ArtifactError, ConfigError, ResourceError
from wordlab.limits import held_bytes
from wordlab.preflight_words import counted_words, merging
from wordlab.shards import DICTIONARY_SCHEMA, map_batch
from wordlab.stage import available_cores, say

VARIABLE = "WORDLAB_PREFLIGHT"
"""Set to `warn`, a stage says what it lacks and begins all the same. For whoever knows better than an estimate."""
DATA = Path("data")
STAGES = ("download", "tokenize", "vocab", "encode", "train", "evaluate", "report")
MB = 1_000_000

# Measured on Linux, x86-64, Python 3.11 to 3.13; tests/test_preflight.py holds them against this machine.
PROCESS_BYTES = 130 * MB
"""A process that has loaded numba, Arrow and its compiled functions."""
TRAIN_BYTES = 160 * MB
"""The same with the compiled functions of training, of which there are more."""
DOWNLOAD_BYTES = 50 * MB
"""The download stage, which holds a piece of a file at a time."""
PLOTS_BYTES = 150 * MB
"""The same with matplotlib and three figures drawn."""
WORKER_FACTOR = 5.0
"""Bytes a worker holds for each byte of its shard: raw, normalised and folded text, numbered tokens, words."""
TASK_FACTOR = 2.0
"""Bytes held in the first process for each byte of a shard that waits for a worker."""
EXPANSION = 5
"""Text in a compressed file, at most, as a multiple of the file: what bzip2 and xz make of Wikipedia."""
TOKENS_DISK_FACTOR = 1.2
"""Bytes written by tokenize for each byte of text: a number of 4 bytes for a word of 4.7 letters and a space."""
FILTER_FACTOR = 5.0
"""Bytes a worker holds for each byte of its shard while it looks at lines, each an object of Python's twice."""
USUAL_LINE = 200
"""Bytes of a line of text, as far as nobody has counted."""
LINE_BYTES, NEAR_LINE_BYTES = 17, 529
"""Written for a line while repeated ones are looked for (`wordlab.duplicates`), equal or similar ones."""
PIECES_FACTOR = 30
"""Bytes that sentencepiece holds for each byte of its sample."""
STORE_BYTES = 70 * MB
"""The packages for S3 and two pieces of a file, in each process that reads a corpus in a store."""
KIWI_BYTES = 500 * MB
"""Kiwi with its dictionary, and what it keeps in mind while it reads, in each worker."""
COUNTED_WORD_BYTES = 150
"""A distinct word while dictionaries are merged: table, counts, Arrow."""
SELECTED_WORD_BYTES = 125
"""A word of the vocabulary while it is selected: rows of dictionaries, filtered, joined and sorted; sampling tables."""
WORD_BYTES = 260
"""A word of the vocabulary as a Python string in a list, with its bytes in Arrow and its line of text."""
ENCODE_WORD_BYTES = 100
"""A word of the vocabulary in Arrow and in a hash table."""
FOLDED_WORD_BYTES = 220
"""A word in evaluation's index, a dict of its upper case."""
CUT_WORD_BYTES = 400
"""The tokens of a word that is put together of them: a list and a few strings."""
PHRASE_BYTES = 150
"""A phrase in tables and lists, beside the text of its parts."""
WORDS_PER_PHRASE = 2
"""Frequent words for each phrase; two passes over enwik8 find one for each 2.3, 200 and 100 the thresholds."""
MINIMUM_DISK = 20 * MB


@dataclass(frozen=True)
class Need:
    """What a stage will take at its peak, and how to make it less."""

    stage: str
    memory_bytes: int
    """All its processes together, mapped files left out."""
    mapped_bytes: int
    disk_bytes: int
    folder: Path
    """Where it will write."""
    lower: str
    """What to lower in params.yaml: ends a sentence."""


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
    estimates: dict[str, Callable[[Params, int | None], Need]] = {
        "download": _download,
        "tokenize": _tokenize,
        "vocab": _vocab,
        "encode": _encode,
        "train": _train,
        "evaluate": _evaluate,
        "report": _report,
    }
    try:
        return estimates[stage](params, seed)
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


def _download(params: Params, _: int | None) -> Need:
    """Each file lies in the store and in data/download, and an archive beside it while it is unpacked."""
    from wordlab.catalog import load_catalog
    from wordlab.fetch import main_checkout

    catalog = load_catalog()
    store = main_checkout() / ".wordlab" / "downloads"
    disk = MINIMUM_DISK
    for name in (params.corpus, *params.download.evaluation_sets):
        if name in catalog:
            row = catalog[name]
            is_kept = any((store / location.sha256).exists() for location in row.locations)
            disk += row.size_bytes if is_kept else 3 * row.size_bytes
    lower = "a smaller corpus"
    return Need("download", DOWNLOAD_BYTES, 0, disk, DATA / "download", lower)


def corpus_text_bytes(params: Params) -> int:
    """Bytes of the corpus as text, before it is downloaded; compressed files at their most. Raises ConfigError."""
    from wordlab.catalog import load_catalog
    from wordlab.corpus_format import text_factor
    from wordlab.dumps import find_dump
    from wordlab.own_corpus import find_own
    from wordlab.remote_files import size_of

    catalog = load_catalog()
    if params.corpus in catalog:
        return catalog[params.corpus].size_bytes
    if find_dump(params.corpus):
        return 0  # nobody knows before it is there; its stages look then
    stored = params.download.corpus_format
    files = find_own(params.corpus, catalog).files()
    return sum(size_of(file) * text_factor(file, stored, EXPANSION) for file in files)


def _tokenize(params: Params, _: int | None) -> Need:
    from wordlab.bzip2 import MAX_THREADS, THREAD_BYTES
    from wordlab.corpus_format import is_plain_text, recorded_format, text_factor
    from wordlab.rawtext import corpus_files
    from wordlab.remote_files import RemoteFile

    stored, files = recorded_format(), corpus_files()
    sizes = [file.size_bytes * text_factor(file.path, stored, EXPANSION) for file in files]
    is_plain = all(file.format == "text" and is_plain_text(file.path, stored) for file in files)
    need = tokenize_need(sum(sizes), params, read_later=is_plain and params.run.executor != "dask")
    if any(file.format == "bzip2" for file in files):
        threads = min(params.run.workers or available_cores(), MAX_THREADS)
        need = dataclasses.replace(need, memory_bytes=need.memory_bytes + threads * THREAD_BYTES)
    if any(isinstance(file.path, RemoteFile) for file in files):
        processes = 1 + (_workers_here(params) if params.run.executor == "processes" else 0)
        need = dataclasses.replace(need, memory_bytes=need.memory_bytes + processes * STORE_BYTES)
    return need


def tokenize_need(text_bytes: int, params: Params, read_later: bool = False) -> Need:
    """What tokenizing so much text takes. read_later: by the workers, so that no text waits in the first process."""
    config = params.tokenize
    text_bytes = min(text_bytes, config.max_bytes or text_bytes)
    num_shards = max(1, math.ceil(text_bytes / config.shard_bytes))
    shard_bytes = min(text_bytes, config.shard_bytes)
    workers = min(_workers_here(params), num_shards)
    memory = PROCESS_BYTES + workers * int(WORKER_FACTOR * shard_bytes)
    if _workers_here(params) > 1:
        waiting = min(num_shards, workers + 1)
        memory += 0 if read_later else int(TASK_FACTOR * waiting * shard_bytes)
        memory += workers * PROCESS_BYTES if params.run.executor == "processes" else 0
    lower = "a smaller tokenize.shard_bytes or fewer run.workers"
    if config.tokenizer == "sentencepiece":
        memory += PIECES_FACTOR * min(text_bytes, config.sentencepiece.sample_bytes)
        lower = f"a smaller tokenize.sentencepiece.sample_bytes, {lower}"
    if config.tokenizer == "kiwi":
        memory += workers * KIWI_BYTES
    disk = int(TOKENS_DISK_FACTOR * text_bytes) + MINIMUM_DISK
    if config.filters.drop_some:
        memory += workers * int(FILTER_FACTOR * shard_bytes)
    if config.filters.look_ahead:
        line_bytes = NEAR_LINE_BYTES if config.filters.near_duplicates else LINE_BYTES
        disk += text_bytes // USUAL_LINE * line_bytes
    return Need("tokenize", memory, 0, disk, DATA / "tokenize", f"{lower}, or a smaller corpus or tokenize.max_bytes")


def _workers_here(params: Params) -> int:
    """Workers on this machine; the first process counts as one where a cluster does the work."""
    return 1 if params.run.executor == "dask" else params.run.workers or available_cores()


def _vocab(params: Params, _: int | None) -> Need:
    folder = DATA / "tokenize"
    shards = read_manifest(folder, "tokenize")["shards"]
    distinct, kept, word_bytes, exponent = counted_words(folder, len(shards), params.vocab.min_count)
    kept = min(kept, params.vocab.max_size or kept)
    counting, phrases = _phrases(params, shards, kept)
    kept += phrases
    rows, groups, waiting = merging(folder, len(shards), word_bytes)
    # The table's arrays are copied to grow, so the text of the words is there three times at worst.
    word = COUNTED_WORD_BYTES + 3 * word_bytes
    merge = min(int(distinct * groups**-exponent), rows) * word
    words = kept * (SELECTED_WORD_BYTES + 4 * word_bytes) + counting + phrases * (PHRASE_BYTES + 6 * word_bytes)
    disk = kept * (40 + 2 * word_bytes) + phrases * (44 + 2 * word_bytes) + waiting + MINIMUM_DISK
    lower = "a higher vocab.min_count, or a vocab.max_size, or a smaller corpus"
    if counting:  # words that are frequent enough for phrases are in a table of their own
        fewest = min(params.vocab.min_count, params.vocab.phrases.delta + 1)
        words += counted_words(folder, len(shards), fewest)[1] * word
        lower = f"fewer run.workers, a smaller tokenize.shard_bytes, no vocab.phrases.thresholds, {lower}"
    memory = PROCESS_BYTES + max(min(_workers_here(params), groups) * merge, merge + words)
    return Need("vocab", memory, waiting, disk, DATA / "vocab", lower)


def _phrases(params: Params, shards: list[dict[str, int]], words: int) -> tuple[int, int]:
    """Bytes that looking for phrases takes, and about how many of them there will be beside so many words."""
    if not params.vocab.phrases.thresholds:
        return 0, 0
    from wordlab.pair_counts import memory_bytes

    tokens = [shard["num_tokens"] for shard in shards]
    workers = min(params.run.workers or available_cores(), len(shards))
    return memory_bytes(sum(tokens), max(tokens, default=0), workers), words // WORDS_PER_PHRASE


def _encode(params: Params, _: int | None) -> Need:
    manifest = read_manifest(DATA / "tokenize", "tokenize")
    num_tokens, num_sentences = manifest["num_tokens"], manifest["num_sentences"]
    largest = max((4 * shard["num_tokens"] + 8 * shard["num_sentences"] for shard in manifest["shards"]), default=0)
    words, word_bytes = _vocabulary()
    written = 4 * num_tokens + 8 * num_sentences
    part = min(1.0, params.encode.shard_tokens / max(1, num_tokens))
    # A shard is collected in parts and then joined; the one being translated is there as well.
    memory = PROCESS_BYTES + int(2 * part * written) + 2 * largest
    if _workers_here(params) > 1:  # shards that others have translated, and wait
        memory += min(_workers_here(params), len(manifest["shards"])) * largest
    memory += words * (ENCODE_WORD_BYTES + 3 * word_bytes)
    if params.vocab.phrases.thresholds:  # a shard in ids of its own, and the phrases with their words in a table
        memory += largest + 5 * (DATA / "vocab" / "phrases.arrow").stat().st_size
    lower = "a smaller encode.shard_tokens, a smaller tokenize.shard_bytes, or a higher vocab.min_count"
    return Need("encode", memory, written, written + MINIMUM_DISK, DATA / "encode", lower)


def _vocabulary() -> tuple[int, int]:
    """Words of the vocabulary, and mean bytes of one."""
    path = DATA / "vocab" / "words.arrow"
    words = map_batch(path, DICTIONARY_SCHEMA, "vocab").num_rows
    return words, path.stat().st_size // max(1, words)


def _train(params: Params, seed: int | None) -> Need:
    from wordlab.kernels.memory import memory_bytes
    from wordlab.training import WordParts, fit_to_vocabulary
    from wordlab.vocab import SamplingTables

    words, word_bytes = _vocabulary()
    vocab = map_batch(DATA / "vocab" / "words.arrow", DICTIONARY_SCHEMA, "vocab")
    counts = vocab.column(1).to_numpy()
    tables = SamplingTables.build(counts, params.vocab.subsample_t, params.vocab.noise_power)
    threads = params.run.threads or available_cores()
    parts = WordParts.of(params.model, vocab.column(0), counts, tables)
    train = fit_to_vocabulary(params.train, counts, tables, parts.subwords)
    engine = memory_bytes(params.model, train, words, threads, *parts)
    ngrams = words + len(parts.subwords.buckets) if parts.subwords else 0
    memory = TRAIN_BYTES + engine + words * (WORD_BYTES + word_bytes) + 4 * ngrams * params.model.dim
    model = words * (8 * params.model.dim + word_bytes) + 4 * (ngrams + params.model.word_ngram_rows) * params.model.dim
    folder = DATA / "train" / f"seed-{seed}"
    fewer = ", fewer model.sent2vec.buckets" if params.model.word_ngram_rows else ""
    lower = f"a smaller model.dim{fewer}, a higher vocab.min_count, a vocab.max_size or fewer run.threads"
    return Need("train", memory, _size_of(DATA / "encode"), model + MINIMUM_DISK, folder, lower)


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.arrow"))


def _evaluate(params: Params, seed: int | None) -> Need:
    words, vectors = _model(DATA / "train" / f"seed-{seed}")
    copies = 2 if params.evaluate.vectors == "input" else 4
    memory = PROCESS_BYTES + copies * vectors + words * (WORD_BYTES + FOLDED_WORD_BYTES)
    if params.evaluate.words == "corpus":
        memory += _asked_words(params)
    lower = "a model with a smaller model.dim, a higher vocab.min_count or a vocab.max_size"
    return Need("evaluate", memory, vectors, MINIMUM_DISK, DATA / "evaluate" / f"seed-{seed}", lower)


def _asked_words(params: Params) -> int:
    """Bytes of words that are put together of tokens: counted, cut, and with vectors of their own."""
    from wordlab.tokenizers import CUT_IN_PARTS, words_name

    folder = DATA / "tokenize"
    shards = read_manifest(folder, "tokenize")["shards"]
    if params.tokenize.tokenizer not in CUT_IN_PARTS or not (folder / words_name(0)).exists():
        return 0  # where they are missing, the stage says so
    distinct, kept, word_bytes, _ = counted_words(folder, len(shards), params.vocab.min_count, words_name)
    kept = min(kept, params.vocab.max_size or kept)
    each = WORD_BYTES + FOLDED_WORD_BYTES + CUT_WORD_BYTES + 12 * params.model.dim  # as made, joined, of length 1
    kiwi = KIWI_BYTES if params.tokenize.tokenizer == "kiwi" else 0
    return distinct * (COUNTED_WORD_BYTES + 3 * word_bytes) + kept * (each + word_bytes) + kiwi


def _report(params: Params, _: int | None) -> Need:
    words, vectors = _model(DATA / "train" / f"seed-{params.seeds[0]}")
    memory = PLOTS_BYTES + words * WORD_BYTES
    return Need("report", memory, vectors, MINIMUM_DISK, DATA / "report", "a smaller report.map_words")


def _model(folder: Path) -> tuple[int, int]:
    """Words of a model and the bytes of its input vectors."""
    vectors = int(read_manifest(folder, "train")["files"]["input_vectors.npy"]["size_bytes"])
    return map_batch(folder / "words.arrow", DICTIONARY_SCHEMA, "train").num_rows, vectors
