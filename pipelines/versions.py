"""The versions of a dataset: listed, compared row by row, checked against their checksums, and pruned."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import DataError
from pipelines.facts import read_parts
from pipelines.lock import locked
from pipelines.manifest import Dataset, Manifest, Part, damage, manifest_name, open_dataset, versions
from pipelines.publish import finish
from pipelines.split import SPLITS
from pipelines.storage import Location

FOLDERS = (*SPLITS, "files", "rejects")  # what manifests name, file by file


class Comparison(NamedTuple):
    """Rows of one version beside those of another, by id; of those in `both`, how many differ in split, label and bytes."""

    both: int
    added: int
    removed: int
    moved: int
    relabelled: int
    changed: int


def all_versions(uri: str) -> list[Dataset]:
    """Every version of the dataset at `uri`, the oldest first. Raises DataError where there is none."""
    folder = open_dataset(uri).location
    return [open_dataset(f"{folder.uri}@{version}") for version in versions(folder)]


def version_line(dataset: Dataset) -> str:
    """One version in one line."""
    manifest, count = dataset.manifest, dataset.manifest.accounting
    size = sum(shard.bytes for shard in manifest.shards) / 2**20
    parent = f"of {manifest.parent}" if manifest.parent else "first"
    rows = " ".join(f"{split} {manifest.splits[split]:,}" for split in SPLITS)
    return (
        f"{manifest.version:>4}  {parent:6}  {manifest.created}  {manifest.fingerprint[:16]}  {rows}  "
        f"listed {count.listed:,} = {count.written:,} + {count.rejected:,} + {count.duplicates:,}  {size:,.1f} MiB"
    )


def compare(old: Dataset, new: Dataset) -> Comparison:
    """How the rows of `new` differ from those of `old`."""
    before, after = _rows(old), _rows(new)
    joined = before.join(after, keys="id", join_type="inner", left_suffix="_before", right_suffix="_after")
    differ = {
        name: pc.sum(pc.not_equal(joined[f"{name}_before"], joined[f"{name}_after"])).as_py() or 0
        for name in ("split", "label", "sha256")
    }
    both = joined.num_rows
    return Comparison(both, after.num_rows - both, before.num_rows - both, differ["split"], differ["label"], differ["sha256"])


def damaged(dataset: Dataset) -> Iterator[tuple[Part, str | None]]:
    """Each file of a version, with what is wrong with it (None: nothing)."""
    for part in dataset.manifest.parts:
        yield part, damage(dataset.location, part)


def prune(uri: str, drop: Iterable[int]) -> list[str]:
    """Removes the versions `drop`, and every file that no other version names; returns what was removed, as paths.

    Raises DataError for a version that is not there, for the newest one, and while an ingest is at work.
    """
    folder = open_dataset(uri).location
    with locked(folder, "prune") as lock:
        finish(folder)
        there, gone = versions(folder), sorted(set(drop))
        if missing := [version for version in gone if version not in there]:
            raise DataError(f"{folder.shown}: no version {missing[0]}; there are {', '.join(map(str, there))}")
        if there[-1] in gone:  # the next one would take its number, which runs may have written down
            raise DataError(
                f"{folder.shown}: version {there[-1]} is the newest and stays; to remove a dataset remove its folder"
            )
        kept = [open_dataset(f"{folder.uri}@{version}").manifest for version in there if version not in gone]
        removed = [f"manifests/{manifest_name(version)}" for version in gone]
        removed += [f"{kind}/v{version:06d}" for version in gone for kind in ("statistics", "rejected")]
        removed = [path for path in removed if folder.join(path).exists()]
        lock.check()
        for path in removed:  # manifests first: a version must never name files that are gone
            folder.join(path).remove()
        orphans = _orphans(folder, kept)
        for path in orphans:
            folder.join(path).remove()
    return removed + orphans


def _orphans(folder: Location, kept: list[Manifest]) -> list[str]:
    named = {part.path for manifest in kept for part in manifest.parts}
    there = (f"{name}/{file}" for name in FOLDERS for file in folder.join(name).names() if file.endswith(".parquet"))
    return [path for path in there if path not in named]


def _rows(dataset: Dataset) -> pa.Table:
    table = read_parts(dataset.location, dataset.manifest.files, ["id", "sha256", "label", "split", "reason"])
    return table.filter(pc.is_null(table["reason"])).select(["id", "sha256", "label", "split"])
