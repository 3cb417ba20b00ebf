"""Whose evaluator is followed: the few things in which evaluators of word vectors differ, by name.

    wordlab    ours, described in docs/evaluation.md; of its switches the defaults are gensim's
    gensim     `KeyedVectors.evaluate_word_analogies` and `evaluate_word_pairs` of gensim 4.4
    word2vec   `compute-accuracy.c` of word2vec, which only knows analogies; for the rest it is as wordlab

Scores of one model under different rules differ by points, and are not to be compared. The rules are therefore a
parameter, printed with the scores and stored with them.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wordlab.embeddings import MULTIPLICATION_EPSILON

Name = Literal["wordlab", "gensim", "word2vec"]
Case = Literal["ignore", "exact"]
Unknown = Literal["skip", "wrong"]

GENSIM_EPSILON = 0.000001
"""ε of gensim's most_similar_cosmul."""
GENSIM_CANDIDATES = 5
"""gensim looks at its five best words for one that is not spelled like a, b or c."""
WORD2VEC_SEMANTIC_SECTIONS = 5
"""compute-accuracy.c takes the first five sections of a file for semantic, whatever they are."""
_ASCII_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How questions and pairs are asked and answers judged."""

    name: Name = "wordlab"
    case: Case = "ignore"
    """Whether words that differ in case alone are one word, whose most frequent spelling gives the vector."""
    unknown: Unknown = "skip"
    """Questions and pairs with an unknown word are not asked, or are wrong answers and pairs of cosine 0 (gensim's
    dummy4unknown)."""
    compose: bool = False
    """Whether a model with subwords knows words of pairs by their n-grams, where `composes` allows it."""

    @property
    def composes(self) -> bool:
        """gensim's and word2vec's evaluators know the vocabulary alone."""
        return self.compose and self.name == "wordlab"

    @property
    def fold(self) -> Callable[[str], str]:
        """The form in which words are compared. C's toupper knows ASCII alone."""
        if self.case == "exact":
            return str
        return _ascii_upper if self.name == "word2vec" else str.upper

    @property
    def other_spellings_answer(self) -> bool:
        """Whether a word may be an answer that differs from a, b or c in case alone."""
        return self.name == "word2vec"

    @property
    def least_score(self) -> float:
        """What 3CosAdd must be above for a word to be an answer: word2vec's best so far begins at 0."""
        return 0.0 if self.name == "word2vec" else float("-inf")

    @property
    def candidates(self) -> int | None:
        """How many of the best words are looked at for an answer; None: all."""
        return GENSIM_CANDIDATES if self.name == "gensim" else None

    @property
    def mul_epsilon(self) -> float:
        """ε of 3CosMul."""
        return GENSIM_EPSILON if self.name == "gensim" else MULTIPLICATION_EPSILON

    @property
    def pairs_are_restricted(self) -> bool:
        """Whether restrict_vocab limits the words of pairs too."""
        return self.name == "gensim"

    def kind(self, section: str, number: int) -> str:
        """`semantic` or `syntactic`, of an analogy section by its name or number, from 0.

        Google's sections whose names begin with `gram` are syntactic, and so are the Korean ones that begin with `syn`.
        """
        if self.name == "word2vec":
            return "semantic" if number < WORD2VEC_SEMANTIC_SECTIONS else "syntactic"
        return "syntactic" if section.startswith(("gram", "syn")) else "semantic"

    def described(self, restrict_vocab: int) -> dict[str, str]:
        """The rules in words, as they are printed and stored beside the scores."""
        some = f"the {restrict_vocab:,} most frequent words" if restrict_vocab else "all words"
        forms = "ASCII upper case" if self.name == "word2vec" else "upper case"
        return {
            "rules": self.name,
            "vocabulary": f"analogies: {some}; pairs: {some if self.pairs_are_restricted else 'all words'}",
            "case": (
                "words are compared as they are written"
                if self.case == "exact"
                else f"ignored: words are compared in {forms}, the most frequent spelling counts"
            ),
            "unknown_words": (
                "questions and pairs with an unknown word are not asked; coverage says how many were"
                if self.unknown == "skip"
                else "questions with an unknown word are answered wrongly, pairs with one have cosine 0"
            ),
            "words_made_of_ngrams": (
                "in pairs alone, those that the vocabulary of a model with subwords lacks; such pairs count as known"
                if self.composes
                else "none"
            ),
            "question_words": (
                "a, b and c are no answers, their other spellings are; an answer's score is above 0"
                if self.other_spellings_answer
                else "a, b and c are no answers"
                + (f", and one of the {self.candidates} best words is" if self.candidates else "")
            ),
        }


def rules_lines(result: Mapping[str, Any]) -> list[str]:
    """The rules that a result of stage evaluate was scored by: whose, and then each in words."""
    described = {**result["evaluator"], **result.get("sentence_evaluator", {})}
    name = described.pop("rules", WORDLAB.name)
    told = [f"{key.replace('_', ' ')}: {text}" for key, text in described.items()]
    return [f"scored by the rules of {name}{':' if told else ''}", *told]


def _ascii_upper(word: str) -> str:
    return word.translate(_ASCII_UPPER)


WORDLAB = Rules()
