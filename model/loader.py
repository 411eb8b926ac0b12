"""Shards -> batches: whole row groups as single NumPy views, in the order that `order` plans."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from model import order
from model.config import LoaderSettings
from pipelines.charset import Charset
from pipelines.errors import DataError
from pipelines.manifest import Dataset, Shard
from pipelines.shards import pixels

OPEN_FILES = 64


class Rows(NamedTuple):
    """Some rows of a split: ids (N,) int64, paths and labels of length N, images (N, H, W, C) uint8."""

    ids: np.ndarray
    paths: list[str]
    labels: list[str]
    images: np.ndarray


class ShardReader:
    """Reads row groups of the shards of one split, and checks each file against the manifest when it first opens it."""

    def __init__(self, dataset: Dataset, split: str) -> None:
        self.dataset = dataset
        self._places = [(shard, i) for shard in dataset.manifest.shards_of(split) for i in range(len(shard.row_groups))]
        self.sizes = [rows for shard in dataset.manifest.shards_of(split) for rows in shard.row_groups]
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._checked: set[str] = set()

    @property
    def rows(self) -> int:
        return sum(self.sizes)

    def read(self, group: int) -> Rows:
        """Row group `group` of the split. Raises DataError for a missing or damaged file."""
        shard, index = self._places[group]
        table = self._file(shard).read_row_group(index, columns=["id", "path", "label", "image"], use_threads=False)
        images = pixels(table["image"], self.dataset.manifest.image_shape)
        return Rows(table["id"].to_numpy(), table["path"].to_pylist(), table["label"].to_pylist(), images)

    def __iter__(self) -> Iterator[Rows]:
        return map(self.read, range(len(self.sizes)))

    def _file(self, shard: Shard) -> pq.ParquetFile:
        if shard.path not in self._open:
            location = self.dataset.location.join(shard.path)
            try:
                file = location.fs.open_input_file(location.path)
                if shard.path not in self._checked:
                    self._check(shard, file)
            except OSError as error:
                raise DataError(f"{location.shown}: a shard of the manifest cannot be read: {error}; ingest again") from None
            self._open[shard.path] = pq.ParquetFile(file)
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(shard.path)
        return self._open[shard.path]

    def _check(self, shard: Shard, file: object) -> None:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 22):  # type: ignore[attr-defined]
            digest.update(chunk)
        if digest.hexdigest() != shard.sha256:
            uri = self.dataset.location.join(shard.path).shown
            raise DataError(f"{uri}: damaged: its checksum is not the one in the manifest; ingest again")
        file.seek(0)  # type: ignore[attr-defined]
        self._checked.add(shard.path)


class _Held(NamedTuple):
    images: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray


class Loader:
    """Batches of one split as a tf.data pipeline.

    Each element is (image (B, H, W, C) uint8, label (B, L) int32 padded with Charset.PAD, length (B,) int32,
    weight (B,) float32); the last batch of an epoch is padded with rows of weight 0. Batch `n` of an epoch is the
    same whoever asks and whatever was read before.
    """

    def __init__(self, dataset: Dataset, split: str, batch_size: int, settings: LoaderSettings, *, seed: int | None) -> None:
        """`seed` None keeps the rows in the order of the shards."""
        self._reader = ShardReader(dataset, split)
        self._charset: Charset = dataset.manifest.charset
        self._longest = max(map(int, dataset.manifest.statistics["all"]["lengths"]))
        self._shape = dataset.manifest.image_shape
        self._key = (dataset.manifest.fingerprint, split, seed)
        self._settings, self._shuffle = settings, seed is not None
        self._error: DataError | None = None
        self.batch_size = batch_size
        self.rows = self._reader.rows
        self.steps = order.steps(self.rows, batch_size)
        self._plan = lru_cache(maxsize=2)(self._make_plan)
        self._windows: OrderedDict[tuple[int, int], Future[dict[int, _Held]]] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="row-groups")

    def dataset(self, epochs: int = 1, start: int = 0, parts: int = 1) -> tf.data.Dataset:
        """Batches of `epochs` epochs without a pause between them, from global batch `start` on.

        `parts` splits every batch into that many equal, consecutive elements (one for each replica).
        """
        size = self.batch_size // parts
        shapes = ((size, *self._shape), (size, self._longest), (size,), (size,))
        types = (tf.uint8, tf.int32, tf.int32, tf.float32)

        def read(index: np.int64) -> tuple[np.ndarray, ...]:
            try:
                return self.batch(int(index) // parts, int(index) % parts, parts)
            except DataError as error:
                self._error = error
                raise

        def batch(index: tf.Tensor) -> tuple[tf.Tensor, ...]:
            tensors = tf.numpy_function(read, [index], types, stateful=False)
            return tuple(tf.ensure_shape(tensor, shape) for tensor, shape in zip(tensors, shapes, strict=True))

        indices = tf.data.Dataset.range(start * parts, epochs * self.steps * parts)
        # one call at a time: two Python threads here are slower than one (the interpreter lock)
        return indices.map(batch, num_parallel_calls=1, deterministic=True).prefetch(self._settings.prefetch * parts)

    @contextmanager
    def told_errors(self) -> Iterator[None]:
        """Raises a reader's DataError as itself where TensorFlow wraps it into an error of its own."""
        try:
            yield
        except tf.errors.OpError:
            if self._error is not None:
                raise self._error from None
            raise

    def batch(self, index: int, part: int = 0, parts: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Part `part` of batch `index`, counted through all epochs."""
        epoch, step = divmod(index, self.steps)
        size = self.batch_size // parts
        first = step * self.batch_size + part * size
        images = np.zeros((size, *self._shape), np.uint8)
        labels = np.full((size, self._longest), Charset.PAD, np.int32)
        lengths, weights = np.zeros(size, np.int32), np.zeros(size, np.float32)
        at = 0
        for rows in self._plan(epoch).slice(first, first + size):
            held = self._window(epoch, rows.window)
            target = np.arange(at, at + len(rows.rows))
            for group in np.unique(rows.groups):
                mine = rows.groups == group
                source = rows.rows[mine]
                images[target[mine]] = held[group].images[source]
                labels[target[mine]] = held[group].labels[source]
                lengths[target[mine]] = held[group].lengths[source]
            weights[target] = 1
            at += len(target)
        return images, labels, lengths, weights

    def _make_plan(self, epoch: int) -> order.EpochPlan:
        return order.epoch_plan(self._reader.sizes, (*self._key, epoch), window=self._settings.window, shuffle=self._shuffle)

    def _window(self, epoch: int, window: int) -> dict[int, _Held]:
        """The row groups of a window; the next window is read meanwhile, older ones are let go."""
        following = (epoch, window + 1) if window + 1 < len(self._plan(epoch).windows) else (epoch + 1, 0)
        for key in ((epoch, window), following):
            if key not in self._windows:
                self._windows[key] = self._thread.submit(self._read_window, *key)
        for key in [key for key in self._windows if key not in ((epoch, window), following)]:
            self._windows.pop(key).cancel()
        return self._windows[epoch, window].result()

    def _read_window(self, epoch: int, window: int) -> dict[int, _Held]:
        return {piece.group: self._hold(piece.group) for piece in self._plan(epoch).windows[window]}

    def _hold(self, group: int) -> _Held:
        rows = self._reader.read(group)
        lengths = np.fromiter(map(len, rows.labels), np.int32, len(rows.labels))
        return _Held(rows.images, self._charset.encode(rows.labels, self._longest), lengths)
