"""Hostile parameters, archives, streams and texts: read or refused with a message, at no cost beyond their size."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.packed_files import TEXT, _build_tar, _tar, _zip, _zip_member
from wordlab.archives import read_content, read_sdist_file
from wordlab.catalog import load_catalog
from wordlab.config import load_params, parse_params
from wordlab.decompression import open_decompressed, open_text_stream
from wordlab.errors import ArtifactError, ConfigError, CorpusError, DownloadError, WordlabError
from wordlab.evaluation_sets import read_evaluation_set
from wordlab.own_corpus import find_own
from wordlab.pieces import load_pieces
from wordlab.spans import Dump, cut_into_shards, read_dump_head
from wordlab.wikitext import strip_markup

ROOT = Path(__file__).parents[1]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def file_of(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# ---- YAML


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:pathlib.Path.touch [made]", "!!python/name:os.system x", "!x y"]
)
def test_a_tag_in_yaml_makes_no_object(tmp_path: Path, tag: str) -> None:
    path = file_of(tmp_path, f"seeds: {tag}\n".encode(), "params.yaml")
    with pytest.raises(ConfigError, match=r"not valid YAML.*could not determine a constructor"):
        load_params(path)
    with pytest.raises(ConfigError, match=r"not valid YAML.*could not determine a constructor"):
        load_catalog(path)


def bomb(levels: int) -> str:
    """A list of 9^levels words, in a line a level."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def test_aliases_that_multiply_are_no_longer_than_they_are(tmp_path: Path) -> None:
    """Written out, the message about this value would have 10^19 characters."""
    with pytest.raises(ConfigError, match="unknown key a0"):
        load_params(file_of(tmp_path, bomb(20).encode(), "params.yaml"))
    for key in ("corpus", "seeds", "model"):
        with pytest.raises(ConfigError) as caught:
            parse_params(PARAMS | {key: yaml.safe_load(bomb(20))["a19"]})
        assert len(str(caught.value)) < 500
    with pytest.raises(ConfigError) as caught:
        load_catalog(file_of(tmp_path, bomb(20).encode(), "catalog.yaml"))
    assert len(str(caught.value)) < 500


def test_keys_that_multiply_are_refused(tmp_path: Path) -> None:
    """<< copies; nested, a line multiplies what the line before has made."""
    lines = ["a0: &a0 {x: 1}"] + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 20)]
    with pytest.raises(ConfigError, match=r"(?s)<< is not supported"):
        load_params(file_of(tmp_path, "\n".join(lines).encode(), "params.yaml"))


@pytest.mark.parametrize(
    "value",
    [
        *(
            "!!bool maybe",
            "!!int ''",
            "!!float ''",
            "!!timestamp x",
            "2001-99-99",
            "!!float 1:99",
            "!!map [a]",
            "!!set [a]",
        ),
        *(
            '"\\UFFFFFFFF"',
            "9" * 5000,
            "&a [*a]",
            "!!binary \u00e9",
            "? [a]\n: b",
            "[" * 1000,
            "{? {x: y} : z}",
            "\x00",
        ),
    ],
)
def test_odd_yaml_is_one_message(tmp_path: Path, value: str) -> None:
    path = file_of(tmp_path, f"seeds: {value}\n".encode(), "params.yaml")
    for load in (load_params, load_catalog):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert len(str(caught.value)) < 2000


def test_many_keys_take_no_quadratic_time_and_a_huge_file_none(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"is not valid YAML, line \d+, column \d+: key .* is given twice\. Correct it, or restore"
    ):
        load_params(file_of(tmp_path, b"a: 1\nb: 1\na: 2\n", "params.yaml"))
    with pytest.raises(ConfigError, match="has more than 262144 bytes"):
        load_params(file_of(tmp_path, b"#" * 300_000, "params.yaml"))


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"corpus is '\\ud800', but must be text"):
        parse_params(PARAMS | {"corpus": "\ud800"})


@pytest.mark.parametrize("name", ["\0", "a\0b"])
def test_a_corpus_that_can_have_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a file"):
        find_own(name, {})


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(PARAMS)), TREES, st.text(max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_value_in_params_is_read_or_refused(section: str, value: Any, key: str) -> None:
    tree = dict(PARAMS)
    inside = tree[section]
    tree[section] = value if not isinstance(inside, dict) or not isinstance(value, dict) else inside | value | {key: 1}
    try:
        parse_params(tree)
    except ConfigError as error:
        assert len(str(error)) < 1000


# ---- archives and streams


def unpacked(path: Path, container: str, size_bytes: int = 1 << 16) -> bytes:
    return b"".join(read_content(path, container, "top/text", size_bytes))


def member(name: str = "top/text", **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def with_checksum(block: bytes) -> bytes:
    changed = bytearray(block)
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed[:512])
    return bytes(changed)


def test_a_tar_that_leads_backwards_is_no_endless_loop(tmp_path: Path) -> None:
    """A member of minus 512 bytes sends the reader back to itself (CVE-2025-8194)."""
    block = bytearray(_tar([(member("top/a"), b"x")])[:512])
    block[124:136] = b"\xff" * 10 + b"\xfe\x00"
    path = file_of(tmp_path, with_checksum(bytes(block)) + bytes(1024))
    with pytest.raises(DownloadError, match="the tar file is damaged"):
        unpacked(path, "tar")
    with pytest.raises(DownloadError, match="the source distribution file is damaged"):
        list(read_sdist_file(path, "text"))


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_a_tar_with_a_long_header_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    """Such a header is read at once: 64 MiB of zeros in 64 kB, or any number of them."""
    data = gzip.compress(_tar([(member("top/a", type=kind), bytes(1 << 26))]))
    tracemalloc.start()
    try:
        with pytest.raises(DownloadError, match=r"the tar file is damaged: .*a header of 67108864 bytes"):
            unpacked(file_of(tmp_path, data), "tar")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_a_tar_header_of_many_digits_takes_no_quadratic_time(tmp_path: Path) -> None:
    path = file_of(tmp_path, _tar([(member("top/a", type=b"x"), b"1" * 8000), (member(), TEXT)]))
    with pytest.raises(DownloadError, match="a header with a number of a hundred digits"):
        unpacked(path, "tar")


def test_a_sparse_tar_member_is_not_opened(tmp_path: Path) -> None:
    """Python's reader looks without end for a part that the map of the holes leaves out."""
    block = bytearray(_tar([(member(type=tarfile.GNUTYPE_SPARSE), TEXT)])[:512])
    block[386:482] = b"".join(b"%011o\0" % number for number in (500, 10, 100, 10, 0, 0, 0, 0))
    block[483:495] = b"%011o\0" % 2000
    path = file_of(tmp_path, with_checksum(bytes(block)) + TEXT.ljust(2048, b"\0") + bytes(1024))
    with pytest.raises(DownloadError, match="link or folder, not a file; it is not opened"):
        unpacked(path, "tar")


def test_long_names_in_a_row_do_not_exhaust_the_stack(tmp_path: Path) -> None:
    block = _tar([(member("top/a", type=b"L"), b"x")])[:1024]
    with pytest.raises(DownloadError, match="the tar file is damaged"):
        unpacked(file_of(tmp_path, block * 3000), "tar")


def test_a_zip_member_packed_by_lzma_is_not_opened(tmp_path: Path) -> None:
    path = file_of(tmp_path, _zip([(_zip_member("top/text", 14), TEXT)]))
    with pytest.raises(DownloadError, match="its compression, method 14, is not stored, deflated or bzip2"):
        unpacked(path, "zip")


def test_a_message_does_not_repeat_a_long_name(tmp_path: Path) -> None:
    name = "top/" + "x" * 9000
    data = _zip([(_zip_member(name), b"x"), (_zip_member("top/text"), TEXT)])
    for wanted in (name, "top/other"):
        changed = data.replace(b"top/x", b"top/y", 1) if wanted == name else data
        with pytest.raises(DownloadError) as caught:
            list(read_content(file_of(tmp_path, changed), "zip", wanted, 1 << 16))
        assert len(str(caught.value)) < 1000


def test_a_damaged_zip_of_a_source_distribution_is_told(tmp_path: Path) -> None:
    data = _zip([(_zip_member("top/text"), TEXT)])
    at = data.index(b"PK\x01\x02")
    path = file_of(tmp_path, data[:at] + b"PK\x01\x03" + data[at + 4 :])
    with pytest.raises(DownloadError, match="the source distribution file is damaged"):
        list(read_sdist_file(path, "text"))


@given(st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_any_tar_gives_the_member_or_an_error(tmp_path_factory: Any, rng: Any) -> None:
    path = file_of(tmp_path_factory.getbasetemp(), _build_tar(rng, []), "any.tar")
    try:
        assert len(unpacked(path, "tar")) <= 1 << 16
    except DownloadError as error:
        assert len(str(error)) < 1000


def zstd_runs(blocks: int) -> bytes:
    """A frame of blocks that are 128 KiB of one byte, at four bytes each."""
    run = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"a"
    return b"\x28\xb5\x2f\xfd\x00\x58" + run * blocks + b"\x01\x00\x00"


def test_a_zstd_bomb_is_unpacked_block_by_block(tmp_path: Path) -> None:
    """16 kB that unpack to 512 MiB; who reads a little of it gets a little."""
    path = file_of(tmp_path, zstd_runs(4096))
    tracemalloc.start()
    try:
        with open_text_stream(path) as stream:
            assert stream.read(10) == b"a" * 10
        with pytest.raises(DownloadError, match="unpacks to more than the 1000 bytes"):
            b"".join(read_content(path, "zstd", None, 1000))
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()
    small = file_of(tmp_path, zstd_runs(3), "small")
    with open_text_stream(small) as stream:
        assert stream.read() == b"a" * (3 << 17)


@pytest.mark.parametrize("options", [{"write_checksum": True}, {"write_content_size": False}, {"level": 19}])
@pytest.mark.parametrize("size_bytes", [0, 1, 300, 70_000, 1_000_000])
def test_zstd_frames_of_every_kind_are_read_and_no_cut_one(tmp_path: Path, options: Any, size_bytes: int) -> None:
    content = np.random.default_rng(1).integers(0, 50, size_bytes, np.uint8).tobytes()
    frame = zstandard.ZstdCompressor(**options).compress(content)
    skipped = b"\x53\x2a\x4d\x18\x03\x00\x00\x00abc"
    with open_text_stream(file_of(tmp_path, frame + skipped + frame)) as stream:
        assert stream.read() == content + content
    for cut in {1, 4, 5, len(frame) // 2, len(frame) - 1}:
        with (
            pytest.raises(CorpusError, match="cannot be decompressed to its end"),
            open_decompressed(file_of(tmp_path, frame[:cut]), "zstd") as stream,
        ):
            stream.read()


def asking_for(data: bytes, dictionary: int) -> bytes:
    """An xz file whose first block asks for a dictionary: 40 for 4 GiB, 18 for 2 MiB."""
    changed = bytearray(data)
    end = 12 + 4 * (changed[12] + 1)
    assert changed[14:16] == b"\x21\x01"
    changed[16] = dictionary
    changed[end - 4 : end] = zlib.crc32(changed[12 : end - 4]).to_bytes(4, "little")
    return bytes(changed)


def test_an_xz_file_gets_no_dictionary_that_its_size_does_not_justify(tmp_path: Path) -> None:
    data = lzma.compress(TEXT)
    greedy = file_of(tmp_path, asking_for(data, 30))  # 128 MiB and more
    with open_text_stream(greedy) as stream, pytest.raises(CorpusError, match="Memory usage limit"):
        stream.read()
    with open_text_stream(file_of(tmp_path, asking_for(data, 28))) as stream:  # 64 MiB, as xz -9 does
        assert stream.read() == TEXT


def test_xz_streams_follow_one_another_and_nothing_else_does(tmp_path: Path) -> None:
    data = lzma.compress(TEXT)
    with open_text_stream(file_of(tmp_path, data + bytes(8) + data + bytes(4))) as stream:
        assert stream.read() == TEXT + TEXT
    for tail in (b"junk", data[:-1]):
        with open_text_stream(file_of(tmp_path, data + tail)) as stream, pytest.raises(CorpusError):
            stream.read()


PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.compress}


@given(st.sampled_from(sorted(PACKERS)), st.binary(max_size=200), st.integers(0, 300), st.binary(max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_spoiled_stream_gives_its_text_or_an_error(
    tmp_path_factory: Any, container: str, content: bytes, place: int, put: bytes
) -> None:
    packed: Callable[[bytes], bytes] = PACKERS[container]
    data = packed(content)
    path = file_of(tmp_path_factory.getbasetemp(), data[:place] + put + data[place + len(put) :], "spoiled")
    try:
        b"".join(read_content(path, container, None, 1000))
        with open_text_stream(path) as stream:
            stream.read()
    except WordlabError as error:
        assert not isinstance(error.__context__, MemoryError)


# ---- text


def test_character_references_of_any_length_are_no_numbers() -> None:
    """Python makes no number of more than 4300 digits."""
    assert strip_markup("a &#" + "9" * 5000 + "; b &#65; &#" + "9" * 200 + " c", {}).split() == [
        "a",
        "\ufffd",
        "b",
        "A",
        "\ufffd",
        "c",
    ]


def test_a_namespace_number_of_any_length_is_none() -> None:
    head = b'<mediawiki><namespace key="' + b"9" * 5000 + b'">x</namespace><namespace key="6" a="b">Bild</namespace>'
    assert read_dump_head(head) == Dump(((6, "Bild"),))


@given(
    st.lists(
        st.sampled_from(["{{", "}}", "{|", "\n|}", "[[", "]]", "|", "<ref>", "</ref>", "&#", "9", "''", "a", "<"]),
        max_size=40,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_markup_leaves_some_text(marks: list[str]) -> None:
    stripped = strip_markup("".join(marks), {})
    assert not re.search(r"\[\[|\]\]|\{\{|\}\}", stripped)


def test_an_entity_is_not_expanded(tmp_path: Path) -> None:
    from wordlab.text import normalized_text

    laughs = '<!ENTITY a "ha">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 9}">' for i in range(1, 20))
    page = "<page><title>A</title><ns>0</ns><revision><text>x &a19; y</text></revision></page>"
    path = file_of(tmp_path, f"<?xml version='1.0'?>\n<mediawiki>{laughs}{page}</mediawiki>".encode())
    (task,) = cut_into_shards([path], 1 << 20, find_dumps=True)
    text, _ = normalized_text(task.spans, "error")
    assert text.split() == [b"x", b"&a19;", b"y"]


def test_a_file_name_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    try:
        (folder / "a\udcff.txt").write_text("x")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(CorpusError, match=r"file 'a\\udcff.txt' in .* is not UTF-8. Rename it."):
        find_own(str(folder), {}).files()


@given(
    st.sampled_from(["questions", "pairs_tsv", "wordsim_csv", "simlex_tsv"]),
    st.text(": \t\n\r,#a1.word1word2SimLex999\ufeff\0é", max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_any_evaluation_set_is_read_or_refused(tmp_path_factory: Any, format: str, text: str) -> None:
    path = file_of(tmp_path_factory.getbasetemp(), text.encode(), "any-set")
    try:
        assert read_evaluation_set(path, format)
    except ArtifactError as error:
        assert len(str(error)) < 1000


UNKNOWN_AND_TWICE_A_BROKEN_PIECE = b"\x0a\x09\x0a\x05<unk>\x18\x02" + 2 * b"\x0a\x07\x0a\x05\xe2land"
"""The library quotes the piece when it complains, and its complaint is then no text."""


@pytest.mark.parametrize(
    "data", [b"", b"junk", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x03\x0a\x01a", UNKNOWN_AND_TWICE_A_BROKEN_PIECE]
)
def test_what_is_no_sentencepiece_model_is_told(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"is no sentencepiece model: .* Run: dvc repro tokenize"):
        load_pieces(file_of(tmp_path, data))
