"""A folder on an S3 server is read as one on disk: the same parts, killed or not, through Spark too; a second writer is refused."""

import io
import os

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipelines import lock
from pipelines.batch import SUMMARY, BatchModel, BatchSettings, Crew, predict_folder
from pipelines.errors import DataError
from pipelines.lock import locked
from pipelines.predictions import Row
from pipelines.storage import Location
from tests.spark.conftest import spark  # noqa: F401 - its session serves this module too

MODEL = BatchModel(uri="models:/m/3", fingerprint="f" * 32, dataset="d", alphabet="01", max_bytes=50)
SETTINGS = BatchSettings(files=3)
FILES = {f"{n % 2}/{n} é.png": b"x" * (n + 1) for n in range(6)} | {"bad/b c?d.png": b""}
PARTS = [f"part-0000{n}.parquet" for n in range(3)]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(lock, "SETTLE", 0)


def reader():
    def read(images):
        for path, data in images:
            yield Row(path, str(len(data)), 0.5, (0.5,)) if data else Row(path, error="empty_file: no bytes")

    return read


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory, fill, loop) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("disk")
    fill(folder / "images", FILES)
    predict_folder(str(folder / "images"), str(folder / "read"), MODEL, SETTINGS, lambda: Crew(loop(), reader))
    return {name: (folder / "read" / name).read_bytes() for name in PARTS}


@pytest.fixture
def images(s3) -> Location:
    place = s3.join("some images")
    for path, data in FILES.items():
        place.join(path).write_bytes(data)
    return place


def rows(parts: dict[str, bytes]) -> list[list[dict]]:
    """What the parts hold; their bytes also tell of their run, which sizes and times on the server belong to."""
    return [pq.read_table(io.BytesIO(data)).to_pylist() for data in parts.values()]


def held(place: Location) -> dict[str, bytes]:
    return {name: place.join(name).read_bytes() for name in place.names() if name.startswith("part-")}


def test_the_same_rows_and_nothing_beside_them(s3, images, on_disk, loop):
    place = s3.join("a folder", "read")
    done = predict_folder(images.uri, place.uri, MODEL, SETTINGS, lambda: Crew(loop(), reader))
    assert (done.summary.files, done.summary.failed) == (7, 1)
    assert place.names() == [SUMMARY, *PARTS]
    assert rows(held(place)) == rows(on_disk)
    again = predict_folder(images.uri, place.uri, MODEL, SETTINGS, lambda: pytest.fail("there is no work to do"))
    assert again.unchanged


def test_killed_and_started_again(s3, images, on_disk, loop):
    class Killed(BaseException):
        pass

    class Dying(loop):
        def map(self, work, tasks, what, files):
            super().map(work, tasks[:1], what, files)
            raise Killed

    place, runner = s3.join("read"), loop()
    with pytest.raises(Killed):
        predict_folder(images.uri, place.uri, MODEL, SETTINGS, lambda: Crew(Dying(), reader))
    assert list(held(place)) == PARTS[:1]
    predict_folder(images.uri, place.uri, MODEL, SETTINGS, lambda: Crew(runner, reader))
    assert runner.calls == [("read", 2)]
    assert place.names() == [SUMMARY, *PARTS]
    assert rows(held(place)) == rows(on_disk)


def test_a_second_writer_is_refused(s3, images, loop):
    place = s3.join("read")
    message = rf"read\?.*: another batch is writing here \(pid {os.getpid()} on .*, last sign of life \d+ s ago\)"
    with locked(place, "batch"), pytest.raises(DataError, match=message) as caught:
        predict_folder(images.uri, place.uri, MODEL, SETTINGS, lambda: pytest.fail("it is not its turn"))
    assert "\n" not in str(caught.value)
    assert predict_folder(images.uri, place.uri, MODEL, SETTINGS, lambda: Crew(loop(), reader)).summary.files == 7


@pytest.mark.spark
def test_through_spark_with_credentials_that_stay_secret(s3, images, on_disk, spark, tmp_path):  # noqa: F811
    from pipelines.spark.predict import SparkReader

    source, target = (place.uri.replace("s3://", "s3://glyphmill:not-secret@") for place in (images, s3.join("read")))
    predict_folder(source, target, MODEL, SETTINGS, lambda: Crew(SparkReader(spark), reader))
    place = s3.join("read")
    assert rows(held(place)) == rows(on_disk)
    assert b"not-secret" not in place.join(SUMMARY).read_bytes()
    for name, data in held(place).items():
        (tmp_path / name).write_bytes(data)
    assert sorted(pd.read_parquet(tmp_path)["path"]) == sorted(FILES)
