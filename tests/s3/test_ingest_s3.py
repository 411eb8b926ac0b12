"""A dataset on an S3 server is the one on disk: through a pool and through Spark, appended, pruned, and read to train."""

import os

import numpy as np
import pytest

from pipelines import lock, publish
from pipelines.config import IngestOptions, IngestSettings
from pipelines.errors import DataError
from pipelines.ingest import ingest
from pipelines.lock import LEASE, locked
from pipelines.manifest import Dataset, open_dataset, versions
from pipelines.pool import PoolRunner
from pipelines.storage import Location, locate
from pipelines.versions import damaged, prune
from tests.spark.conftest import spark  # noqa: F401 - its session serves this module too

SETTINGS = IngestSettings.model_validate(
    {"image": {"width": 16, "height": 8}, "split": {"by": "label"}, "shards": {"files": 7, "rows": 4}}
)
FOLDERS = ["files", "manifests", "rejects", "statistics", "test", "train", "val"]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(lock, "SETTLE", 0)


@pytest.fixture(scope="module")
def files(noise) -> dict[str, bytes]:
    """Few, as each costs dozens of requests: rows for every split, no image, and a repeat."""
    good = {f"{n % 2}/{n} é.png": noise(n) for n in range(4)}
    return good | {"bad/b c?d.png": b"text", "copy/3 é.1.png": noise(3)}


@pytest.fixture(scope="module")
def on_disk(files, fill, loop, tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("disk")
    fill(folder / "images", files)
    return ingest(str(folder / "images"), str(folder / "shards"), SETTINGS, loop()).dataset


@pytest.fixture
def images(s3, files) -> Location:
    place = s3.join("some images")
    for path, data in files.items():
        place.join(path).write_bytes(data)
    return place


@pytest.fixture
def on_s3(s3, images, loop) -> Dataset:
    return ingest(images.uri, s3.join("shards").uri, SETTINGS, loop()).dataset


def no_runner():
    raise AssertionError("there is no work to do")


def check_same(ours: Dataset, theirs: Dataset) -> None:
    for name in ("fingerprint", "shards", "accounting", "statistics", "splits", "alphabet", "image_shape", "petastorm"):
        assert getattr(ours.manifest, name) == getattr(theirs.manifest, name)
    assert set(ours.location.names()) == set(FOLDERS)  # nothing is left beside the dataset
    assert {wrong for _, wrong in damaged(ours)} == {None}
    assert open_dataset(ours.location.uri).manifest == ours.manifest


def test_the_accounting(on_disk):
    count = on_disk.manifest.accounting
    assert (count.listed, count.written, count.rejected, count.duplicates) == (6, 4, 1, 1)


def test_through_a_pool(s3, images, on_disk):
    ours = ingest(images.uri, s3.join("a folder", "shards").uri, SETTINGS, lambda: PoolRunner(2)).dataset
    check_same(ours, on_disk)
    assert ingest(images.uri, ours.location.uri, SETTINGS, no_runner).unchanged


@pytest.mark.spark
def test_through_spark_with_credentials_that_stay_secret(s3, images, on_disk, spark):  # noqa: F811
    from pipelines.spark.ingest import SparkRunner

    source, target = (place.uri.replace("s3://", "s3://glyphmill:not-secret@") for place in (images, s3.join("shards")))
    ours = ingest(source, target, SETTINGS, lambda: SparkRunner(spark)).dataset
    check_same(ours, on_disk)
    told = ours.location.join("manifests", "v000001.json").read_bytes()
    assert b"not-secret" not in told
    assert ours.manifest.input.startswith(f"s3://***@{s3.path}/some%20images?")


@pytest.mark.parametrize("way", ["disk to S3", "S3 to disk"])
def test_from_one_to_the_other(s3, images, on_disk, loop, tmp_path, way):
    source = str(on_disk.location.join("..", "images").path) if way == "disk to S3" else images.uri
    target = s3.join("shards").uri if way == "disk to S3" else str(tmp_path / "shards")
    check_same(ingest(source, target, SETTINGS, loop()).dataset, on_disk)


@pytest.mark.tf
def test_the_loader_reads_the_same_from_both(on_s3, on_disk, tmp_path):
    pytest.importorskip("tensorflow")
    from model.config import LoaderSettings
    from model.loader import Loader, ShardReader

    for split in ("train", "val", "test"):
        rows = [list(ShardReader(dataset, split)) for dataset in (on_s3, on_disk)]
        for ours, theirs in zip(*rows, strict=True):
            assert (ours.paths, ours.labels, ours.ids.tolist()) == (theirs.paths, theirs.labels, theirs.ids.tolist())
            np.testing.assert_array_equal(ours.images, theirs.images)
        settings = LoaderSettings(cache=str(tmp_path / "cache"))
        batches = [list(Loader(dataset, split, 4, settings, seed=1).dataset()) for dataset in (on_s3, on_disk)]
        for ours, theirs in zip(*batches, strict=True):
            for tensor, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(tensor, other)


@pytest.mark.tf
def test_a_shard_that_was_damaged_is_named_by_the_loader(on_s3):
    pytest.importorskip("tensorflow")
    from model.loader import ShardReader

    place = on_s3.location.join(on_s3.manifest.shards_of("train")[0].path)
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged") as caught:
        list(ShardReader(on_s3, "train"))
    assert str(caught.value).startswith(place.uri)


def test_what_is_new_is_appended(images, on_s3, loop, noise):
    images.join("new/AB.png").write_bytes(noise(50))
    images.join("0/0 é.png").write_bytes(b"other bytes")
    given = (images.uri, on_s3.location.uri, None)
    after = ingest(*given, loop(), IngestOptions(append=True)).dataset
    assert versions(on_s3.location) == [1, 2]
    assert (after.manifest.accounting.written, after.manifest.accounting.reasons["changed"]) == (5, 1)
    assert set(on_s3.manifest.shards) < set(after.manifest.shards)
    first = open_dataset(f"{on_s3.location.uri}@1")
    assert first.manifest == on_s3.manifest
    assert {wrong for _, wrong in (*damaged(first), *damaged(after))} == {None}
    again = ingest(*given, no_runner, IngestOptions(append=True))
    assert (again.unchanged, again.dataset.manifest) == (True, after.manifest)
    new = {part.path for part in after.manifest.shards} - {part.path for part in first.manifest.shards}
    assert new
    assert prune(after.location.uri, [1]) == ["manifests/v000001.json", "statistics/v000001"]
    assert {wrong for _, wrong in damaged(open_dataset(after.location.uri))} == {None}


def test_a_second_ingest_is_refused(s3, images, loop):
    place = s3.join("shards")
    message = rf"shards\?.*: another ingest is writing here \(pid {os.getpid()} on .*, last sign of life \d+ s ago\)"
    with locked(place), pytest.raises(DataError, match=message) as caught:
        ingest(images.uri, place.uri, SETTINGS, no_runner)
    assert "\n" not in str(caught.value)
    assert ingest(images.uri, place.uri, SETTINGS, loop()).dataset.manifest.version == 1


def test_a_lock_that_was_lost_publishes_nothing(s3, images, loop):
    class Losing(loop):
        def repeated(self, facts):
            s3.join("shards", LEASE).remove()
            return super().repeated(facts)

    with pytest.raises(DataError, match=f"{LEASE} is gone"):
        ingest(images.uri, s3.join("shards").uri, SETTINGS, Losing())
    with pytest.raises(DataError, match="no manifest"):
        open_dataset(s3.join("shards").uri)
    assert ingest(images.uri, s3.join("shards").uri, SETTINGS, loop()).dataset.manifest.accounting.written == 4


class Killed(BaseException):
    """What no handler catches."""


def test_an_ingest_that_was_killed_as_it_published(s3, images, on_disk, loop, monkeypatch):
    def killed(self: Location, target: Location, moved: list[str] = [], move=Location.move) -> None:  # noqa: B006
        if len(moved) == 6:
            raise Killed
        moved.append(target.path)
        move(self, target)

    given = (images.uri, s3.join("shards").uri, SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(Location, "move", killed)
        with pytest.raises(Killed):
            ingest(*given, loop())
    staging = locate(given[1]).join("_staging")
    assert staging.join(*staging.names(), publish.COMMIT).exists()
    done = ingest(*given, no_runner)
    assert done.unchanged
    check_same(done.dataset, on_disk)
