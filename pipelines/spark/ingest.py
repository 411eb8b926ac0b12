"""The ingest's runner on Spark: tasks over groups, and repeats found by a shuffle of small rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import TypeVar
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import __version__ as spark_version
from pyspark.sql import SparkSession

from pipelines.facts import COPIES, copies_in
from pipelines.groups import GroupResult
from pipelines.ingest import Facts, copies_of
from pipelines.progress import Progress, polled
from pipelines.repeats import EXAMPLES, Copy, repeated_in, shared_labels
from pipelines.spark.session import patiently, told_tasks
from pipelines.split import SPLITS
from pipelines.storage import locate

T = TypeVar("T")
R = TypeVar("R")
ROWS_PER_TASK = 250_000  # of COPIES, some 300 bytes each


class SparkRunner:
    """Runs the tasks of an ingest on the executors of a session."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self.tools = {"pyspark": spark_version}

    def map(self, work: Callable[[T], GroupResult], tasks: Sequence[T], what: str, files: int) -> list[GroupResult]:
        """The result of every task. Raises DataError with the first failed task's error.

        Spark on a local master gives up when one Python worker dies: then all is started again, and finished groups are found.
        """
        return patiently(lambda: self._map(work, tasks, what, files), what)

    def _map(self, work: Callable[[T], GroupResult], tasks: Sequence[T], what: str, files: int) -> list[GroupResult]:
        context = self._spark.sparkContext
        done, rejected = context.accumulator(0), context.accumulator(0)

        def run(task: T) -> GroupResult:
            result = work(task)
            done.add(result.files + result.same)
            rejected.add(sum(result.reasons.values()))
            return result

        def show() -> None:  # a task that was tried twice may count twice
            progress.update_to(min(files, done.value), f"{rejected.value:,} rejected")

        with Progress(what, files) as progress, polled(show), told_tasks():
            return context.parallelize(tasks, len(tasks)).map(run).collect()

    def repeated(self, facts: Facts) -> list[list[Copy]]:
        """The rows that share their bytes with another one, by content."""
        return self._over(facts, "sha256", repeated_in)

    def shared_labels(self, facts: Facts) -> list[dict]:
        """Labels that stand in more than one split, by pair of splits."""
        pairs: dict[tuple[str, ...], dict] = {}
        for found in self._over(facts, "label", shared_labels):
            pair = pairs.setdefault(tuple(found["splits"]), found | {"labels": 0, "rows": 0, "examples": []})
            pair["labels"] += found["labels"]
            pair["rows"] += found["rows"]
            pair["examples"] = sorted([*pair["examples"], *found["examples"]])[:EXAMPLES]
        return [pairs[pair] for pair in combinations(SPLITS, 2) if pair in pairs]

    def _over(self, facts: Facts, key: str, find: Callable[[pa.Table], list[R]]) -> list[R]:
        """What `find` finds in the rows of COPIES, those with the same `key` together.

        What one task would take is found here: a shuffle costs seconds of start. An RDD of Arrow tables, not a data frame:
        rows are small, and the first data frame of a session costs seconds too.
        """
        if facts.rows <= ROWS_PER_TASK:
            return find(copies_of(facts))
        context = self._spark.sparkContext
        files = [(group, uri, False) for group, uri in facts.new] + [(-1, uri, True) for uri in facts.kept]
        parts = max(context.defaultParallelism, -(-facts.rows // ROWS_PER_TASK))

        def spread(file: tuple[int, str, bool]) -> Iterator[tuple[int, bytes]]:
            group, uri, kept = file
            table = copies_in(locate(uri), group, kept=kept)
            bucket = pa.array([crc32(value.encode()) % parts for value in table[key].to_pylist()], pa.int64())
            for number in bucket.unique().to_pylist():
                yield number, _packed(table.filter(pc.equal(bucket, number)))

        def gather(tables: Iterable[tuple[int, bytes]]) -> list[R]:
            return find(pa.concat_tables([COPIES.empty_table(), *(_unpacked(data) for _, data in tables)]))

        def run() -> list[R]:
            readers = context.parallelize(files, min(len(files), 4 * context.defaultParallelism))
            with told_tasks():
                return readers.flatMap(spread).partitionBy(parts, int).mapPartitions(gather).collect()

        return patiently(run, "repeats")


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _unpacked(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as stream:
        return stream.read_all()
