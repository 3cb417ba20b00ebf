"""Training the model of tokenizer `sentencepiece`, in the stage, on a sample of the normalised text.

It takes the sentences with the smallest hash of their place in the corpus, so it is spread evenly over the corpus,
whose size need not be known before, and is the same on any number of workers. What shards give to it is kept until it
is whole (wordlab.shard_sums).
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from wordlab.errors import ConfigError, CorpusError
from wordlab.pieces import MODEL
from wordlab.sections.tokenize import SentencePieceConfig, TokenizeConfig
from wordlab.shard_sums import Arrays, add_up
from wordlab.shard_text import ShardPass, shard_text
from wordlab.spans import ShardTask
from wordlab.tokencount import split_sentences
from wordlab.tokenizers import character_classes, fold_text

SAMPLED_SENTENCE_BYTES = 4096
"""A sampled sentence is cut here: the library passes over longer ones, and its memory grows with them."""
TRAINER_THREADS = 4
"""Sums are added up by thread, so the number is part of the result."""
_ANY_HASH = np.uint64(0xFFFFFFFFFFFFFFFF)


def train_pieces(config: TokenizeConfig, folder: Path, verdicts: Path, shards: ShardPass) -> dict[str, int]:
    """Train on a sample of these shards and write sentencepiece.model. Raises ConfigError if the size does not fit.

    verdicts: a folder with those over lines. Returns what there is to report.
    """
    sentences = drawn_sample(config, verdicts, shards)
    if not sentences:
        raise CorpusError("The corpus holds no text to train sentencepiece on. Check corpus in params.yaml.")
    texts = (fold_text(sentence.decode(errors="ignore"), config.lowercase) for sentence in sentences)
    (folder / MODEL).write_bytes(_trained_model(texts, config.sentencepiece))
    return {"sampled_sentences": len(sentences)}


def drawn_sample(config: TokenizeConfig, verdicts: Path, shards: ShardPass) -> list[bytes]:
    """The sample, in the order of the corpus. verdicts: as for `shard_text`."""
    sample = Sample(config.sentencepiece.sample_bytes)
    tasks = ((task.index, (task, sample.highest)) for task in shards.tasks)
    add_up(sample, shards.kept, tasks, functools.partial(sample_shard, config=config, verdicts=verdicts), shards.run)
    return sample.sentences()


def sample_shard(task: tuple[ShardTask, np.uint64], config: TokenizeConfig, verdicts: Path) -> Arrays:
    """What a shard gives to the sample, as `Sample.add` takes it: `sample_bytes` at most.

    task: the shard, and the highest hash that can be in the sample.
    """
    shard, highest = task
    text, _ = shard_text(shard, config, verdicts)
    spans = split_sentences(text, character_classes("sentencepiece", config.sentences))
    lengths = np.minimum(spans[:, 1] - spans[:, 0], SAMPLED_SENTENCE_BYTES)
    hashes = place_hashes(shard.index, spans[:, 0])
    candidates = np.flatnonzero(hashes <= highest)
    hashes, starts, lengths = hashes[candidates], spans[candidates, 0], lengths[candidates]
    chosen = smallest(hashes, lengths, config.sentencepiece.sample_bytes)
    return hashes[chosen], lengths[chosen], _taken(text, starts[chosen], lengths[chosen])


def place_hashes(shard: int, offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A hash of (shard, byte offset), the mixer of splitmix64. Shape as offsets."""
    mixed = offsets.astype(np.uint64) + np.uint64(shard << 40)
    for factor, shift in ((0x9E3779B97F4A7C15, 30), (0xBF58476D1CE4E5B9, 27), (0x94D049BB133111EB, 31)):
        mixed = mixed * np.uint64(factor)
        mixed ^= mixed >> np.uint64(shift)
    return mixed


def smallest(hashes: NDArray[np.uint64], lengths: NDArray[np.int64], sample_bytes: int) -> NDArray[np.int64]:
    """Places, rising, of the smallest hashes whose sentences, of these lengths, fill the sample."""
    order = np.argsort(hashes, kind="stable")
    return np.sort(order[np.cumsum(lengths[order]) - lengths[order] < sample_bytes])


class Sample:
    """The sentences with the smallest hashes of those that were added, in the order in which they came."""

    def __init__(self, sample_bytes: int) -> None:
        self._sample_bytes = sample_bytes
        self.restore((np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint8)))

    @property
    def highest(self) -> np.uint64:
        """A sentence with a higher hash is in no sample that begins with this one: it is full without it."""
        is_full = self._lengths.sum() >= self._sample_bytes
        return np.uint64(self._hashes.max(initial=0)) if is_full else _ANY_HASH

    def add(self, addend: Arrays) -> None:
        """Hashes, lengths and the sentences, uint8, one after the other."""
        hashes, lengths, text = (np.concatenate(pair) for pair in zip(self.state(), addend, strict=True))
        chosen = smallest(hashes, lengths, self._sample_bytes)
        starts = np.cumsum(lengths) - lengths
        self.restore((hashes[chosen], lengths[chosen], _taken(text.tobytes(), starts[chosen], lengths[chosen])))

    def state(self) -> Arrays:
        return self._hashes, self._lengths, self._text

    def restore(self, state: Arrays) -> None:
        self._hashes, self._lengths, self._text = state

    def sentences(self) -> list[bytes]:
        return list(self._sentences())

    def _sentences(self) -> Iterator[bytes]:
        text, stop = self._text.tobytes(), 0
        for length in self._lengths.tolist():
            start, stop = stop, stop + length
            yield text[start:stop]


def _taken(text: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """text[start : start + length] of each, one after the other."""
    slices = map(slice, starts.tolist(), (starts + lengths).tolist())
    return np.frombuffer(b"".join(map(text.__getitem__, slices)), np.uint8)


def _trained_model(texts: Iterator[str], config: SentencePieceConfig) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=texts,
            model_writer=model,
            model_type=config.model_type,
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            max_sentence_length=4 * SAMPLED_SENTENCE_BYTES,
            num_threads=TRAINER_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(_training_message(str(error), config)) from None
    return model.getvalue()


def _training_message(reason: str, config: SentencePieceConfig) -> str:
    """The library's two complaints about the size, in our words; any other as it is."""
    size = f"tokenize.sentencepiece.vocab_size is {config.vocab_size}"
    if largest := re.search(r"too high.*<= (\d+)", reason, re.DOTALL):
        return (
            f"{size}, but {largest[1]} pieces are the most the text allows. "
            f"Run: dvc exp run -S tokenize.sentencepiece.vocab_size={largest[1]}"
        )
    if smallest := re.search(r"smaller than required_chars\D+\d+ vs (\d+)", reason):
        return (
            f"{size}, but the text's characters alone need {smallest[1]}. Raise it, or lower "
            "tokenize.sentencepiece.character_coverage, in params.yaml, then run: dvc repro"
        )
    complaint = reason.strip().rstrip(".")
    return (
        f"sentencepiece could not be trained: {complaint}. "
        "Check tokenize.sentencepiece in params.yaml, then run: dvc repro"
    )
