"""Remote datasets: batches as of a local one, from shards that are fetched once into a folder of this machine."""

import uuid

import numpy as np
import pytest

from model.config import LoaderSettings
from model.loader import open_loader
from pipelines.errors import DataError
from pipelines.manifest import Dataset, open_dataset
from pipelines.storage import Location, locate

pytestmark = pytest.mark.tf


def copy(source: Location, target: Location) -> Dataset:
    for name in ("manifests", "train", "val"):
        target.join(name).make()
        for file in source.join(name).names():
            target.join(name, file).write_bytes(source.join(name, file).read_bytes())
    return open_dataset(target.uri)


@pytest.fixture
def remote(digits) -> Dataset:
    return copy(digits.location, locate(f"memory://{uuid.uuid4().hex}/shards"))


def batches(dataset, folder, gib=1.0, epochs=2, oversample="") -> list:
    settings = LoaderSettings(window=10, prefetch=1, cache=str(folder), cache_gib=gib, oversample=oversample)
    loader = open_loader(dataset, "train", 7, settings, seed=0)
    with loader.told_errors():
        return list(loader.dataset(epochs))


@pytest.mark.parametrize("oversample", ["", "7"])
@pytest.mark.parametrize("shards_kept", [1.2, 2.5, 100])
def test_batches_are_those_of_a_local_dataset(digits, remote, tmp_path, shards_kept, oversample):
    largest = max(shard.bytes for shard in remote.manifest.shards_of("train"))
    got = batches(remote, tmp_path / "cache", gib=shards_kept * largest / 2**30, oversample=oversample)
    for batch, expected in zip(got, batches(digits, tmp_path / "unused", oversample=oversample), strict=True):
        for tensor, other in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(tensor, other)
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.parquet"))
    assert 0 < kept <= shards_kept * largest
    assert not (tmp_path / "unused").exists()  # a local dataset is read where it is


def test_shards_are_fetched_once(remote, tmp_path):
    expected = batches(remote, tmp_path)
    remote.location.join("train").remove()
    for batch, other in zip(batches(remote, tmp_path), expected, strict=True):
        np.testing.assert_array_equal(batch[0], other[0])


def test_a_damaged_shard_is_named(remote, tmp_path):
    shard = remote.manifest.shards_of("train")[1]
    place = remote.location.join(shard.path)
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="damaged") as caught:
        batches(remote, tmp_path)
    assert str(caught.value).startswith(place.uri)
