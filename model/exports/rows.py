"""The rows that an export is checked and calibrated on."""

from typing import NamedTuple

import numpy as np

from model.reader import ShardReader
from pipelines.manifest import Dataset


class Labelled(NamedTuple):
    """Images (N, H, W, C) uint8 and their N labels."""

    images: np.ndarray
    labels: list[str]


def first_rows(dataset: Dataset, split: str, most: int) -> Labelled:
    """The first `most` rows of a split; they are in random order at rest. Raises DataError for a split that has none."""
    images, labels = [], list[str]()
    for rows in ShardReader(dataset, split):
        images.append(rows.images)
        labels += rows.labels
        if len(labels) >= most:
            break
    return Labelled(np.concatenate(images)[:most], labels[:most])
