"""TFRecord files read as TensorFlow's guide advises: interleaved, shuffled, batched, parsed and decoded in the graph.

`--write IMAGES OUTPUT` makes both kinds of files of a folder of PNG files: with those files' bytes, and with gray pixels in the
right size.
The records hold a label's numbers, so that a batch needs no look-up.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import tensorflow as tf

from benchmarks.loader_peers.contender import HEIGHT, LABEL, SHUFFLED, WIDTH, arguments, report
from pipelines.images import ImageChecks
from pipelines.preprocess import PreprocessSpec

FILES = 8
FEATURES = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([LABEL], tf.int64)}
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def write(images: Path, output: Path) -> None:
    """Writes the images of a folder as FILES files of records of each kind."""
    spec, checks = PreprocessSpec(height=HEIGHT, width=WIDTH), ImageChecks()
    with ExitStack() as stack:
        writers = {}
        for kind in ("png", "tensors"):
            (output / kind).mkdir(parents=True)
            places = (f"{output}/{kind}/{number}.tfrecord" for number in range(FILES))
            writers[kind] = [stack.enter_context(tf.io.TFRecordWriter(place)) for place in places]
        for number, path in enumerate(sorted(images.iterdir())):
            data, label = path.read_bytes(), [ALPHABET.index(character) for character in path.stem]
            for kind, image in (("png", data), ("tensors", spec.apply_bytes(data, checks).tobytes())):
                writers[kind][number % FILES].write(record(image, label))


def record(image: bytes, label: list[int]) -> bytes:
    """One row."""
    pixels = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    characters = tf.train.Feature(int64_list=tf.train.Int64List(value=label))
    features = tf.train.Features(feature={"image": pixels, "label": characters})
    return tf.train.Example(features=features).SerializeToString()


def tensors(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A batch of records of pixels."""
    parsed = tf.io.parse_example(records, FEATURES)
    images = tf.io.decode_raw(parsed["image"], tf.uint8, fixed_length=HEIGHT * WIDTH)
    return tf.reshape(images, (-1, HEIGHT, WIDTH, 1)), tf.cast(parsed["label"], tf.int32)


def decoded(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One record of a PNG file."""
    parsed = tf.io.parse_single_example(record, FEATURES)
    image = tf.image.resize(tf.io.decode_png(parsed["image"], channels=1), (HEIGHT, WIDTH), antialias=True)
    return tf.cast(tf.round(image), tf.uint8), tf.cast(parsed["label"], tf.int32)


def batches(folder: str, batch: int, epochs: int, png: bool) -> Iterator[tuple[tf.Tensor, ...]]:
    """All batches of all epochs."""
    files = tf.data.Dataset.list_files(f"{folder}/*.tfrecord", shuffle=True, seed=0)
    records = files.interleave(tf.data.TFRecordDataset, cycle_length=FILES, num_parallel_calls=tf.data.AUTOTUNE)
    records = records.shuffle(SHUFFLED, seed=0)
    if png:
        dataset = records.map(decoded, num_parallel_calls=tf.data.AUTOTUNE).batch(batch)
    else:
        dataset = records.batch(batch).map(tensors, num_parallel_calls=tf.data.AUTOTUNE)
    return iter(dataset.repeat(epochs).prefetch(tf.data.AUTOTUNE))


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        args = arguments("png")
        report(args, batches(f"{args.input}/{'png' if args.png else 'tensors'}", args.batch, args.epochs, args.png))
