"""The corpus and the evaluation sets that params.yaml names: rows of the catalog, dumps, or the user's own files."""

from __future__ import annotations

from collections.abc import Sequence

from wordlab.catalog import Row, find_row
from wordlab.dumps import Dump, find_dump
from wordlab.own_corpus import OwnCorpus, find_own
from wordlab.remote_corpus import RemoteCorpus


def find_corpus(corpus: str, catalog: dict[str, Row]) -> Row | Dump | OwnCorpus | RemoteCorpus:
    """What `corpus:` names, without a look at any network. Raises ConfigError where it is nothing."""
    if corpus in catalog:
        return find_row(catalog, corpus, "corpus", "corpus")
    return find_dump(corpus) or find_own(corpus, catalog)


def find_sets(names: Sequence[str], catalog: dict[str, Row]) -> list[Row]:
    """The rows of download.evaluation_sets, each once, and behind them those that they need. Raises ConfigError."""
    listed = {
        find_row(catalog, name, "evaluation", f"download.evaluation_sets.{position}"): None
        for position, name in enumerate(dict.fromkeys(names))
    }
    needed = [catalog[row.needs] for row in listed if row.needs]
    return list(listed | dict.fromkeys(needed))
