"""The limit: every row group is read with Arrow, and every byte of its pixels is looked at. No order, no labels, no batches.

Arrow takes its memory as it does in the loader: with jemalloc, the default of older versions, it is half as fast.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq

from benchmarks.loader_peers.contender import arguments, report
from model.buffers import keep_arrows_memory
from pipelines.manifest import open_dataset
from pipelines.shards import pixels

if __name__ == "__main__":
    args = arguments()
    keep_arrows_memory()
    dataset = open_dataset(args.input)
    shards = dataset.manifest.shards_of("train")
    groups = [(shard.path, index) for shard in shards for index in range(len(shard.row_groups))]
    thread = threading.local()

    def read(group: tuple[str, int]) -> tuple[np.ndarray]:
        """The images of one row group, touched."""
        path, index = group
        files = thread.__dict__.setdefault("files", {})
        if path not in files:
            files[path] = pq.ParquetFile(dataset.location.join(path).path)
        table = files[path].read_row_group(index, columns=["image"], use_threads=False)
        images = pixels(table["image"], dataset.manifest.image_shape)
        images.max()  # of all ways to touch every byte the fastest
        return (images,)

    def batches() -> Iterator[tuple[np.ndarray]]:
        """The row groups of all epochs; a few at a time are on their way."""
        with ThreadPoolExecutor(args.threads) as pool:
            for _ in range(args.epochs):
                for start in range(0, len(groups), 8):
                    yield from pool.map(read, groups[start : start + 8])

    report(args, batches())
