"""Korean text: Hanja glosses in brackets, brackets left empty by templates, and blank letters.

Particles are written to the word before them, also over a bracket: 대한민국(大韓民國)은 is 대한민국은 with a gloss. A
tokenizer that splits at brackets would make a word of the particle, and leave the noun without it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_HANJA = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_SEPARATORS = " \t\u00a0\u3000,;:·ㆍ・/|~.、，；：–—-"
_HAS_HANJA = re.compile(f"[{_HANJA}]")
_ROUND = re.compile(r"[(（]([^()（）\n]*+)[)）]")
_HANJA_WORD = re.compile(rf"(?<!\w)[{_HANJA}]++(?:[·ㆍ・-][{_HANJA}]++)*+(?!\w)")
_REPEATED = re.compile(rf"[{re.escape(_SEPARATORS)}]*+([,;:/])[{re.escape(_SEPARATORS)}]*+")
_EMPTY = re.compile(
    "|".join(
        rf"{re.escape(pair[0])}[{re.escape(_SEPARATORS)}]*+{re.escape(pair[1])}"
        for pair in ("()", "（）", "[]", "「」", "『』", "《》", "〈〉", "【】")
    )
)
_NESTED = 3
"""Empty brackets in one another that are seen as such."""
_BLANK_LETTERS = ("\u3164", "\uffa0")
"""Hangul fillers: letters to Unicode, blanks to who writes them."""


def korean_texts(texts: Sequence[str]) -> list[str]:
    """Each text as `korean_text` leaves it, nothing counted: sentences that a model of such a corpus is asked about."""
    return [korean_text(text, Counter()) for text in texts]


def korean_text(text: str, dropped: Counter[str]) -> str:
    """The text with Hanja words taken out of round brackets, and empty brackets gone; `dropped` counts both.

    What else a bracket holds stays; one that holds Hanja inside of longer words, as Japanese does, stays as it is.
    """
    for blank in _BLANK_LETTERS:
        text = text.replace(blank, " ")

    def without_hanja(bracket: re.Match[str]) -> str:
        inside = bracket[1]
        if not _HAS_HANJA.search(inside):
            return bracket[0]
        kept = _HANJA_WORD.sub("", inside)
        if kept == inside or _HAS_HANJA.search(kept):
            return bracket[0]
        dropped["bracketed_hanja"] += 1
        kept = _REPEATED.sub(r"\1 ", kept).strip(_SEPARATORS)
        return f"({kept})" if kept else ""

    text = _ROUND.sub(without_hanja, text)
    for _ in range(_NESTED):
        text, num_empty = _EMPTY.subn("", text)
        dropped["empty_brackets"] += num_empty
    return text
