"""MediaWiki XML -> running text of the articles.

Templates, tables, references, formulas, files and categories go; links, headings, lists and emphasis leave their text.
Every pattern here takes time linear in the page, whatever the page holds: repeats are possessive or stop at the
character that could start them anew, and what nests is matched with a stack. Broken markup loses its signs, not its
text.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator

from wordlab.spans import Dump
from wordlab.wikipages import CATEGORY, FILE, article_wikitexts, namespace_names

_DROPPED_ELEMENTS = (
    "ref|math|pre|source|syntaxhighlight|gallery|timeline|hiero|score|chem|imagemap|inputbox|templatedata|style|script"
    "|ce|mapframe|maplink|graph|categorytree"
)
_ELEMENT = re.compile(rf"<(/?)({_DROPPED_ELEMENTS})\b([^<>]*+)>", re.IGNORECASE)
_TABLE_BRACES = re.compile(r"\n[ \t:]*+\{\||\n[ \t]*+\|\}(?!\})")
_PLAIN_LINK = re.compile(r"\[\[(?:[^\[\]|:\n]*+\|)?([^\[\]|:\n]++)\]\]")
_ANY_LINK = re.compile(r"\[\[([^\[\]|]*+)(\|[^\[\]]*+)?\]\]")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]++)*+|simple")
_EXTERNAL_LINK = re.compile(r"\[(?:https?|ftps?|news|irc|mailto)?:?//[^\s\[\]]*+([^\[\]\n]*+)\]")
_SCHEMES = ("https", "http", "ftp")
_ADDRESS = re.compile(r"[^\s<>\[\]|]++")
_LINE_MARKS = re.compile(r"\n(?:[*#:;=]++|-{4,}+|[ \t]*+\|[^\n]*+)")
_HEADING_END = re.compile(r"==*+[ \t\r]*+(?=\n)")  # one sign first: the library looks for a single letter fast
_EMPHASIS = re.compile(r"''++")
_BREAKING_TAG = re.compile(
    r"</?(?:br|p|div|li|ul|ol|dl|dd|dt|tr|td|th|table|blockquote|h[1-6]|hr)\b[^<>]*+>", re.IGNORECASE
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*+>")
_MAGIC_WORD = re.compile(r"__(?:[A-Z]++|[^\W\d_a-zA-Z]++)__")
_VARIANTS = re.compile(r"-\{([^{}]*+)\}-")
_VARIANT_CODE = re.compile(r"[a-z]{2,3}(?:-[a-z]++)*+")
_HIDDEN_VARIANTS = {"H", "T", "N", "-"}
_EMPTY_BRACKETS = re.compile(r"\([\s,;:]*+\)")
_ENDLESS_REFERENCE = re.compile(r"&#[0-9]{100,}+;?+")
"""A character reference of more digits than any character has; Python refuses to make a number of thousands."""
_LEFTOVER = re.compile(r"\[\[|\]\]|\{\{|\}\}|\{\||\|\}")


def article_texts(xml: bytes, dump: Dump, dropped: Counter[str]) -> Iterator[str]:
    """Running text of each article among these pages, valid UTF-8; `dropped` counts redirects and the like."""
    names = namespace_names(dump)
    for text in article_wikitexts(xml, names, dropped):
        stripped = strip_markup(text, names)
        if stripped.strip():
            yield stripped
        else:
            dropped["empty_pages"] += 1


def strip_markup(text: str, names: dict[str, int]) -> str:
    """Running text of wikitext, line by line. names: lower-case namespace name -> key."""
    text = "\n" + text + "\n"
    if "<" in text:
        text = _drop_elements(_drop_comments(text) if "<!--" in text else text)
    if "{" in text:
        text = _drop_nested(text)
    if "-{" in text:
        text = _VARIANTS.sub(_first_variant, text)
    text = _resolve_links(text, names)
    text = _drop_addresses(text)
    if "<" in text:
        text = _TAG.sub("", _BREAKING_TAG.sub(" ", text))
    text = _HEADING_END.sub("", _LINE_MARKS.sub("\n", text))
    text = _EMPHASIS.sub("", text)
    text = _MAGIC_WORD.sub("", text)
    if "&" in text:
        text = html.unescape(_ENDLESS_REFERENCE.sub("\ufffd", text))
    text = _LEFTOVER.sub(" ", text)
    return _EMPTY_BRACKETS.sub("", text)


def _drop_comments(text: str) -> str:
    """Without <!-- ... -->; one that is never closed runs to the end of the page, as in a browser."""
    parts = []
    position = 0
    while (start := text.find("<!--", position)) >= 0:
        parts.append(text[position:start])
        stop = text.find("-->", start + 4)
        position = stop + 3 if stop >= 0 else len(text)
    parts.append(text[position:])
    return "".join(parts)


def _drop_elements(text: str) -> str:
    """Without <ref>...</ref> and the like. Where the closing tag is missing, only the tag goes."""
    tags = list(_ELEMENT.finditer(text))
    last_closing = {tag[2].lower(): tag.start() for tag in tags if tag[1]}
    parts = []
    position = 0
    open_name = ""
    for tag in tags:
        name = tag[2].lower()
        if open_name:
            if tag[1] and name == open_name:
                open_name, position = "", tag.end()
            continue
        parts.append(text[position : tag.start()])
        position = tag.end()
        if not tag[1] and not tag[3].endswith("/") and last_closing.get(name, -1) >= position:
            open_name = name
    parts.append(text[position:])
    return "".join(parts)


def _braces(text: str) -> list[tuple[int, int, bool, bool]]:
    """Start and end of all {{ }} {| |} in their order; whether of a table, which begin lines; whether it opens."""
    marks = [(place, place + 2, False, True) for place in _places(text, "{{")]
    marks += [(place, place + 2, False, False) for place in _places(text, "}}")]
    if "{|" in text:
        marks += [(mark.start(), mark.end(), True, mark[0].endswith("{|")) for mark in _TABLE_BRACES.finditer(text)]
    marks.sort()
    return marks


def _places(text: str, mark: str) -> list[int]:
    """Where a mark of two signs stands; of three such signs, the first two are one."""
    places = []
    place = text.find(mark)
    while place >= 0:
        places.append(place)
        place = text.find(mark, place + 2)
    return places


def _drop_nested(text: str) -> str:
    """Without {{templates}} and {| tables |}, which nest in one another. Braces without a partner stay."""
    stack: list[tuple[bool, int]] = []
    spans: list[tuple[int, int]] = []
    open_tables = 0
    open_templates = 0
    for begin, end, is_table, opens in _braces(text):
        if opens:
            stack.append((is_table, begin))
            open_tables, open_templates = open_tables + is_table, open_templates + (not is_table)
        elif open_tables if is_table else open_templates:
            while True:
                kind, start = stack.pop()
                open_tables, open_templates = open_tables - kind, open_templates - (not kind)
                if kind == is_table:
                    break
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, end))
    parts = []
    position = 0
    for start, stop in spans:
        parts.append(text[position:start])
        position = stop
    parts.append(text[position:])
    return "".join(parts)


def _drop_addresses(text: str) -> str:
    """http://x -> a blank. Found by what few words have, ://, which takes a tenth of the time."""
    parts = []
    position = 0
    found = text.find("://")
    while found >= 0:
        stop = found + 3
        scheme = next((name for name in _SCHEMES if text.endswith(name, position, found)), "")
        if scheme and (rest := _ADDRESS.match(text, stop)):
            parts.append(text[position : found - len(scheme)])
            position = stop = rest.end()
        found = text.find("://", stop)
    parts.append(text[position:])
    return " ".join(parts)


def _first_variant(markup: re.Match[str]) -> str:
    """-{zh-hans:a; zh-hant:b}- -> a, -{a}- and -{R|a}- -> a: the first of the forms that a reader of Chinese picks.

    What shows nothing (-{H|...}- and the like) leaves nothing.
    """
    flags, bar, rules = markup[1].partition("|")
    if not bar or ":" in flags or "[" in flags:
        flags, rules = "", markup[1]
    if {flag.strip() for flag in flags.split(";")} & _HIDDEN_VARIANTS:
        return ""
    code, colon, form = rules.partition(";")[0].partition(":")
    return form.strip() if colon and _VARIANT_CODE.fullmatch(code.strip()) else rules


def _resolve_links(text: str, names: dict[str, int]) -> str:
    """[[a|b]] -> b, [[a]] -> a, [http://x b] -> b; files, categories and links to other languages go."""

    def replacement(link: re.Match[str]) -> str:
        target, label = link[1], link[2]
        prefix, colon, _ = target.partition(":")
        if colon and prefix.strip():
            if names.get(prefix.strip().lower()) in (FILE, CATEGORY):
                return ""
            if label is None and _LANGUAGE.fullmatch(prefix):
                return ""
        return label.rpartition("|")[2] or target if label else target.lstrip(":")

    # Split at a group and joined, a text has the group in the place of the match; sub() calls Python for each.
    text = "".join(_EXTERNAL_LINK.split(text))  # those in captions, and once more those whose labels hold links
    text = "".join(_PLAIN_LINK.split(text))
    for _ in range(2):  # a caption may hold a link with a colon
        text = _ANY_LINK.sub(replacement, text)
    return "".join(_EXTERNAL_LINK.split(text))
