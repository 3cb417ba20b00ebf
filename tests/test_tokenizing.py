"""Stage tokenize: the same shards from any number of workers, and nothing trusted after a failure."""

import bz2
import dataclasses
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from text_helpers import filters_config, read_sentences, sentencepiece_config, tokenize_config, tokenized, written

from wordlab.artifacts import read_manifest, write_manifest
from wordlab.errors import ConfigError, CorpusError, ResourceError
from wordlab.parallel import bounded_map, map_in_processes
from wordlab.piece_training import Sample, place_hashes
from wordlab.pieces import MODEL, Numbering, count_pieces, load_pieces
from wordlab.shards import DICTIONARY_SCHEMA, map_batch
from wordlab.tokencount import split_sentences
from wordlab.tokenizers import character_classes, fold_text
from wordlab.tokenizing import tokenize_corpus

ROOT = Path(__file__).parents[1]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def story(num_lines, seed=1):
    """Lines of made-up words, frequent and rare ones."""
    generator = np.random.default_rng(seed)
    ids = np.minimum(generator.zipf(1.3, size=(num_lines, 12)), 5000)
    names = [f"{LETTERS[i % 26]}{LETTERS[i // 26 % 26]}{i}" for i in range(5001)]
    return "".join(" ".join(names[i] for i in row) + ".\n" for row in ids.tolist())


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("shard_bytes", [1 << 10, 5000, 1 << 20])
def test_sentences_come_back_whatever_the_shard_size(tmp_path, shard_bytes):
    text = story(300)
    folder = tokenized(tmp_path, text, tokenizer="whitespace", shard_bytes=shard_bytes)
    assert read_sentences(folder) == [line.split() for line in text.splitlines()]
    manifest = read_manifest(folder, "tokenize", verify=True)
    assert (manifest["num_tokens"], manifest["num_sentences"]) == (3600, 300)
    assert sum(shard["num_tokens"] for shard in manifest["shards"]) == 3600
    assert manifest["raw_bytes"] == len(text)


def test_dictionaries_count_their_shard(tmp_path):
    folder = tokenized(tmp_path, "b a b\na c É é E\u0301", shard_bytes=1 << 10)
    batch = map_batch(folder / "dictionary-00000.arrow", DICTIONARY_SCHEMA, "tokenize")
    assert batch.to_pydict() == {"word": ["b", "a", "c", "é"], "count": [2, 2, 1, 3]}


@pytest.mark.parametrize(("tokenizer", "workers"), [("words", 3), ("sentencepiece", 2)])
def test_one_worker_and_several_write_the_same_bytes(tmp_path, tokenizer, workers):
    files = [written(tmp_path / "a.txt", story(400)), written(tmp_path / "b.txt", story(200, seed=2))]
    pieces = sentencepiece_config(vocab_size=60)
    config = tokenize_config(tokenizer=tokenizer, shard_bytes=7000, sentences="punctuation", sentencepiece=pieces)
    contents = [tokenize_corpus(files, config, tmp_path / f"out-{n}", n) for n in (1, workers)]
    assert contents[0] == contents[1] and len(contents[0]["shards"]) > 4
    assert hashes(tmp_path / "out-1") == hashes(tmp_path / f"out-{workers}")


def test_compressed_text_gives_the_same_tokens(tmp_path):
    text = story(50)
    plain = written(tmp_path / "a.txt", text)
    packed = [
        written(tmp_path / "a.gz", gzip.compress(text.encode())),
        written(tmp_path / "a.bz2", bz2.compress(text.encode())),
    ]
    tokenize_corpus([plain], tokenize_config(), tmp_path / "plain", 1)
    for path in packed:
        tokenize_corpus([path], tokenize_config(), tmp_path / "packed", 1)
        assert hashes(tmp_path / "packed") == hashes(tmp_path / "plain")


def test_a_dump_of_many_streams_gives_the_same_as_its_xml_with_any_number_of_workers(tmp_path):
    """As Wikipedia's multistream dumps: the head, some pages, some pages, the foot, each a stream."""
    pages = [
        f"<page><title>P{i}</title><ns>0</ns><text>{line}</text></page>\n"
        for i, line in enumerate(story(300).splitlines())
    ]
    parts = ["<mediawiki>\n", *("".join(pages[i : i + 20]) for i in range(0, 300, 20)), "</mediawiki>\n"]
    plain = written(tmp_path / "dump.xml", "".join(parts))
    packed = written(tmp_path / "dump-multistream.xml.bz2", b"".join(bz2.compress(part.encode()) for part in parts))
    config = tokenize_config(normalizer="wiki", shard_bytes=5000)
    expected = tokenize_corpus([plain], config, tmp_path / "out", 1)
    assert expected["num_tokens"] == 3600 and len(expected["shards"]) > 3
    wanted = hashes(tmp_path / "out")
    for workers in (1, 2):
        assert tokenize_corpus([packed], config, tmp_path / f"out-{workers}", workers) == expected
        assert hashes(tmp_path / f"out-{workers}") == wanted


def test_a_dump_that_is_broken_in_the_middle_names_the_byte(tmp_path):
    parts = [bz2.compress(f"<page><text>{i}</text></page>\n".encode()) for i in range(20)]
    start = sum(map(len, parts[:12]))
    data = bytearray(b"".join(parts))
    data[start + 20] ^= 1
    source = written(tmp_path / "dump.xml.bz2", bytes(data))
    with pytest.raises(CorpusError, match=rf"dump.xml.bz2 is damaged .*: the block that begins at byte {start + 4} is"):
        tokenize_corpus([source], tokenize_config(), tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tokenizer", ["whitespace", "sentencepiece"])
def test_a_part_of_the_text_gives_what_a_corpus_of_this_part_gives(tmp_path, tokenizer):
    text = story(200)
    end = text.index("\n", len(text) // 3) + 1
    part, whole = written(tmp_path / "part.txt", text[:end]), written(tmp_path / "whole.txt", text)
    changes = {"tokenizer": tokenizer, "sentencepiece": sentencepiece_config(vocab_size=60), "shard_bytes": 1 << 10}
    tokenize_corpus([part], tokenize_config(**changes), tmp_path / "expected", 1)
    tokenize_corpus([whole, part], tokenize_config(max_bytes=len(text) // 3, **changes), tmp_path / "found", 1)
    assert hashes(tmp_path / "found") == hashes(tmp_path / "expected")
    assert read_manifest(tmp_path / "found", "tokenize")["raw_bytes"] == end < len(text)


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        ("Ein Satz.\r\nNoch einer.\r\n", [["ein", "satz"], ["noch", "einer"]]),
        ("\ufeffBOM first", [["bom", "first"]]),
        ("대한민국의 수도는 서울이다.\n한국어", [["대한민국의", "수도는", "서울이다"], ["한국어"]]),
        ("caf\u0065\u0301 CAFÉ", [["café", "café"]]),
        ("\n\n \n one\n\n", [["one"]]),
        ("no line end", [["no", "line", "end"]]),
        ("x", [["x"]]),
    ],
)
def test_awkward_texts(tmp_path, content, sentences):
    assert read_sentences(tokenized(tmp_path, content)) == sentences


def test_case_can_be_kept(tmp_path):
    assert read_sentences(tokenized(tmp_path, "The É the", lowercase=False)) == [["The", "É", "the"]]


def test_ascii_spells_out_digits_and_joins_them_with_the_word(tmp_path):
    folder = tokenized(tmp_path, "In 1984 one café!", tokenizer="ascii", lowercase=False)
    assert read_sentences(folder) == [["in", "one", "nine", "eight", "four", "one", "caf"]]
    batch = map_batch(folder / "dictionary-00000.arrow", DICTIONARY_SCHEMA, "tokenize")
    assert batch.to_pydict() == {"word": ["in", "one", "nine", "eight", "four", "caf"], "count": [1, 2, 1, 1, 1, 1]}


def test_a_dump_is_stripped_and_counted(tmp_path):
    pages = "".join(f"<page><title>P{i}</title><text>[[word|words]] of page {i}.</text></page>\n" for i in range(40))
    pages += "<page><title>R</title><text>#REDIRECT [[P1]]</text></page>"
    folder = tokenized(tmp_path, f"<mediawiki>{pages}</mediawiki>", normalizer="wiki", shard_bytes=1 << 10)
    assert read_sentences(folder) == [["words", "of", "page", str(i)] for i in range(40)]
    assert read_manifest(folder, "tokenize")["dropped"] == {"redirect_pages": 1}


def test_wiki_takes_other_text_as_it_is_and_says_so(tmp_path, capsys):
    assert read_sentences(tokenized(tmp_path, "[[no]] dump", normalizer="wiki")) == [["no", "dump"]]
    assert "corpus.txt is no MediaWiki dump: its text is taken as it is" in capsys.readouterr().err


def test_a_line_of_100_megabytes_is_cut_and_counted(tmp_path):
    source = written(tmp_path / "line.txt", b"word after word. " * 6_000_000)
    content = tokenize_corpus([source], tokenize_config(shard_bytes=1 << 25), tmp_path / "out", 1)
    assert source.stat().st_size > 100_000_000
    assert content["num_tokens"] == 18_000_000 and content["dropped"] == {"cut_lines": 2}


def test_words_are_folded_the_same_however_many_at_once(tmp_path, monkeypatch):
    text = "\n".join(f"Ünlü{i} ÜNLÜ{i} e\u0301t{i} ét{i} l\u2019{i} L'{i} plain{i}" for i in range(50))
    wanted = hashes(tokenized(tmp_path, text))
    for size in (1, 7):
        monkeypatch.setattr("wordlab.shard_tokens._FOLDED_AT_ONCE", size)
        (tmp_path / str(size)).mkdir()
        assert hashes(tokenized(tmp_path / str(size), text)) == wanted
    for words in read_sentences(tmp_path / "tokenize"):
        assert words[0] == words[1] and words[2] == words[3] and words[4] == words[5]


def test_lines_are_filtered_the_same_by_any_number_of_workers_and_counted(tmp_path):
    lines = story(60).splitlines()
    text = "\n".join([*lines, "ab", *lines[:30], "", "x" * 500, *story(20, seed=3).splitlines()]) + "\n"
    files = [written(tmp_path / "a.txt", text), written(tmp_path / "b.txt", "\n".join(lines[30:]))]
    limits = filters_config(min_chars=3, max_chars=400, duplicates="drop")
    config = tokenize_config(tokenizer="whitespace", shard_bytes=1 << 10, filters=limits)
    contents = [tokenize_corpus(files, config, tmp_path / f"out-{n}", n) for n in (1, 2)]
    assert contents[0] == contents[1] and hashes(tmp_path / "out-1") == hashes(tmp_path / "out-2")
    assert contents[0]["dropped"] == {"short_lines": 1, "long_lines": 1, "duplicate_lines": 60}
    expected = [line.split() for line in [*lines, *story(20, seed=3).splitlines()]]
    assert read_sentences(tmp_path / "out-1") == expected and len(contents[0]["shards"]) > 3
    for changes in ({"filters": filters_config(min_chars=3, max_chars=400)}, {"filters": filters_config()}):
        content = tokenize_corpus(files, dataclasses.replace(config, **changes), tmp_path / "other", 1)
        assert content["num_tokens"] > contents[0]["num_tokens"]
        assert not (tmp_path / "other" / "line-verdicts.bin").exists()


def test_word_pieces_are_learnt_from_lines_that_stay(tmp_path):
    text = "low lower lowest new newer newest wide wider widest\n"
    pieces = sentencepiece_config(vocab_size=20)
    changes = {"tokenizer": "sentencepiece", "sentencepiece": pieces}
    whole = tokenized(tmp_path, text * 50 + "zebra\n" * 50, filters=filters_config(min_chars=10), **changes)
    (tmp_path / "x").mkdir()
    part = tokenized(tmp_path / "x", text * 50, **changes)
    assert (whole / "sentencepiece.model").read_bytes() == (part / "sentencepiece.model").read_bytes()
    assert read_sentences(whole) == read_sentences(part)


def test_similar_lines_are_dropped_and_the_package_named(tmp_path):
    pytest.importorskip("rensa", reason="near-duplicates need the extra `filters`")
    lines = story(20).splitlines()
    text = "\n".join([*lines, *(f"{line} more" for line in lines)])
    folder = tokenized(tmp_path, text, shard_bytes=1 << 10, filters=filters_config(near_duplicates=0.7))
    manifest = read_manifest(folder, "tokenize")
    assert manifest["dropped"]["near_duplicate_lines"] >= 18 and manifest["rensa"]


@pytest.mark.parametrize("content", ["", "\n\n  \n", "... !! --"])
def test_a_corpus_without_words_is_an_error(tmp_path, content):
    with pytest.raises(CorpusError, match=r"The corpus holds no words: \d+ bytes in 1 files \(.*corpus.txt\)"):
        tokenized(tmp_path, content)
    assert not (tmp_path / "tokenize").exists() and not (tmp_path / "tokenize.tmp").exists()


def test_a_failure_keeps_the_output_that_was_there(tmp_path):
    before = hashes(tokenized(tmp_path, "good text"))
    with pytest.raises(CorpusError, match="NUL"):
        tokenized(tmp_path, "bad\0text")
    assert hashes(tmp_path / "tokenize") == before


def test_an_error_in_a_worker_process_arrives_as_one_message(tmp_path):
    source = written(tmp_path / "broken.txt", "good line\n" * 1000 + "bad\0line\n")
    with pytest.raises(CorpusError, match=r"broken.txt holds a NUL byte at offset 10003"):
        tokenize_corpus([source], tokenize_config(shard_bytes=1 << 10), tmp_path / "out", 2)
    assert not (tmp_path / "out").exists()


def test_bounded_map_keeps_order_and_takes_no_more_than_it_may():
    taken = []

    def tasks():
        for i in range(20):
            taken.append(i)
            yield i

    with ThreadPoolExecutor(3) as executor:
        results = bounded_map(executor, lambda i: i * i, tasks(), max_pending=4)
        assert next(results) == 0 and len(taken) == 4
        assert list(results) == [i * i for i in range(1, 20)]


def test_a_killed_worker_says_what_to_lower():
    with pytest.raises(ResourceError, match=r"worker process was killed, .* lower run.workers or tokenize.shard_bytes"):
        list(map_in_processes(os._exit, [1, 1], 2))


def test_sentencepiece_splits_into_its_pieces(tmp_path):
    text = "low lower lowest new newer newest wide wider widest\n" * 50
    folder = tokenized(tmp_path, text, tokenizer="sentencepiece", sentencepiece=sentencepiece_config(vocab_size=20))
    sentences = read_sentences(folder)
    assert len(sentences) == 50
    assert "".join(sentences[0]).replace("▁", " ").strip() == text.splitlines()[0]
    assert "sentencepiece.model" in read_manifest(folder, "tokenize")["files"]


def test_pieces_are_those_that_the_library_gives_sentence_by_sentence(tmp_path):
    """Also of text in which few sentences are ASCII alone, and some hold nothing that the model knows."""
    learnt = "low lower LOWEST né 가나 다라 widest. " * 40
    config = tokenize_config(
        tokenizer="sentencepiece", lowercase=True, sentencepiece=sentencepiece_config(vocab_size=22)
    )
    folder = tokenized(tmp_path, learnt, tokenizer="sentencepiece", sentencepiece=config.sentencepiece)
    text = (
        "low\nNÉ\nLOW É low.\u00a0 Low\u2028가나 low\r\nZZZ\n🙂\n\x01\u200b \nN\u00c9 ne\u0301. low low. 다라。low.\n"
        * 3
    )
    library, dropped = load_pieces(folder / MODEL), Counter()
    data = text.encode()
    spans = split_sentences(data, character_classes("sentencepiece", config.sentences)).tolist()
    found = [library.encode(fold_text(data[start:stop].decode(), True)) for start, stop in spans]
    known = [[library.id_to_piece(piece) for piece in pieces if piece != library.unk_id()] for pieces in found]
    ids, offsets, words = count_pieces(data, config, folder / MODEL, dropped)
    names = [words[i].as_py() for i in ids.tolist()]
    assert [names[start:stop] for start, stop in pairwise(offsets.tolist())] == [pieces for pieces in known if pieces]
    assert words.to_pylist() == list(dict.fromkeys(names))
    assert dropped["unknown_pieces"] == sum(map(len, found)) - len(names) > 0


def test_pieces_are_numbered_as_they_appear_over_several_additions():
    generator = np.random.default_rng(3)
    added = [[generator.integers(0, 70_000, size).tolist() for size in (0, 1, 300, 0, 7)] for _ in range(5)]
    sentences = list(chain.from_iterable(added))
    numbering = Numbering(70_000, unknown=sentences[2][5])
    for some in added:
        numbering.add(some)
    known = [[piece for piece in pieces if piece != numbering.unknown] for pieces in sentences]
    numbers = {piece: number for number, piece in enumerate(dict.fromkeys(chain.from_iterable(known)))}
    ids, offsets = numbering.sentences()
    assert ids.tolist() == [numbers[piece] for piece in chain.from_iterable(known)]
    assert offsets.tolist() == np.cumsum([0, *(len(pieces) for pieces in known if pieces)]).tolist()
    assert numbering.pieces() == list(numbers)
    assert numbering.num_unknown == sum(map(len, sentences)) - len(ids) > 0


@pytest.mark.parametrize("found", [[[3, 10]], [[-1]], [[1.5]], [[[1]]], [["a"]], [[2**31]]])
def test_what_is_no_list_of_lists_of_pieces_never_reaches_the_ids(found):
    with pytest.raises(AssertionError, match="what is no list of lists of pieces"):
        Numbering(10, unknown=0).add(found)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_too_many_pieces_name_the_largest_possible_size(tmp_path, model_type):
    config = sentencepiece_config(vocab_size=9999, model_type=model_type)
    message = (
        r"vocab_size is 9999, but (\d+) pieces are the most .* dvc exp run -S tokenize.sentencepiece.vocab_size=\1"
    )
    with pytest.raises(ConfigError, match=message):
        tokenized(tmp_path, "a few words only\n" * 30, tokenizer="sentencepiece", sentencepiece=config)
    assert not (tmp_path / "tokenize").exists()


def test_too_few_pieces_are_told(tmp_path):
    config = sentencepiece_config(vocab_size=8)
    message = r"vocab_size is 8, but the text's characters alone need \d+\. Raise it, .* then run: dvc repro$"
    with pytest.raises(ConfigError, match=message):
        tokenized(tmp_path, "the quick brown fox\n" * 30, tokenizer="sentencepiece", sentencepiece=config)


def test_any_other_complaint_of_sentencepiece_is_told_with_the_next_step(tmp_path, monkeypatch):
    def refuse(**_):
        raise RuntimeError("Internal: no. ")

    monkeypatch.setattr(sentencepiece.SentencePieceTrainer, "train", refuse)
    with pytest.raises(ConfigError, match=r"could not be trained: Internal: no\. Check .* then run: dvc repro$"):
        tokenized(tmp_path, "a b c\n", tokenizer="sentencepiece")


def test_the_sample_is_spread_evenly_and_does_not_depend_on_shards():
    text = np.frombuffer("".join(f"{i:05d}" for i in range(10_000)).encode(), np.uint8)
    hashes, lengths = place_hashes(0, np.arange(10_000)), np.full(10_000, 5)
    whole, in_parts = Sample(5 * 1000), Sample(5 * 1000)
    whole.add((hashes, lengths, text))
    drawn = whole.sentences()
    for i in range(0, 10_000, 700):
        rows = hashes[i : i + 700] <= in_parts.highest  # the others need not be there
        sentences = text[5 * i : 5 * (i + 700)].reshape(-1, 5)[rows]
        in_parts.add((hashes[i : i + 700][rows], lengths[i : i + 700][rows], sentences.ravel()))
    assert i and rows.mean() < 0.2 and in_parts.sentences() == drawn and len(drawn) == 1000
    tenths = Counter(int(sentence) // 1000 for sentence in drawn)
    assert min(tenths.values()) > 60 and drawn == sorted(drawn)


def run_stage(folder, stage):
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-m", f"stages.{stage}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def repository_with(folder, content):
    """params.yaml and the output of stage download, for one corpus file."""
    shutil.copy(ROOT / "params.yaml", folder)
    corpus = folder / "data" / "download" / "corpus"
    corpus.mkdir(parents=True)
    written(corpus / "tiny", content)
    size_bytes = (corpus / "tiny").stat().st_size
    files = [{"path": "tiny", "format": "text", "size_bytes": size_bytes}]
    write_manifest(corpus, "download", {"corpus": {"own": False, "files": files}})
    return folder


def test_the_stages_run_one_after_the_other(tmp_path):
    repository_with(tmp_path, "one two three. One two!\n" * 10)
    for stage in ("tokenize", "vocab", "encode"):
        done = run_stage(tmp_path, stage)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/vocab/vocab.tsv").read_text() == "one\t20\ntwo\t20\nthree\t10\n"
    encoded = json.loads((tmp_path / "data/encode/manifest.json").read_text())
    assert (encoded["num_tokens"], encoded["num_sentences"]) == (50, 20)


def test_a_stage_that_fails_says_one_message_and_leaves_nothing(tmp_path):
    repository_with(tmp_path, "one\0two")
    done = run_stage(tmp_path, "tokenize")
    assert done.returncode == 1 and "error: data/download/corpus/tiny holds a NUL byte" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data/tokenize").exists()
