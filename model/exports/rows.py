"""The rows that an export is checked and calibrated on: of the model's own dataset, where that can be found."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.outputs import RECORD, read_record
from model.reader import ShardReader
from pipelines.errors import DataError
from pipelines.manifest import Dataset, open_dataset


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


def dataset_of(run_id: str | None, home: Path) -> Dataset:
    """The dataset that a run was trained on, as its folder beside the MLflow store, in `home`, notes it. Raises DataError."""
    folder = home / "checkpoints" / str(run_id)
    if run_id is None or not (folder / RECORD).is_file():
        raise DataError(f"no training run of this model beside the MLflow store in {home}: name its dataset with --dataset")
    named = read_record(folder).datasets[0]
    try:
        return open_dataset(named)
    except DataError as error:
        raise DataError(f"the dataset of run {run_id} is not where it was: {error}; or name another with --dataset") from None
