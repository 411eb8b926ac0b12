"""The notebook way: Spark lists the files of each extension, and tf.data decodes them from their paths in every epoch.

One pass over all batches is measured. Nothing is written, so the next epoch costs the same again.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from benchmarks.ingest_peers.contender import HEIGHT, WIDTH, arguments, report, spark_session

EXTENSIONS = ("png", "jpg", "jpeg")


def load(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Path -> (H, W, 1) float32 from 0 to 1, and the label in the file's name."""
    image = tf.io.decode_image(tf.io.read_file(path), channels=1, expand_animations=False)
    image = tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), (HEIGHT, WIDTH))
    return image, tf.strings.split(tf.strings.split(path, "/")[-1], ".")[0]


if __name__ == "__main__":
    args = arguments()
    context = spark_session().sparkContext
    present = {name.rpartition(".")[2] for name in os.listdir(args.input)}  # binaryFiles fails where a pattern matches nothing

    def drain() -> int:
        """Collects the paths and goes over all batches once; returns the images."""
        paths = []
        for extension in present.intersection(EXTENSIONS):
            files = context.binaryFiles(f"{args.input}/*.{extension}")
            paths += files.map(lambda file: file[0].removeprefix("file:")).collect()
        dataset = tf.data.Dataset.from_tensor_slices(paths).map(load, num_parallel_calls=tf.data.AUTOTUNE)
        return sum(len(labels) for _, labels in dataset.batch(64).prefetch(tf.data.AUTOTUNE))

    report(drain)
    context.stop()
