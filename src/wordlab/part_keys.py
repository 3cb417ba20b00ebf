"""What decides the bytes of each finished part of stage `tokenize`: the keys by which a later run knows them again.

A shard depends on the files it was cut from, where it was cut, on the parameters of tokenizing, and on what passes over
all of the text have found. Not on the other files: where one of a thousand was broken and is mended, the shards before
it stay as they are. Nor on `max_bytes` or `shard_bytes` but for its cuts.

A text without a broken byte is the same whether broken ones are an error or dropped. So shards that were finished
before `error` has met one are as good with `drop`; the other way round, some might have lost bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from wordlab.artifacts import fingerprint
from wordlab.decompression import changed_while_read
from wordlab.parts import file_identity, identity_of
from wordlab.pieces import MODEL
from wordlab.remote_files import CorpusPath
from wordlab.sections.download import CorpusFormatConfig
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.spans import ShardTask, Span, UnreadSpan

_NOT_COMMON = ("shard_bytes", "max_bytes", "invalid_bytes", "sentencepiece")
"""Parameters of which a shard's key has what there is to say."""


class PartKeys:
    """The keys of one run."""

    def __init__(
        self,
        files: Sequence[CorpusPath],
        config: TokenizeConfig,
        stored: CorpusFormatConfig,
        versions: Mapping[str, Any],
    ) -> None:
        """Looks at all files, which is to be before any is read: one that changes later has another key next time."""
        self._config = config
        self._files = {path: file_identity(path) for path in files}
        described = dataclasses.asdict(config)
        shared = {name: value for name, value in described.items() if name not in _NOT_COMMON}
        self.common = identity_of("tokenize", stored=dataclasses.asdict(stored), shared=shared, **versions)
        """What decides the bytes of every part."""
        self.identity = self.common | {"files": [self._files[path] for path in files], "config": described}
        """What decides the bytes of the output."""

    def require_unchanged(self) -> None:
        """Raise CorpusError where a file is another one than at the beginning, by its size and time.

        Not by the rest of its identity, which a link to it changes. Files in a store are looked at when they are read.
        """
        for path, before in self._files.items():
            try:
                is_same = file_identity(path)[1:3] == before[1:3]
            except FileNotFoundError:
                is_same = False
            if not is_same:
                raise changed_while_read(path)

    def of_pass(self, name: str, before: Sequence[str]) -> str:
        """Of what a pass over all of the text has found. before: digests of what earlier ones have."""
        trained = dataclasses.asdict(self._config.sentencepiece) if name == MODEL else {}
        return fingerprint([self.of_reading(name, before), trained])

    def of_reading(self, name: str, before: Sequence[str]) -> str:
        """Of what such a pass reads, whatever is made of it."""
        read = [self._config.shard_bytes, self._config.max_bytes, self._config.invalid_bytes]
        sampled = self._config.sentencepiece.sample_bytes if name == MODEL else 0
        return fingerprint([name, self.identity["files"], read, sampled, list(before)])

    def of_shard(self, task: ShardTask, before: Sequence[str]) -> list[str]:
        """Keys that stand for the shard's bytes, its own first. before: as for `of_pass`, of all passes."""
        content = [[self._span(span) for span in task.spans], list(before)]
        others = ["error"] if self._config.invalid_bytes == "drop" else []
        return [fingerprint([invalid, *content]) for invalid in (self._config.invalid_bytes, *others)]

    def _span(self, span: Span | UnreadSpan) -> list[Any]:
        dump = dataclasses.asdict(span.dump) if span.dump else None
        place = [span.offset, span.size, span.starts_file, span.ends_file, span.cut]
        return [self._files[span.path], *place, dump]
