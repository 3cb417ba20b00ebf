"""Wiki markup to running text."""

import re
import time
from collections import Counter

import pytest

from wordlab.spans import Dump
from wordlab.wikipages import _resolved, namespace_names
from wordlab.wikitext import _drop_addresses, article_texts, strip_markup

GERMAN = Dump(((6, "Datei"), (14, "Kategorie"), (1, "Diskussion")))
KOREAN = Dump(((6, "파일"), (14, "분류")))
NAMES = namespace_names(GERMAN)

STRIPPED = [
    ("plain text", "plain text"),
    ("a [[link]] and [[target|label]]s", "a link and labels"),
    ("[[Star Trek: Voyager]] and [[A: B|label]]", "Star Trek: Voyager and label"),
    ("see [[:Category:Dogs|dogs]], [[:Category:Cats]]", "see dogs, Category:Cats"),
    ("x[[Image:a.jpg|thumb|A [[nested]] caption with [[A: B]]]]y", "xy"),
    ("[[Image:a.jpg|a [http://x.example source] of [[b]]]]y [http://x.example [[c]] d]", "y c d"),
    ("[[Datei:a.jpg]][[Kategorie:Hunde]][[fr:Chien]][[zh-min-nan:Káu]]dog", "dog"),
    ("[http://example.org the label] [https://example.org] http://bare.example.org/x end", "the label end"),
    ("''italic'' '''bold''' '''''both''''' don't", "italic bold both don't"),
    ("before {{template|a={{nested|b}}|c}} after", "before after"),
    ("before\n{| class=x\n| cell {{t}}\n{|\n| inner\n|}\n|}\nafter", "before after"),
    ("{{quoted|a|}} rest", "rest"),
    ("unclosed {{template stays", "unclosed template stays"),
    ("closed }} too |} often", "closed too often"),
    ("a {{outer unclosed {{inner}} b", "a outer unclosed b"),
    ("fact<ref>Smith, p. 5</ref>, fact<ref name=x /> again", "fact, fact again"),
    ("<math>x^2</math>y <math>never closed", "y never closed"),
    ("a<!-- hidden -->b<!-- never closed", "ab"),
    ("H<sub>2</sub>O<br>next<br/>line", "H2O next line"),
    ("caf&eacute; &amp; &ndash; a &lt; b", "café & – a < b"),
    ("==Heading==\n* item\n:===## [[deep]] item===\n----\n: indented", "Heading item deep item indented"),
    ("__NOTOC__ Rome ({{lang|la|Roma}}) was (, ;) built", "Rome was built"),
    ("if a < b and b > c", "if a < b and b > c"),
    ("| stray cell of a broken table\nrest", "rest"),
    ("== 제목 ==\r\n본문 __목차숨김__ __TOC__ __init__", "제목 본문 __init__"),
    ("[[Bild:a.jpg|mini|Text]]ja", "ja"),
    ('a<mapframe latitude="1">{"type": "x"}</mapframe> <ce>H2O</ce>b', "a b"),
    ("-{zh-hans:计算机; zh-hant:電腦}-与-{R|文字}-、-{原文}-", "计算机与文字、原文"),
    ("-{H|zh-cn:甲;zh-tw:乙}--{zh-cn:[[甲|丙]];zh-tw:乙}-", "丙"),
    ("[[甲|-{zh-cn:乙;zh-tw:丙}-]] -{zh-hans|丁}- x-{ y}-z", "乙 丁 x yz"),
    ("", ""),
]


@pytest.mark.parametrize(("markup", "text"), STRIPPED)
def test_markup_leaves_its_text(markup, text):
    assert " ".join(strip_markup(markup, NAMES).split()) == text


@pytest.mark.parametrize(
    "text",
    [
        "&lt;&gt;&quot;&amp;",
        "&amp;lt; &amp;amp;amp; &&lt;& &lt &ltt; &am &quo &quot",
        "&l",
        "&lt",
        "&gt;x&",
        "é&amp;",
        "",
    ],
)
def test_entities_of_the_xml_are_resolved_once(text):
    expected = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
    assert _resolved(text.encode()).decode() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see http://a.b/c?d=e, ftp://x/ end", "see     end"),
        ("xhttp://a b https://a| b", "x  b  | b"),
        ("http:// a ://b gopher://c http://http://d e", "http:// a ://b gopher://c   e"),
        ("ahttps://[b] http://a", "ahttps://[b]  "),
    ],
)
def test_addresses_leave_a_blank(text, expected):
    assert _drop_addresses(text) == expected
    assert re.sub(r"(?:https?|ftp)://[^\s<>\[\]|]+", " ", text) == expected


def test_files_go_under_the_names_that_a_language_has_for_them():
    names = namespace_names(KOREAN)
    assert (
        strip_markup("[[파일:a.jpg|섬네일|[[가]] 설명]][[그림:b.jpg]][[분류:나]][[Bild: 다]]", names).strip()
        == "Bild: 다"
    )


def page(title, text, extra=""):
    return f'<page><title>{title}</title>{extra}<revision><text xml:space="preserve">{text}</text></revision></page>'


def texts_of(xml, dump=GERMAN):
    dropped = Counter()
    return [" ".join(text.split()) for text in article_texts(xml.encode(), dump, dropped)], dict(dropped)


def test_only_articles_are_kept_and_the_rest_is_counted():
    xml = "<mediawiki>" + "\n".join(
        [
            page("Hund", "Der &lt;b&gt;Hund&lt;/b&gt; &amp;amp; die Katze"),
            page("Dog", "#REDIRECT [[Hund]]"),
            page("개", "#넘겨주기 [[Hund]]"),
            page("Köter", "ignored", '<redirect title="Hund" />'),
            page("Diskussion:Hund", "talk"),
            page("User:X", "user"),
            page("Star Trek: Voyager", "a series"),
            page("Hundefoto", "picture", "<ns>6</ns>"),
            page("Diskussion:neu", "in the main namespace", "<ns>0</ns>"),
            page("Leer", "{{stub}}"),
            '<page><title>Nichts</title><text xml:space="preserve" /></page>',
            "<page><title>Ohne</title></page>",
        ]
    )
    texts, dropped = texts_of(xml)
    assert texts == ["Der Hund & die Katze", "a series", "in the main namespace"]
    assert dropped == {
        "redirect_pages": 3,
        "other_namespace_pages": 3,
        "empty_pages": 2,
        "pages_without_text": 1,
    }


def test_a_page_cut_off_by_the_end_of_the_file_is_kept_and_counted():
    texts, dropped = texts_of(page("A", "whole") + "<page><title>B</title><text>half of [[it")
    assert texts == ["whole", "half of it"] and dropped == {"truncated_pages": 1}


def test_the_last_revision_of_a_page_counts():
    texts, _ = texts_of("<page><title>A</title><text>old</text><text>new</text></page>")
    assert texts == ["new"]


@pytest.mark.parametrize(
    "unit",
    [
        "{{", "}}", "{|\n", "\n{|", "\n|}", "[[", "]]", "[[a|", "[[Image:a|", "[http://a ", "http://", "<ref", "<ref>",
        "<math>", "<!--", "-->", "<", "<b", "'", "=", "\n=", "=  ", "\n*", "(", "( ,", "&", "&amp", "_", "__A",
        "{{a|[[b|", "\n|", "\n   ", "#", " ",
        "-{", "}-", "-{a|", "-{a:b;", "__가", "<graph>", "://", "http://a ", "\n{|{{", "|}}",
    ],
)  # fmt: skip
def test_hostile_pages_take_linear_time(unit):
    """200 KB of any unfinished mark: a quadratic pattern would need minutes."""
    begin = time.process_time()
    strip_markup(unit * (200_000 // len(unit)), NAMES)
    assert time.process_time() - begin < 2
