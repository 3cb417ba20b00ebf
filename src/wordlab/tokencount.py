"""One pass over text: tokens found, hashed and numbered, sentences ended. The kernel behind all tokenizers.

It reads UTF-8 bytes and a table of character classes (`tokenizers`), and holds no more than the distinct words beside
its output. 16 MiB of English take about 0.12 s on one core.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordlab.wordtable import WordTable, grown, inlined, kernel, load_eight, trailing_zeros

# Classes of characters, as bits. They stand here because numba caches a kernel for as long as its own file stays as it
# is: all that a kernel is compiled from has to be in that file.
TOKEN = 1
"""Part of a token."""
SINGLE = 2
"""A token by itself."""
JOINER = 4
"""Part of a token where it stands between two characters of class TOKEN."""
SPACE = 8
"""White space."""
LINE = 16
"""Ends the line and with it the sentence."""
TERMINATOR = 32
"""Ends the sentence where white space or the end follows, closers aside, unless an abbreviation stands before."""
WIDE = 64
"""Ends the sentence whatever follows: the full-width marks of scripts without spaces."""
CLOSER = 128
"""Quotation mark or bracket that may stand between a terminator and the white space."""
CONTROL = 256
"""A control character: separates, and is counted."""

FULL_STOP = ord(".")
_TITLES = "mr mrs ms dr prof st rev hon gen col maj lt sgt capt cmdr adm gov sen rep pres supt mt ft"
_OTHERS = "vs etc approx ca cf al ed eds vol fig pp inc ltd co corp jr sr dept est"
_MONTHS = "jan feb mar apr jun jul aug sep sept oct nov dec"
ABBREVIATIONS = f"{_TITLES} {_OTHERS} {_MONTHS}".split()


def _packed(word: str) -> int:
    """Up to 8 ASCII letters as one number, the last letter in the lowest byte."""
    return int.from_bytes(word.encode("ascii"), "big")


_ABBREVIATION_KEYS = np.array(sorted(_packed(word) for word in ABBREVIATIONS), dtype=np.int64)
_BATCH_TOKENS = 1 << 13
_BYTES_A_WORD = 64
"""Of text, for each distinct word, about as in 16 MB of English with its punctuation."""
_EVERY_BYTE = 0x0101010101010101
_SEVEN_BITS, _HIGH_BITS = np.uint64(0x7F * _EVERY_BYTE), np.uint64(0x80 * _EVERY_BYTE)
_NONE, _EIGHTHS = np.uint64(0), np.uint64(3)
_RANGES = 3
_BATCH_SENTENCES = 1 << 13
_LONGEST_ABBREVIATION = max(len(word) for word in ABBREVIATIONS)


class TokenCount(NamedTuple):
    """What one text holds."""

    ids: NDArray[np.int32]
    """Local word ids, in the order of first appearance; shape (num_tokens,)."""
    offsets: NDArray[np.int64]
    """Sentence i is ids[offsets[i] : offsets[i + 1]], never empty; shape (num_sentences + 1,)."""
    words: WordTable
    """The distinct words, by local id."""
    num_control: int
    """Control characters found between tokens."""


def count_tokens(text: bytes, classes: NDArray[np.uint16], lowercase_ascii: bool) -> TokenCount:
    """Split valid UTF-8 into sentences of tokens and number the distinct ones, ASCII letters lower-cased if wished."""
    raw = np.frombuffer(text, dtype=np.uint8)
    folded = np.frombuffer(text.lower(), dtype=np.uint8) if lowercase_ascii else raw
    ids = np.empty(max(_BATCH_TOKENS, len(raw) // 5), dtype=np.int32)
    sentences = np.zeros(2 * _BATCH_TOKENS, dtype=np.int64)
    starts, stops = np.empty(_BATCH_TOKENS, dtype=np.int64), np.empty(_BATCH_TOKENS, dtype=np.int64)
    words, bounds = WordTable(len(raw) // _BYTES_A_WORD), _token_ranges(classes)
    position = num_tokens = num_sentences = num_control = 0
    while position < len(raw):
        sentences = grown(sentences, num_sentences + _BATCH_TOKENS + 2)
        ids = grown(ids, num_tokens + _BATCH_TOKENS)
        output = (starts, stops, sentences)
        position, found, num_sentences, controls = _find_tokens(
            raw, classes, bounds, position, num_tokens, num_sentences, *output
        )
        words.add_slices(folded, starts[:found], stops[:found], ids[num_tokens : num_tokens + found])
        num_tokens, num_control = num_tokens + found, num_control + controls
    if num_tokens > sentences[num_sentences]:
        num_sentences += 1
        sentences[num_sentences] = num_tokens
    return TokenCount(ids[:num_tokens], sentences[: num_sentences + 1], words, num_control)


def _token_ranges(classes: NDArray[np.uint16]) -> tuple[np.uint64, ...]:
    """The ASCII characters of class TOKEN, as `_run_end` wants them: first and behind the last of up to three ranges.

    With more of them, the other characters are found one by one.
    """
    in_token = (classes[:0x80] & (TOKEN | SINGLE)) == TOKEN
    edges = np.flatnonzero(np.diff(np.concatenate([[False], in_token, [False]])))[: 2 * _RANGES]
    bounds = [(0x80 - int(edge)) * _EVERY_BYTE for edge in edges] + [0] * (2 * _RANGES - len(edges))
    return tuple(map(np.uint64, bounds))


def split_sentences(text: bytes, classes: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Start and end of each sentence of valid UTF-8 text in bytes, white space left out: shape (num_sentences, 2)."""
    raw = np.frombuffer(text, dtype=np.uint8)
    parts = [np.empty((0, 2), dtype=np.int64)]
    position = 0
    while position < len(raw):
        spans = np.empty((_BATCH_SENTENCES, 2), dtype=np.int64)
        position, found = _split_sentences(raw, classes, position, spans)
        parts.append(spans[:found])
    return np.concatenate(parts)


def word_counts(ids: NDArray[np.int32], num_words: int) -> NDArray[np.int64]:
    """How often each id below num_words is there, shape (num_words,). The ids are trusted."""
    counts = np.zeros(num_words, dtype=np.int64)
    _count(ids, counts)
    return counts


@kernel
def renumber(ids, new_ids):
    """Replace each id by new_ids[id], in place. The ids are trusted."""
    for i in range(len(ids)):
        ids[i] = new_ids[ids[i]]


@kernel
def _count(ids, counts):
    for i in range(len(ids)):
        counts[ids[i]] += 1


@inlined
def _code_point(text, i):
    """Code point and width in bytes of the character that starts at i, in valid UTF-8."""
    lead = np.int64(text[i])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | (text[i + 1] & 0x3F), 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | np.int64(text[i + 1] & 0x3F) << 6 | (text[i + 2] & 0x3F), 3
    high = (lead & 0x07) << 18 | np.int64(text[i + 1] & 0x3F) << 12
    return high | np.int64(text[i + 2] & 0x3F) << 6 | (text[i + 3] & 0x3F), 4


@kernel
def _is_abbreviation(text, stop):
    """Whether text[:stop], before a full stop, ends in a single ASCII letter (J. Smith, e.g.) or an abbreviation."""
    key, length = np.int64(0), 0
    i = stop - 1
    while i >= 0 and length <= _LONGEST_ABBREVIATION:
        letter = np.int64(text[i]) | 0x20
        if text[i] >= 0x80:
            return False
        if letter < 97 or letter > 122:
            break
        key |= letter << (8 * length)
        length += 1
        i -= 1
    if length == 1:
        return i < 0 or text[i] < 48 or text[i] > 57  # 5m. is no initial
    if length == 0 or length > _LONGEST_ABBREVIATION:
        return False
    slot = np.searchsorted(_ABBREVIATION_KEYS, key)
    return slot < len(_ABBREVIATION_KEYS) and _ABBREVIATION_KEYS[slot] == key


@kernel
def _ends_sentence(text, i, width, classes):
    """Whether the terminator at i, `width` bytes long, ends its sentence: white space follows, closers aside."""
    j = i + width
    while j < len(text):
        code_point, next_width = _code_point(text, j)
        if not classes[code_point] & CLOSER:
            if not classes[code_point] & (SPACE | LINE):
                return False
            break
        j += next_width
    return not (text[i] == FULL_STOP and _is_abbreviation(text, i))


@kernel
def _token_ends_sentence(text, start, stop, classes):
    """The same for a token text[start:stop] that may hold its terminator (tokenizer `whitespace`)."""
    terminator, wide = -1, False
    i = start
    while i < stop:
        code_point, width = _code_point(text, i)
        character = classes[code_point]
        if character & (TERMINATOR | WIDE):
            terminator, wide = i, (character & WIDE) != 0
        elif not character & CLOSER:
            terminator = -1
        i += width
    if terminator < 0:
        return False
    return wide or not (text[terminator] == FULL_STOP and _is_abbreviation(text, terminator))


@inlined
def _run_end(text, i, bounds):
    """Where the run of ASCII characters of class TOKEN ends that begins at i, or before: in the last bytes of the text.

    Eight bytes at a time. A byte y below 0x80 is in the range lo..hi where y + 0x80 - lo has the highest bit set, and
    y + 0x7f - hi has not; no sum passes 0xff, so the bytes of one number do not disturb one another.
    bounds: `_token_ranges`, as six numbers.
    """
    while i + 8 <= len(text):
        eight: np.uint64 = load_eight(text, i)  # type: ignore[call-arg]
        low = eight & _SEVEN_BITS
        inside = (low + bounds[0]) & ~(low + bounds[1])
        inside |= (low + bounds[2]) & ~(low + bounds[3])
        inside |= (low + bounds[4]) & ~(low + bounds[5])
        outside = (eight | ~inside) & _HIGH_BITS
        if outside != _NONE:
            i += np.int64(trailing_zeros(outside) >> _EIGHTHS)
            break
        i += 8
    return i


@kernel
def _find_tokens(text, classes, bounds, position, num_tokens, num_sentences, starts, stops, sentences):
    """Find the next tokens of the text, from `position` on, as many as `starts` has room for.

    Sets their starts and stops, and the ends of sentences, given how many tokens and sentences came before.
    Returns the new position, the number of tokens found, the new number of sentences, and of control characters found.
    """
    n = len(text)
    i = position
    found, num_control = 0, 0
    while i < n and found < len(starts):
        start = i
        last = np.int64(0)
        if text[i] < 0x80:
            i = _run_end(text, i, bounds)
            if i > start:
                last = np.int64(classes[text[i - 1]])
        character, width = np.int64(0), 0
        while i < n:
            code_point, width = _code_point(text, i)
            character = np.int64(classes[code_point])
            if character & TOKEN == 0 and (
                character == SPACE
                or not (character & SINGLE if i == start else _joins(text, i, width, character, classes))
            ):
                break
            last = character
            i += width
            if last & SINGLE:
                break
            if width == 1:  # otherwise the next character is of the same script, most of the time
                run_end = _run_end(text, i, bounds)
                if run_end > i:
                    last = np.int64(classes[text[run_end - 1]])
                    i = run_end
        sentence_ends = False
        if i > start:
            starts[found], stops[found] = start, i
            found += 1
            if last & (TERMINATOR | WIDE | CLOSER):
                sentence_ends = _token_ends_sentence(text, start, i, classes)
            if character == SPACE:
                i += width
        else:
            if character & LINE:
                sentence_ends = True
            elif character & (TERMINATOR | WIDE):
                sentence_ends = (character & WIDE) != 0 or _ends_sentence(text, i, width, classes)
            elif character & CONTROL:
                num_control += 1
            i += width
        if sentence_ends and num_tokens + found > sentences[num_sentences]:
            num_sentences += 1
            sentences[num_sentences] = num_tokens + found
    return i, found, num_sentences, num_control


@kernel
def _joins(text, i, width, character, classes):
    """Whether the character at i, behind a token, joins it with what follows."""
    if not character & JOINER or i + width >= len(text):
        return False
    after, _ = _code_point(text, i + width)
    return (classes[after] & TOKEN) != 0


@kernel
def _split_sentences(text, classes, position, spans):
    """Find the next sentences of the text, from `position` on, as many as `spans` has room for; returns the new
    position and their number."""
    num_sentences = 0
    start, stop = -1, -1
    i = position
    while i < len(text) and num_sentences < len(spans):
        code_point, width = _code_point(text, i)
        character = np.int64(classes[code_point])
        if not character & (SPACE | LINE | CONTROL):
            start = i if start < 0 else start
            stop = i + width
        ends = (character & (LINE | WIDE)) != 0
        if character & TERMINATOR:
            ends = _ends_sentence(text, i, width, classes)
        i += width
        if start >= 0 and (ends or i >= len(text)):
            spans[num_sentences, 0], spans[num_sentences, 1] = start, stop
            num_sentences += 1
            start = -1
    return i, num_sentences
