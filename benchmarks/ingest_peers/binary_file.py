"""Spark's `binaryFile` source, decoded in Arrow batches and written by Spark; `--tuned` packs more files into a task.

By default a file counts as 4 MiB more than it has, so 32 small files fill a task of 128 MiB.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import pyarrow as pa
from PIL import Image

from benchmarks.ingest_peers.contender import HEIGHT, WIDTH, arguments, report, spark_session

# A file counts as what it has and 4 KiB more: some 1,000 of these images make a task. Small batches save memory.
TUNED = {
    "spark.sql.files.openCostInBytes": "4096",
    "spark.sql.files.maxPartitionBytes": str(16 * 2**20),
    "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
}
ROW = "path string, label string, width int, height int, image binary"


def decode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of (path, content) -> batches of ROW, with gray pixels as raw bytes."""
    for batch in batches:
        rows = []
        for path, content in zip(batch["path"].to_pylist(), batch["content"], strict=True):
            image = Image.open(io.BytesIO(content.as_buffer()))
            pixels = image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR).tobytes()
            rows.append((path, PurePosixPath(path).stem, *image.size, pixels))
        types = (pa.string(), pa.string(), pa.int32(), pa.int32(), pa.binary())
        arrays = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), types, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, ["path", "label", "width", "height", "image"])


if __name__ == "__main__":
    args = arguments("tuned")
    spark = spark_session(TUNED if args.tuned else None)

    def convert() -> None:
        frame = spark.read.format("binaryFile").load(args.input).select("path", "content")
        frame.mapInArrow(decode, ROW).write.parquet(args.output)

    report(convert)
    spark.stop()
