"""Hypothesis strategies for the tests of the engine."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.engine import MODES, Case, make_case, model_config, train_config
from wordlab.sections.model import Sent2vecConfig


@st.composite
def cases(draw: st.DrawFn, modes: tuple[tuple[str, ...], ...] = MODES) -> Case:
    """Small cases of every method, with vocabularies so small that noise words and true words often coincide."""
    mode = draw(st.sampled_from(modes))
    own = {"sent2vec": draw(sentence_configs())} if mode[0] == "sent2vec" else {}
    model = model_config(
        *mode,
        **own,
        dim=draw(st.integers(1, 20)),
        window=draw(st.integers(1, 4)),
        negatives=draw(st.integers(1, 5)),
    )
    block_tokens = draw(st.integers(1, 9))
    train = train_config(
        lr=draw(st.floats(1e-3, 1)),
        lr_floor=draw(st.sampled_from([0.0, 0.3, 1.0])),
        epochs=draw(st.integers(1, 3)),
        block_tokens=block_tokens,
        block_negatives=draw(st.integers(1, 6)),
        batch_tokens=block_tokens * draw(st.integers(1, 3)),
        damping=draw(st.sampled_from([0.0, 0.5, 2.0])),
    )
    vocab_size = draw(st.integers(1, 6))
    word_ids = st.integers(0, vocab_size - 1)
    sentences = draw(st.lists(st.lists(word_ids, min_size=1, max_size=9), min_size=1, max_size=6))
    first_position = draw(st.sampled_from([0, 1, 1000, 1 << 33]))
    return make_case(
        model,
        train,
        sentences,
        keep=draw(per_word(vocab_size, st.floats(0.1, 1))),
        noise=draw(per_word(vocab_size, st.floats(0.01, 1))),
        seed=draw(st.integers(0, (1 << 63) - 1)),
        epoch=draw(st.integers(0, train.epochs - 1)),
        first_position=first_position,
        tokens_total=first_position + sum(map(len, sentences)) + draw(st.integers(0, 1000)),
        threads=draw(st.integers(1, 3)),
    )


@st.composite
def sentence_configs(draw: st.DrawFn) -> Sent2vecConfig:
    """Few buckets, so that n-grams share them."""
    numbers = {"word_ngrams": st.integers(1, 4), "dropout": st.integers(0, 4), "buckets": st.integers(1, 9)}
    return Sent2vecConfig(**{name: draw(number) for name, number in numbers.items()})


def per_word(vocab_size: int, numbers: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
    """One number for each word."""
    return st.lists(numbers, min_size=vocab_size, max_size=vocab_size)


@st.composite
def distributions(draw: st.DrawFn, most_words: int = 50) -> np.ndarray:
    """Chances of words that add up to 1, some of them 0, float64 (V,)."""
    weights = np.array(draw(st.lists(st.floats(0, 1), min_size=1, max_size=most_words)))
    weights[draw(st.integers(0, len(weights) - 1))] += 1e-3
    return weights / weights.sum()
