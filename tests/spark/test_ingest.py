"""The ingest on Spark: the same dataset as a plain loop makes, which petastorm reads."""

import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import IngestOptions, IngestSettings
from pipelines.errors import DataError
from pipelines.groups import GroupResult
from pipelines.ingest import ingest
from pipelines.manifest import Part, open_dataset
from pipelines.shards import pixels
from pipelines.spark.ingest import SparkRunner
from pipelines.spark.session import task_error
from pipelines.split import SplitRule

pytestmark = pytest.mark.spark
SETTINGS = IngestSettings.model_validate({"image": {"width": 16, "height": 8}, "shards": {"rows": 4}})
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fill, noise):
    files = {f"{n % 3}/{n:04d}.png": noise(n) for n in range(60)}
    bad = {"bad/a.png": b"", "copy/0007.1.png": noise(7), "copy/0107.png": noise(200), "copy/0108.png": noise(200)}
    return fill(tmp_path_factory.mktemp("ingest"), {f"images/{path}": data for path, data in (files | bad).items()})


@pytest.fixture(scope="module")
def on_spark(folder, spark):
    return ingest(str(folder / "images"), str(folder / "spark"), SETTINGS, lambda: SparkRunner(spark)).dataset


@pytest.fixture(scope="module")
def in_a_loop(folder, loop):
    return ingest(str(folder / "images"), str(folder / "loop"), SETTINGS, loop()).dataset


def rows(dataset, split: str) -> pa.Table:
    tables = [pq.read_table(dataset.location.join(shard.path).path) for shard in dataset.manifest.shards_of(split)]
    return pa.concat_tables(tables)


def test_spark_and_a_loop_make_the_same_dataset(on_spark, in_a_loop):
    ours, theirs = on_spark.manifest, in_a_loop.manifest
    assert ours.fingerprint == theirs.fingerprint
    assert ours.shards == theirs.shards
    assert ours.accounting == theirs.accounting
    assert ours.statistics == theirs.statistics
    for split in SPLITS:
        assert rows(on_spark, split).equals(rows(in_a_loop, split))


def test_the_accounting(on_spark):
    count = on_spark.manifest.accounting
    assert (count.listed, count.written, count.rejected, count.duplicates) == (64, 60, 3, 1)
    assert count.reasons == {"conflicting_label": 2, "empty_file": 1, "duplicate": 1}


def test_the_rejects_tables_are_the_same(folder, on_spark, in_a_loop):
    ours, theirs = (pq.read_table(folder / name / "rejects").sort_by("path") for name in ("spark", "loop"))
    assert ours.equals(theirs)
    assert ours.num_rows == 4


def test_spark_leaves_out_what_a_list_names(folder, spark, loop):
    (folder / "bad.txt").write_text("0/0003.png\ncopy/0107.png\nnone.png\n")
    options = IngestOptions(exclude=str(folder / "bad.txt"))
    runners = {"spark-without": lambda: SparkRunner(spark), "loop-without": loop()}
    ours, theirs = (
        ingest(str(folder / "images"), str(folder / name), SETTINGS, runner, options).dataset.manifest
        for name, runner in runners.items()
    )
    # copy/0108.png has no rival any more
    assert ours.accounting.reasons == {"excluded": 2, "empty_file": 1, "duplicate": 1}
    assert (ours.accounting.listed, ours.accounting.written) == (64, 60)
    assert (ours.fingerprint, ours.accounting, ours.exclusions) == (theirs.fingerprint, theirs.accounting, theirs.exclusions)


def test_the_manifest_names_the_version_of_spark(on_spark, spark):
    assert on_spark.manifest.tools["pyspark"] == spark.version


def test_a_second_run_changes_nothing(folder, on_spark):
    def no_runner():
        raise AssertionError("there is no work to do")

    assert ingest(str(folder / "images"), str(folder / "spark"), SETTINGS, no_runner).unchanged


@pytest.mark.parametrize("split", SPLITS)
def test_petastorm_reads_every_row_once_with_the_same_pixels(on_spark, split):
    petastorm = pytest.importorskip("petastorm", reason="the latest stack has a pyarrow that petastorm cannot use")
    expected = rows(on_spark, split)
    images = dict(zip(expected["id"].to_pylist(), pixels(expected["image"], (8, 16, 1)), strict=True))
    labels = dict(zip(expected["id"].to_pylist(), expected["label"].to_pylist(), strict=True))
    url = f"file://{on_spark.location.join(split).path}"
    with petastorm.make_reader(url, reader_pool_type="dummy", num_epochs=1) as reader:
        read = list(reader)
    assert sorted(row.id for row in read) == sorted(images)
    for row in read:
        assert row.label == labels[row.id]
        assert row.image.dtype == "uint8"
        assert (row.image == images[row.id]).all()


def test_an_append_on_spark_is_one_in_a_loop(tmp_path, fill, noise, loop, spark):
    settings = SETTINGS.model_copy(update={"split": SplitRule(by="folder")})
    old = {f"{split}/{split}{n}.png": noise(n) for split, n in [("train", 1), ("train", 2), ("val", 3), ("test", 4)]}
    new = {
        "train/new.png": noise(9),
        "val/new.png": noise(8),  # a label in two splits
        "train/test4.png": noise(4),  # bytes of an old row on another side
        "test/other.png": noise(3),  # the same, with another label
        "train/train1.png": noise(7),  # a changed file
        "folder.png": noise(6),
    }
    found = []
    for name, runner in (("spark", lambda: SparkRunner(spark)), ("loop", loop())):
        place = (str(fill(tmp_path / name, old)), str(tmp_path / f"{name}-shards"), settings, runner)
        first = ingest(*place).dataset.manifest
        fill(tmp_path / name, new)
        found.append((first, ingest(*place, IngestOptions(append=True)).dataset.manifest))
    (_, ours), (_, theirs) = found
    assert [first.fingerprint for first, _ in found] == [found[0][0].fingerprint] * 2
    for name in ("version", "fingerprint", "shards", "accounting", "statistics", "leaks", "alphabet"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.accounting.reasons == {"duplicate": 1, "conflicting_label": 1, "changed": 1, "no_split": 1}
    assert [leak["splits"] for leak in ours.leaks["bytes"]] == [["train", "test"], ["val", "test"]]


def once_killed(task: tuple[str, int]) -> GroupResult:
    if task[1] == 1 and not Path(task[0]).exists():
        Path(task[0]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    part = Part(path="", bytes=0, sha256="")
    return GroupResult(number=task[1], files=1, facts=part, shards=(), statistics=part)


def test_a_python_worker_that_dies_is_replaced(spark, tmp_path, capsys):
    tasks = [(str(tmp_path / "marker"), n) for n in range(3)]
    assert sorted(r.number for r in SparkRunner(spark).map(once_killed, tasks, "ingest", 3)) == [0, 1, 2]
    assert (tmp_path / "marker").exists()
    assert "(attempt 1 of 4)" in capsys.readouterr().err


def failing(task: object) -> GroupResult:
    raise OSError(28, "No space left on device\nand a second line")


def test_a_task_that_fails_is_told_in_one_line(spark):
    with pytest.raises(DataError) as caught:
        SparkRunner(spark).map(failing, [1, 2], "ingest", 2)
    assert str(caught.value).startswith("a Spark task failed: ")
    assert "No space left on device" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_ingest_whose_tasks_fail_publishes_nothing(spark, tmp_path, fill, noise):
    class Failing(SparkRunner):
        def map(self, work, tasks, what, files):
            return super().map(failing, tasks, what, files)

    fill(tmp_path, {"images/A.png": noise(1)})
    with pytest.raises(DataError, match="a Spark task failed"):
        ingest(str(tmp_path / "images"), str(tmp_path / "shards"), SETTINGS, lambda: Failing(spark))
    with pytest.raises(DataError, match="no manifest"):
        open_dataset(str(tmp_path / "shards"))


TRACE = """org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 1 times
org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "worker.py", line 1247, in main
    process()
KeyError: 'the error before'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "groups.py", line 5, in run
    work(task)
{}

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:572)
Driver stacktrace:
Caused by: java.lang.RuntimeException: an Error of Java
"""


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        (TRACE.format("ValueError: rows are not all of 128 bytes"), "ValueError: rows are not all of 128 bytes"),
        (TRACE.format("OSError: [Errno 28] No space left\nsecond line"), "OSError: [Errno 28] No space left"),
        (TRACE.format("pyarrow.lib.ArrowInvalid: file is too small"), "pyarrow.lib.ArrowInvalid: file is too small"),
        (TRACE.format("MemoryError"), "MemoryError"),
        (TRACE.format("KeyboardInterrupt"), "KeyboardInterrupt"),
        ("org.apache.spark.SparkException: Job 3 cancelled\n\tat x", "org.apache.spark.SparkException: Job 3 cancelled"),
        ("", ""),
    ],
)
def test_the_error_in_a_trace(trace, told):
    assert task_error(trace) == told
