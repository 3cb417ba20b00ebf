"""Pages of results in HTML: one file each, with style and figures inside, readable on a phone; nothing is fetched.

What is handed to these functions is text, and escaped; what they give back is HTML.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

SHELL = Path(__file__).with_name("page.html")
NARROW = 4
"""A table of so many columns becomes two lines a row on a phone; a wider one is moved sideways."""


def whole_page(title: str, headline: str, main: str) -> str:
    """main: HTML, the sections of the page."""
    template = Template(SHELL.read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), headline=escape(headline), main=main)


def section(heading: str, content: str, hint: str = "") -> str:
    told = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f"<section><h2>{escape(heading)}</h2>{told}{content}</section>\n"


def folded(summary: str, content: str) -> str:
    """What is shown when it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def listed(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def inline(svg: bytes, description: str) -> str:
    """A figure as an image inside the page. As an <img>, its ids and styles cannot clash with another figure's."""
    coded = base64.b64encode(svg).decode()
    return f'<img alt="{escape(description)}" src="data:image/svg+xml;base64,{coded}">'


def definitions(items: Mapping[str, str]) -> str:
    lines = [row([key.replace("_", " "), value]) for key, value in items.items()]
    return f'<table class="definitions">{"".join(lines)}</table>' if lines else nothing("Nothing was recorded.")


def table(names: Sequence[str], lines: Iterable[str]) -> str:
    """lines: of `row`."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    wide = ' class="wide"' if len(names) == NARROW else ""
    return (
        f'<div class="scroll"><table{wide}><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def row(cells: Sequence[str], raw: Iterable[int] = (), total: bool = False) -> str:
    """A line of a table; the cells numbered in `raw` are HTML already."""
    texts = [text if number in raw else escape(text) for number, text in enumerate(cells)]
    return f"<tr{' class=total' if total else ''}>{''.join(f'<td>{text}</td>' for text in texts)}</tr>"


def chips(term: str, words: Iterable[tuple[str, float]] | None) -> str:
    """A line of a list of neighbours: words with their cosines; None: `term` has none, being unknown."""
    if words is None:
        told = '<em class="note">not in the vocabulary</em>'
    else:
        told = " ".join(f"<span>{escape(near)} <small>{cosine:.2f}</small></span>" for near, cosine in words)
    return f"<dt>{escape(term)}</dt><dd>{told}</dd>"


def nothing(sentence: str) -> str:
    return f'<p class="note">{escape(sentence)}</p>'


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """{"a": {"b": 1}} -> {"a.b": "1"}"""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return found
