"""Batches of several datasets with weights."""

from collections import Counter

import numpy as np
import pytest

from model.cluster import Cluster
from model.config import LoaderSettings
from model.loader import ShardReader, open_loader
from model.mixture import Mixture

pytestmark = pytest.mark.tf
SETTINGS = LoaderSettings(window=10, prefetch=1)


@pytest.fixture(scope="module")
def others(tmp_path_factory, loop, ingested):
    """Other labels than `digits` has."""
    labels = [f"{n}" for n in range(300, 330)]
    return ingested(tmp_path_factory.mktemp("others"), loop, labels=labels, split={"train": 1, "val": 0, "test": 0})


def labels_of(dataset, split="train") -> list[str]:
    return [label for rows in ShardReader(dataset, split) for label in rows.labels]


def seen(mixture, epochs, workers=1) -> Counter:
    """How often each label came, over all workers."""
    found = Counter()
    for index in range(workers):
        cluster = Cluster(tuple(f"host{n}:1" for n in range(workers)), index)
        loader = open_loader(mixture, "train", 6 * workers, SETTINGS, seed=0, cluster=cluster)
        for _, labels, _, weights in loader.dataset(epochs):
            found.update(mixture.charset.decode(labels.numpy()[weights.numpy() > 0]))
    return found


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("weights", "epochs", "times"), [((1.0, 1.0), 1, (1, 1)), ((1.0, 0.5), 2, (2, 1)), ((2.0, 0.1), 10, (20, 1))]
)
def test_rows_come_as_often_as_their_weight_says(digits, others, weights, epochs, times, workers):
    expected = dict.fromkeys(labels_of(digits), times[0]) | dict.fromkeys(labels_of(others), times[1])
    assert seen(Mixture((digits, others), weights), epochs, workers) == expected


@pytest.mark.parametrize("oversample", ["", "37"])
def test_pixels_labels_and_ids_belong_together(digits, others, picture, oversample):
    mixture = Mixture((digits, others))
    loader = open_loader(mixture, "train", 7, SETTINGS.model_copy(update={"oversample": oversample}), seed=0)
    ids = {}
    for dataset in (digits, others):
        for rows in ShardReader(dataset, "train"):
            ids |= dict(zip(rows.ids.tolist(), rows.labels, strict=True))
    assert loader.rows == len(ids)
    for step, (images, labels, _, weights) in enumerate(loader.dataset(epochs=2)):
        texts = mixture.charset.decode(labels.numpy()[weights.numpy() > 0])
        assert texts == [ids[int(i)] for i in loader.ids(step)]
        for image, text in zip(images.numpy(), texts, strict=False):
            np.testing.assert_array_equal(image[..., 0], picture(text))


def test_a_mixture_of_one_is_that_dataset(digits):
    for batch, other in zip(
        open_loader(Mixture((digits,)), "train", 8, SETTINGS, seed=0).dataset(2),
        open_loader(digits, "train", 8, SETTINGS, seed=0).dataset(2),
        strict=True,
    ):
        for tensor, expected in zip(batch, other, strict=True):
            np.testing.assert_array_equal(tensor, expected)


def test_the_first_dataset_judges(digits, others):
    mixture = Mixture((digits, others))
    for split in ("val", "test"):
        loader = open_loader(mixture, split, 8, SETTINGS, seed=None)
        found = [mixture.charset.decode(b[1].numpy()[b[3].numpy() > 0]) for b in loader.dataset()]
        assert [text for texts in found for text in texts] == labels_of(digits, split)
