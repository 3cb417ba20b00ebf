"""Places and counts beyond 2^31 and 2^32, in files that are holes but for their ends: little is read, little is held.

A hole of a file reads as zeros, in a file of ids as word 0. Token shards need no test: `tokenize.shard_bytes` is 1 GiB
at most, and so their ids and offsets are few. What can be longer are raw files, the files that stage `encode` packs,
the corpus as a whole, and counts (those of dictionaries: tests/test_vocab.py). Offsets in a bzip2 file are Python's
numbers, which have no size.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from tests.engine import SENTENCES, Case, model_config, random_case, start_table, train_config
from wordlab.artifacts import write_manifest
from wordlab.errors import CorpusError
from wordlab.huffman import Paths
from wordlab.kernels.cpu import CpuEngine
from wordlab.kernels.memory import SEGMENT_TOKENS
from wordlab.packing import Packer, TokenPart
from wordlab.shards import EncodedCorpus, map_sentences, write_sentences
from wordlab.spans import cut_into_shards
from wordlab.text import normalized_text
from wordlab.training_run import _segments

START = 1 << 32
"""Tokens of the shard before those that are looked at: a whole number of segments, and 2^34 bytes."""
TAIL = random_case(model_config(), train_config(), 400)
"""Its last sentences and how they are trained on; the first of them begins before START."""


def hole(path: Path, size: int) -> Path:
    """A file that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    if path.stat().st_blocks > 1000:
        pytest.skip("the file system of the temporary folder has no sparse files")
    return path


class HoleFile:
    """A file for Arrow that leaves holes where much is written at once, but for the end of it."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        skipped = max(0, len(view) - (1 << 16)) if len(view) > 1 << 20 else 0
        self.file.seek(skipped, 1)
        self.file.write(view[skipped:])
        return len(view)

    def tell(self) -> int:
        return self.file.tell()

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.closed = True
        self.file.close()


@pytest.fixture(scope="module")
def ids_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/encode with a shard of START tokens, all of them word 0, and those of TAIL; and a small shard."""
    folder = tmp_path_factory.mktemp("large") / "encode"
    folder.mkdir()
    zeros = hole(folder.parent / "zeros", 4 * (START + len(TAIL.ids)))
    ids = np.memmap(zeros, np.int32, "r+")
    ids[START:] = TAIL.ids
    offsets = np.concatenate([[0, 1 << 31, START - 2], START + TAIL.ends])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pa, "OSFile", lambda path, mode: pa.PythonFile(HoleFile(Path(path)), mode[0]))
        write_sentences(folder / "ids-00000.arrow", ids, offsets)
    write_sentences(folder / "ids-00001.arrow", TAIL.ids, np.concatenate([[0], TAIL.ends]))
    content = {
        "vocabulary": "v",
        "num_tokens": START + 2 * len(TAIL.ids),
        "num_sentences": 2 + 2 * len(TAIL.ends),
    }
    known = {path.name: {"size_bytes": path.stat().st_size, "sha256": ""} for path in folder.iterdir()}
    write_manifest(folder, "encode", content, known)
    assert sum(path.stat().st_blocks for path in folder.iterdir()) < 2000
    return folder


def test_a_shard_of_more_than_2_to_the_32_tokens_is_mapped(ids_folder: Path) -> None:
    ids, offsets = map_sentences(ids_folder / "ids-00000.arrow")
    assert ids.nbytes > 1 << 34 and len(ids) == START + len(TAIL.ids)
    assert offsets.tolist() == [0, 1 << 31, START - 2, *(START + TAIL.ends).tolist()]
    assert np.array_equal(ids[START:], TAIL.ids) and not ids[START - 1000 : START].any()
    corpus = EncodedCorpus.open(ids_folder)
    assert [shard.num_tokens for shard in corpus.shards] == [START + len(TAIL.ids), len(TAIL.ids)]
    assert corpus.num_tokens == START + 2 * len(TAIL.ids) > 1 << 32


def test_segments_of_a_long_corpus_have_their_places(ids_folder: Path) -> None:
    """Of two epochs; those of the second shard lie behind all of the first."""
    corpus = EncodedCorpus.open(ids_folder)
    number, behind = START // SEGMENT_TOKENS, START + len(TAIL.ids)
    found = list(itertools.islice(_segments(corpus, 2, SEGMENT_TOKENS), number - 1, None))
    assert found[:3] == [
        (0, START - SEGMENT_TOKENS, 0, START - SEGMENT_TOKENS),
        (0, START, 0, START),
        (1, 0, 0, behind),
    ]
    assert found[-1] == (1, 0, 1, behind) and len(found) == number + 5


@pytest.mark.parametrize("mode", [("skipgram", "exact", "cut", "ns"), SENTENCES], ids=["windows", "sentences"])
def test_training_far_inside_a_shard_is_training_at_its_beginning(ids_folder: Path, mode: tuple[str, ...]) -> None:
    ids, offsets = map_sentences(ids_folder / "ids-00000.arrow")
    ends, here = TAIL.ends.copy(), TAIL.ids.copy()
    for array in (ends, here):
        array.setflags(write=False)
    far = trained(mode, ids, offsets[1:], START)
    near = trained(mode, here, ends, 0)
    assert np.array_equal(far, near) and not np.array_equal(far, start_table(case_of(mode)))


def case_of(mode: tuple[str, ...]) -> Case:
    return random_case(model_config(*mode), train_config(), 400)


def trained(mode: tuple[str, ...], ids: NDArray[np.int32], ends: NDArray[np.int64], start: int) -> NDArray[np.float32]:
    """The table after one segment, of whose tokens the first is number START of the corpus."""
    case = case_of(mode)
    engine = CpuEngine(case.model, case.train, case.tables, case.seed, 1)
    try:
        engine.table[:, : case.model.dim] = start_table(case)
        loss, weight = engine.train_segment(ids, ends, start, START, 0, START + len(TAIL.ids))
        assert loss > 0 and weight > 0
        return engine.table[:, : case.model.dim].copy()
    finally:
        engine.close()


def test_sentences_far_inside_are_packed(ids_folder: Path) -> None:
    """As a run goes on that was killed there: the long sentences before are packed already."""
    ids, offsets = map_sentences(ids_folder / "ids-00000.arrow")
    words = np.arange(TAIL.ids.max() + 1, dtype=np.int32)
    part, packer, packed = TokenPart(ids, offsets[3:], words), Packer(100, len(ids), len(offsets)), []
    while True:
        done = packer.fill(part)
        packed.append(tuple(array.copy() for array in packer.content()))
        packer.clear()
        if done:
            break
    assert all(len(part) <= 100 and bounds[0] == 0 and bounds[-1] == len(part) for part, bounds in packed)
    first = TAIL.ends[0]
    assert np.array_equal(np.concatenate([part for part, _ in packed]), TAIL.ids[first:])


def test_a_long_shard_goes_to_the_device_from_any_place(ids_folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from wordlab.torch_engine.feeding import Feed

    shards = [map_sentences(ids_folder / f"ids-0000{number}.arrow")[0] for number in (0, 1)]
    feed = Feed(shards, SEGMENT_TOKENS, torch.device("cpu"), resident=False)
    try:
        assert np.array_equal(feed.take(START).numpy(), TAIL.ids)
        assert np.array_equal(feed.take(START + len(TAIL.ids)).numpy(), TAIL.ids)
    finally:
        feed.close()


# ---- raw text


GIB = 1 << 30


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line end at each GiB, and text behind the fifth."""
    path = hole(tmp_path_factory.mktemp("raw") / "long.txt", 5 * GIB)
    with path.open("r+b") as file:
        for place in range(GIB, 5 * GIB, GIB):
            file.seek(place + 10)
            file.write(b"\n")
        file.seek(5 * GIB)
        file.write(b"\nthe last words\nof caf\xe9 au lait\n")
    return path


def test_a_file_of_more_than_4_gib_is_cut_and_read_at_its_end(raw: Path) -> None:
    *before, last = cut_into_shards([raw], GIB, False, read_later=True)
    spans = [span for task in before for span in task.spans]
    assert [(span.offset, span.offset + span.size) for span in spans] == [
        *((bool(n) * (n * GIB + 11), (n + 1) * GIB + 11) for n in range(4)),
        (4 * GIB + 11, 5 * GIB + 16),
    ]
    assert [(span.offset, span.ends_file) for span in last.spans] == [(5 * GIB + 16, True)]


def test_a_broken_byte_behind_4_gib_is_named_by_its_place(raw: Path) -> None:
    (span,) = list(cut_into_shards([raw], GIB, False, read_later=True))[-1].read()
    place = 5 * GIB + 22
    with pytest.raises(CorpusError, match=rf"long.txt is not valid UTF-8: bytes e9 20 61 75 at offset {place} "):
        normalized_text([span], "error")


# ---- counts


def test_a_tree_of_large_counts_is_that_of_small_ones() -> None:
    counts = np.array([900, 300, 299, 40, 39, 7, 3, 1])
    small, large = Paths.of_counts(counts), Paths.of_counts(counts << 50)
    for name in ("start", "node", "code"):
        assert np.array_equal(getattr(small, name), getattr(large, name))
