"""One training under way: segment after segment, the loss curve, checkpoints, stopping and going on."""

from __future__ import annotations

import dataclasses
import itertools
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from wordlab.checkpoints import Checkpoints
from wordlab.divergence import KNOWS_NOTHING, Watch
from wordlab.engine import Engine
from wordlab.errors import ArtifactError, CorpusError
from wordlab.shards import EncodedCorpus
from wordlab.stage import StoppedError, StopSignals, say

CURVE_POINTS = 400
"""Rows of the loss curve, at most about this many."""


@dataclass(frozen=True)
class CurvePoint:
    """One row of the loss curve: means since the row before."""

    step: int
    tokens: int
    """Tokens read so far, before subsampling, all epochs."""
    loss: float
    """Mean loss of a prediction, float64: of true pairs and noise words alike by their weight; in hierarchical softmax
    of one decision, in full softmax of one word."""
    lr: float


@dataclass
class Trained:
    """How far a training is. With the engine's table, all there is to know to go on."""

    segments: int = 0
    tokens: int = 0
    """Read so far, before subsampling, all epochs."""
    curve: list[CurvePoint] = field(default_factory=list)
    loss: float = 0.0
    """Sum since the last row of the curve, as `weight`."""
    weight: float = 0.0
    predictions: float = 0.0
    """Sum of the weights of all predictions, up to the last row of the curve."""
    seconds: float = 0.0
    """Of training, over all starts; what was trained again after a kill is counted once."""
    cpu_seconds: float = 0.0
    resumes: int = 0
    """Times that it went on from a checkpoint."""
    checkpoints: int = 0
    checkpoint_seconds: float = 0.0
    """Part of `seconds`."""
    health: dict[str, Any] = field(default_factory=dict)
    """What `divergence.Watch` has to say about the finished model."""

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Trained:
        """The inverse of `dataclasses.asdict`, to the bit."""
        return cls(**{**state, "curve": [CurvePoint(**row) for row in state["curve"]]})


class Run:
    """One training under way."""

    def __init__(
        self,
        corpus: EncodedCorpus,
        vocab_size: int | None,
        arch: str,
        engine: Engine,
        checkpoints: Checkpoints | None,
        knows_nothing: float = KNOWS_NOTHING,
    ) -> None:
        """Begins where the newest checkpoint is, or at the first segment. vocab_size: word ids must be below
        it; None: the engine looks. knows_nothing: loss of a model that holds all outcomes for equally likely."""
        self.corpus, self.vocab_size, self.engine, self.checkpoints = corpus, vocab_size, engine, checkpoints
        self.tokens = corpus.num_tokens
        self.total = engine.train.epochs * self.tokens
        self.trained = Trained()
        self.watch = Watch(arch, self.tokens, knows_nothing, engine.model.objective)
        self._every = max(1, math.ceil(self.total / engine.segment_tokens / CURVE_POINTS))
        if checkpoints and (found := checkpoints.load()):
            state, table = found
            engine.load_table(table)
            self.trained = Trained.from_state(state)
            self.trained.resumes += 1
            for point in self.trained.curve:
                self.watch.see_point(point.tokens, point.loss)
            say(f"going on from the checkpoint at {self._place()}: {checkpoints.folder}")
        self._before = dataclasses.replace(self.trained)
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    def _place(self) -> str:
        tokens = self.trained.tokens
        return f"{100 * tokens / self.total:.1f} % ({tokens:,} of {self.total:,} words)"

    def to_the_end(self, bar: tqdm) -> None:
        """Train what is left.

        Raises DivergedError, and StoppedError after the segment in which a signal came, with a checkpoint written.
        """
        if self.checkpoints is None:
            for segment in self._left():
                self._train(segment, bar)
        else:
            self._with_checkpoints(self.checkpoints, bar)
        self.measured()

    def _with_checkpoints(self, checkpoints: Checkpoints, bar: tqdm) -> None:
        written = False
        with StopSignals() as stop:
            for segment in self._left():
                self._train(segment, bar)
                if stop.number is not None:
                    break
                if checkpoints.due() and self.trained.tokens < self.total:
                    self._checkpoint(checkpoints)
            if stop.number is not None:
                written = self._checkpoint(checkpoints)
        if stop.number is not None:  # also one that came when the last was done
            raise StoppedError(stop.number, self._farewell(stop.number, written))

    def _left(self) -> Iterator[tuple[int, int, int, int]]:
        """What `_segments` gives, from the next one on."""
        every = _segments(self.corpus, self.engine.train.epochs, self.engine.segment_tokens)
        return itertools.islice(every, self.trained.segments, None)

    def _train(self, segment: tuple[int, int, int, int], bar: tqdm) -> None:
        shard, start, epoch, position = segment
        trained = self.trained
        ids, ends = self.corpus.shards[shard].ids, self.corpus.shards[shard].offsets[1:]
        size = min(self.engine.segment_tokens, len(ids) - start)
        if self.vocab_size is not None:
            _require_word_ids(ids[start : start + size], self.vocab_size, shard)
        loss, weight = self.engine.train_segment(ids, ends, start, position, epoch, self.tokens)
        trained.segments += 1
        trained.loss, trained.weight = trained.loss + loss, trained.weight + weight
        trained.tokens = epoch * self.tokens + position + size
        self.watch.see_segment(trained.tokens, loss)
        if trained.segments % self._every == 0 or trained.tokens == self.total:
            self._add_point(bar)
        bar.update(size)

    def _add_point(self, bar: tqdm) -> None:
        """End a row of the curve."""
        trained = self.trained
        if trained.weight > 0:
            lr = self.engine.learning_rate(trained.tokens, self.tokens)
            point = CurvePoint(len(trained.curve) + 1, trained.tokens, trained.loss / trained.weight, lr)
            trained.curve.append(point)
            bar.set_postfix(loss=f"{point.loss:.4f}", lr=f"{point.lr:.4f}", refresh=False)
            self.watch.see_point(point.tokens, point.loss)
        trained.predictions, trained.loss, trained.weight = trained.predictions + trained.weight, 0.0, 0.0

    def _checkpoint(self, checkpoints: Checkpoints) -> bool:
        """Write one; whether that went well."""
        state = dataclasses.asdict(self.measured())
        state["checkpoints"] += 1  # itself
        started = time.monotonic()  # a table is copied from a GPU, which counts as part of what it takes
        return checkpoints.write(self.trained.segments, state, self.engine.read_table(), started)

    def measured(self) -> Trained:
        """Bring the measurements up to date: those of the training that this one goes on with, and its own."""
        trained, before = self.trained, self._before
        trained.seconds = before.seconds + time.perf_counter() - self._started
        trained.cpu_seconds = before.cpu_seconds + time.process_time() - self._cpu_started
        if self.checkpoints:
            trained.checkpoints = before.checkpoints + self.checkpoints.written
            trained.checkpoint_seconds = before.checkpoint_seconds + self.checkpoints.seconds
        return trained

    def _farewell(self, number: int, written: bool) -> str:
        by = "from the keyboard" if number == signal.SIGINT else f"by {signal.Signals(number).name}"
        kept = "A checkpoint keeps it" if written else "Only the checkpoint before, if there is one, keeps it in part"
        return (
            f"stopped {by} at {self._place()}. {kept}: the same command goes on from there "
            "(dvc repro; for an experiment, dvc exp run with the same parameters)."
        )

    def finished(self) -> Trained:
        """What was measured, with a last look at the rows. Raises CorpusError where nothing was trained on."""
        if self.trained.predictions == 0:
            raise CorpusError(
                "No pair of words was left to train on. Use more text, raise vocab.subsample_t, or "
                "set model.window_edges to cut."
            )
        engine = self.engine
        seen = self.watch.see_model(engine.input_vectors, engine.output_vectors, engine.ngram_vectors)
        self.trained.health = {**seen, "warnings": self.watch.warnings}
        return self.trained


def _segments(corpus: EncodedCorpus, epochs: int, segment_tokens: int) -> Iterator[tuple[int, int, int, int]]:
    """(shard, first token in it, epoch, first token in the corpus) of every segment, in order."""
    for epoch in range(epochs):
        before = 0
        for number, shard in enumerate(corpus.shards):
            for start in range(0, shard.num_tokens, segment_tokens):
                yield number, start, epoch, before + start
            before += shard.num_tokens


def _require_word_ids(ids: np.ndarray[Any, np.dtype[np.int32]], vocab_size: int, shard: int) -> None:
    if ids.dtype != np.int32 or ids.min() < 0 or ids.max() >= vocab_size:
        raise ArtifactError(
            f"data/encode/ids-{shard:05d}.arrow holds {ids.dtype} from {ids.min()} to {ids.max()}, but word ids are "
            f"int32 from 0 to {vocab_size - 1}. It belongs to another vocabulary or is damaged. Run: dvc repro encode"
        )
