"""What a token is, as data: each tokenizer is a table with the class of every Unicode character.

    words       letters, digits and the marks that combine with them, of any script (Unicode categories L, N, M). An
                apostrophe (' or ’) between two of them joins: don't, o'neill. A hyphen separates, and so does all else.
    ascii       a to z; each digit is a word of its own, spelled out; all else separates (wikifil.pl, which made text8).
    whitespace  whatever stands between white space, as `str.split` sees it, and control characters.

The kernel in `tokencount` walks the text once with such a table. Lower-casing, NFC and spelling out happen to the
distinct words afterwards (`fold_words`): they are few, where tokens are many.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wordlab.tokencount import CLOSER, CONTROL, JOINER, LINE, SINGLE, SPACE, TERMINATOR, TOKEN, WIDE

NUM_CODE_POINTS = 0x110000
LINE_ENDS = "\n\r\x85\u2028\u2029"
TERMINATORS = ".!?…؟۔।"
WIDE_TERMINATORS = "。！？｡．"
CLOSERS = "\"')]}”’»›」』）】〉》"
APOSTROPHES = "'’"
CUT_IN_PARTS = ("sentencepiece", "kiwi")
"""Tokenizers whose tokens are no words."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def words_name(shard: int) -> str:
    """Of the file in which stage tokenize counts the words of a shard whose tokens are none."""
    return f"words-{shard:05d}.arrow"


@functools.cache
def character_classes(
    tokenizer: Literal["words", "ascii", "whitespace", "sentencepiece", "kiwi"],
    sentences: Literal["punctuation", "lines"],
) -> NDArray[np.uint16]:
    """Class of every code point, shape (0x110000,), for one tokenizer and one way to end sentences."""
    spaces, controls, wordlike = _unicode_classes()
    classes = np.zeros(NUM_CODE_POINTS, dtype=np.uint16)
    classes[spaces] = SPACE
    classes[controls] = CONTROL
    if tokenizer == "words":
        classes[wordlike] |= TOKEN
        classes[_code_points(APOSTROPHES)] |= JOINER
    elif tokenizer == "ascii":
        classes[_code_points("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] |= TOKEN
        classes[_code_points("0123456789")] |= SINGLE
    else:
        classes[classes == 0] = TOKEN
    classes[_code_points(LINE_ENDS)] |= LINE
    if sentences == "punctuation":
        classes[_code_points(TERMINATORS)] |= TERMINATOR
        classes[_code_points(WIDE_TERMINATORS)] |= WIDE
        classes[_code_points(CLOSERS)] |= CLOSER
    return classes


@functools.cache
def _unicode_classes() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Code points of white space, of other control characters, and of letters, numbers and marks."""
    spaces, controls, wordlike = [], [], []
    for code_point in range(NUM_CODE_POINTS):
        category = unicodedata.category(chr(code_point))
        if category[0] in "LNM":
            wordlike.append(code_point)
        elif chr(code_point).isspace():
            spaces.append(code_point)
        elif category == "Cc" or code_point == 0xFEFF:
            controls.append(code_point)
    return np.array(spaces), np.array(controls), np.array(wordlike)


def _code_points(characters: str) -> list[int]:
    return [ord(character) for character in characters]


def fold_words(
    words: list[str], tokenizer: Literal["words", "ascii", "whitespace", "sentencepiece", "kiwi"], lowercase: bool
) -> list[str]:
    """The form in which words are counted: NFC, lower-cased if so wished, ’ written ', digits of `ascii` spelled out.

    Words become equal to one another in this way; their number stays.
    """
    if tokenizer == "ascii":
        return [DIGITS[int(word)] if word.isdecimal() else word for word in words]
    # A line end composes with nothing and has no case, so all words can be folded as one string.
    joined = fold_text("\n".join(words), lowercase)
    if tokenizer == "words":
        joined = joined.replace("’", "'")
    return joined.split("\n")


def fold_text(text: str, lowercase: bool) -> str:
    """NFC, lower-cased if so wished."""
    folded = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", folded.lower()) if lowercase else folded
