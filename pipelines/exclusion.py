"""A list of files that an ingest leaves out, by relative path or by id, and how it meets the listed files."""

import hashlib
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import DataError
from pipelines.rejects import Reason
from pipelines.scan import path_bytes
from pipelines.settings import Settings
from pipelines.storage import locate, redacted

ID_DIGITS = 19  # of the largest id


class ExclusionRecord(Settings):
    """What a manifest says of a list that files were left out by."""

    file: str
    sha256: str
    entries: int


class Exclusion(NamedTuple):
    """The entries of a list, in its order, each once with the number of its line, and what a manifest says of it."""

    entries: dict[str, int]
    record: ExclusionRecord


def read_exclusion(uri: str) -> Exclusion:
    """The list in the file at `uri`, on any filesystem: a path or an id a line, empty lines and comments (#) apart.

    Raises DataError where there is no such file, it is not UTF-8, or it holds no entry.
    """
    location = locate(uri)
    try:
        data = location.read_bytes()
        lines = data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{location.shown}: --exclude cannot be read: {redacted(str(error.strerror or error))}") from None
    except UnicodeDecodeError as error:
        wrong = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{location.shown}: --exclude: line {wrong} is not UTF-8; name such a file by its id") from None
    entries: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("#"):
            entries.setdefault(line.strip(), number)
    if not entries:
        raise DataError(f"{location.shown}: --exclude: no line names a file; take away the # before those to leave out")
    return Exclusion(
        entries, ExclusionRecord(file=location.shown, sha256=hashlib.sha256(data).hexdigest(), entries=len(entries))
    )


def excluded(found: pa.Table, exclusion: Exclusion) -> tuple[pa.Table, list[str]]:
    """`found` (schema PLANNED) with the reason `excluded` at the files that the list names, and the entries that name none.

    An entry of digits alone may be an id, and a path as well.
    """
    names = list(exclusion.entries)
    by_path = pc.index_in(found["path"], value_set=pa.array([path_bytes(name) for name in names], pa.binary()))
    ids = {int(name): place for place, name in enumerate(names) if _is_id(name)}
    by_id = pc.index_in(found["id"], value_set=pa.array(list(ids), pa.int64()))
    by_id = pc.take(pa.array(list(ids.values()), pa.int32()), by_id)
    # a row of a label table that has no file is not listed, and stays what it is
    listed = pc.not_equal(pc.fill_null(found["reason"], ""), Reason.NO_IMAGE.value)
    place = pc.if_else(listed, pc.coalesce(by_path, by_id), pa.scalar(None, pa.int32()))
    lines = pa.array([f"line {number} of {exclusion.record.file}" for number in exclusion.entries.values()], pa.string())
    marked = with_reason(found, pc.is_valid(place), Reason.EXCLUDED, lines.take(place.combine_chunks()))
    met = {number for column in (by_path, by_id) for number in column.filter(listed).drop_null().to_pylist()}
    return marked, [name for number, name in enumerate(names) if number not in met]


def with_reason(found: pa.Table, where: pa.ChunkedArray, reason: Reason, detail: pa.Array | pa.Scalar) -> pa.Table:
    """`found` with another reason and detail where `where` is true."""
    for name, value in (("reason", pa.scalar(reason.value)), ("detail", detail)):
        column = pc.if_else(where, value, found[name])
        found = found.set_column(found.column_names.index(name), found.schema.field(name), column)
    return found


def _is_id(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) <= ID_DIGITS and -(2**63) <= int(name) < 2**63
