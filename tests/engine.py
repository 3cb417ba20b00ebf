"""The engines as the tests drive them. The only file of the tests that imports the kernels' parts.

Case                    one shard with its sampling tables, a configuration, a seed: all that decides a step
run_engine(case)        the CPU engine on it, threads and all
run_reference(case)     the reference on the same random choices; subsampling and micro-batches in plain Python
expected_step(...)      neither: every pair by itself, noise words and windows by their chances instead of by draws
write_data(folder, ..)  data/vocab and data/encode, as the stages before `train` leave them
The rest                parts of the kernels, wrapped so that Python can call them on arrays
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numba import njit
from numpy.typing import NDArray

from tests.sentence_rule import work_off
from wordlab import sampling, training
from wordlab.artifacts import write_manifest
from wordlab.huffman import Paths
from wordlab.kernels import reference, simd, threads
from wordlab.kernels.cpu import CpuEngine
from wordlab.sections.model import ModelConfig, Sent2vecConfig, SubwordsConfig
from wordlab.sections.train import BlockNegatives, Damping, LearningRates, TrainConfig
from wordlab.shards import write_sentences
from wordlab.subwords import Subwords
from wordlab.training import TrainingData
from wordlab.vocab import SamplingTables, Vocab

ARCHES = (("skipgram", "exact"), ("cbow", "exact"), ("cbow", "word2vec"))
EDGES = ("cut", "drop", "pad")
NOISE_MODES = tuple((arch, gradient, edges, "ns") for arch, gradient in ARCHES for edges in EDGES)
TREE_MODES = tuple((*mode[:3], "hs") for mode in NOISE_MODES if mode[::2] != ("skipgram", "pad"))
SOFTMAX_MODES = tuple((*mode[:3], "softmax") for mode in TREE_MODES)
WORD_MODES = NOISE_MODES + TREE_MODES + SOFTMAX_MODES
SUBWORD_MODES = tuple(
    (arch, gradient, edges, objective, "characters")
    for arch, gradient in (*ARCHES, ("skipgram", "word2vec"))
    for edges, objective in (("cut", "ns"), ("pad", "ns"), ("cut", "hs"), ("cut", "softmax"))
)
MODES = WORD_MODES + SUBWORD_MODES
"""Every method there is: arch, cbow_gradient, window_edges, objective, and subwords' units where there are any.
Skip-gram predicts padding only with ns, and has a bag, so that its gradient matters, only with subwords."""
SENTENCES = ("sent2vec", "exact", "cut", "ns")
"""The method that has no windows, and its own way through a text."""
WORDS_PER_TOPIC = 10


def model_config(
    arch: str = "skipgram",
    gradient: str = "exact",
    edges: str = "cut",
    objective: str = "ns",
    units: str = "none",
    buckets: int = 17,
    **changes: Any,
) -> ModelConfig:
    mode = {"arch": arch, "cbow_gradient": gradient, "window_edges": edges, "objective": objective}
    sections = {
        "subwords": SubwordsConfig(units=units, min_n=2, max_n=3, buckets=buckets),  # so few that n-grams share them
        "sent2vec": Sent2vecConfig(word_ngrams=3, dropout=2, buckets=19),
    }
    return ModelConfig(**({"dim": 16, "window": 3, "negatives": 3} | sections | mode | changes))


def word_of(word_id: int) -> str:
    """A word of the tests' vocabularies: of different lengths, with common n-grams, some of them twice in a word."""
    return "aa" * (word_id % 4) + np.base_repr(word_id, 3)


def train_config(lr: float = 0.1, block_negatives: int = 8, damping: float = 0.5, **changes: Any) -> TrainConfig:
    """A training configuration with one learning rate, number of noise words, and damping for all architectures;
    that of the nodes of hierarchical softmax is twice as much."""
    values = {"epochs": 1, "lr_floor": 1e-4, "block_tokens": 16, "batch_tokens": 64}
    each = {
        "lr": LearningRates(skipgram=lr, cbow=lr, sent2vec=lr),
        "block_negatives": BlockNegatives(skipgram=block_negatives, cbow=block_negatives, sent2vec=block_negatives),
        "damping": Damping(skipgram=damping, cbow=damping, sent2vec=damping, hs=2 * damping),
    }
    return TrainConfig(**(values | each | changes))


@dataclass(frozen=True, eq=False)
class Case:
    """Everything that decides how a shard moves a model, and the number of threads, which must not."""

    model: ModelConfig
    train: TrainConfig
    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    """Sentence ends in the shard."""
    tables: SamplingTables
    seed: int = 1
    epoch: int = 0
    first_position: int = 0
    """Where the shard begins, in tokens of the corpus."""
    tokens_total: int = 0
    """Tokens of the corpus; 0: the corpus ends with this shard."""
    threads: int = 1

    @property
    def vocab_size(self) -> int:
        return len(self.tables.keep_probability)

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Of a vocabulary in which lower word ids are more frequent."""
        return np.arange(self.vocab_size, 0, -1) * self.tables.keep_probability.astype(np.float64)

    @property
    def paths(self) -> Paths | None:
        """Of a tree in which lower word ids are more frequent."""
        return Paths.of_counts(np.arange(self.vocab_size, 0, -1)) if self.model.objective == "hs" else None

    @property
    def subwords(self) -> Subwords | None:
        words = pa.array([word_of(word_id) for word_id in range(self.vocab_size)], pa.large_string())
        return Subwords.of_vocabulary(words, self.frequency, self.model.subwords)

    @property
    def total(self) -> int:
        return self.tokens_total or self.first_position + len(self.ids)


def make_case(
    model: ModelConfig,
    train: TrainConfig,
    sentences: Sequence[Sequence[int]],
    keep: Sequence[float] | NDArray[Any],
    noise: Sequence[float] | NDArray[Any],
    **changes: Any,
) -> Case:
    """A case of these sentences of word ids. keep, noise: one number a word; noise words' chances in any unit."""
    ids = np.array([word_id for sentence in sentences for word_id in sentence], np.int32)
    ends = np.cumsum([len(sentence) for sentence in sentences]).astype(np.int64)
    ids.setflags(write=False)  # as mapped shards are; numba compiles anew for arrays that can be written
    ends.setflags(write=False)
    chances = np.asarray(noise, np.float64)
    tables = SamplingTables(np.asarray(keep, np.float32), chances / chances.sum())
    return Case(model, train, ids, ends, tables, **changes)


def random_case(model: ModelConfig, train: TrainConfig, tokens: int, vocab_size: int = 40, **changes: Any) -> Case:
    """About this many tokens, a few words frequent, some dropped by subsampling.

    Ragged sentences, from one word to longer than a whole window.
    """
    rng = np.random.default_rng(tokens)
    lengths = []
    while sum(lengths) < tokens:
        lengths.append(int(rng.integers(1, 10 + 4 * model.window)))
    sentences = [np.minimum(rng.zipf(1.5, length) - 1, vocab_size - 1) for length in lengths]
    return make_case(model, train, sentences, rng.uniform(0.3, 1, vocab_size), rng.uniform(size=vocab_size), **changes)


def sentence_case(shape: tuple[int, ...], threads: int = 1) -> Case:
    """sent2vec. shape: dim, word_ngrams, dropout, buckets, block_tokens, block_negatives, batch_tokens, tokens."""
    dim, word_ngrams, dropout, buckets, block_tokens, block_negatives, batch_tokens, tokens = shape
    own = Sent2vecConfig(word_ngrams=word_ngrams, dropout=dropout, buckets=buckets)
    model = model_config(*SENTENCES, dim=dim, negatives=5, sent2vec=own)
    train = train_config(
        block_tokens=block_tokens, block_negatives=block_negatives, batch_tokens=batch_tokens, epochs=2
    )
    return random_case(model, train, tokens, epoch=1, first_position=12_345, tokens_total=20_000, threads=threads)


def shaped_case(mode: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """A case of sizes (dim, window, block_tokens, block_negatives, blocks of a micro-batch, tokens of the corpus)."""
    dim, window, block_tokens, block_negatives, blocks, tokens = shape
    model = model_config(*mode, dim=dim, window=window, negatives=5)
    train = train_config(
        block_tokens=block_tokens, block_negatives=block_negatives, batch_tokens=blocks * block_tokens, epochs=2
    )
    return random_case(model, train, tokens, epoch=1, first_position=12_345, tokens_total=20_000)


@dataclass(frozen=True)
class Result:
    """What training on a case made of the table of `start_table`."""

    table: NDArray[Any]
    """(2V + 2 + G, dim): input rows, their padding row, output rows, their padding row, n-gram rows."""
    loss: float
    weight: float


def start_table(case: Case, size: float = 0.5) -> NDArray[np.float32]:
    """Random rows, output rows and padding rows too, so that a wrong row shows. Shape (2V + 2 + G, dim)."""
    rng = np.random.default_rng(7)
    rows = 2 * case.vocab_size + 2 + (len(case.subwords.buckets) if case.subwords else case.model.word_ngram_rows)
    return (size * rng.normal(size=(rows, case.model.dim))).astype(np.float32)


def run_engine(case: Case, start: NDArray[np.float32]) -> Result:
    """One epoch of the CPU engine over the shard, segment after segment."""
    engine = CpuEngine(case.model, case.train, case.tables, case.seed, case.threads, case.paths, case.subwords)
    try:
        engine.table[:] = 0
        engine.table[:, : case.model.dim] = start
        total = np.zeros(2)
        for begin in range(0, len(case.ids), training.SEGMENT_TOKENS):
            position = case.first_position + begin
            total += engine.train_segment(case.ids, case.ends, begin, position, case.epoch, case.total)
    finally:
        engine.close()
    assert not engine.table[:, case.model.dim :].any(), "the columns that pad a row to whole vectors moved"
    return Result(engine.table[:, : case.model.dim].copy(), *total)


def run_reference(case: Case, start: NDArray[np.float32]) -> Result:
    """The same in float64, from the description in docs/engine.md and the random choices of wordlab.sampling."""
    rows = case.vocab_size + 1
    words, outputs, ngrams = np.split(start.astype(np.float64), [rows, 2 * rows])
    inputs = np.concatenate([words, ngrams])
    total = np.zeros(2)
    for begin in range(0, len(case.ids), training.SEGMENT_TOKENS):
        for lr, batch in reference_batches(case, begin, min(begin + training.SEGMENT_TOKENS, len(case.ids))):
            total += reference.train_batch(inputs, outputs, batch, case.model, case.train, lr)
    return Result(np.concatenate([inputs[:rows], outputs, inputs[rows:]]), *total)


def reference_batches(case: Case, begin: int, stop: int) -> list[tuple[float, reference.Batch]]:
    """The micro-batches of one segment with their learning rates."""
    train = case.train
    streams = (sampling.KEEP, sampling.WINDOW, sampling.NOISE, sampling.DROPOUT)
    keep_key, window_key, noise_key, dropout_key = (stream_key(case.seed, case.epoch, stream) for stream in streams)
    thresholds = sampling.keep_thresholds(case.tables.keep_probability)
    is_kept = [sampling.is_kept(keep_key, case.first_position + t, thresholds[case.ids[t]]) for t in range(begin, stop)]
    kept, bags = begin + np.flatnonzero(is_kept), None
    sentence = np.searchsorted(case.ends, kept, side="right").astype(np.int32)
    blocks = [(b, min(b + train.block_tokens, len(kept))) for b in range(0, len(kept), train.block_tokens)]
    size = train.batch_tokens // train.block_tokens
    groups = [blocks[b : b + size] for b in range(0, len(blocks), size)]
    if case.model.arch == "sent2vec":
        ends = [min(int(end), stop) - begin for end in case.ends if end > begin]
        place = case.vocab_size, dropout_key, case.first_position + begin
        targets, bags, groups = work_off(case.ids[begin:stop], ends, is_kept, case.model, train, *place)
        kept, sentence = begin + np.array(targets, np.int64), np.zeros(len(targets), np.int32)
    accept, alias = sampling.alias_table(case.tables.noise_probability)
    batches = []
    for number, group in enumerate(groups):
        read = case.epoch * case.total + case.first_position + begin + (stop - begin) * number / len(groups)
        lr = getattr(train.lr, case.model.arch) * max(1 - read / (train.epochs * case.total), train.lr_floor)
        batch = reference.Batch(
            *(case.ids[kept], sentence, case.first_position + kept, group),
            *(window_key, noise_key, accept, alias, case.paths, case.subwords, bags),
        )
        batches.append((float(np.float32(lr)), batch))
    return batches


def stream_key(seed: int, epoch: int, stream: int) -> np.uint64:
    return np.uint64(sampling.stream_key(seed, epoch, stream))


def expected_step(
    start: NDArray[Any], sentences: Sequence[Sequence[int]], model: ModelConfig, noise: NDArray[np.float64], lr: float
) -> NDArray[np.float64]:
    """Mean over all random choices of the undamped step of one micro-batch, whole sentences; shape as `start`.

    Knows no blocks: every true pair has `negatives` noise words of its own, and one that is the true word does nothing.
    noise: chance of each word, (V,).
    """
    rows, window = len(start) // 2, model.window
    inputs, outputs = start[:rows].astype(np.float64), start[rows:].astype(np.float64)
    pad = rows - 1
    steps = np.zeros_like(inputs), np.zeros_like(outputs)
    weight_of_noise = np.append(model.negatives * noise, 0.0)
    for sentence in sentences:
        for target, word in enumerate(sentence):
            for width in range(1, window + 1):
                places = [p for p in range(target - width, target + width + 1) if p != target]
                context = [sentence[p] for p in places if 0 <= p < len(sentence)]
                if not context or (model.window_edges == "drop" and len(context) < len(places)):
                    continue
                if model.window_edges == "pad":
                    context += [pad] * (len(places) - len(context))
                bags = [([word], other) for other in context] if model.arch == "skipgram" else [(context, word)]
                for bag, true_word in bags:
                    hidden = inputs[bag].mean(axis=0)
                    label = np.arange(rows) == true_word
                    sigma = 1 / (1 + np.exp(-outputs @ hidden))
                    residual = lr / window * np.where(label, 1.0, weight_of_noise) * (label - sigma)
                    steps[1][:] += np.outer(residual, hidden)
                    undivided = model.cbow_gradient == "word2vec"
                    np.add.at(steps[0], bag, residual @ outputs / (1 if undivided else len(bag)))
    return np.concatenate(steps)


def relative_error(found: Result, right: Result, start: NDArray[np.float32]) -> float:
    """Length of the error in units of the length of the step; of a hundredth of the table's if that is more.

    Steps much smaller than the entries are lost to the rounding of float32, which is no error of the engine.
    """
    unit = max(np.linalg.norm(right.table - start), np.linalg.norm(start) / 100)
    return float(np.linalg.norm(found.table - right.table) / unit)


def assert_same_step(case: Case, tolerance: float = 0.0) -> None:
    """tolerance: 0: what float32 explains. The sums of softmax are longer, and a few n-gram rows move many times."""
    tolerance = tolerance or (1e-4 if case.subwords else 1e-5) * (3 if case.model.objective == "softmax" else 1)
    start = start_table(case)
    found, right = run_engine(case, start), run_reference(case, start)
    assert relative_error(found, right, start) < tolerance
    assert found.loss == pytest.approx(right.loss, rel=tolerance)
    assert found.weight == pytest.approx(right.weight, rel=1e-6)


def topic_sentences(number: int, seed: int = 0) -> list[list[int]]:
    """Sentences of 4 to 12 words, each about one of two topics: words 0 to 9, or 10 to 19."""
    rng = np.random.default_rng(seed)
    return [
        (rng.integers(0, WORDS_PER_TOPIC, rng.integers(4, 13)) + WORDS_PER_TOPIC * (i % 2)).tolist()
        for i in range(number)
    ]


def write_data(
    folder: Path,
    sentences: Sequence[Sequence[int]],
    subsample_t: float = 0.0,
    shards: int = 1,
    words: Sequence[str] | None = None,
) -> TrainingData:
    """data/vocab and data/encode below `folder`, and what `train` opens of them.

    sentences: of word ids. shards: how many files, of about as many sentences each. words: of ids 0, 1, ...
    """
    all_ids = np.concatenate([np.asarray(sentence, np.int64) for sentence in sentences])
    words = words or [f"word{word_id}" for word_id in range(all_ids.max() + 1)]
    counts = np.maximum(np.bincount(all_ids, minlength=len(words)), 1)
    vocab, encode = folder / "data/vocab", folder / "data/encode"
    vocab.mkdir(parents=True, exist_ok=True)
    encode.mkdir(parents=True, exist_ok=True)
    made = Vocab.build(words, counts)
    made.save(vocab / "words.arrow")
    SamplingTables.build(counts, subsample_t, 0.75).save(vocab / "sampling.arrow", made.fingerprint)
    bounds = [len(sentences) * i // shards for i in range(shards + 1)]
    for number, (first, last) in enumerate(pairwise(bounds)):
        part = sentences[first:last]
        ids = np.array([word_id for sentence in part for word_id in sentence], np.int32)
        offsets = np.cumsum([0, *map(len, part)]).astype(np.int64)
        write_sentences(encode / f"ids-{number:05d}.arrow", ids, offsets)
    content = {"vocabulary": made.fingerprint, "num_tokens": len(all_ids), "num_sentences": len(sentences)}
    write_manifest(encode, "encode", content)
    return TrainingData.open(vocab, encode)


def use_short_segments(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    """Let segments be of this many tokens, wherever the number is known."""
    for name, module in list(sys.modules.items()):
        if name.startswith("wordlab") and hasattr(module, "SEGMENT_TOKENS"):
            monkeypatch.setattr(module, "SEGMENT_TOKENS", tokens)


def estimated_memory(case: Case) -> int:
    """Bytes that training says it will take."""
    from wordlab.kernels.memory import memory_bytes

    return memory_bytes(case.model, case.train, case.vocab_size, case.threads, case.paths, case.subwords)


def cpu_flags() -> list[str]:
    """What the kernel says this CPU can do, as Linux names it on x86; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def with_threads(case: Case, number: int) -> Case:
    return replace(case, threads=number)


@njit
def vector_exp_of_negative(x: Any, result: Any) -> None:
    """result = simd.exp_of_negative(x), float32 arrays of a multiple of 16."""
    for i in range(0, x.shape[0], simd.LANES):
        simd.store(simd.exp_of_negative(simd.load(x.ctypes.data, i)), result.ctypes.data, i)


@njit
def vector_log_of_one_plus(x: Any, result: Any) -> None:
    """result = simd.log_of_one_plus(x), float32 arrays of a multiple of 16."""
    for i in range(0, x.shape[0], simd.LANES):
        simd.store(simd.log_of_one_plus(simd.load(x.ctypes.data, i)), result.ctypes.data, i)


@njit
def vector_sum(x: Any) -> Any:
    """simd.lane_sum of sixteen float32."""
    return simd.lane_sum(simd.load(x.ctypes.data, 0))


@njit
def vector_fma(a: Any, b: Any, c: Any, result: Any) -> None:
    """result = a * b + c for sixteen float32."""
    pa, pb, pc = a.ctypes.data, b.ctypes.data, c.ctypes.data
    simd.store(simd.fma(simd.load(pa, 0), simd.load(pb, 0), simd.load(pc, 0)), result.ctypes.data, 0)


@njit
def vector_choices(a: Any, b: Any, result: Any) -> None:
    """result[0] = a where a >= b else b; result[1] = a + b where a == b else a - b; sixteen float32 each."""
    x, y = simd.load(a.ctypes.data, 0), simd.load(b.ctypes.data, 0)
    simd.store(simd.where_at_least(x, y, x, y), result.ctypes.data, 0)
    simd.store(simd.where_equal(x, y, x + y, x - y), result.ctypes.data, 16)


@njit
def transpose(source: Any, source_stride: Any, target: Any, target_stride: Any) -> None:
    simd.transpose_tile(source.ctypes.data, source_stride, target.ctypes.data, target_stride)


def product_of_tile(rows: int, vectors: int) -> Any:
    """A function (a, a_row, a_step, b, n, c, add) -> None that computes one tile into c."""
    tile = simd.product_tile(rows, vectors)

    @njit
    def product(a: Any, a_row: Any, a_step: Any, b: Any, n: Any, c: Any, add: Any) -> None:
        tile(a.ctypes.data, a_row, a_step, b.ctypes.data, b.shape[1], n, c.ctypes.data, c.shape[1], add)

    return product


@njit(nogil=True)
def _share_work(team: int, state: Any, phases: int, items: int, done: Any, seen: Any) -> None:
    for phase in range(phases):
        while True:
            item = threads.take_next(state)
            if item >= items:
                break
            done[phase, item] += 1
        threads.wait_for_all(state, team)
        for item in range(items):
            seen[phase] += done[phase, item]


def share_work(team: int, phases: int, items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`team` threads take `items` numbers in each phase, and count after the barrier what all did before it.

    Returns how often each number was taken, (phases, items), and what each thread counted, (team, phases).
    """
    state = threads.new_state()
    done, seen = np.zeros((phases, items), np.int64), np.zeros((team, phases), np.int64)
    with ThreadPoolExecutor(team) as pool:
        list(pool.map(lambda i: _share_work(team, state.ctypes.data, phases, items, done, seen[i]), range(team)))
    return done, seen


@njit
def many_noise_words(key: Any, positions: int, per_position: int, accept: Any, alias: Any) -> Any:
    """Noise words 0 .. per_position - 1 of blocks at positions 0, 1, ...; int32, (positions, per_position)."""
    words = np.empty((positions, per_position), np.int32)
    for position in range(positions):
        for n in range(per_position):
            words[position, n] = sampling.noise_word(key, position, n, accept, alias)
    return words


@njit
def many_widths(key: Any, positions: int, window: int) -> Any:
    widths = np.empty(positions, np.int64)
    for position in range(positions):
        widths[position] = sampling.window_width(key, position, window)
    return widths


@njit
def many_kept(key: Any, positions: int, threshold: Any) -> Any:
    kept = np.empty(positions, np.bool_)
    for position in range(positions):
        kept[position] = sampling.is_kept(key, position, threshold)
    return kept


@njit
def many_draws(key: Any, count: int) -> Any:
    numbers = np.empty(count, np.uint64)
    for n in range(count):
        numbers[n] = sampling.draw(key, n)
    return numbers
