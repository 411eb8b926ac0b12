"""A table of labels (CSV, JSON lines, Parquet) -> rows of image path, label and split, and how they meet the listed files."""

import os
import posixpath
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
from pyarrow import fs as pafs
from pydantic import Field, field_validator

from pipelines.errors import DataError
from pipelines.rejects import Reason
from pipelines.scan import LISTING, file_id
from pipelines.settings import Settings
from pipelines.storage import Location, locate

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
ROWS = pa.schema([("path", pa.string()), ("label", pa.string()), ("split", pa.string()), ("row", pa.int64())])
MATCHED = pa.schema([*LISTING, *((name, pa.string()) for name in ("label", "split", "reason", "detail"))])


class TableRule(Settings):
    """Which table holds the labels, and in which columns.

    `file` is a path or URI, looked for below the input folder where it is relative: .csv or .tsv (every cell is text:
    0123 and NA stay), .jsonl, .ndjson or .json (one object a line), each also with .gz after it; or .parquet.
    The image of a row is `folder`/`image``extension`, relative to the input folder; a path in full is fine too.
    """

    file: str
    image: str = Field(min_length=1)
    label: str = Field(min_length=1)
    split: str | None = Field(default=None, min_length=1)
    folder: str = ""
    extension: str = ""

    @field_validator("file")
    @classmethod
    def _check_file(cls, file: str) -> str:
        known = (*DELIMITERS, *JSON_LINES, *PARQUET)
        if _kind(file) not in known:
            raise ValueError(f"the table's kind is told by its ending, one of {' '.join(known)} (the text ones also with .gz)")
        return file

    @property
    def columns(self) -> list[str]:
        """The columns that are read, each once."""
        return list(dict.fromkeys(name for name in (self.image, self.label, self.split) if name))


def table_location(rule: TableRule, root: Location) -> Location:
    """Where the table is: as named, or below `root` where the name is relative."""
    if "://" in rule.file or os.path.isabs(rule.file) or rule.file.startswith("~"):
        return locate(rule.file)
    return root.join(posixpath.normpath(rule.file))


def read_rows(rule: TableRule, root: Location) -> pa.Table:
    """The table's rows, in its order: schema ROWS, with `row` counted from 1 and null for each empty cell.

    `path` is relative to `root`, in `/`, without `.` and `..`. The schema's metadata hold the table's name for messages.
    Raises DataError for a table that is missing, is not UTF-8, cannot be parsed, is empty or lacks a column.
    """
    location = table_location(rule, root)
    kind = location.info().type
    if kind != pafs.FileType.File:
        what = "no such table" if kind == pafs.FileType.NotFound else "a folder, not a table"
        raise DataError(f"{location.shown}: {what}; label.table.file names it, and a relative one is below --input")
    table = _read(location, rule)
    if not table.num_rows:
        raise DataError(f"{location.shown}: the table has no rows")
    cells = {name: _text(table[name], name, location) for name in rule.columns}
    nothing = pa.nulls(table.num_rows, pa.string())
    columns = [
        _paths(cells[rule.image], rule, root),
        cells[rule.label],
        cells[rule.split] if rule.split else nothing,
        pa.array(np.arange(1, table.num_rows + 1)),
    ]
    return pa.table(columns, schema=ROWS.with_metadata({"table": PurePosixPath(location.path).name}))


def match(listing: pa.Table, rows: pa.Table) -> pa.Table:
    """Every listed file with its row's label and split, and every row without a file: schema MATCHED, in the order of ids.

    `listing` has schema LISTING, `rows` schema ROWS. Where `reason` is null the file and one label belong together.
    Rows that say the same of one image count as one; a row without a file has size and time 0.
    """
    table = (rows.schema.metadata or {}).get(b"table", b"the table").decode()
    named = pc.is_valid(rows["path"])
    images = _judged(rows.filter(named), table)
    where = pc.index_in(listing["path"], value_set=images["path"].combine_chunks()).combine_chunks()
    found = np.zeros(images.num_rows, bool)
    found[where.drop_null().to_numpy()] = True
    no_row = pc.is_null(where)
    columns = {name: images[name].take(where) for name in ("label", "split", "reason", "detail")}
    columns["reason"] = pc.if_else(no_row, Reason.NO_ROW.value, columns["reason"])
    columns["detail"] = pc.if_else(no_row, f"no row of {table} names it", columns["detail"])
    listed = pa.table([*(listing[name] for name in LISTING.names), *columns.values()], schema=MATCHED)
    lost = [_without_file(images.filter(~found), table), _unnamed(rows.filter(pc.invert(named)), table)]
    matched = pa.concat_tables([listed, *lost])
    return matched if matched.num_rows == listed.num_rows else matched.take(np.argsort(matched["id"].to_numpy(), kind="stable"))


def _kind(file: str) -> str:
    return PurePosixPath(file.lower().removesuffix(".gz")).suffix


def _read(location: Location, rule: TableRule) -> pa.Table:
    kind = _kind(location.path)
    data = b""
    try:
        if kind in PARQUET:
            with location.fs.open_input_file(location.path) as file:
                parquet = pq.ParquetFile(file)
                return parquet.read(columns=_wanted(parquet.schema_arrow.names, rule, location))
        with location.fs.open_input_stream(location.path, compression="detect") as stream:
            data = stream.read()
        table = _read_json(data, rule.columns) if kind in JSON_LINES else _read_csv(data, DELIMITERS[kind], rule, location)
        return table.select(_wanted(table.schema.names, rule, location))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = _not_utf8(data) or " ".join(str(error).split())[:300]
        raise DataError(f"{location.shown}: not a readable {kind} table: {why}") from None


def _read_csv(data: bytes, delimiter: str, rule: TableRule, location: Location) -> pa.Table:
    if data.count(b'"') % 2:  # Arrow would take the rest of the file as one cell, and say nothing
        raise DataError(f'{location.shown}: a quoted cell is never closed; a quote inside a cell is written twice ("")')
    parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=b'"' in data)
    names = pa.csv.open_csv(pa.BufferReader(data), parse_options=parse).schema.names
    columns = _wanted(names, rule, location)
    convert = pa.csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string()))
    return pa.csv.read_csv(pa.BufferReader(data), parse_options=parse, convert_options=convert)


def _read_json(data: bytes, columns: Sequence[str]) -> pa.Table:
    table = pa.json.read_json(pa.BufferReader(data))
    dates = [f.name for f in table.schema if f.name in columns and pa.types.is_timestamp(f.type)]
    if not dates:
        return table
    # Arrow takes text such as "2024-01-31" for a time: once more, as the text that it is
    schema = pa.schema([(name, pa.string()) for name in dates])
    return pa.json.read_json(pa.BufferReader(data), parse_options=pa.json.ParseOptions(explicit_schema=schema))


def _wanted(names: Sequence[str], rule: TableRule, location: Location) -> list[str]:
    """The columns to read. Raises DataError where one is missing or stands twice."""
    known = ", ".join(name if name.isprintable() else repr(name) for name in names[:30])
    for name in rule.columns:
        if names.count(name) != 1:
            what = f"column {name} stands twice" if name in names else f"no column {name}"
            raise DataError(f"{location.shown}: {what}; the table's columns are: {known}")
    return rule.columns


def _not_utf8(data: bytes) -> str:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line} has the byte 0x{data[error.start]:02X}, which is not UTF-8; save the table as UTF-8"
    return ""


def _text(column: pa.ChunkedArray, name: str, location: Location) -> pa.ChunkedArray:
    """A column of text or integers as strings, null where a cell is empty. Raises DataError for any other type."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = str(column.type)
    if not (kind in ("string", "large_string", "string_view", "null") or pa.types.is_integer(column.type)):
        raise DataError(
            f"{location.shown}: column {name} is of type {kind}; save it as text, so that each cell is what is meant"
        )
    try:
        text = column.cast(pa.string()).cast(pa.binary()).cast(pa.string())  # the last cast checks that it is UTF-8
    except pa.ArrowInvalid:
        raise DataError(f"{location.shown}: column {name} is not UTF-8; save the table as UTF-8") from None
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _paths(image: pa.ChunkedArray, rule: TableRule, root: Location) -> pa.Array:
    folder = f"{rule.folder}/" if rule.folder else ""
    path = pc.binary_join_element_wise(folder, image, rule.extension, "").combine_chunks()
    path = pc.replace_substring(path, "\\", "/")
    for start in (f"{root.uri}/", f"{root.path}/"):
        path = pc.if_else(pc.starts_with(path, start), pc.utf8_slice_codeunits(path, len(start)), path)
    odd = pc.fill_null(pc.match_substring_regex(path, r"//|(^|/)\.{1,2}(/|$)"), False)  # few tables have such paths
    if odd.true_count:
        path = pc.replace_with_mask(path, odd, pa.array(map(posixpath.normpath, path.filter(odd).to_pylist()), pa.string()))
    return path


def _judged(rows: pa.Table, table: str) -> pa.Table:
    """One line for each image, with the columns path (binary), label, split, row, reason and detail."""
    images, row = _codes(rows["path"]), rows["row"].to_numpy()
    first = np.unique(images, return_index=True)[1]
    reasons: dict[int, tuple[str, str]] = {}
    for i in np.flatnonzero(pc.is_null(rows["label"]).to_numpy()[first]).tolist():
        reasons[i] = Reason.NO_LABEL.value, f"row {row[first[i]]} of {table} has no label"
    for name, reason, verb in (("split", Reason.NO_SPLIT, "put it in"), ("label", Reason.CONFLICTING_LABEL, "label it")):
        column = rows[name].combine_chunks()
        for i, rival in _rivals(_codes(rows[name]), images, first):
            says = " and ".join(_shown(column[int(k)].as_py()) for k in (first[i], rival))
            reasons[i] = reason.value, f"rows {row[first[i]]} and {row[rival]} of {table} {verb} {says}"
    verdicts = [reasons.get(i, (None, None)) for i in range(len(first))] if reasons else []
    once = rows.take(first)
    nothing = pa.nulls(len(first), pa.string())
    return (
        once.set_column(0, "path", once["path"].cast(pa.binary()))
        .append_column("reason", pa.array([reason for reason, _ in verdicts], pa.string()) if reasons else nothing)
        .append_column("detail", pa.array([detail for _, detail in verdicts], pa.string()) if reasons else nothing)
    )


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """(N,) int: equal numbers for equal cells, counted up in the order in which values first appear."""
    return column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False)


def _rivals(cells: np.ndarray, images: np.ndarray, first: np.ndarray) -> list[tuple[int, int]]:
    """(image, row) for each image with rows that differ: the first row that says other than the image's first row."""
    differ = np.flatnonzero(cells != cells[first][images])
    found, where = np.unique(images[differ], return_index=True)
    return list(zip(found.tolist(), differ[where].tolist(), strict=True))


def _shown(cell: str | None) -> str:
    return "nothing" if cell is None else repr(cell[:60])


def _without_file(images: pa.Table, table: str) -> pa.Table:
    row = images["row"].cast(pa.string())
    detail = pc.binary_join_element_wise("row ", row, f" of {table} names it, and there is no such file", "")
    return _lost(images["path"].cast(pa.string()), images["label"], images["split"], detail)


def _unnamed(rows: pa.Table, table: str) -> pa.Table:
    path = pc.binary_join_element_wise(f"{table} row ", rows["row"].cast(pa.string()), "")
    return _lost(path, rows["label"], rows["split"], pc.binary_join_element_wise(path, "it names no image", ": "))


def _lost(path: pa.ChunkedArray, label: pa.ChunkedArray, split: pa.ChunkedArray, detail: pa.ChunkedArray) -> pa.Table:
    zeros = pa.array(np.zeros(len(path), np.int64))
    ids = pa.array(np.fromiter(map(file_id, path.to_pylist()), np.int64, len(path)))
    reason = pa.array([Reason.NO_IMAGE.value] * len(path), pa.string())
    return pa.table([ids, path.cast(pa.binary()), zeros, zeros, label, split, reason, detail], schema=MATCHED)
