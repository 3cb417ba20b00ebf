"""What can go wrong and be told to a person.

    WordlabError
    ├── ConfigError      params.yaml or a command line asks for something that cannot be
    ├── ArtifactError    a file that a stage wrote is missing, damaged, or does not fit another one
    ├── CorpusError      the text cannot be used: empty, undecodable, no word frequent enough
    ├── DownloadError    no location of a file worked
    └── ResourceError    memory, disk or device does not suffice

Every message says what is wrong, where, what was found, and what to do next. A stage prints it without a traceback and
exits with status 1; any other exception is a bug of ours and keeps its traceback.
"""


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
