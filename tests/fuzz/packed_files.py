"""Readers of what comes packed: zip and tar archives, gzip, bzip2, xz and zstd streams."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import zstandard

from tests.fuzz.reader import Execution, Reader, replace_file
from wordlab import archives, corpus_format
from wordlab.archives import read_content, read_sdist_file
from wordlab.decompression import open_text_stream
from wordlab.own_corpus import OwnCorpus, describe_own

TEXT = b"the king and the queen of the land\n" * 30
CONTENT_BYTES = 1 << 14
"""What the catalog says in these executions."""
UNPACKED_BYTES = 1 << 20
"""An execution that unpacks a corpus of more stops there: that much is no finding, a corpus may be large."""
NAMES = ("../up", "/etc/passwd", "a/../../b", "a\\..\\b", "", ".", "\0", "x" * 300, "é", "\udcff", "top/", "text")


def _open_archive(container: str) -> Callable[[Path], Execution]:
    def open_in(folder: Path) -> Execution:
        archives.MAX_ARCHIVE_BYTES = 1 << 24  # what is read before a search is given up, so that bombs take no seconds
        path = folder / "archive"

        def content() -> str:
            size_bytes = sum(map(len, read_content(path, container, "top/text", CONTENT_BYTES)))
            assert size_bytes <= CONTENT_BYTES
            return "content" if size_bytes else "nothing"

        def source() -> str:
            size_bytes = sum(map(len, read_sdist_file(path, "text")))
            assert size_bytes <= archives.MAX_ARCHIVE_BYTES
            return "a file of a source distribution"

        def execute(data: bytes) -> str:
            replace_file(path, data)
            return source() if len(data) % 4 == 0 else content()

        return execute

    return open_in


def _zip(members: list[tuple[zipfile.ZipInfo, bytes]], comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = comment
        for info, data in members:
            archive.writestr(info, data)
    return file.getvalue()


def _zip_member(name: str, method: int = zipfile.ZIP_DEFLATED, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type, info.external_attr = method, mode << 16
    return info


def _zip_seeds(folder: Path) -> list[bytes]:
    wanted = "top/text"
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    seeds = [_zip([(_zip_member(wanted, method), TEXT)]) for method in methods]
    seeds += [_zip([(_zip_member(name), b"x"), (_zip_member(wanted), TEXT)]) for name in NAMES if name.isprintable()]
    seeds += [
        _zip([]),
        _zip([(_zip_member("top/"), b""), (_zip_member("top/a"), b"x"), (_zip_member(wanted), TEXT)], b"a comment"),
        _zip([(_zip_member(wanted, mode=stat.S_IFLNK | 0o777), b"/etc/passwd")]),
        _zip([(_zip_member(wanted), bytes(1 << 20))]),  # a bomb of the size it says
        _zip([(_zip_member(f"top/{i}", zipfile.ZIP_STORED), b"") for i in range(200)]),
        b"#!/bin/sh\n" + seeds[0],
        _zip([(_zip_member(wanted, zipfile.ZIP_STORED), seeds[1])]),
    ]
    lying = _zip([(_zip_member(wanted), bytes(1 << 20))])
    seeds.append(lying.replace((1 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    encrypted = bytearray(seeds[0])
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        encrypted[seeds[0].index(mark) + (6 if mark[2] == 3 else 8)] |= 1
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open(_zip_member(wanted), "w", force_zip64=True) as member:
        member.write(TEXT)
    return [*seeds, bytes(encrypted), file.getvalue()]


def _tar(entries: list[tuple[tarfile.TarInfo, bytes]], format: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=format) as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()[: 512 * (2 + sum(4 + len(data) // 512 for _, data in entries))]


def _tar_seeds(folder: Path) -> list[bytes]:
    wanted = "top/text"
    formats = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    member = tarfile.TarInfo
    seeds = [_tar([(member("top/a"), b"x"), (member(wanted), TEXT)], format) for format in formats]
    seeds += [
        _tar([(member(name), b"x"), (member(wanted), TEXT)], formats[i % 3 or 1])
        for i, name in enumerate(NAMES)
        if "\0" not in name
    ]
    kinds = (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"x",
        b"g",
        b"L",
        b"K",
        b"Z",
    )
    for kind in kinds:
        info = member(wanted)
        info.type, info.linkname = kind, wanted
        seeds.append(_tar([(info, b"30 path=top/text\n" * 3), (member(wanted), b"x")]))
    attributes = member(wanted)
    attributes.pax_headers = {
        "size": "99",
        "path": wanted,
        "GNU.sparse.map": "0,1,0,9",
        "GNU.sparse.size": "9",
        "x": "1" * 200,
    }
    seeds.append(_tar([(attributes, b"0\n1\n")], tarfile.PAX_FORMAT))
    for major, minor in (("1", "0"), ("0", "1")):
        sparse = member(wanted)
        sparse.pax_headers = {
            "GNU.sparse.major": major,
            "GNU.sparse.minor": minor,
            "GNU.sparse.size": "99",
            "GNU.sparse.name": wanted,
        }
        seeds.append(_tar([(sparse, b"2\n0\n1\n50\n9\n" + b"\0" * 512)], tarfile.PAX_FORMAT))
    packed = [pack(seeds[0]) for pack in _PACK.values()]
    bomb = _tar([(member("top/a"), bytes(1 << 25)), (member(wanted), b"x")])
    return [*seeds, *packed, gzip.compress(bomb), b"", b"<html>no archive</html>"]


def _finish_tar(rng: Random, data: bytes) -> bytes:
    """Right checksums in whatever looks like a header; now and then the whole packed."""
    mended = bytearray(data)
    for start in range(0, len(mended) - 511, 512):
        block = mended[start : start + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            mended[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    if rng.random() < 0.1:
        return rng.choice(tuple(_PACK.values()))(bytes(mended))
    return bytes(mended)


def _pack_zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


_PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": _pack_zstd,
}


def _open_compressed(compression: str) -> Callable[[Path], Execution]:
    def open_in(folder: Path) -> Execution:
        path = folder / "corpus"

        def content() -> str:
            size_bytes = sum(map(len, read_content(path, compression, None, CONTENT_BYTES)))
            assert size_bytes <= CONTENT_BYTES
            return f"{compression} content"

        def corpus() -> str:
            (file,) = describe_own(OwnCorpus(path, ""), corpus_format.TEXT)["files"]
            unpacked = 0
            with open_text_stream(path) as stream:
                while unpacked < UNPACKED_BYTES and (data := stream.read(1 << 16)):
                    unpacked += len(data)
            return f"{file['format']} corpus"

        def execute(data: bytes) -> str:
            replace_file(path, data)
            return corpus() if len(data) % 2 else content()

        return execute

    return open_in


def _packed_seeds(compression: str) -> Callable[[Path], list[bytes]]:
    pack = _PACK[compression]

    def seeds(folder: Path) -> list[bytes]:
        whole = pack(TEXT)
        found = [
            whole,
            pack(b""),
            whole + whole,
            pack(pack(TEXT)),
            pack(bytes(1 << 21)),
            whole + b"\0" * 16,
            whole + b"junk",
        ]
        if compression == "bzip2":
            found += [
                bz2.compress(TEXT * 40, 1) * 2,
                pack(b"") + whole + pack(b""),
                bz2.compress(Random(1).randbytes(3000)),
            ]
        if compression == "xz":
            dictionary = {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26}
            checks = (lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_SHA256)
            found += [lzma.compress(TEXT, check=check, filters=[dictionary]) for check in checks]
            found += [lzma.compress(TEXT, filters=[{"id": lzma.FILTER_DELTA}, {"id": lzma.FILTER_X86}, dictionary])]
            found += [lzma.compress(TEXT, lzma.FORMAT_ALONE)]
        if compression == "zstd":
            found += _strange_zstd(whole)
        return found

    return seeds


def _strange_zstd(whole: bytes) -> list[bytes]:
    """Frames without sizes, with checksums, with windows, of many runs, that are skipped, that need a dictionary."""
    run = b"\x28\xb5\x2f\xfd\x00\x58" + ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"a"
    unsized = zstandard.ZstdCompressor(level=19, write_content_size=False, write_checksum=True)
    windows = zstandard.ZstdCompressionParameters(window_log=26, write_content_size=False)
    return [
        unsized.compress(TEXT),
        zstandard.ZstdCompressor(compression_params=windows).compress(TEXT),
        run * 1 + run[6:] * 4000 + b"\x01\x00\x00",
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + whole,
        b"\x5f\x2a\x4d\x18\xff\xff\xff\xffabcd" + whole,
        b"\x28\xb5\x2f\xfd\x03\xa8\x01\x02\x03\x04\x01\x00\x00",
        b"\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00",
    ]


def _finish_xz(rng: Random, data: bytes) -> bytes:
    """Right checksums of the first two headers, behind which sizes and filters are believed."""
    mended = bytearray(data)
    if len(mended) > 24:
        mended[8:12] = zlib.crc32(mended[6:8]).to_bytes(4, "little")
        end = 12 + 4 * (mended[12] + 1)
        if end <= len(mended):
            mended[end - 4 : end] = zlib.crc32(mended[12 : end - 4]).to_bytes(4, "little")
    return bytes(mended)


def _build_zstd(rng: Random, seeds: list[bytes]) -> bytes:
    """A frame header of any kind and blocks of any kind, with sizes that may lie."""
    descriptor = rng.choice((0, 0x20, 0x04, 0x40, 0x60, 0x80, 0xA0, 0xE4, rng.randrange(256)))
    parts = [
        b"\x28\xb5\x2f\xfd",
        bytes([descriptor]),
        rng.randbytes(rng.randrange(12)) if rng.random() < 0.5 else b"\x58",
    ]
    for _ in range(rng.randrange(1, 6)):
        kind, size = rng.randrange(4), rng.choice((0, 1, 5, 100, 1 << 17, (1 << 17) + 1, (1 << 21) - 1))
        last = rng.random() < 0.3
        parts.append((size << 3 | kind << 1 | last).to_bytes(3, "little"))
        parts.append(rng.randbytes(1 if kind == 1 else min(size, 200)))
    return b"".join(parts)


def _build_bzip2(rng: Random, seeds: list[bytes]) -> bytes:
    """Bits of streams put together anew: whole blocks at other bits, marks with right and wrong sums, fill, noise."""
    block, end = 0x314159265359, 0x177245385090
    bits = "".join(f"{byte:08b}" for byte in rng.choice(seeds)[4:])
    parts = [rng.choice(("", f"{0x425A6839:032b}"))]
    for _ in range(rng.randrange(1, 8)):
        place = rng.randrange(len(bits)) if bits else 0
        choices = (bits, f"{block:048b}", f"{end:048b}{0:032b}", f"{0x425A6839:032b}", "0" * 8, "0" * rng.randrange(40))
        parts.append(rng.choice((*choices, bits[:place], bits[place:], f"{rng.getrandbits(40):040b}")))
    joined = "".join(parts)
    joined += "0" * (-len(joined) % 8)
    return int(f"0{joined}", 2).to_bytes(len(joined) // 8, "big")


def _build_tar(rng: Random, seeds: list[bytes]) -> bytes:
    """A few members with any field set to something odd."""
    blocks = []
    for _ in range(rng.randrange(1, 4)):
        name = rng.choice(("top/text", "top/text", "top/a", *NAMES)).encode(errors="surrogateescape")[:100]
        data = rng.choice(
            (b"x", TEXT, b"", b"30 path=top/text\n", b"20 size=9999999999\n", b"9 hdrcharset=BINARY\n", b"1" * 99)
        )
        kind = rng.choice((b"0", b"0", b"0", b"\0", *(bytes([c]) for c in b"12345678LKSxgXVDM")))
        size = (
            b"%011o\0" % len(data)
            if rng.random() < 0.7
            else rng.choice(
                (
                    b"\x80" + b"\xff" * 11,
                    b"\xff" * 12,
                    b"77777777777\0",
                    b"\x80" + b"\0" * 10 + b"\x05",
                    b"-1         \0",
                    b" " * 12,
                )
            )
        )
        fields = [name.ljust(100, b"\0"), b"0000644\0" * 3, size, b"00000000000\0", b" " * 8, kind, b"\0" * 100]
        header = bytearray(b"".join(fields).ljust(512, b"\0"))
        header[257:265] = rng.choice((b"ustar\x0000", b"ustar  \0"))
        if kind == b"S":
            header[386:482] = b"".join(rng.choice((b"%011o\0" % rng.randrange(2000), b"\0" * 12)) for _ in range(8))
            header[482] = rng.randrange(2)
            header[483:495] = b"%011o\0" % rng.randrange(5000)
        blocks += [bytes(header), data.ljust(-(-len(data) // 512) * 512, b"\0")]
    return _finish_tar(rng, b"".join(blocks) + b"\0" * 512 * rng.randrange(3))


_ZIP_TOKENS = (
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
    b"\x01\x00\x1c\x00",
    b"top/text",
    b"../",
)
_TAR_TOKENS = (
    b"ustar\x0000",
    b"ustar  \0",
    b"\0" * 512,
    b"30 path=top/text\n",
    b"99999",
    b"\x80" + b"\xff" * 11,
    b"GNU.sparse.map=",
)

READERS = (
    Reader("zip", "zip archives", _open_archive("zip"), _zip_seeds, _ZIP_TOKENS, guided=True),
    Reader(
        "tar",
        "tar archives, compressed or not",
        _open_archive("tar"),
        _tar_seeds,
        _TAR_TOKENS,
        _build_tar,
        _finish_tar,
        memory_bytes=1 << 28,
        guided=True,
    ),
    Reader(
        "gzip",
        "gzip streams",
        _open_compressed("gzip"),
        _packed_seeds("gzip"),
        (b"\x1f\x8b\x08", b"\0" * 8),
        guided=True,
    ),
    Reader(
        "bzip2",
        "bzip2 streams",
        _open_compressed("bzip2"),
        _packed_seeds("bzip2"),
        (b"BZh9", b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"),
        _build_bzip2,
    ),
    Reader(
        "xz",
        "xz streams",
        _open_compressed("xz"),
        _packed_seeds("xz"),
        (b"\xfd7zXZ\0", b"YZ", b"\x21\x01"),
        None,
        _finish_xz,
        memory_bytes=1 << 28,
    ),
    Reader(
        "zstd",
        "zstd streams",
        _open_compressed("zstd"),
        _packed_seeds("zstd"),
        (b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"),
        _build_zstd,
        memory_bytes=1 << 28,
        guided=True,
    ),
)
