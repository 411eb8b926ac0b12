"""tf.data from PNG files, as the notebook has it: read, decode, resize and scale each image in every epoch."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from benchmarks.loader_peers.contender import HEIGHT, LABEL, WIDTH, arguments, report


def load(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Path -> (H, W, 1) float32 from 0 to 1, and the characters in the file's name."""
    image = tf.io.decode_png(tf.io.read_file(path), channels=1)
    image = tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), (HEIGHT, WIDTH))
    name = tf.strings.split(path, "/")[-1]
    return image, tf.cast(tf.io.decode_raw(name, tf.uint8)[:LABEL], tf.int32)


if __name__ == "__main__":
    args = arguments()
    paths = sorted(entry.path for entry in os.scandir(args.input))
    dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=0)
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(args.batch)
    report(args, dataset.repeat(args.epochs).prefetch(tf.data.AUTOTUNE))
