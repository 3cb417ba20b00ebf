"""The torch engine: a model's table on a device, and what moves it there. The interface is the CPU engine's.

Same rule, same random choices: with the same `batch_tokens` and the same segments it takes the CPU engine's steps, up
to the rounding of float32. What differs is `SEGMENT_TOKENS`: windows are cut at the ends of other segments.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordlab.errors import ArtifactError
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.torch_engine.bags import Bags
from wordlab.torch_engine.draws import alias_table, initial_ngram_vectors, initial_vectors, keep_thresholds
from wordlab.torch_engine.eager import EagerRunner, eager_bytes
from wordlab.torch_engine.feeding import Feed
from wordlab.torch_engine.layout import Layout, Paths, Products, Tables, WordRows
from wordlab.torch_engine.runners import UNROLL, Runner, TritonRunner
from wordlab.torch_engine.segments import Drawing, cut_into_blocks
from wordlab.torch_engine.sentence_segments import cut_into_sentences
from wordlab.torch_engine.sentences import SentenceRunner, sentence_bytes
from wordlab.torch_engine.tree import Tree

if TYPE_CHECKING:  # it imports Arrow, which a machine with a GPU may lack
    from wordlab.subwords import Subwords

SEGMENT_TOKENS = 1 << 20
"""Tokens of one segment, before subsampling: a few milliseconds of work, beside which the wait at its end is short."""
WARM_UP_TOKENS = 1 << 21
WARM_UP_SHARE = 1 / 64
"""A warm-up is as long as the larger of the two: tokens read, before subsampling, and a share of all epochs' tokens."""
PIECE_ROWS = 1 << 14
"""Rows of a table that are copied to the device at a time."""


AnyRunner = Runner | EagerRunner | SentenceRunner


class TorchEngine:
    """A model being trained by torch: its table and its runner."""

    def __init__(
        self,
        model: ModelConfig,
        train: TrainConfig,
        tables: Tables,
        seed: int,
        *,
        device: str | torch.device,
        kernels: str = "torch",
        deterministic: bool = True,
        products: Products = "float32",
        segment_tokens: int = SEGMENT_TOKENS,
        feed: Feed | None = None,
        first_batch_tokens: int = 0,
        dtype: torch.dtype = torch.float32,
        paths: Paths | None = None,
        subwords: Subwords | None = None,
    ) -> None:
        """Start from random input rows and zero output rows.

        kernels: "torch" or "triton".   feed: brings the ids of a corpus; without it they are copied when asked for.
        first_batch_tokens: micro-batch of the warm-up, in which larger ones diverge (docs/LOG.md); 0: no warm-up.
        dtype: float64 makes an exact witness of the torch kernels.
        paths: of the vocabulary's Huffman tree; model.objective hs needs it.   subwords: the words' n-gram rows.
        """
        self.model, self.train, self.seed = model, train, seed
        self.device, self.segment_tokens = torch.device(device), segment_tokens
        self.layout = Layout.of(model, train, len(tables.keep_probability), products, subwords)
        self.subwords = subwords
        torch.set_float32_matmul_precision("high" if products == "tf32" else "highest")
        layout = self.layout
        self.table = torch.zeros((layout.table_rows, layout.depth), dtype=dtype, device=self.device)
        initial_vectors(seed, self.table[: layout.vocab_size, : layout.dim])
        if subwords is not None:
            ngrams = self.table[layout.ngram_row : layout.nothing, : layout.dim]
            initial_ngram_vectors(seed, torch.from_numpy(subwords.buckets).to(self.device), ngrams)
        accept, alias = alias_table(tables.noise_probability)
        thresholds = keep_thresholds(tables.keep_probability)
        on_device = [torch.from_numpy(array).to(self.device) for array in (thresholds, accept, alias)]
        self._drawing = Drawing(seed, *on_device)
        self._bags: Bags | None = None
        if layout.objective != "ns" or subwords is not None:
            self._bags = Bags(layout, self.table, deterministic, subwords)
        self._tree = Tree(paths, layout, self.table) if paths is not None else None
        self.runner = self._open_runner(layout, kernels, deterministic)
        first_layout = dataclasses.replace(layout, batch_blocks=warm_up_blocks(layout, first_batch_tokens))
        self._first_runner = self.runner
        if first_layout != layout:
            self._first_runner = self._open_runner(first_layout, kernels, deterministic)
        self._feed = feed
        name = torch.cuda.get_device_name(self.device) if self.table.is_cuda else "cpu"
        self.description = description_of(layout, name, kernels, deterministic, segment_tokens, first_batch_tokens)

    def _open_runner(self, layout: Layout, kernels: str, deterministic: bool) -> AnyRunner:
        if layout.sentences is not None:
            assert kernels == "torch", "the fused kernels are for windows: gpu.choose_kernels"
            return SentenceRunner(layout, self.table, deterministic)
        if self._bags is not None:
            assert kernels == "torch", "the fused kernels are for words and negative sampling: gpu.choose_kernels"
            return EagerRunner(layout, self.table, deterministic, self._bags, self._tree)
        kind = TritonRunner if kernels == "triton" else Runner
        return kind(layout, self.table, self.segment_tokens, deterministic)

    def train_segment(
        self,
        ids: NDArray[np.int32] | Tensor,
        ends: NDArray[np.int64],
        start: int,
        position: int,
        epoch: int,
        tokens_total: int,
    ) -> tuple[float, float]:
        """Train on up to `segment_tokens` tokens of a shard, from token `start` on.

        ids, ends: the whole shard; ids may lie on the device.   position: of token `start` in the corpus.
        tokens_total: tokens of the corpus. Returns the weighted sum of losses and the sum of weights.
        Raises ArtifactError where an id is no word's.
        """
        size = min(self.segment_tokens, len(ids) - start)
        segment = self._on_device(ids, start, size, position)
        self._require_word_ids(segment, position)
        first, last = np.searchsorted(ends, (start, start + size), side="right")
        inside = torch.from_numpy(ends[first : last + 1] - start).to(self.device)
        read = epoch * tokens_total + position
        runner = self._runner_at(read, tokens_total)
        place = segment, inside, position, epoch, self._drawing, runner.layout
        if isinstance(runner, SentenceRunner):
            sentences = cut_into_sentences(*place)
            rates = self._rates_of_batches(read, size, len(sentences.begins) - 1, tokens_total)
            return runner.run(sentences, rates) if sentences.begins else (0.0, 0.0)
        blocks = cut_into_blocks(*place)
        rates = self._rates_of_batches(read, size, len(blocks.rows) // runner.layout.batch_blocks, tokens_total)
        return runner.run(blocks, rates) if blocks.kept else (0.0, 0.0)

    def _rates_of_batches(self, read: int, size: int, batches: int, tokens_total: int) -> NDArray[np.float32]:
        """Learning rate of each micro-batch of a segment of `size` tokens that begins after `read` tokens."""
        progress = np.arange(batches) / max(1, batches)
        return self._rates(read + size * progress, tokens_total).astype(np.float32)

    def _runner_at(self, tokens_read: int, tokens_total: int) -> AnyRunner:
        """The runner of the segment that begins after `tokens_read` tokens: of the warm-up, or of the rest."""
        warm_up = max(WARM_UP_TOKENS, int(WARM_UP_SHARE * self.train.epochs * tokens_total))
        return self._first_runner if tokens_read < warm_up else self.runner

    def _on_device(self, ids: NDArray[np.int32] | Tensor, start: int, size: int, position: int) -> Tensor:
        if isinstance(ids, Tensor):
            return ids[start : start + size]
        if self._feed is not None:
            return self._feed.take(position)
        return torch.from_numpy(np.array(ids[start : start + size])).to(self.device)

    def _require_word_ids(self, ids: Tensor, position: int) -> None:
        """An index out of range would stop the GPU for the whole process."""
        low, high = torch.stack(torch.aminmax(ids)).tolist()
        if ids.dtype != torch.int32 or low < 0 or high >= self.layout.vocab_size:
            raise ArtifactError(
                f"data/encode holds {ids.dtype} from {low} to {high} in {len(ids):,} tokens from token {position:,} "
                f"on, but word ids are int32 from 0 to {self.layout.vocab_size - 1}. It belongs to another vocabulary "
                "or is damaged. Run: dvc repro encode"
            )

    def learning_rate(self, tokens_read: int, tokens_total: int) -> float:
        """Learning rate after `tokens_read` of epochs * `tokens_total` tokens."""
        return float(self._rates(np.array(tokens_read), tokens_total))

    def _rates(self, read: NDArray[Any], tokens_total: int) -> NDArray[np.float64]:
        progress = read / (self.train.epochs * tokens_total)
        rates: NDArray[np.float64] = getattr(self.train.lr, self.model.arch) * np.maximum(
            1.0 - progress, self.train.lr_floor
        )
        return rates

    def read_table(self) -> NDArray[np.float32]:
        """All rows, copied to the host, (2V + 3 + G, depth)."""
        copied: NDArray[np.float32] = self.table.cpu().numpy()
        return copied

    def load_table(self, table: NDArray[np.float32]) -> None:
        """Take over all rows, of the shape of `read_table`, which stays where it is: graphs hold its address.

        Piece by piece, since the rows may be a mapped file that is larger than the host's free memory.
        """
        assert table.shape == tuple(self.table.shape), (table.shape, self.table.shape)
        for first in range(0, len(table), PIECE_ROWS):
            piece = torch.from_numpy(np.array(table[first : first + PIECE_ROWS]))
            self.table[first : first + PIECE_ROWS].copy_(piece)

    @property
    def input_vectors(self) -> NDArray[np.float32]:
        """On the host, (V, dim): a copy, with subwords the means of the words' rows."""
        if self.subwords is None:
            return self.word_vectors
        from wordlab.subwords import mean_vectors

        return mean_vectors(self.subwords.start, self.subwords.row, self.word_vectors, self.ngram_vectors)

    @property
    def word_vectors(self) -> NDArray[np.float32]:
        """Copy of the words' own input rows on the host, (V, dim)."""
        return self._rows(0, self.layout.vocab_size)

    @property
    def ngram_vectors(self) -> NDArray[np.float32]:
        """Copy of the n-grams' rows on the host, (G, dim)."""
        return self._rows(self.layout.ngram_row, self.layout.ngram_rows)

    @property
    def output_vectors(self) -> NDArray[np.float32]:
        """Copy on the host, (V, dim)."""
        return self._rows(self.layout.vocab_size + 1, self.layout.vocab_size)

    def _rows(self, first: int, number: int) -> NDArray[np.float32]:
        rows = self.table[first : first + number, : self.layout.dim]
        copied: NDArray[np.float32] = rows.to("cpu", torch.float32).contiguous().numpy()
        return copied

    @property
    def peak_bytes(self) -> int:
        """Most memory of the GPU that torch has held for tensors so far; 0 on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.table.is_cuda else 0

    def close(self) -> None:
        """End the thread that brings ids."""
        if self._feed is not None:
            self._feed.close()


def warm_up_blocks(layout: Layout, first_batch_tokens: int) -> int:
    """Blocks of a micro-batch of the warm-up, at least one; without a warm-up (0 tokens), those of the rest."""
    return min(first_batch_tokens // layout.block_tokens, layout.batch_blocks) or layout.batch_blocks


def description_of(
    layout: Layout, device: str, kernels: str, deterministic: bool, segment_tokens: int, first_batch_tokens: int
) -> dict[str, Any]:
    """TorchEngine.description, known before there is an engine. device: the GPU's name, or "cpu"."""
    return {
        "name": "torch",
        "device": device,
        "kernels": kernels,
        "deterministic": deterministic,
        "products": layout.products,
        "segment_tokens": segment_tokens,
        "first_batch_tokens": warm_up_blocks(layout, first_batch_tokens) * layout.block_tokens,
    }


def engine_bytes(
    layout: Layout,
    segment_tokens: int,
    kernels: str,
    deterministic: bool,
    paths: Paths | None = None,
    subwords: WordRows | None = None,
) -> int:
    """Device memory that an engine takes, the corpus aside: tables, a segment, a micro-batch, rounded up."""
    row = 4 * layout.depth
    drawing = 20 * layout.vocab_size
    if layout.sentences is not None:
        return layout.table_rows * row + drawing + sentence_bytes(layout, segment_tokens, deterministic)
    blocks = layout.blocks_of(segment_tokens) + UNROLL * layout.batch_blocks
    places = blocks * layout.block_rows
    segment = 100 * segment_tokens + 12 * places + 12 * blocks * layout.block_tokens
    if layout.objective != "ns" or subwords is not None:
        return layout.table_rows * row + drawing + segment + eager_bytes(layout, deterministic, paths, subwords)
    table = layout.table_rows * (row + (4 if kernels == "torch" else 8)) + drawing
    if deterministic:
        segment += (60 if kernels == "torch" else 40) * places
    # plain torch keeps rows, both sums of steps, and their copies in float64 or int64
    copies = 1 if kernels == "triton" else 9 if deterministic else 4
    scores = 0 if kernels == "triton" else 40 * layout.block_rows * layout.block_tokens
    batch = layout.batch_blocks * (copies * layout.block_rows * row + scores)
    return table + 2 * segment + 2 * batch  # a runner for the warm-up and one for the rest
