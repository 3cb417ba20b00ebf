"""Readers of text: corpora and MediaWiki XML, evaluation sets; models of word pieces."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import sentencepiece

from tests.fuzz import mutations
from tests.fuzz.reader import Execution, Reader, on_file, replace_file
from wordlab.catalog import FORMATS
from wordlab.embeddings import Embeddings
from wordlab.evaluation_sets import Pair, Question, read_evaluation_set
from wordlab.pieces import MODEL, load_pieces
from wordlab.sentence_sets import BLANK, LETTERS, Answer, Completion, SentencePair
from wordlab.sentence_vectors import read_lines
from wordlab.spans import cut_into_shards
from wordlab.text import normalized_text

# ---- MediaWiki XML and plain text

_MARKUP = (
    *(
        b"{{",
        b"}}",
        b"{|",
        b"\n|}",
        b"\n{|",
        b"[[",
        b"]]",
        b"|",
        b"''",
        b"'''''",
        b"==",
        b"\n==",
        b"\n*",
        b"\n:",
        b"----",
    ),
    *(
        b"&lt;ref&gt;",
        b"&lt;/ref&gt;",
        b"&lt;ref/&gt;",
        b"&lt;!--",
        b"--&gt;",
        b"&lt;br&gt;",
        b"<math>",
        b"</math>",
        b"<",
    ),
    *(
        b"[[File:x|",
        b"[[Category:",
        b"[[de:x]]",
        b"[http://a b]",
        b"http://",
        b"[//",
        b"__TOC__",
        b"&amp;nbsp;",
        b"&#",
        b"&amp;#",
    ),
    *(
        b"#REDIRECT [[",
        b"<redirect",
        b"<ns>0</ns>",
        b"<ns>",
        b"<title>A:b</title>",
        b"</text>",
        b"<text>",
        b"<text/>",
        b"</page>",
    ),
    *(
        b"<page>",
        b'<!ENTITY a "&a;&a;">',
        b"&a;",
        b"<!DOCTYPE x [",
        b"]>",
        b"&#x41;",
        b"&#1114112;",
        b"&#0;",
        b"&amp;#55296;",
    ),
    *(
        b"9" * 5000,
        b"(",
        b" , ",
        b")",
        b"\xff",
        b"\xed\xa0\x80",
        b"\0",
        b"\r",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xf0\x9f",
        b"word ",
        *(text.encode() for text in ("(國", "（國家）", "國)", "「」", "\u3164", "가")),
    ),
)
_DUMP = (
    b'<mediawiki xml:lang="en"><siteinfo><namespaces><namespace key="6" case="x">Image</namespace>'
    b'<namespace key="14">Kategorie</namespace></namespaces></siteinfo>\n'
)
_PAGE = b"<page><title>%b</title><ns>%b</ns><revision><text xml:space='preserve'>%b</text></revision></page>\n"


def _wiki_seeds(folder: Path) -> list[bytes]:
    text = (
        b"'''A''' is [[b|c]] {{t|{{u}}}} &lt;ref&gt;x&lt;/ref&gt; {| a\n|-\n|}\n== H ==\n* [http://x y] &amp;amp; "
        b"[[File:a.png|thumb|x [[y]]]]"
    )
    laughs = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><mediawiki>' + _PAGE % (
        b"t",
        b"0",
        b"&b;",
    )
    pages = _PAGE % (b"A", b"0", text) + _PAGE % (b"Talk:A", b"1", b"x") + _PAGE % (b"B", b"0", b"#REDIRECT [[A]]")
    return [
        _DUMP + pages + b"</mediawiki>",
        laughs,
        _DUMP + _PAGE % (b"A", b"0", b"&amp;#" + b"9" * 5000 + b";"),
        b'<mediawiki><namespace key="' + b"9" * 5000 + b'">x</namespace>' + pages,
        b"<mediawiki>" + b'<namespace key="1"' * 800,
        b"plain text\nof two lines\n",
        "\ufeffText mit Ümläuten\n한국어 문장.\n".encode(),
        b"\xff\xfea\0b\0",
    ]


def _build_wiki(rng: Random, seeds: list[bytes]) -> bytes:
    """Pages of random markup; one in ten repeats one mark, for whoever backtracks."""
    if rng.random() < 0.1:
        marks = rng.choices(_MARKUP, k=rng.choice((1, 1, 2)))
        body = b"".join(marks) * (rng.choice((10, 100, 20_000)) // sum(map(len, marks)) + 1)
    else:
        body = b"".join(rng.choices(_MARKUP, k=rng.randrange(40)))
    start = _DUMP if rng.random() < 0.8 else b"<mediawiki>"
    return start + _PAGE % (rng.choice((b"A", b"File:x", b"A:b")), rng.choice((b"0", b"", b"14")), body)


def _read_text(path: Path) -> str:
    parts = []
    dropped: Counter[str] = Counter()
    broken = "drop" if path.stat().st_size % 2 else "error"
    for task in cut_into_shards([path], 1 << 12, find_dumps=True):
        text, lost = normalized_text(task.read(), broken, path.stat().st_size % 3 == 0)  # type: ignore[arg-type]
        assert "\0" not in text.decode()
        parts.append(text)
        dropped += lost
    return f"{'text' if any(parts) else 'nothing'}, dropped {' '.join(sorted(dropped))}"


# ---- evaluation sets

_SETS: dict[str, bytes] = {
    "questions": b": capital\nParis France Rome Italy\n: plural\na b c d\n",
    "pairs_tsv": b"# comment\ntiger\tcat\t7.35\nbook\tpaper\t7.46\t1\t2\n",
    "wordsim_csv": b"Word 1,Word 2,Human (mean)\r\nlove,sex,6.77\r\ntiger,cat,7.35\r\n",
    "simlex_tsv": b"word1\tword2\tPOS\tSimLex999\r\nold\tnew\tA\t1.58\r\nsmart\tintelligent\tA\t9.2\r\n",
}
_SET_TOKENS = (
    *(
        b"\t",
        b",",
        b"\n",
        b"\r\n",
        b": ",
        b"#",
        b"nan",
        b"inf",
        b"1e999",
        b"-1",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\0",
        b"\x0b",
        b"word1",
    ),
    *(b"\xd9\xa1", b"1_0", b"9" * 5000, b" ", b"\xe3\x80\x80", b"\xc2\x85"),
)


def _open_sets(folder: Path) -> Execution:
    """The first byte says which of the formats of words the catalog names."""
    path = folder / "set"
    formats = FORMATS["evaluation"][: len(_SETS)]

    def execute(data: bytes) -> str:
        format = formats[data[0] % len(formats) if data else 0]
        replace_file(path, data[1:])
        items = read_evaluation_set(path, format)
        words = [item[1:] if isinstance(item, Question) else item[:2] for item in items]
        assert words and all(isinstance(item, Question | Pair) for item in items) and all(map(all, words))
        assert all(np.isfinite(item.score) for item in items if isinstance(item, Pair))
        return format

    return execute


def _set_seeds(folder: Path) -> list[bytes]:
    return [bytes([i]) + _SETS[format] for i, format in enumerate(FORMATS["evaluation"][: len(_SETS)])]


def _build_set(rng: Random, seeds: list[bytes]) -> bytes:
    parts = [bytes([rng.randrange(4)])]
    for _ in range(rng.randrange(1, 8)):
        word = (b"a", b"b", b"1.5", b"\t", b",", b" ", *_SET_TOKENS)
        parts += [*rng.choices(word, k=rng.randrange(9)), rng.choice((b"\n", b"\r\n"))]
    return b"".join(parts)


# ---- evaluation sets of sentences

_STS = b"genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\n"
_STS_ROWS = b'news\tMSR\t2012\t01\t3.80\tA "man" sings.\tSomebody sings\nnews\tx\t2013\t02\t0\ta\tb\n'
_SENTENCES = {
    "stsb_tsv": _STS_ROWS.replace(b"sings\n", b"sings\tsource\thttp://x\n"),
    "korsts_tsv": _STS + _STS_ROWS,
    "completion_csv": b'id,question,a),b),c),d),e)\n1,"Take, ""my"" _____ .",hat,"1,200",c,d,e\n2,x _____,a,b,c,d,e\n',
    "completion_answers_csv": b"id,answer\n1,a\n2,e\n",
}
_SENTENCE_TOKENS = (*_SET_TOKENS, b'"', b'""', b',"', b"_____", b"__________", b"\xed\x95\x9c", b"id,answer\n", _STS)


def _open_sentences(folder: Path) -> Execution:
    """The first byte says which of the formats of sentences the catalog names."""
    path = folder / "set"
    formats = tuple(_SENTENCES)

    def execute(data: bytes) -> str:
        format = formats[data[0] % len(formats) if data else 0]
        replace_file(path, data[1:])
        for item in read_evaluation_set(path, format):
            if isinstance(item, SentencePair):
                assert item.first.strip() and item.second.strip() and np.isfinite(item.score)
            elif isinstance(item, Completion):
                assert len(item.candidates) == 5 and all(item.candidates) and BLANK not in item.before + item.after
            else:
                assert isinstance(item, Answer) and item.letter in LETTERS
            assert "\n" not in "".join(map(str, item))
        return format

    return execute


def _sentence_seeds(folder: Path) -> list[bytes]:
    return [bytes([i]) + content for i, content in enumerate(_SENTENCES.values())]


# ---- word pieces


def _piece_seeds(folder: Path) -> list[bytes]:
    """Small models: of both kinds that we train, and of all others; with rules for a few characters, not for all."""
    text = ["the king and the queen of the land went to the sea"] * 20
    rules = folder / "rules.tsv"
    rules.write_text("FF21\t41\nFB01\t66 69\nFF22 FF23\t62\n958\t915 93C\n")
    seeds = []
    for kind in ("unigram", "bpe", "char", "word"):
        for options in ({"normalization_rule_tsv": str(rules)}, {"normalization_rule_name": "identity"}):
            model = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(text),
                model_writer=model,
                model_type=kind,
                vocab_size=22,
                hard_vocab_limit=False,
                minloglevel=3,
                **options,
            )
            seeds.append(model.getvalue())
    assert max(map(len, seeds)) < mutations.MOST_BYTES
    return seeds


def _open_pieces(folder: Path) -> Execution:
    """Loading and encoding as `count_pieces` does it, but one by one: a list would start threads each time."""
    sentences = ["the king and ＡＢＣ ﬁ 한국 \u0958 the queen", "life"]

    def execute(data: bytes) -> str:
        replace_file(folder / MODEL, data)
        processor = load_pieces(folder / MODEL)
        pieces = [
            piece for sentence in sentences for piece in processor.encode(sentence) if piece != processor.unk_id()
        ]
        assert all(isinstance(word, str) for word in processor.id_to_piece(pieces))
        return "pieces"

    return execute


# ---- lines of sentences


def _line_seeds(_: Path) -> list[bytes]:
    return [b"The King\nand the queen.\r\n\n  x \n", "na\u00efve \u2019s \ud55c\u2028\u000b\u00a0King".encode()]


def _open_lines(folder: Path) -> Execution:
    """`wordlab sentence --among`: each line is one sentence, with the vector it has by itself."""
    words, rows = ["x", "the", "king", "queen", "\ud55c"], np.eye(5, dtype=np.float32)

    def execute(data: bytes) -> str:
        replace_file(folder / "lines.txt", data)
        lines = read_lines(folder / "lines.txt")
        for tokenizer in ("words", "ascii", "whitespace"):
            config = {"tokenize": {"tokenizer": tokenizer, "lowercase": True}}
            model = Embeddings(words, rows, config=config)
            found = model.sentence_vectors(lines)
            assert found.shape == (len(lines), 5) and np.isfinite(found).all()
            if lines:
                assert np.array_equal(found[-1], model.sentence_vector(lines[-1]))
        return "some lines" if lines else "no lines"

    return execute


READERS = (
    Reader("lines", "lines of sentences, for their vectors", _open_lines, _line_seeds, (*_MARKUP[:9], b"King", b"\n")),
    Reader("wiki", "corpora: plain text and MediaWiki XML", on_file(_read_text), _wiki_seeds, _MARKUP, _build_wiki),
    Reader("evaluation", "evaluation sets, four formats", _open_sets, _set_seeds, _SET_TOKENS, _build_set),
    Reader(
        "sentences", "evaluation sets of sentences, four formats", _open_sentences, _sentence_seeds, _SENTENCE_TOKENS
    ),
    Reader(
        "sentencepiece",
        "sentencepiece models",
        _open_pieces,
        _piece_seeds,
        (b"\x0a", b"\x12", b"\xff" * 9 + b"\x01", b"\xe2\x96\x81"),
    ),
)
