"""Tables of text: aligned for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """The first column is text and stands to the left, the others are numbers and stand to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_text(self) -> list[str]:
        """Lines for a terminal."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        return ["  ".join(_aligned(line, widths)).rstrip() for line in lines]

    def as_markdown(self) -> list[str]:
        """Lines of a Markdown table. A bar in a cell would end it, so it is escaped."""
        rule = "|---|" + "---:|" * (len(self.columns) - 1)
        head, *body = ("| " + " | ".join(_escaped(line)) + " |" for line in (self.columns, *self.rows))
        return [head, rule, *body]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = zip(line, widths, strict=True)
    return [f"{first[0]:<{first[1]}}", *(f"{text:>{width}}" for text, width in others)]


def _escaped(line: Sequence[str]) -> list[str]:
    return [cell.replace("|", r"\|") for cell in line]
