"""Made data on all executors: each task draws its files and writes them through Arrow."""

from collections.abc import Iterable, Iterator, Sequence

from pyarrow.fs import FileType
from pyspark.sql import SparkSession

from pipelines.drawing import Drawing, DrawingSettings, draw, plan
from pipelines.errors import DataError
from pipelines.progress import Progress, polled
from pipelines.spark.session import told_tasks
from pipelines.storage import locate

TASK_FILES = 200


def generate(spark: SparkSession, output: str, settings: DrawingSettings) -> int:
    """Draws the files of `settings` under `output` and returns their number. Raises DataError where something is there."""
    target = locate(output)
    if target.info().type == FileType.File or target.names():
        raise DataError(f"{output}: the folder is not empty; --output names a new or empty folder")
    drawings = plan(settings)
    for folder in sorted({drawing.path.rpartition("/")[0] for drawing in drawings}):
        target.fs.create_dir(target.join(folder).path)
    context = spark.sparkContext
    done = context.accumulator(0)
    uri = target.uri

    def write(tasks: Iterable[Sequence[Drawing]]) -> Iterator[int]:
        root = locate(uri)
        for task in tasks:
            for drawing in task:
                with root.fs.open_output_stream(root.join(drawing.path).path) as stream:
                    stream.write(draw(settings, drawing))
            done.add(len(task))
            yield len(task)

    tasks = [drawings[start : start + TASK_FILES] for start in range(0, len(drawings), TASK_FILES)]
    with Progress("draw", len(drawings)) as progress, polled(lambda: progress.update_to(done.value)), told_tasks():
        return context.parallelize(tasks, len(tasks)).mapPartitions(write).sum()
