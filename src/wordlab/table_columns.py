"""One column of text of a Parquet or Arrow file -> its texts, some rows at a time.

Arrow files come in two forms, both read here: the file, which begins with ARROW1, and the stream, which packages of
data sets write under the same name. Damage to a table is always an error: what rows it held cannot be told.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from wordlab.arrow_messages import check_claims
from wordlab.documents import as_document
from wordlab.errors import CorpusError
from wordlab.piece_stream import joined_pieces
from wordlab.records import as_line, as_text, rows_to_pieces
from wordlab.remote_files import CorpusPath, RemoteFile

_ROWS = 256
"""Rows in memory at a time; they may be long documents."""
_BUFFER_BYTES = 1 << 20
_SHOWN_COLUMNS = 20
_FORM = "a string, large_string, string_view or binary column, or a dictionary of one"


def table_texts(
    path: CorpusPath,
    kind: str,
    field: str,
    invalid: Literal["error", "drop"],
    dropped: Counter[str],
    by_document: bool = False,
) -> Iterator[bytes]:
    """Texts in column `field`, a line end behind each. Null rows are counted as `rows_without_text`.

    Raises CorpusError for a damaged file, a missing column, and unless they are to be dropped, a row that is no text.
    """
    as_piece = as_document if by_document else as_line
    return joined_pieces(rows_to_pieces(_rows(path, kind, field), path, invalid, dropped, as_piece))


def _rows(path: CorpusPath, kind: str, field: str) -> Iterator[Any]:
    number = 0
    batches = _parquet_batches(path, field) if kind == "parquet" else _arrow_batches(path, field)
    while True:
        with _damage_as_error(path, kind):
            column = next(batches, None)
            if column is None:
                return
            values = _as_binary(column).to_pylist()
        for value in values:
            number += 1
            yield f"row {number}", lambda value=value: _checked(value)


def _checked(value: bytes | None) -> bytes | None:
    if value is not None:
        as_text(value)
    return value


def _as_binary(column: pa.Array) -> pa.Array:
    """The column's bytes, its offsets checked. A row that is not UTF-8 must not make the others unreadable."""
    if pa.types.is_dictionary(column.type):
        column.validate(full=True)
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        column = column.view(pa.binary())
    elif pa.types.is_large_string(column.type):
        column = column.view(pa.large_binary())
    elif pa.types.is_string_view(column.type):
        column = column.view(pa.binary_view())
    column.validate(full=True)
    return column


def _parquet_batches(path: CorpusPath, field: str) -> Iterator[pa.Array]:
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(path.open("rb")) if isinstance(path, RemoteFile) else path
        file = stack.enter_context(pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False))
        _find_column(file.schema_arrow, field, path)
        for batch in file.iter_batches(_ROWS, columns=[field], use_threads=False):
            yield batch.column(0)


def _arrow_batches(path: CorpusPath, field: str) -> Iterator[pa.Array]:
    with contextlib.ExitStack() as stack:
        if isinstance(path, RemoteFile):
            source = pa.PythonFile(stack.enter_context(path.open("rb")), mode="r")
        else:
            source = stack.enter_context(pa.memory_map(str(path)))
        is_file = source.read(6) == b"ARROW1"
        check_claims(source, is_file)
        source.seek(0)
        opened = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        options = pa.ipc.IpcReadOptions(included_fields=[_find_column(opened.schema, field, path)], use_threads=False)
        source.seek(0)
        if is_file:
            reader = pa.ipc.open_file(source, options=options)
            batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(source, options=options))
        for batch in batches:
            column = batch.column(0)
            for start in range(0, len(column), _ROWS):
                yield column.slice(start, _ROWS)


def _find_column(schema: pa.Schema, field: str, path: CorpusPath) -> int:
    """Where the column of text stands. Raises CorpusError where there is none, or more than one."""
    found = schema.get_all_field_indices(field)
    if len(found) != 1:
        names = ", ".join(repr(name[:80]) for name in schema.names[:_SHOWN_COLUMNS]) or "none"
        raise CorpusError(
            f"{path} has {len(found)} columns {field!r} (download.corpus_format.field), but must have one; its "
            f"columns: {names}. Name the one that holds the text: dvc exp run -S download.corpus_format.field=COLUMN"
        )
    (index,) = found
    type_ = schema.field(index).type
    values = type_.value_type if pa.types.is_dictionary(type_) else type_
    tests = (
        *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        *(pa.types.is_binary, pa.types.is_large_binary),
    )
    if not any(test(values) for test in tests):
        raise CorpusError(
            f"{path}: column {field!r} is {str(type_)[:80]}, but must be {_FORM}. Name the one that holds the text: "
            "dvc exp run -S download.corpus_format.field=COLUMN"
        )
    return int(index)


@contextlib.contextmanager
def _damage_as_error(path: CorpusPath, kind: str) -> Iterator[None]:
    """What Arrow raises over a file as a CorpusError: it is damaged, is none, or asks for memory that is not there."""
    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        reason = str(error).partition("\n")[0][:300].rstrip(".")
        raise CorpusError(f"{path} cannot be read as {kind}: {reason}. Fetch or write it again.") from None
