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

FILE, CATEGORY = 6, 14
_CANONICAL_NAMES = (
    (-2, "media"), (-1, "special"), (1, "talk"), (2, "user"), (3, "user talk"), (4, "wikipedia"), (4, "project"),
    (5, "wikipedia talk"), (5, "project talk"), (6, "file"), (6, "image"), (7, "file talk"), (7, "image talk"),
    (8, "mediawiki"), (9, "mediawiki talk"), (10, "template"), (11, "template talk"), (12, "help"), (13, "help talk"),
    (14, "category"), (15, "category talk"), (100, "portal"), (101, "portal talk"),
)  # fmt: skip

_FILE_ALIASES = {
    "파일": ("그림",),
    "ファイル": ("画像",),
    "datei": ("bild",),
    "archivo": ("imagen",),
    "bestand": ("afbeelding",),
    "plik": ("grafika",),
    "ficheiro": ("imagem",),
    "файл": ("изображение", "зображення"),
    "fil": ("bild", "billede", "bilde"),
    "file": ("immagine", "图像", "圖像", "文件", "档案", "檔案"),
}  # fmt: skip
"""Other names of the namespace of files, by its name, from MediaWiki's languages/messages; dumps do not list them."""

_REDIRECT = re.compile(r"\s*+#\s*+[^\W\d_]++\s*+:?\s*+\[\[")
_DROPPED_ELEMENTS = (
    "ref|math|pre|source|syntaxhighlight|gallery|timeline|hiero|score|chem|imagemap|inputbox|templatedata|style|script"
    "|ce|mapframe|maplink|graph|categorytree"
)
_ELEMENT = re.compile(rf"<(/?)({_DROPPED_ELEMENTS})\b([^<>]*+)>", re.IGNORECASE)
_BRACES = re.compile(r"\{\{|\}\}|\n[ \t:]*+\{\||\n[ \t]*+\|\}(?!\})")
_PLAIN_LINK = re.compile(r"\[\[(?:[^\[\]|:\n]*+\|)?([^\[\]|:\n]++)\]\]")
_ANY_LINK = re.compile(r"\[\[([^\[\]|]*+)(\|[^\[\]]*+)?\]\]")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]++)*+|simple")
_EXTERNAL_LINK = re.compile(r"\[(?:https?|ftps?|news|irc|mailto)?:?//[^\s\[\]]*+([^\[\]\n]*+)\]")
_BARE_URL = re.compile(r"(?:https?|ftp)://[^\s<>\[\]|]++")
_LINE_MARKS = re.compile(r"\n(?:[*#:;=]++|-{4,}+|[ \t]*+\|[^\n]*+)")
_HEADING_END = re.compile(r"=++[ \t\r]*+(?=\n)")
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


def article_texts(xml: str, dump: Dump, dropped: Counter[str]) -> Iterator[str]:
    """Running text of each article among these pages; `dropped` counts redirects and the like."""
    names = _namespace_names(dump)
    for page in _pages(xml):
        text = _page_text(page, names, dropped)
        if text is None:
            continue
        stripped = strip_markup(text, names)
        if stripped.strip():
            yield stripped
        else:
            dropped["empty_pages"] += 1


def _namespace_names(dump: Dump) -> dict[str, int]:
    local = {name.lower(): key for key, name in dump.namespaces}
    aliases = {alias: FILE for name, key in local.items() if key == FILE for alias in _FILE_ALIASES.get(name, ())}
    return {name: key for key, name in _CANONICAL_NAMES} | aliases | local


def _pages(xml: str) -> Iterator[str]:
    """What stands between <page> and </page>; the last may be cut off."""
    start = xml.find("<page>")
    while start >= 0:
        stop = xml.find("</page>", start)
        if stop < 0:
            yield xml[start:]
            return
        yield xml[start:stop]
        start = xml.find("<page>", stop)


def _page_text(page: str, names: dict[str, int], dropped: Counter[str]) -> str | None:
    """Wikitext of a page, XML entities resolved; None (and counted) if it is no article."""
    body = page.rfind("<text")  # the last revision, where a dump holds several
    head = page[:body] if body >= 0 else page
    if body < 0 or "<redirect" in head:
        dropped["redirect_pages" if body >= 0 else "pages_without_text"] += 1
        return None
    if not _is_article(head, names):
        dropped["other_namespace_pages"] += 1
        return None
    start, stop = page.find(">", body) + 1, page.find("</text>", body)
    if start == 0 or page[start - 2] == "/":
        dropped["empty_pages"] += 1
        return None
    if stop < 0:
        dropped["truncated_pages"] += 1
        stop = len(page)
    text = page[start:stop].replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
    if _REDIRECT.match(text):
        dropped["redirect_pages"] += 1
        return None
    return text


def _is_article(head: str, names: dict[str, int]) -> bool:
    """By <ns> in newer dumps, else by the title's prefix."""
    if (start := head.find("<ns>")) >= 0:
        return head[start + 4 : head.find("</ns>", start)].strip() == "0"
    title = head[head.find("<title>") + 7 : head.find("</title>")]
    return title.partition(":")[0].strip().lower() not in names if ":" in title else True


def strip_markup(text: str, names: dict[str, int]) -> str:
    """Running text of wikitext, line by line. names: lower-case namespace name -> key."""
    text = "\n" + text + "\n"
    if "<" in text:
        text = _drop_elements(_drop_comments(text))
    if "{" in text:
        text = _drop_nested(text)
    if "-{" in text:
        text = _VARIANTS.sub(_first_variant, text)
    text = _resolve_links(text, names)
    text = _BARE_URL.sub(" ", text)
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


def _drop_nested(text: str) -> str:
    """Without {{templates}} and {| tables |}, which nest in one another. Braces without a partner stay."""
    stack: list[tuple[bool, int]] = []
    spans: list[tuple[int, int]] = []
    open_tables = 0
    open_templates = 0
    for mark in _BRACES.finditer(text):
        sign = mark[0]
        is_table = "|" in sign
        if sign.endswith(("{{", "{|")):
            stack.append((is_table, mark.start()))
            open_tables, open_templates = open_tables + is_table, open_templates + (not is_table)
        elif open_tables if is_table else open_templates:
            while True:
                kind, start = stack.pop()
                open_tables, open_templates = open_tables - kind, open_templates - (not kind)
                if kind == is_table:
                    break
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, mark.end()))
    parts = []
    position = 0
    for start, stop in spans:
        parts.append(text[position:start])
        position = stop
    parts.append(text[position:])
    return "".join(parts)


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

    text = _EXTERNAL_LINK.sub(r"\1", text)  # those in captions, and once more those whose labels hold links
    text = _PLAIN_LINK.sub(r"\1", text)
    for _ in range(2):  # a caption may hold a link with a colon
        text = _ANY_LINK.sub(replacement, text)
    return _EXTERNAL_LINK.sub(r"\1", text)
