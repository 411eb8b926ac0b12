"""The bare limit: a process pool that decodes, resizes and writes the ingest's Parquet. No checks, hashes or statistics."""

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas  # noqa: F401 - which pyarrow imports for its first array, a second of each process
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.ingest_peers.contender import HEIGHT, WIDTH, arguments, report
from pipelines.shards import SCHEMA, image_column

ROWS, FILES = 1000, 5000  # of a row group and of a shard, as ShardSettings has


class Task(NamedTuple):
    """One shard to write: the ids and the names of its images."""

    input: str
    target: str
    first: int
    names: Sequence[str]


def convert(folder: str, output: str, workers: int) -> None:
    """Turns all files of `folder` into shards."""
    names = sorted(entry.name for entry in os.scandir(folder))
    count = min(len(names), max(8, -(-len(names) // FILES)))
    bounds = [len(names) * i // count for i in range(count + 1)]
    tasks = [Task(folder, f"{output}/part-{i:05d}.parquet", bounds[i], names[bounds[i] : bounds[i + 1]]) for i in range(count)]
    with multiprocessing.Pool(workers) as pool:
        pool.map(_write, tasks, chunksize=1)


def _write(task: Task) -> None:
    with pq.ParquetWriter(
        task.target, SCHEMA, compression="zstd", use_dictionary=["label"], write_statistics=["id", "label"]
    ) as writer:
        for start in range(0, len(task.names), ROWS):
            names = task.names[start : start + ROWS]
            writer.write_table(_row_group(task, task.first + start, names), row_group_size=len(names))


def _row_group(task: Task, first: int, names: Sequence[str]) -> pa.Table:
    images, sizes = np.empty((len(names), HEIGHT, WIDTH, 1), np.uint8), []
    for index, name in enumerate(names):
        with Image.open(f"{task.input}/{name}") as image:
            sizes.append(image.size)
            images[index, :, :, 0] = image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    labels = [Path(name).stem for name in names]
    widths, heights = zip(*sizes, strict=True)
    columns = (range(first, first + len(names)), names, labels, map(len, labels), [""] * len(names), widths, heights)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=False)]
    return pa.Table.from_arrays([*arrays, image_column(images)], schema=SCHEMA)


if __name__ == "__main__":
    args = arguments()
    os.makedirs(args.output)
    report(lambda: convert(args.input, args.output, workers=len(os.sched_getaffinity(0))))
