"""The batch's runner on Spark: a model's folder on every executor, and parts read by mapInArrow."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark import SparkFiles
from pyspark import __version__ as spark_version
from pyspark.sql import SparkSession

from pipelines.batch import Crew
from pipelines.predictions import PartResult, Reader
from pipelines.progress import Progress, polled
from pipelines.spark.launch import ship
from pipelines.spark.session import patiently, spark_session, temporary_folder, told_tasks, zipped


def spark_crew(
    open_reader: Callable[[Callable[[], str]], Reader], folder: Path, name: str, code: Path, packages: Sequence[str]
) -> Crew:
    """Executors that have the model in `folder`, which is known by `name`, and the `packages` under `code` that read with it.

    `open_reader` is given what tells, in a process there, where the model is. Raises DataError where Spark cannot start.
    """
    spark = spark_session("glyphmill-predict", "or run without Spark: --runner local")
    ship(spark, code, packages)
    return Crew(SparkReader(spark), partial(open_reader, ship_folder(spark, folder, name)))


def ship_folder(spark: SparkSession, folder: Path, name: str) -> Callable[[], str]:
    """Hands the files of `folder` to every executor, which fetches and unpacks them once; in a task, the call says where.

    `name` stands for what the files hold: a folder that the session has under this name is not handed out again.
    """
    context = spark.sparkContext
    if not any(path.endswith(f"/{name}.zip") for path in context.listArchives):
        files = (path for path in folder.rglob("*") if path.is_file())
        # not compressed: networks hardly are smaller
        context.addArchive(zipped(temporary_folder() / f"{name}.zip", folder, files, zipfile.ZIP_STORED))
    return partial(SparkFiles.get, f"{name}.zip")


class SparkReader:
    """Runs the tasks of a batch on the executors of a session."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self.tools = {"pyspark": spark_version}
        # the first data frame of a session starts Spark SQL, which takes as long as the session itself: a part of its start
        spark.range(1).mapInArrow(lambda batches: batches, "id long").collect()

    def map(self, work: Callable[[int], PartResult], tasks: Sequence[int], what: str, files: int) -> list[PartResult]:
        """The result of every task. Raises DataError with the first failed task's error."""
        return patiently(lambda: self._map(work, tasks, what, files), what)

    def _map(self, work: Callable[[int], PartResult], tasks: Sequence[int], what: str, files: int) -> list[PartResult]:
        context = self._spark.sparkContext
        done, rejected = context.accumulator(0), context.accumulator(0)

        def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for index in batch.column(0).to_pylist():
                    result = work(tasks[index])
                    done.add(result.files)
                    rejected.add(sum(result.reasons.values()))
                    yield pa.RecordBatch.from_arrays([pa.array([result.model_dump_json()])], names=["result"])

        def show() -> None:  # a task that was tried twice may count twice
            progress.update_to(min(files, done.value), f"{rejected.value:,} rejected")

        # a row, a partition and a task for each part: what the executors get is a number, and file names from the listing
        numbers = self._spark.range(0, len(tasks), 1, len(tasks))
        with Progress(what, files) as progress, polled(show), told_tasks():
            rows = numbers.mapInArrow(run, "result string").collect()
        return [PartResult.model_validate_json(row.result) for row in rows]
