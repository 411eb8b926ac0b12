"""What an ingest has to do: the listing with labels and splits of a table, without what an older version knows already."""

import functools
import hashlib
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.exclusion import Exclusion, excluded, with_reason
from pipelines.facts import PLANNED, read_parts
from pipelines.groups import PASSING
from pipelines.manifest import Dataset
from pipelines.progress import Progress
from pipelines.rejects import Reason, Reject
from pipelines.scan import list_files, path_text
from pipelines.storage import Location
from pipelines.tables import match, read_rows, table_location

LABEL_REASONS = [
    reason.value for reason in (Reason.NO_LABEL, Reason.FOREIGN_CHARACTER, Reason.TOO_SHORT, Reason.TOO_LONG, Reason.NO_SPLIT)
]

STAYS_OUT = "an older version was made without it, and it stays out; a new --output takes it"


class Plan(NamedTuple):
    """`rows` (schema PLANNED, in the order of ids) are to be read; `digest` stands for all that was found.

    Of an older version's files `known` are in the input as they were, `gone` are not in it any more, and of `relabelled`
    ones a table says something else now. `strangers` are entries of an exclusion list that name no file.
    """

    rows: pa.Table
    digest: str
    known: int = 0
    gone: int = 0
    relabelled: int = 0
    strangers: tuple[str, ...] = ()


def survey(root: Location, settings: IngestSettings) -> pa.Table:
    """All files under `root`, with what a label table says of them: schema PLANNED, in the order of ids. Raises DataError."""
    rule = settings.label.table
    table_file = table_location(rule, root) if rule else None
    with Progress("list", None, "files") as progress:
        listing = list_files(root, leave_out=table_file, progress=progress.update_to)
    found = match(listing, read_rows(rule, root)) if rule else listing
    columns = [found[name] if name in found.column_names else pa.nulls(found.num_rows, kind) for name, kind in _fields()]
    return pa.Table.from_arrays(
        [column.cast(kind) for column, (_, kind) in zip(columns, _fields(), strict=True)], schema=PLANNED
    )


def plan(
    found: pa.Table,
    settings: IngestSettings,
    parent: Dataset | None,
    *,
    verify: bool = False,
    exclusion: Exclusion | None = None,
) -> Plan:
    """What of `found` is new beside the files of `parent`, by path, size and time. With `verify` its rows are read too.

    What `exclusion` names is rejected unread, and so is for ever what a version before was made without. Raises DataError
    where it names a row of `parent`.
    """
    found, strangers = excluded(found, exclusion) if exclusion else (found, [])
    digest = _digest(found)
    if parent is None:
        return Plan(found, digest, strangers=tuple(strangers))
    names = ["id", "size", "mtime_ns", "sha256", "label", "split", "reason"]
    old = read_parts(parent.location, parent.manifest.files, names)
    written, rejected = old.filter(pc.is_null(old["reason"])), old.filter(pc.is_valid(old["reason"]))
    newest = rejected.take(pa.array(np.arange(len(rejected))[::-1]))
    row = pc.index_in(found["id"], value_set=written["id"].combine_chunks())
    reject = pc.index_in(found["id"], value_set=newest["id"].combine_chunks())
    has_row = pc.is_valid(row)
    _check_rows_stay(found.filter(has_row), parent)
    stays_out = pc.fill_null(pc.equal(newest["reason"].take(reject), Reason.EXCLUDED.value), False)
    found = with_reason(found, pc.and_(stays_out, pc.is_null(found["reason"])), Reason.EXCLUDED, pa.scalar(STAYS_OUT))
    mended = _mended(found, newest["reason"].take(reject), settings) & ~has_row.to_numpy()
    verdict = pc.if_else(has_row, pa.scalar(None, pa.string()), found["reason"])  # whatever a table says now, a row stays
    known = np.isin(_keys(found, verdict), _keys(lasting := _lasting(old), _planned_reason(lasting))) & ~mended
    passing = pc.if_else(pc.is_in(newest["reason"], value_set=pa.array(sorted(PASSING))), newest["reason"], newest["sha256"])
    seen = pc.if_else(pa.array(mended), pa.scalar(None, pa.string()), passing.take(reject))
    rows = found
    for name, column in (("known", written["sha256"].take(row)), ("seen", seen)):
        rows = rows.set_column(PLANNED.get_field_index(name), PLANNED.field(name), column)
    reads = ~known | (has_row.to_numpy() if verify else False)
    gone = len(np.setdiff1d(old["id"].to_numpy(), found["id"].to_numpy()))
    stands = pa.table({name: written[name].take(row) for name in ("label", "split")})
    relabelled = _relabelled(found.filter(has_row), stands.filter(has_row), settings)
    return Plan(rows.filter(pa.array(reads)), digest, int(known.sum()), gone, relabelled, tuple(strangers))


def _check_rows_stay(found: pa.Table, parent: Dataset) -> None:
    """Raises DataError where a file that has a row is to be left out now."""
    named = found.filter(pc.fill_null(pc.equal(found["reason"], Reason.EXCLUDED.value), False))
    if named.num_rows:
        first, version = path_text(named["path"][0].as_py()), parent.manifest.version
        raise DataError(
            f"{parent.location.shown}: {named.num_rows} files that --exclude names have rows in version {version}, such as"
            f" {first}; rows of a version never change: ingest with --exclude into a new --output"
        )


def _mended(found: pa.Table, reasons: pa.ChunkedArray, settings: IngestSettings) -> np.ndarray:
    """(N,) bool: whether an older version rejected the file for its label or split, and the table has good ones now."""
    mended = np.zeros(len(found), bool)
    if settings.label.table:
        refused = pc.and_(pc.is_in(reasons, value_set=pa.array(LABEL_REASONS)), pc.is_null(found["reason"]))
        for index in np.flatnonzero(refused.to_numpy()):
            mended[index] = _told(found.slice(index, 1).to_pylist()[0], settings) is not None
    return mended


def _lasting(old: pa.Table) -> pa.Table:
    """The facts that a later version need not look into again: all but those of files that could not be read."""
    return old.filter(pc.invert(pc.is_in(old["reason"], value_set=pa.array(sorted(PASSING)))))


def _planned_reason(old: pa.Table) -> pa.ChunkedArray:
    """The reason of a file that was rejected unread, for what a table said of it; null for all others."""
    unread = pc.and_(pc.is_null(old["sha256"]), pc.not_equal(old["reason"], Reason.TOO_LARGE.value))
    return pc.if_else(unread, old["reason"], pa.scalar(None, pa.string()))


def _relabelled(found: pa.Table, stands: pa.Table, settings: IngestSettings) -> int:
    """How many files have a row whose label or split the table gives otherwise now."""
    if not settings.label.table:
        return 0
    by_table = settings.split.by == "table"
    alike = [pc.fill_null(pc.equal(found[name], stands[name]), False) for name in ("label", "split")[: 1 + by_table]]
    differ = pc.invert(functools.reduce(pc.and_, alike))
    count = 0
    told = found.select(["path", "label", "split", "reason"]).filter(differ).to_batches(max_chunksize=50_000)
    had = iter(zip(*(stands[name].filter(differ).to_pylist() for name in ("label", "split")), strict=True))
    for new, (label, split) in zip((row for batch in told for row in batch.to_pylist()), had, strict=True):
        count += bool(new["reason"]) or _told(new, settings) != (label, split if by_table else None)
    return count


def _told(file: dict[str, Any], settings: IngestSettings) -> tuple[str, str | None] | None:
    """Label and split that the table gives a planned file, as a row has them (no split where it is not the table's)."""
    try:
        label = settings.label.label_of(path_text(file["path"]), file["label"])
        return label, settings.split.of("", label, "", file["split"]) if settings.split.by == "table" else None
    except Reject:
        return None


def _fields() -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in PLANNED]


def _keys(files: pa.Table, reasons: pa.ChunkedArray) -> np.ndarray:
    """(N,) opaque values that are equal where path, size, time and the plan's verdict are."""
    verdicts = pc.fill_null(pc.index_in(reasons, value_set=pa.array([reason.value for reason in Reason])), -1)
    columns = [files[name].to_numpy() for name in ("id", "size", "mtime_ns")] + [verdicts.to_numpy().astype(np.int64)]
    keys = np.ascontiguousarray(np.column_stack(columns))
    return keys.view([("", keys.dtype)] * len(columns)).reshape(-1)


def _digest(found: pa.Table) -> str:
    """A hash over ids, sizes, times, and what a table says of each file."""
    digest = hashlib.sha256()
    for name in ("id", "size", "mtime_ns"):
        digest.update(np.ascontiguousarray(found[name].to_numpy()).data)
    for name in ("label", "split", "reason"):
        if found[name].null_count < len(found):
            for start in range(0, len(found), 50_000):
                digest.update(repr(found[name].slice(start, 50_000).to_pylist()).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
