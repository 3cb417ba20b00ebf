"""What can go wrong and be told to a person.

    WordlabError
    ├── ConfigError      params.yaml or a command line asks for something that cannot be
    ├── ArtifactError    a file that a stage wrote is missing, damaged, or does not fit another one
    ├── CorpusError      the text cannot be used: empty, undecodable, no word frequent enough
    ├── DownloadError    no location of a file worked
    ├── ResourceError    memory, disk or device does not suffice
    ├── BusyError        another process is at work on the same files
    ├── PeerError        another program, trained for comparison, crashed or wrote what is no model
    └── QueryError       a model is asked what it cannot answer: a vector of another length, a method it does not know
        └── UnknownWordError    a word that is not in its vocabulary; also a KeyError

Every message says what is wrong, where, what was found, and what to do next. A stage prints it without a traceback and
exits with status 1; any other exception is a bug of ours and keeps its traceback.
"""

import difflib
from collections.abc import Callable


class WordlabError(Exception):
    """Base of all errors that are told to the user as one message."""


class ConfigError(WordlabError):
    """A parameter is unknown, missing, of the wrong type, or out of range."""


class ArtifactError(WordlabError):
    """An output of an earlier stage is missing, incomplete, damaged or stale."""


class CorpusError(WordlabError):
    """The corpus cannot be turned into training data."""


class DownloadError(WordlabError):
    """A file could not be had from any of its locations."""


class ResourceError(WordlabError):
    """Not enough memory or disk space, or the wanted device is not there."""


class BusyError(WordlabError):
    """Another process writes what this one would read or write, or reads what it would replace."""


class PeerError(WordlabError):
    """A program that is trained for comparison failed."""


class QueryError(WordlabError):
    """A finished model is asked something it cannot answer."""


class UnknownWordError(QueryError, KeyError):
    """A word is not in a model's vocabulary.

    The message's suggestions are looked for when it is printed, not when it is raised: a program that tries many words
    and catches the KeyErrors pays nothing for them.
    """

    def __init__(self, word: str, num_words: int, suggest: Callable[[str], list[str]]) -> None:
        super().__init__(word)
        self.word = word
        self._num_words = num_words
        self._suggest = suggest

    def __str__(self) -> str:
        close = self._suggest(self.word)
        hint = (
            f"Did you mean {', '.join(close)}?" if close else "Words are looked up as they are written, case included."
        )
        return f"the word {self.word!r} is not among the {self._num_words:,} words of the vocabulary. {hint}"


def suggestion(found: str, known: list[str], prefix: str = "") -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them. prefix: before the nearest."""
    return nearest(found, known, prefix) or f" Known here: {', '.join(known)}."


def nearest(found: str, known: list[str], prefix: str = "", likeness: float = 0.6) -> str:
    """The nearest known name as the end of a message, if one is near, in whatever case; likeness: of 1, from there on.

    For messages that have named all that is known; for others there is `suggestion`.
    """
    close = [near for text in (found, found.lower()) for near in difflib.get_close_matches(text, known, 1, likeness)]
    return f" Did you mean {prefix}{close[0]}?" if close else ""
