"""sent2vec's segments: word ids -> pieces of sentences, their rows, blocks and micro-batches, all on the device.

The same pieces, blocks and micro-batches as in kernels/sentence_plan.py, and the same buckets and words left out as in
word_ngrams.py, to the bit; docs/engine.md has the rule. A row of a sentence stands for a run of words: a word by itself
or a word n-gram. Run (j, k) is that of the k + 1 words from word j on, and its place is j K + k, with K the words of
the longest. So the runs that hold a word are a few shifted rows, and no list of them is kept.

Blocks and micro-batches have as many pieces as there is room for, so where one begins depends on the one before. Each
piece knows who would follow if it were a first one; the chain from piece 0 is found in log2(pieces) jumps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wordlab.torch_engine.draws import (
    DROPOUT,
    GOLDEN,
    KEEP,
    NOISE,
    draw,
    is_kept,
    mix,
    noise_words,
    shift_right,
    signed,
    stream_key,
)
from wordlab.torch_engine.layout import Layout, SentenceBags
from wordlab.torch_engine.segments import Drawing

DROPOUT_DRAWS = 1024
"""Draws reserved for a sentence at each position, as in wordlab.word_ngrams."""


class Begin(NamedTuple):
    """Where a micro-batch begins: in the lists of Sentences."""

    word: int
    target: int
    run: int
    piece: int
    block: int


class Sentences(NamedTuple):
    """A segment's micro-batches: all that was drawn, and nothing of the vectors.

    Words, targets, runs, pieces and blocks are numbered through the segment, in the order of the text. Pieces without a
    target, or of one word, are not in it.
    """

    begins: list[Begin]
    """Of each micro-batch, and the end of the last one. Empty where there is no target."""
    word_piece: Tensor
    """int64 (words,): the piece of each word"""
    run_row: Tensor
    """int64 (runs,): row of the table"""
    run_place: Tensor
    """int64 (runs,), rising: j K + k"""
    target_word: Tensor
    """int64 (targets,): which of the words each is"""
    target_row: Tensor
    """int64 (targets,): its output row"""
    bag_size: Tensor
    """int32 (targets,): rows in its bag, 1 or more"""
    target_block: Tensor
    """int64 (targets,)"""
    target_place: Tensor
    """int64 (targets,): its number among the targets of its block"""
    widest: int
    """Targets of the largest block."""
    first_word: Tensor
    first_target: Tensor
    """int64 (pieces,)"""
    noise_row: Tensor
    """int64 (blocks, N): output rows"""


class Pieces(NamedTuple):
    """Words of the pieces that have a target, one piece after the other."""

    word_id: Tensor
    """int64 (words,)"""
    position: Tensor
    """int64 (words,): in the corpus"""
    is_target: Tensor
    """bool (words,)"""
    words: Tensor
    """int64 (pieces,): how many each has"""
    targets: Tensor
    """int64 (pieces,)"""


def cut_into_sentences(
    ids: Tensor, ends: Tensor, first_position: int, epoch: int, drawing: Drawing, layout: Layout
) -> Sentences:
    """Cut a segment into pieces, blocks and micro-batches. Arguments: see `segments.cut_into_blocks`."""
    bags = layout.sentences
    assert bags is not None
    key = {stream: stream_key(drawing.seed, epoch, stream) for stream in (KEEP, NOISE, DROPOUT)}
    position = torch.arange(first_position, first_position + len(ids), device=ids.device)
    kept = is_kept(key[KEEP], position, drawing.keep_threshold[ids])
    pieces = _pieces(ids, ends, position, kept, layout.longest_sentence)
    first_word, first_target = (n.cumsum(0) - n for n in (pieces.words, pieces.targets))
    size, number = len(pieces.word_id), torch.arange(len(pieces.words), device=ids.device)
    word_piece = torch.repeat_interleave(number, pieces.words, output_size=size)
    begin_position = pieces.position[first_word]
    dropout = bags.dropout if bags.word_ngrams > 1 else 0
    dropped = draw_dropped(key[DROPOUT], begin_position, first_word, pieces.words, dropout, size)
    left = (first_word + pieces.words)[word_piece] - torch.arange(size, device=ids.device)
    rows = run_rows(pieces.word_id, left, dropped, bags, layout.ngram_row)
    there = rows >= 0
    target_word = pieces.is_target.nonzero().squeeze(1)
    bag_size = _bag_sizes(there, word_piece, len(number))[target_word]
    is_batch, is_block = _groups(pieces, layout)
    block_piece = is_block.nonzero().squeeze(1)
    target_block = (is_block.cumsum(0) - 1)[word_piece[target_word]]
    target_place = torch.arange(len(target_word), device=ids.device) - first_target[block_piece][target_block]
    of_block = pieces.position[target_word[first_target[block_piece]]]
    noise = noise_words(key[NOISE], of_block, layout.noise_words, drawing.accept, drawing.alias)
    run_place = there.view(-1).nonzero().squeeze(1)
    batch_piece = is_batch.nonzero().squeeze(1)
    starts = [
        *(first_word[batch_piece], first_target[batch_piece]),
        torch.searchsorted(run_place, first_word[batch_piece] * bags.word_ngrams),
        *(batch_piece, (is_block.cumsum(0) - 1)[batch_piece]),
    ]
    begins = [Begin(*place) for place in torch.stack(starts, dim=1).tolist()]
    if begins:
        begins.append(Begin(size, len(target_word), len(run_place), len(number), len(block_piece)))
    return Sentences(
        begins=begins,
        word_piece=word_piece,
        run_row=rows.view(-1)[run_place],
        run_place=run_place,
        target_word=target_word,
        target_row=pieces.word_id[target_word] + (layout.vocab_size + 1),
        bag_size=bag_size,
        target_block=target_block,
        target_place=target_place,
        widest=int(target_place.max()) + 1 if begins else 0,
        first_word=first_word,
        first_target=first_target,
        noise_row=noise.long() + (layout.vocab_size + 1),
    )


def _pieces(ids: Tensor, ends: Tensor, position: Tensor, kept: Tensor, longest: int) -> Pieces:
    """Sentences, those of more than `longest` words in parts, without those of one word or without a target."""
    place = torch.arange(len(ids), device=ids.device)
    sentence = torch.searchsorted(ends, place, right=True)
    start = torch.where(sentence > 0, ends[(sentence - 1).clamp_(min=0)], 0)
    is_first = (place - start) % longest == 0
    piece = is_first.cumsum(0) - 1
    pieces = is_first.nonzero().shape[0]
    words, targets = (
        torch.zeros(pieces, dtype=torch.int64, device=ids.device).index_add_(0, piece, counted.long())
        for counted in (torch.ones_like(is_first), kept)
    )
    used = (words > 1) & (targets > 0)
    inside = used[piece]
    return Pieces(ids[inside].long(), position[inside], kept[inside], words[used], targets[used])


def draw_dropped(key: int, position: Tensor, first_word: Tensor, words: Tensor, count: int, size: int) -> Tensor:
    """Which words are left out of n-grams, bool (size,): `count` of each piece, but two at least are not.

    position: of each piece's first token in the corpus.   words: int64 (pieces,).   See word_ngrams.draw_dropped.
    """
    dropped = torch.zeros(size + 1, dtype=torch.bool, device=words.device)  # the last one: of pieces that are done
    first_drawn = (words - count).clamp(min=2)
    for turn in range(min(count, int(words.max()) - 2) if len(words) else 0):
        last = first_drawn + turn
        number = draw(key, position * DROPOUT_DRAWS + (words - 1 - last))
        place = shift_right(number, 32).mul_(last + 1) >> 32
        drawn = last < words
        taken = dropped[torch.where(drawn, first_word + place, size)]
        dropped[torch.where(drawn, first_word + torch.where(taken, last, place), size)] = True
        dropped[size] = False
    return dropped[:size]


def first_hash(word: Tensor) -> Tensor:
    """Hash of a run of one word; int64, as all hashes here with the bits of the uint64 of wordlab.word_ngrams."""
    return mix(word + signed(GOLDEN))


def longer_hash(value: Tensor, word: Tensor) -> Tensor:
    """Hash of a run, made longer by a word."""
    return mix(value ^ (word * signed(GOLDEN) + 1))


def bucket_of(value: Tensor, buckets: int) -> Tensor:
    """Bucket of a hash, 0 to buckets - 1."""
    return shift_right(value, 32).mul_(buckets) >> 32


def run_rows(word_id: Tensor, left: Tensor, dropped: Tensor, bags: SentenceBags, first_row: int) -> Tensor:
    """Row of the table for every run (j, k), int64 (words, K); -1 where there is none.

    left: words of the piece from word j on.   first_row: of bucket 0.
    """
    rows = torch.full((len(word_id), bags.word_ngrams), -1, dtype=torch.int64, device=word_id.device)
    rows[:, 0] = word_id
    value, there = first_hash(word_id), ~dropped
    for longer in range(1, min(bags.word_ngrams, len(word_id))):
        size = len(word_id) - longer
        value = longer_hash(value[:size], word_id[longer:])
        there = there[:size] & ~dropped[longer:] & (left[:size] > longer)
        rows[:size, longer] = torch.where(there, bucket_of(value, bags.buckets) + first_row, -1)
    return rows


def sums_of_runs(runs: Tensor) -> Tensor:
    """For every word the sum over the runs that hold it, (words, ...).

    runs: (words, K, ...), 0 where there is no run; afterwards runs[j, 0] is the sum over those that begin at word j.
    """
    words, longest = runs.shape[:2]
    for k in reversed(range(longest - 1)):
        runs[:, k] += runs[:, k + 1]
    held = runs[:, 0].clone()
    for before in range(1, min(longest, words)):
        held[before:] += runs[: words - before, before]  # those that begin so many words before, and are long enough
    return held


def _bag_sizes(there: Tensor, word_piece: Tensor, pieces: int) -> Tensor:
    """Rows in the bag of each word, were it a target: of its piece without those that hold it; int32 (words,)."""
    runs = there.int()
    held = sums_of_runs(runs)
    total = torch.zeros(pieces, dtype=torch.int32, device=there.device).index_add_(0, word_piece, runs[:, 0])
    return total[word_piece] - held


def _groups(pieces: Pieces, layout: Layout) -> tuple[Tensor, Tensor]:
    """Whether a micro-batch begins with a piece, and whether a block does; both bool (pieces,).

    A block has as many pieces as have block_tokens targets together, one at least; a micro-batch as many as have
    most_words words.
    """
    number = torch.arange(len(pieces.words), device=pieces.words.device)
    is_batch = _chain(_next_group(pieces.words, layout.most_words))
    last = torch.cat([number[is_batch][1:], number.new_tensor([len(number)])])
    end = last[(is_batch.cumsum(0) - 1)] if len(number) else number
    return is_batch, _chain(torch.minimum(_next_group(pieces.targets, layout.block_tokens), end))


def _next_group(sizes: Tensor, most: int) -> Tensor:
    """The piece that a group which begins with each piece has no more room for, int64 (pieces,). sizes: 1 or more."""
    end = sizes.cumsum(0)
    number = torch.arange(1, len(sizes) + 1, device=sizes.device)
    return torch.maximum(torch.searchsorted(end, end - sizes + most, right=True), number)


def _chain(following: Tensor) -> Tensor:
    """Those that are reached from number 0, each naming the next, which is higher; bool (n,). n: the end."""
    end = len(following)
    jump = torch.cat([following, following.new_tensor([end])])
    reached = torch.zeros(end + 1, dtype=torch.bool, device=following.device)
    reached[0] = True
    for _ in range(end.bit_length()):
        reached[torch.where(reached, jump, end)] = True
        jump = jump[jump]
    return reached[:end]
