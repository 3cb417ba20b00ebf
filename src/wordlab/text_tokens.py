"""Short texts to numbered words, each text one sentence, by the tokenizers of stage `tokenize` that need no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wordlab.tokencount import count_tokens
from wordlab.tokenizers import LINE_ENDS, character_classes, fold_words

_MARK = "x "
"""Put before every text: a token to every tokenizer, so that each text makes one sentence, and none is lost."""


def tokens_of(
    texts: Sequence[str], tokenizer: Literal["words", "ascii", "whitespace", "sentencepiece", "kiwi"], lowercase: bool
) -> tuple[list[str], NDArray[np.int32], NDArray[np.int64]]:
    """(distinct words, their numbers, offsets): of text i numbers[offsets[i] : offsets[i + 1]], a mark before the rest.

    Line ends in a text are spaces; halves of surrogate pairs are replaced.
    """
    lowercase = lowercase or tokenizer == "ascii"
    spaces = dict.fromkeys(map(ord, LINE_ENDS), " ")
    lines = "\n".join(_MARK + text.translate(spaces) for text in texts)
    count = count_tokens(lines.encode(errors="replace"), character_classes(tokenizer, "lines"), lowercase)
    return fold_words(count.words.words().to_pylist(), tokenizer, lowercase), count.ids, count.offsets
