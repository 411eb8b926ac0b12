"""The rows that an export is checked and calibrated on: of the model's own dataset, where that can be found."""

from typing import NamedTuple

import numpy as np

from model import tracking
from model.reader import ShardReader
from pipelines.errors import DataError
from pipelines.manifest import Dataset
from pipelines.versions import all_versions


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


def dataset_of(run_id: str | None, uri: str) -> Dataset:
    """The dataset version that the run of the model `uri` was trained on, as MLflow notes place and fingerprint.

    Raises DataError where no run is known, or it is not there any more.
    """
    if not run_id:
        raise DataError(f"{uri}: no run is known of it; name a dataset with --dataset")
    place, fingerprint = tracking.data_of(run_id)
    try:
        found = [dataset for dataset in all_versions(place) if dataset.manifest.fingerprint == fingerprint]
    except DataError as error:
        raise DataError(f"the dataset of run {run_id} is not where it was: {error}; or name another with --dataset") from None
    if not found:
        raise DataError(f"{place}: no version of it is the dataset {fingerprint[:12]} of the run; name one with --dataset")
    return found[-1]
