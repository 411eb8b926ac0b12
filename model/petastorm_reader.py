"""The same shards through petastorm.make_reader: equal pixels and labels for each id, in petastorm's order."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import closing
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np

from model.cluster import Cluster
from model.config import LoaderSettings
from model.loader import Loader
from model.mixture import Mixture
from model.windows import Batch, facts_of
from pipelines.config import IngestSettings
from pipelines.errors import DataError, SettingsError
from pipelines.manifest import Dataset, versions
from pipelines.progress import say

FIELDS = ["id", "label", "length", "image"]
KEPT_IDS = 256  # batches whose ids are still known
WEAKER = (
    "loader.reader=petastorm: rows are shuffled inside their row group only, the order may be another in the next run,"
    " and training cannot resume inside an epoch; loader.reader=arrow has none of these limits"
)


class PetastormLoader(Loader):
    """Batches as a Loader's, read through petastorm. Every row stands once in an epoch; one process reads all of them.

    What petastorm cannot promise is refused: several workers (it deals out whole row groups), weights, oversampling, and a
    start inside an epoch.
    """

    def __init__(
        self,
        data: Mixture | Dataset,
        split: str,
        batch_size: int,
        settings: LoaderSettings,
        *,
        seed: int | None,
        cluster: Cluster,
    ) -> None:
        """Raises SettingsError for what petastorm cannot promise, and where it is not installed."""
        super().__init__(data, split, batch_size, settings, seed=seed, cluster=cluster)
        mixture = Mixture.of(data)
        _check(mixture, split, cluster, settings)
        self._dataset, self._charset = mixture.first, mixture.charset
        self._split, self._seed = split, seed
        self._apply = IngestSettings.model_validate(self._dataset.manifest.settings)
        self._known: OrderedDict[int, list[np.ndarray]] = OrderedDict()
        # its own use of older Arrow, several lines for every row group
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\.")
        if seed is not None:
            say(WEAKER)

    def ids(self, step: int) -> np.ndarray:
        """The row ids of one of the last batches that were read. Raises DataError for any other one."""
        if step not in self._known:
            raise DataError(f"loader.reader=petastorm knows the ids of the last {KEPT_IDS} batches, not those of batch {step}")
        return np.concatenate(self._known[step])

    def _reader(self, epochs: int, start: int, parts: int) -> Callable[[np.int64], Batch]:
        if start % (self.steps * parts):
            raise SettingsError(
                "loader.reader=petastorm cannot start inside an epoch; resume with loader.reader=arrow, or start again"
            )
        stream, following = self._elements(start // (self.steps * parts), parts), start

        def read(index: np.int64) -> Batch:
            nonlocal stream, following
            if index != following:  # the pipeline was started again
                stream.close()
                stream = self._elements(start // (self.steps * parts), parts)
            following = int(index) + 1
            return next(stream)

        return read

    def _elements(self, epoch: int, parts: int) -> Generator[Batch, None, None]:
        """All elements from the beginning of `epoch` on. Raises DataError where petastorm gives another number of rows."""
        size = self.batch_size // parts
        while True:
            left = self.rows
            with closing(self._rows(epoch)) as rows:
                for element in range(self.steps * parts):
                    taken = list(islice(rows, size))
                    left -= len(taken)
                    if len(taken) < size and left:
                        raise DataError(
                            f"petastorm gave {self.rows - left:,} of the {self.rows:,} rows of {self._split};"
                            " take loader.reader=arrow"
                        )
                    self._remember(epoch * self.steps + element // parts, element % parts, taken)
                    yield self._arrays(taken, size)
            epoch += 1

    def _rows(self, epoch: int) -> Generator[Any, None, None]:
        """The rows of one epoch as petastorm gives them."""
        from petastorm import make_reader

        shuffle = self._seed is not None
        reader = make_reader(
            f"file://{self._dataset.location.path}/{self._split}",
            schema_fields=FIELDS,
            workers_count=self._settings.threads,
            shuffle_rows=shuffle,
            shuffle_row_groups=shuffle,
            seed=1 + (self._seed or 0) + epoch,  # 0 would mean none
        )
        try:
            yield from reader
            # its pool may call itself done just before the last row group is dealt out (get_results asks all_workers_done()
            # first and the ventilator's completed() after it); asked once more, when all is dealt out, it knows better
            yield from reader
        finally:
            reader.stop()
            reader.join()

    def _remember(self, step: int, part: int, rows: list[Any]) -> None:
        ids = self._known.setdefault(step, []) if part else []
        self._known[step] = [*ids, np.array([row.id for row in rows], np.int64)]
        if len(self._known) > KEPT_IDS:
            self._known.popitem(last=False)

    def _arrays(self, rows: list[Any], size: int) -> Batch:
        batch, count = Batch.empty(size, self._shape, self._longest), len(rows)
        if rows:
            labels = self._charset.encode([row.label for row in rows], self._longest)
            images = np.stack([self._pixels(row.image) for row in rows])
            batch.put(slice(0, count), images, facts_of(labels, np.array([row.length for row in rows])))
        batch.clear(count)
        return batch

    def _pixels(self, image: Any) -> np.ndarray:
        if isinstance(image, np.ndarray):
            return image
        return self._apply.image.apply_bytes(bytes(image), self._apply.checks)


def _check(mixture: Mixture, split: str, cluster: Cluster, settings: LoaderSettings) -> None:
    """Raises SettingsError for what petastorm would do wrong."""
    folder, manifest = mixture.first.location, mixture.first.manifest
    refusals = {
        "petastorm is not installed here; the default stack has it": find_spec("petastorm") is None,
        "it deals out whole row groups, so that several workers get different numbers of rows": cluster.workers > 1,
        "it reads one dataset without a weight": split == "train" and (len(mixture.datasets), mixture.weights) != (1, (1.0,)),
        "it reads every row once, also with loader.oversample": split == "train" and bool(settings.oversample),
        f"it reads local folders only, not {folder.shown}": not folder.local,
        f"{folder.shown} was ingested where petastorm was not installed": not manifest.petastorm,
    }
    if not any(refusals.values()):
        newest = versions(folder)[-1]
        what = f"it reads the newest version of {folder.shown}, which is {newest} and not {manifest.version}"
        refusals[what] = manifest.version != newest
    for what, refused in refusals.items():
        if refused:
            raise SettingsError(f"loader.reader=petastorm: {what}; take loader.reader=arrow")
