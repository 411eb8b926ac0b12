"""What a report shows of a dataset besides its manifest: some rows, some rejects, the mean image."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.images import ImageChecks, decode
from pipelines.manifest import Dataset
from pipelines.rejects import Reject
from pipelines.storage import Location

THUMBNAIL = (240, 120)  # the most, in pixels


class Row(NamedTuple):
    """A row to look at: its label and (H, W, C) uint8 pixels."""

    label: str
    image: np.ndarray


class RejectedFile(NamedTuple):
    """A line of the rejects table."""

    path: str
    detail: str


class Thumbnail(NamedTuple):
    """A kept reject: its file's name, and (H, W, 3) uint8 pixels, or None and the reason that it cannot be shown."""

    name: str
    image: np.ndarray | None
    problem: str = ""


def sample_rows(dataset: Dataset, split: str, most: int) -> list[Row]:
    """The first rows of a split, which are in random order at rest. Raises DataError for a shard that cannot be read."""
    rows: list[Row] = []
    settings = IngestSettings.model_validate(dataset.manifest.settings)
    for shard in (shard for shard in dataset.manifest.shards if shard.split == split):
        table = _row_group(dataset.location.join(shard.path), ["label", "image"]).slice(0, most - len(rows))
        images = settings.pixels(table["image"], dataset.manifest.image_shape)
        rows += map(Row, table["label"].to_pylist(), images)
        if len(rows) >= most:
            break
    return rows


def sample_rejects(dataset: Dataset, most: int) -> dict[str, list[RejectedFile]]:
    """The first files of each reason in the rejects tables of this version and those before it."""
    found: dict[str, list[RejectedFile]] = {reason: [] for reason in dataset.manifest.accounting.reasons}
    wanted = {reason: min(most, count) for reason, count in dataset.manifest.accounting.reasons.items()}
    for path, reason, detail in _rejects(dataset):
        if reason in wanted and len(found[reason]) < wanted[reason]:
            found[reason].append(RejectedFile(path, detail or ""))
            if len(found[reason]) == wanted[reason]:
                del wanted[reason]
        if not wanted:
            break
    return found


def thumbnails(dataset: Dataset, reason: str, most: int) -> list[Thumbnail]:
    """The rejects of one reason whose files were kept in `rejected/`; empty where none were."""
    folder = dataset.location.join("rejected", f"v{dataset.manifest.version:06d}", reason)
    return [_thumbnail(folder.join(name), name) for name in folder.names()[:most]]


def mean_image(dataset: Dataset) -> np.ndarray | None:
    """(H, W, C) float64 in 0 to 255 of all rows; None where the version has no such table."""
    place = dataset.location.join("statistics", f"v{dataset.manifest.version:06d}", "mean_image.parquet")
    if not place.exists():
        return None
    sums = _read(place, ["sum"])["sum"].to_pylist()
    return np.sum(np.array(sums, np.int64), 0).reshape(dataset.manifest.image_shape) / sum(dataset.manifest.splits.values())


def _rejects(dataset: Dataset) -> Iterator[tuple[str, str, str | None]]:
    paths = [part.path for part in getattr(dataset.manifest, "rejects", ())]
    for path in paths:
        table = _read(dataset.location.join(path), ["path", "reason", "detail"])
        for batch in table.to_batches(max_chunksize=4096):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _thumbnail(place: Location, name: str) -> Thumbnail:
    try:
        image = decode(place.read_bytes(), ImageChecks(min_side=1)).image.convert("RGB")
    except Reject as reject:
        return Thumbnail(name, None, reject.detail)
    image.thumbnail(THUMBNAIL)
    return Thumbnail(name, np.asarray(image))


def _read(place: Location, names: Sequence[str]) -> pa.Table:
    try:
        return pq.read_table(place.path, columns=list(names), filesystem=place.fs)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(place, error) from None


def _row_group(place: Location, names: Sequence[str]) -> pa.Table:
    """The first row group of a Parquet file."""
    try:
        with place.fs.open_input_file(place.path) as file:
            return pq.ParquetFile(file).read_row_group(0, columns=list(names))
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(place, error) from None


def _unreadable(place: Location, error: Exception) -> DataError:
    first = str(error).splitlines()[0]
    return DataError(
        f"{place.shown}: this file of the dataset cannot be read: {first}; bring it back, or ingest again elsewhere"
    )
