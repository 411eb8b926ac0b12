"""Shards -> batches as a tf.data pipeline, in the order that `order` plans."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import tensorflow as tf

from model import order
from model.buffers import keep_arrows_memory
from model.cache import ShardCache
from model.cluster import Cluster
from model.config import LoaderSettings
from model.mixture import Mixture
from model.reader import Rows, ShardReader
from model.windows import Batch, Sources, Windows
from pipelines.errors import GlyphmillError, SettingsError
from pipelines.manifest import Dataset

__all__ = ["Loader", "Rows", "ShardReader", "open_loader"]

ALONE = Cluster()
WINDOW_BYTES = 1 << 29  # of pixels: large images make windows of fewer rows
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def open_loader(
    data: Mixture | Dataset,
    split: str,
    batch_size: int,
    settings: LoaderSettings,
    *,
    seed: int | None,
    cluster: Cluster = ALONE,
) -> "Loader":
    """The loader that `settings` ask for. Raises SettingsError for what it cannot promise."""
    if settings.reader == "petastorm":
        from model.petastorm_reader import PetastormLoader

        return PetastormLoader(data, split, batch_size, settings, seed=seed, cluster=cluster)
    return Loader(data, split, batch_size, settings, seed=seed, cluster=cluster)


class Loader:
    """Batches of one split as a tf.data pipeline.

    Each element is (image (B, H, W, C) uint8, label (B, L) int32 padded with Charset.PAD, length (B,) int32,
    weight (B,) float32); the last batches of an epoch are padded with rows of weight 0. Over all workers each row stands
    once in an epoch, of a mixture's train split as often as its weight says, and where a seed shuffles that, as often as
    `oversample` does. Batch `n` is the same whatever was read before.
    """

    def __init__(
        self,
        data: Mixture | Dataset,
        split: str,
        batch_size: int,
        settings: LoaderSettings,
        *,
        seed: int | None,
        cluster: Cluster = ALONE,
    ) -> None:
        """`batch_size` is that of all workers together; `seed` None keeps the rows in the order of the shards.

        The val and test splits are those of a mixture's first dataset. Raises SettingsError where a batch does not split
        evenly over the workers, and where a character to oversample is not in the alphabet.
        """
        if batch_size % cluster.workers:
            raise SettingsError(
                f"train.batch_size={batch_size} does not split over {cluster.workers} workers; take a multiple of that"
            )
        mixture = Mixture.of(data)
        taken = mixture if split == "train" else Mixture.of(mixture.first)
        keep_arrows_memory()
        cache = ShardCache(settings.cache, settings.cache_gib)
        readers = [ShardReader(dataset, split, cache) for dataset in taken.datasets]
        self._shape, self._longest, self.rows = mixture.image_shape, mixture.longest, sum(taken.rows(split))
        self._window = min(settings.window, max(1, WINDOW_BYTES // math.prod(self._shape)))
        most = min(self.rows, self._window + max(size for reader in readers for size in reader.sizes) - 1)
        classes = _oversampling(settings, mixture) if split == "train" and seed is not None else None
        self._sources = Sources(readers, mixture.charset, mixture.longest, most, classes)
        self._parts = [
            order.Source(tuple(reader.sizes), (reader.dataset.manifest.fingerprint, split, seed), rows, first)
            for reader, rows, first in zip(readers, taken.rows(split), self._sources.firsts, strict=False)
        ]
        self._key = (taken.fingerprint, split, seed)
        self._settings, self._cluster, self._shuffle = settings, cluster, seed is not None
        self._error: GlyphmillError | None = None
        self.batch_size = batch_size
        self.steps = order.steps(self.rows, self._local, cluster.workers)
        self._plan = lru_cache(maxsize=3)(self._make_plan)
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="row-groups")
        self._any = self._windows(None)

    def dataset(self, epochs: int = 1, start: int = 0, parts: int = 1) -> tf.data.Dataset:
        """This worker's batches of `epochs` epochs without a pause between them, from batch `start` on (of all epochs).

        `parts` splits every batch into that many equal, consecutive elements (one for each replica of this worker).
        """
        if self._local % parts:
            raise SettingsError(f"a batch of {self._local} rows does not split over {parts} devices; take a multiple of that")
        size, longest = self._local // parts, self._longest
        read = self._reader(epochs, start * parts, parts)

        def batch(index: tf.Tensor) -> tuple[tf.Tensor, ...]:
            images, facts = tf.numpy_function(read, [index], (tf.uint8, tf.int32), stateful=False)
            images.set_shape((size, *self._shape))
            facts.set_shape((size, longest + 2))
            return images, facts[:, :longest], facts[:, longest], tf.cast(facts[:, longest + 1], tf.float32)

        indices = tf.data.Dataset.range(start * parts, epochs * self.steps * parts)
        # one call at a time: two Python threads here are slower than one (the interpreter lock)
        return indices.map(batch).prefetch(self._settings.prefetch * parts).with_options(_options())

    @contextmanager
    def told_errors(self) -> Iterator[None]:
        """Raises a reader's error as itself where TensorFlow wraps it into an error of its own."""
        try:
            yield
        except tf.errors.OpError:
            if self._error is not None:
                raise self._error from None
            raise

    def batch(self, index: int, part: int = 0, parts: int = 1) -> Arrays:
        """Part `part` of this worker's part of batch `index`, counted through all epochs, as an element of `dataset`."""
        images, facts = self._batch(self._any, index, part, parts)
        return images, facts[:, :-2], facts[:, -2], facts[:, -1].astype(np.float32)

    def ids(self, step: int) -> np.ndarray:
        """The row ids of this worker's part of batch `step`, counted through all epochs, in their order: (n,) int64.

        Rows that pad the batch have none. Reads the column of ids alone, and labels where `oversample` asks for them.
        """
        epoch, index = divmod(step, self.steps)
        plan, found = self._plan(epoch), [np.empty(0, np.int64)]
        place = index * self._local, (index + 1) * self._local
        for rows in plan.slice(*place, lambda window: self._sources.weights(plan.windows[window])):
            ids = np.empty(len(rows.rows), np.int64)
            for group in np.unique(rows.groups):
                mine = rows.groups == group
                ids[mine] = self._sources.ids(int(group), rows.rows[mine])
            found.append(ids)
        return np.concatenate(found)

    @property
    def _local(self) -> int:
        """Rows of a batch on this worker."""
        return self.batch_size // self._cluster.workers

    def _make_plan(self, epoch: int) -> order.EpochPlan:
        line = order.epoch_line(self._parts, epoch, self._key, shuffle=self._shuffle)
        return order.epoch_plan(
            line,
            (*self._key, epoch),
            window=self._window,
            shuffle=self._shuffle,
            worker=self._cluster.index,
            workers=self._cluster.workers,
        )

    def _windows(self, epochs: int | None) -> Windows:
        return Windows(self._sources, self._plan, epochs, self._pool)

    def _reader(self, epochs: int, start: int, parts: int) -> Callable[[np.int64], Batch]:
        """What the pipeline calls with 0, 1, 2, ...: each array is handed out once, because TensorFlow may write into it."""
        windows, following, end = self._windows(epochs), start, epochs * self.steps * parts

        def read(index: np.int64) -> Batch:
            nonlocal windows, following
            if index != following:  # the pipeline was started again
                windows = self._windows(epochs)
            following = int(index) + 1
            try:
                batch = self._batch(windows, int(index) // parts, int(index) % parts, parts)
            except GlyphmillError as error:
                self._error = error
                raise
            if following == end:
                windows = self._windows(epochs)  # lets go of the last one
            return batch

        return read

    def _batch(self, windows: Windows, index: int, part: int, parts: int) -> Batch:
        epoch, step = divmod(index, self.steps)
        size = self._local // parts
        first = step * self._local + part * size
        cuts = [windows.get(epoch, window).cut(rows) for window, rows in self._plan(epoch).cuts(first, first + size)]
        if len(cuts) == 1 and len(cuts[0].images) == size:
            return cuts[0]
        batch, count = Batch.empty(size, self._shape, self._longest), sum(len(cut.images) for cut in cuts)
        batch.clear(count)
        if cuts:
            np.concatenate([cut.images for cut in cuts], out=batch.images[:count])
            np.concatenate([cut.facts for cut in cuts], out=batch.facts[:count])
        return batch


def _oversampling(settings: LoaderSettings, mixture: Mixture) -> np.ndarray | None:
    """By class the weight of a row with that character, and a last one for what pads a label; None where all are the same."""
    if not settings.oversample:
        return None
    alphabet = mixture.charset.alphabet
    if strange := sorted(set(settings.oversample) - set(alphabet)):
        shown = f"loader.oversample={settings.oversample}: {' '.join(strange)}"
        raise SettingsError(f"{shown} not in the alphabet {alphabet}; take characters of it")
    return np.array([settings.oversample_times if character in settings.oversample else 1.0 for character in alphabet] + [0.0])


def _options() -> tf.data.Options:
    """One thread and nothing to tune: a third less time for each batch, all of it spent on handing work over."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    return options
