"""Reads a made dataset for many epochs and prints the resident bytes after each: python over_epochs.py FOLDER ROWS EPOCHS."""

import hashlib
import json
import sys

import numpy as np
import psutil

from model.config import LoaderSettings
from model.loader import open_loader
from pipelines.config import IngestSettings
from pipelines.manifest import Accounting, Dataset, Manifest, Shard
from pipelines.shards import ShardWriter
from pipelines.split import SPLITS
from pipelines.storage import Location, locate

SETTINGS = {"image": {"height": 16, "width": 40}}
GROUP, SHARD = 1000, 5000


def shard(folder: Location, number: int, rows: int) -> Shard:
    """A shard of random pixels."""
    path = f"train/part-{number:05d}.parquet"
    settings, rng = IngestSettings.model_validate(SETTINGS), np.random.default_rng(number)
    with ShardWriter(folder.join(path), "zstd") as writer:
        for start in range(0, rows, GROUP):
            ids = range(number * SHARD + start, number * SHARD + min(start + GROUP, rows))
            labels = [f"{i:06d}" for i in ids]
            digests = [hashlib.sha256(label.encode()).hexdigest() for label in labels]
            columns = {"id": ids, "path": labels, "label": labels, "length": [6] * len(ids), "sha256": digests}
            sides = {"width": [40] * len(ids), "height": [16] * len(ids)}
            writer.write(columns | sides, rng.integers(0, 256, (len(ids), *settings.image.shape), np.uint8))
    groups = tuple(writer.row_groups)
    return Shard(path=path, bytes=writer.bytes, sha256=writer.sha256, split="train", row_groups=groups)


def made(folder: Location, rows: int) -> Dataset:
    """A dataset of `rows` rows, all of the train split."""
    folder.join("train").make()
    settings = IngestSettings.model_validate(SETTINGS)
    manifest = Manifest(
        version=1,
        fingerprint="made",
        input="",
        input_digest="",
        settings=settings.model_dump(mode="json"),
        alphabet="0123456789",
        image_shape=settings.image.shape,
        splits=dict.fromkeys(SPLITS, 0) | {"train": rows},
        shards=tuple(shard(folder, i, min(SHARD, rows - i * SHARD)) for i in range(-(-rows // SHARD))),
        accounting=Accounting(listed=rows, written=rows, rejected=0, duplicates=0, reasons={}, examples={}),
        statistics={"all": {"lengths": {"6": rows}, "ctc_frames": 6}},
        petastorm=False,
        tools={},
        created="",
        seconds=0,
    )
    return Dataset(folder, manifest)


if __name__ == "__main__":
    place, rows, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    loader = open_loader(made(locate(place), rows), "train", 128, LoaderSettings(), seed=0)
    resident, seen = [], 0.0
    for step, batch in enumerate(loader.dataset(epochs), start=1):
        seen += float(batch[3].numpy().sum())
        if step % loader.steps == 0:
            resident.append(psutil.Process().memory_info().rss)
    print(json.dumps({"rows": seen, "resident": resident}))
