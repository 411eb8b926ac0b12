"""What an ingest knows of each file: what was planned, what became of it, and the tables that hold that."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import DataError
from pipelines.manifest import Part
from pipelines.rejects import Reason
from pipelines.storage import Location


class Planned(NamedTuple):
    """A file to read. `reason` is set where the plan rejects it already.

    `known` is the SHA-256 of its row in an older version, `seen` of the bytes that an older version rejected, or the reason
    why it could not read them.
    """

    id: int
    path: bytes
    size: int
    mtime_ns: int
    label: str | None = None
    split: str | None = None
    reason: str | None = None
    detail: str | None = None
    known: str | None = None
    seen: str | None = None


class Fact(NamedTuple):
    """What became of one listed file. `reason` is None where it was written."""

    id: int
    path: str
    size: int
    mtime_ns: int = 0
    sha256: str | None = None
    label: str | None = None
    split: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    format: str | None = None
    reason: str | None = None
    detail: str | None = None


_INTEGERS = ("id", "size", "mtime_ns", "width", "height")
FACTS = pa.schema([(name, pa.int64() if name in _INTEGERS else pa.string()) for name in Fact._fields])
PLANNED = pa.schema(
    [(name, pa.binary() if name == "path" else pa.int64() if name in _INTEGERS else pa.string()) for name in Planned._fields]
)
COPIES = pa.schema(
    [
        ("sha256", pa.string()),
        ("kept", pa.bool_()),
        ("written", pa.bool_()),
        ("split", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("group", pa.int64()),
        ("id", pa.int64()),
    ]
)


def read_facts(location: Location) -> Iterator[Fact]:
    """The facts in one facts file, in the order of their ids."""
    table = pq.read_table(location.path, filesystem=location.fs, schema=FACTS)
    yield from map(Fact._make, zip(*(table[name].to_pylist() for name in Fact._fields), strict=True))


def read_parts(folder: Location, parts: Sequence[Part], columns: Sequence[str]) -> pa.Table:
    """Some columns of the facts of many files below `folder`, one file after the other. Raises DataError for a damaged one."""
    empty = pa.schema([FACTS.field(name) for name in columns]).empty_table()
    return pa.concat_tables([empty, *(_facts_table(folder.join(part.path), columns) for part in parts)])


def copies_in(location: Location, group: int, *, kept: bool) -> pa.Table:
    """What repeats are found by, of one facts file: its written rows and, of an older version, its conflicts too."""
    names = ["sha256", "split", "path", "label", "id", "reason"]
    table = _facts_table(location, names)
    written = pc.is_null(table["reason"])
    takes = pc.or_(written, pc.equal(table["reason"], Reason.CONFLICTING_LABEL.value).fill_null(False)) if kept else written
    columns = {name: table[name] for name in names[:-1]} | {
        "kept": pa.array([kept] * len(table), pa.bool_()),
        "written": written,
        "group": pa.array([group] * len(table), pa.int64()),
    }
    takes = pc.and_(takes, pc.is_valid(table["sha256"]))  # a label table may call a file a conflict unread
    return pa.table({field.name: columns[field.name] for field in COPIES}, schema=COPIES).filter(takes)


def _facts_table(location: Location, columns: Sequence[str]) -> pa.Table:
    try:
        return pq.read_table(location.path, filesystem=location.fs, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        what = str(error).partition("\n")[0]
        raise DataError(f"{location.shown}: cannot be read: {what}; ingest into a new --output") from None
