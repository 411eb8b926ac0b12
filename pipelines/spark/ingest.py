"""The ingest's runner on Spark: tasks over groups, and repeats found by Spark SQL over small rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import __version__ as spark_version
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.groups import GroupResult, Repeat
from pipelines.progress import Progress, polled
from pipelines.rejects import Reason
from pipelines.spark.session import told_tasks
from pipelines.storage import locate

T = TypeVar("T")
WRITTEN = "group bigint, id bigint, path string, sha256 string, label string"


class SparkRunner:
    """Runs the tasks of an ingest on the executors of a session."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self.tools = {"pyspark": spark_version}

    def map(self, work: Callable[[T], GroupResult], tasks: Sequence[T], what: str, files: int) -> list[GroupResult]:
        """The result of every task. Raises DataError with the first failed task's error."""
        context = self._spark.sparkContext
        done = context.accumulator(0)

        def run(task: T) -> GroupResult:
            result = work(task)
            done.add(result.files)
            return result

        with Progress(what, files) as progress, polled(lambda: progress.update_to(min(files, done.value))), told_tasks():
            return context.parallelize(tasks, len(tasks)).map(run).collect()

    def repeats(self, facts: Sequence[tuple[int, str]]) -> list[Repeat]:
        """The rows whose bytes stand in another row too."""
        frame = self._spark.createDataFrame(list(facts), "group bigint, uri string").repartition(len(facts))
        with told_tasks():
            rows = repeated(frame.mapInArrow(_written_rows, WRITTEN)).collect()
        return [Repeat(*row) for row in rows]


def repeated(written: DataFrame) -> DataFrame:
    """Rows to drop, as (group, id, reason, detail), among the written ones of schema WRITTEN.

    Of files with the same bytes and one label the first path stays and the others are duplicates; where the
    labels differ none can be believed, and all are conflicts.
    """
    same = (
        written.groupBy("sha256")
        .agg(
            F.array_sort(F.collect_list(F.struct("path", "label", "group", "id"))).alias("files"),
            F.array_sort(F.collect_set("label")).alias("labels"),
        )
        .where(F.size("files") > 1)
        .select("labels", F.col("files")[0]["path"].alias("first"), F.posexplode("files").alias("rank", "file"))
    )
    conflict: Column = F.size("labels") > 1
    return same.where(conflict | (F.col("rank") > 0)).select(
        "file.group",
        "file.id",
        F.when(conflict, Reason.CONFLICTING_LABEL.value).otherwise(Reason.DUPLICATE.value).alias("reason"),
        F.when(conflict, F.concat(F.lit("the same bytes are labelled "), F.array_join("labels", " and ")))
        .otherwise(F.concat(F.lit("the same bytes as "), F.col("first")))
        .alias("detail"),
    )


def _written_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for group, uri in zip(*batch.to_pydict().values(), strict=True):
            location = locate(uri)
            names = ["id", "path", "sha256", "label"]
            table = pq.read_table(location.path, filesystem=location.fs, columns=[*names, "reason"])
            table = table.filter(pc.is_null(table["reason"])).select(names)
            yield from table.add_column(0, "group", pa.array([group] * table.num_rows, pa.int64())).to_batches()
