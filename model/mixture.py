"""One dataset or several with weights, as one thing to train on."""

import hashlib
from dataclasses import dataclass

from pipelines.charset import Charset
from pipelines.errors import DataError
from pipelines.manifest import Dataset

FINGERPRINT_LENGTH = 32


@dataclass(frozen=True)
class Mixture:
    """Datasets and how often each row of theirs is seen in an epoch: 1 once, 0.5 once in two epochs, 2 twice.

    The first one's val and test splits are those that judge. Raises DataError where image shapes differ.
    """

    datasets: tuple[Dataset, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.weights:
            object.__setattr__(self, "weights", (1.0,) * len(self.datasets))
        if not self.datasets or len(self.weights) != len(self.datasets):
            raise DataError(f"{len(self.datasets)} datasets and {len(self.weights)} weights; take one weight for each dataset")
        for dataset, weight in zip(self.datasets, self.weights, strict=True):
            self._check(dataset, weight)

    @classmethod
    def of(cls, data: "Mixture | Dataset") -> "Mixture":
        return data if isinstance(data, Mixture) else cls((data,))

    @property
    def first(self) -> Dataset:
        """The dataset whose val and test splits judge."""
        return self.datasets[0]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.first.manifest.image_shape

    @property
    def charset(self) -> Charset:
        """The first dataset's alphabet, then what others add, by code point."""
        alphabet = self.first.manifest.alphabet
        added = set().union(*(dataset.manifest.alphabet for dataset in self.datasets)) - set(alphabet)
        return Charset(alphabet + "".join(sorted(added)))

    @property
    def longest(self) -> int:
        """Characters of the longest label."""
        return max(int(n) for dataset in self.datasets for n in dataset.manifest.statistics["all"]["lengths"])

    @property
    def ctc_frames(self) -> int:
        """Time steps that the label needs that needs most of them."""
        return max(dataset.manifest.statistics["all"]["ctc_frames"] for dataset in self.datasets)

    @property
    def fingerprint(self) -> str:
        """That of the one dataset, or a hash over those of all and their weights."""
        if len(self.datasets) == 1 and self.weights == (1.0,):
            return self.first.manifest.fingerprint
        parts = [(dataset.manifest.fingerprint, weight) for dataset, weight in zip(self.datasets, self.weights, strict=True)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:FINGERPRINT_LENGTH]

    def rows(self, split: str) -> tuple[int, ...]:
        """How many rows each dataset gives to an epoch. Raises DataError where it is none."""
        counts = []
        for dataset, weight in zip(self.datasets, self.weights, strict=True):
            there = sum(shard.rows for shard in dataset.manifest.shards_of(split))
            counts.append(round(weight * there))
            if not counts[-1]:
                where = dataset.location.shown
                raise DataError(f"{where}: weight {weight:g} of {there} rows is none; take at least {1 / there:.3g}")
        return tuple(counts)

    def _check(self, dataset: Dataset, weight: float) -> None:
        if not 0 < weight < float("inf"):
            raise DataError(f"{dataset.location.shown}: weight {weight:g}; take a number over 0, such as 0.5 or 2")
        if dataset.manifest.image_shape != self.image_shape:
            shown = " and ".join(
                f"{one.location.shown} has images of {'x'.join(map(str, one.manifest.image_shape))}"
                for one in (self.first, dataset)
            )
            raise DataError(f"{shown} (height, width, channels): ingest them with the same image settings")
