"""Wikipedia's XML to running text, beside WikiExtractor: how fast, which words both keep, and what markup is left.

The pages are those that gensim's wheel carries, 206 of English Wikipedia. They are written several times over for the
timer, so that the start of a program counts little; words are compared on one copy.
"""

from __future__ import annotations

import bz2
import dataclasses
import html
import importlib.metadata
import importlib.util
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.jobs import BenchmarkError, run_worker
from benchmarks.targets import Median, Target
from wordlab.config import Params
from wordlab.spans import read_dump_head
from wordlab.stage import say
from wordlab.wikitext import article_texts

OURS, THEIRS = "ours", "WikiExtractor"
KINDS = {OURS: "strip_ours", THEIRS: "strip_theirs"}
COPIES = 15
PAGES = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
LEAST_MB, LEAST_RATIO = 15, 5
_TITLE = re.compile(r"<title>([^<]*+)</title>")
_WORD = re.compile(r"[^\W_]+")
_PLACEHOLDER = re.compile(r"formula_\d+|codice_\d+")
"""What WikiExtractor puts in the place of formulas and code."""
_JUNK = {
    "braces": r"\{\{|\}\}|\{\||\|\}",
    "brackets": r"\[\[|\]\]",
    "bars": r"\|",
    "tags": r"</?[a-z][^<>\n]*>",
    "entities": r"&(?:[a-z]+|#\d+);",
    "addresses": r"https?://",
    "quotes and equals signs": r"''|==",
    "placeholders": _PLACEHOLDER.pattern,
}


def measure(scratch: Path, params: Params, rounds: int) -> dict[str, Any]:
    """Interleaved rounds, then the comparison. Raises BenchmarkError where a package is missing."""
    page_file = _page_file()
    folder = scratch / "wikipedia"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        xml = bz2.decompress(page_file.read_bytes())
        one, many = folder / "one.xml", folder / "many.xml"
        start, stop = xml.index(b"<page>"), xml.rindex(b"</page>") + len(b"</page>\n")
        one.write_bytes(xml)
        many.write_bytes(xml[:start] + xml[start:stop] * COPIES + xml[stop:])
        size_bytes, measured = many.stat().st_size, []
        for number in range(rounds):
            order = list(KINDS) if number % 2 == 0 else list(KINDS)[::-1]
            found = {name: _run(name, many, one, params) for name in order}
            for name, taken in found.items():
                rate = size_bytes / 1e6 / taken["cpu_seconds"]
                say(f"round {number + 1} of {rounds}, {name}: {rate:.1f} MB per CPU-second")
            measured.append(found)
        _run(THEIRS, one, one, params)
        kept = compare(our_texts(xml.decode()), their_texts(folder / "out"))
    finally:
        shutil.rmtree(folder)
    return summarize(size_bytes, measured, kept)


def _page_file() -> Path:
    """The pages in gensim's wheel; also sees that WikiExtractor is there."""
    if importlib.util.find_spec("wikiextractor") is None:
        raise BenchmarkError(
            "WikiExtractor is not installed, and this benchmark means nothing without it. "
            "Install it with: pip install -c constraints.txt -e '.[peers]'"
        )
    files = importlib.metadata.files("gensim") or []
    found = next((Path(str(file.locate())) for file in files if file.name == PAGES), None)
    if found is None:
        raise BenchmarkError(f"The installed gensim has no {PAGES}. Install it from its wheel: pip install gensim")
    return found


def _run(name: str, xml: Path, warm_up: Path, params: Params) -> dict[str, Any]:
    """One program over one file, in a fresh process; what it writes is at `out` beside the file."""
    out = xml.parent / "out"
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)
    spec = {"xml": xml.absolute(), "warm_up": warm_up.absolute(), "out": out.absolute()}
    return run_worker(KINDS[name], {**spec, "shard_bytes": params.tokenize.shard_bytes})


def our_texts(xml: str) -> dict[str, str]:
    """Texts of the articles by title."""
    dump = read_dump_head(xml[: 1 << 16].encode())
    assert dump is not None
    texts = {}
    for page in xml.split("<page>")[1:]:
        title = _TITLE.search(page)
        for text in article_texts(f"<page>{page}".encode(), dump, Counter()):
            texts[html.unescape(title[1]) if title else ""] = text
    return texts


def their_texts(folder: Path) -> dict[str, str]:
    """The same out of WikiExtractor's JSON; an article without text is none."""
    files = sorted(folder.rglob("wiki_*"))
    rows = [json.loads(line) for path in files for line in path.read_bytes().splitlines()]
    return {row["title"]: row["text"] for row in rows if row["text"].strip()}


def compare(ours: dict[str, str], theirs: dict[str, str]) -> dict[str, Any]:
    """Words, case aside, of the articles that both have: in both, in one alone; and marks left in each."""
    counts: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for title in ours.keys() & theirs.keys():
        cleaned = _PLACEHOLDER.sub(" ", html.unescape(theirs[title]))
        first, second = (Counter(_WORD.findall(text.lower())) for text in (ours[title], cleaned))
        counts["both"] += (first & second).total()
        counts[OURS] += (first - second).total()
        counts[THEIRS] += (second - first).total()
        alone += second - first
    junk = {
        name: {kind: sum(len(re.findall(mark, text)) for text in texts.values()) for kind, mark in _JUNK.items()}
        for name, texts in ((OURS, ours), (THEIRS, theirs))
    }
    return {
        "articles": {OURS: len(ours), THEIRS: len(theirs), "both": len(ours.keys() & theirs.keys())},
        "words": dict(counts),
        "words_theirs_alone": alone.most_common(20),
        "junk": junk,
    }


def summarize(size_bytes: int, rounds: Sequence[dict[str, dict[str, Any]]], kept: dict[str, Any]) -> dict[str, Any]:
    """Medians, targets, tables, and every single measurement. JSON."""
    cpu = {name: [found[name]["cpu_seconds"] for found in rounds] for name in KINDS}
    rate = {name: Median.of([size_bytes / 1e6 / seconds for seconds in cpu[name]]) for name in KINDS}
    ratio = Median.of([theirs / ours for ours, theirs in zip(cpu[OURS], cpu[THEIRS], strict=True)])
    words, junk = kept["words"], {name: sum(marks.values()) for name, marks in kept["junk"].items()}
    in_theirs = words["both"] + words[THEIRS]
    targets = [
        Target(
            "Wikipedia's XML to text",
            f"at least {LEAST_MB} MB of XML per CPU-second",
            f"{rate[OURS].median:.1f}",
            rate[OURS].median >= LEAST_MB,
        ),
        Target(
            "Wikipedia's XML to text, CPU time of WikiExtractor / ours",
            f"at least {LEAST_RATIO}",
            f"{ratio.median:.1f}",
            ratio.median >= LEAST_RATIO,
        ),
        Target(
            "words of WikiExtractor's text that ours has too",
            "at least 99.5 %",
            f"{100 * words['both'] / in_theirs:.2f} %",
            words["both"] / in_theirs >= 0.995,
        ),
        Target("marks left in the text", "fewer than WikiExtractor's", str(junk[OURS]), junk[OURS] < junk[THEIRS]),
    ]
    rows = [
        [name, rate[name].median, kept["articles"][name], words["both"] + words[name], words[name], junk[name]]
        for name in KINDS
    ]
    columns = ["", "MB of XML per CPU-second", "articles", "words", "words the other has not", "marks left"]
    version = importlib.metadata.version("wikiextractor")
    note = (
        f"Medians of {len(rounds)} interleaved rounds over {size_bytes / 1e6:.0f} MB; WikiExtractor {version} takes "
        f"{ratio.median:.1f} times as long. Words of the articles that both have: WikiExtractor leaves lists out; "
        "its own are mostly parts of ours, cut where emphasis begins. Marks: braces, double brackets, bars, tags, "
        "entities, addresses, quotes, equals signs, and placeholders such as formula_1."
    )
    return {
        "size_bytes": size_bytes,
        "mb_per_cpu_second": {name: dataclasses.asdict(median) for name, median in rate.items()},
        "ratio": dataclasses.asdict(ratio),
        "kept": kept,
        "targets": [dataclasses.asdict(target) for target in targets],
        "tables": [{"title": None, "columns": columns, "rows": rows, "note": note}],
        "rounds": list(rounds),
    }
