"""petastorm on the same shards, as its documentation has it: `make_reader`, or with `--batches` `make_batch_reader`.

`make_batch_reader` gives whole row groups whose images are bytes still: they are decoded in the graph.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from typing import Any

import numpy as np
import tensorflow as tf
from petastorm import TransformSpec, make_batch_reader, make_reader
from petastorm.tf_utils import make_petastorm_dataset

from benchmarks.loader_peers.contender import HEIGHT, LABEL, WIDTH, arguments, report
from pipelines.shards import npy_header

HEADER = len(npy_header((HEIGHT, WIDTH, 1)))
FIELDS = ["label", "image"]


def characters(label: tf.Tensor) -> tf.Tensor:
    """Labels as numbers; of all ways the cheapest."""
    return tf.cast(tf.io.decode_raw(label, tf.uint8, fixed_length=LABEL), tf.int32)


def row(fields: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """A row of make_reader, whose image is decoded."""
    return fields.image, characters(fields.label)


def row_group(fields: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """A row group of make_batch_reader."""
    pixels = tf.io.decode_raw(tf.strings.substr(fields.image, HEADER, HEIGHT * WIDTH), tf.uint8, fixed_length=HEIGHT * WIDTH)
    return tf.reshape(pixels, (-1, HEIGHT, WIDTH, 1)), characters(fields.label)


if __name__ == "__main__":
    args = arguments("batches")
    make, convert = (make_batch_reader, row_group) if args.batches else (make_reader, row)
    options: dict[str, Any] = {"workers_count": args.threads, "num_epochs": args.epochs, "shuffle_row_groups": True, "seed": 0}
    if args.batches:
        options["transform_spec"] = TransformSpec(edit_fields=[("image", np.bytes_, (), False)])  # as they are stored
    with make(f"file://{args.input}/train", schema_fields=FIELDS, **options) as reader:
        dataset = make_petastorm_dataset(reader).map(convert)
        if args.batches:
            dataset = dataset.unbatch()
        report(args, dataset.batch(args.batch).prefetch(tf.data.AUTOTUNE))
