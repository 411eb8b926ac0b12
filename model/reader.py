"""Row groups of the shards of one split, read by any number of threads: whole ones, as single NumPy views."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.cache import ShardCache
from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.manifest import Dataset, Shard
from pipelines.rejects import Reject

OPEN_FILES = 64  # of each thread
CHUNK = 1 << 22


class Rows(NamedTuple):
    """Some rows of a split: ids (N,) int64, paths and labels of length N, images (N, H, W, C) uint8."""

    ids: np.ndarray
    paths: list[str]
    labels: list[str]
    images: np.ndarray


class ShardReader:
    """Reads row groups of the shards of one split, and checks each file against the manifest when it first opens it.

    `cache` keeps the shards of a remote dataset on a local disk; without one they are read where they are.
    """

    def __init__(self, dataset: Dataset, split: str, cache: ShardCache | None = None) -> None:
        self.dataset = dataset
        self._places = [(shard, i) for shard in dataset.manifest.shards_of(split) for i in range(len(shard.row_groups))]
        self.sizes = [rows for shard in dataset.manifest.shards_of(split) for rows in shard.row_groups]
        self._settings = IngestSettings.model_validate(dataset.manifest.settings)
        self._cache = None if dataset.location.local else cache
        self._thread = threading.local()
        self._checks: dict[str, threading.Lock] = {}
        self._checked: set[str] = set()

    @property
    def rows(self) -> int:
        return sum(self.sizes)

    def table(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of row group `group` of the split. Raises DataError for a missing or damaged file."""
        shard, index = self._places[group]
        try:
            return self._file(shard).read_row_group(index, columns=list(columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            first = str(error).partition("\n")[0]
            shown = self.dataset.location.join(shard.path).shown
            raise DataError(f"{shown}: a shard of the manifest cannot be read: {first}; ingest again") from None

    def images(self, table: pa.Table) -> np.ndarray:
        """The column `image` as (N, H, W, C) uint8; images of a dataset with `storage: encoded` are decoded.

        Raises DataError where one cannot be decoded.
        """
        try:
            return self._settings.pixels(table["image"], self.dataset.manifest.image_shape)
        except Reject as reject:
            shown = self.dataset.location.shown
            raise DataError(f"{shown}: an image that was ingested is refused here: {reject.detail}; ingest again") from None

    def read(self, group: int) -> Rows:
        """Row group `group` of the split. Raises DataError for a missing or damaged file."""
        table = self.table(group, ["id", "path", "label", "image"])
        return Rows(table["id"].to_numpy(), table["path"].to_pylist(), table["label"].to_pylist(), self.images(table))

    def ids(self, group: int) -> np.ndarray:
        """The ids of row group `group`, (N,) int64; no other column is read."""
        return self.table(group, ["id"])["id"].to_numpy()

    def ahead(self, groups: Sequence[int]) -> None:
        """Begins to fetch the shards of these row groups where they are remote."""
        if self._cache:
            for shard in dict.fromkeys(self._places[group][0] for group in groups):
                self._cache.ahead(self.dataset.location, shard)

    def __iter__(self) -> Iterator[Rows]:
        return map(self.read, range(len(self.sizes)))

    def _file(self, shard: Shard) -> pq.ParquetFile:
        """The file of a shard, which every thread opens for itself."""
        files: OrderedDict[str, pq.ParquetFile] = self._thread.__dict__.setdefault("files", OrderedDict())
        if shard.path not in files:
            files[shard.path] = self._open(shard)
            if len(files) > OPEN_FILES:
                files.popitem(last=False)[1].close()
        files.move_to_end(shard.path)
        return files[shard.path]

    def _open(self, shard: Shard) -> pq.ParquetFile:
        if self._cache:  # which checks what it fetches
            return pq.ParquetFile(self._cache.open(self.dataset.location, shard))
        location = self.dataset.location.join(shard.path)
        file = location.fs.open_input_file(location.path)
        with self._checks.setdefault(shard.path, threading.Lock()):
            if shard.path not in self._checked:
                self._check(shard, file)
                self._checked.add(shard.path)
        return pq.ParquetFile(file)

    def _check(self, shard: Shard, file: pa.NativeFile) -> None:
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        if digest.hexdigest() != shard.sha256:
            uri = self.dataset.location.join(shard.path).shown
            raise DataError(f"{uri}: damaged: its checksum is not the one in the manifest; ingest again")
        file.seek(0)
