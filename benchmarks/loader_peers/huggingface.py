"""Hugging Face datasets: pixels as an Array3D in its own Arrow files, and `to_tf_dataset`.

`--write` makes them of a folder of PNG files. Runs in the environment of benchmarks/requirements.txt.
"""

import os
import sys
import tempfile

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="glyphmill-bench-"))

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import tensorflow as tf
from PIL import Image

from benchmarks.loader_peers.contender import HEIGHT, WIDTH, arguments, report

FEATURES = datasets.Features(
    {"label": datasets.Sequence(datasets.Value("int32")), "image": datasets.Array3D((HEIGHT, WIDTH, 1), "uint8")}
)


def rows(folder: str) -> Iterator[dict[str, Any]]:
    """The images of a folder in the right size, and their labels' characters as numbers."""
    import numpy as np

    for path in sorted(Path(folder).iterdir()):
        image = Image.open(path).convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        yield {"label": list(path.stem.encode()), "image": np.asarray(image)[:, :, None]}


def batches(folder: str, batch: int, epochs: int) -> tf.data.Dataset:
    """All batches of all epochs."""
    found = datasets.load_from_disk(folder).to_tf_dataset(
        batch_size=batch, columns=["image", "label"], shuffle=True, prefetch=True
    )
    return found.repeat(epochs).map(lambda row: (row["image"], row["label"]))


if __name__ == "__main__":
    datasets.disable_progress_bars()
    if sys.argv[1] == "--write":
        made = datasets.Dataset.from_generator(rows, features=FEATURES, gen_kwargs={"folder": sys.argv[2]})
        made.save_to_disk(sys.argv[3])
    else:
        args = arguments()
        report(args, batches(args.input, args.batch, args.epochs))
