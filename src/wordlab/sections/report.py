"""Section `report` of params.yaml: what is shown."""

from __future__ import annotations

from dataclasses import dataclass

from wordlab.sections.reading import require


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Section `report` of params.yaml."""

    map_words: int
    """Most frequent words drawn in the 2-D map."""

    def __post_init__(self) -> None:
        require(2 <= self.map_words <= 1000, "report.map_words", self.map_words, "from 2 to 1000 words")
