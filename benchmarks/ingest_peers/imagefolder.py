"""Hugging Face datasets: `imagefolder`, mapped to gray pixels on all cores, written with `to_parquet`.

Stores the file's name without extension as the label (`imagefolder` itself takes labels from sub-folders or a metadata
file) and raw uint8 pixels as a binary column. Runs in the environment of benchmarks/requirements.txt.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.ingest_peers.contender import HEIGHT, WIDTH, arguments, report

args = arguments()
CACHE = tempfile.mkdtemp(dir=Path(args.output).parent)
os.environ |= {"HF_HOME": CACHE, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

import datasets  # noqa: E402 - it reads those names when it is imported
from PIL import Image  # noqa: E402

FEATURES = datasets.Features(
    {"path": datasets.Value("string"), "label": datasets.Value("string"), "image": datasets.Value("binary")}
)


def decode(rows: dict[str, list]) -> dict[str, list]:
    """Opened images -> paths, labels and gray pixels."""
    paths = [image.filename for image in rows["image"]]
    pixels = [image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR).tobytes() for image in rows["image"]]
    return {"path": paths, "label": [Path(path).stem for path in paths], "image": pixels}


def convert() -> None:
    # named files: it takes a split from any file name that holds a word such as "dev"
    found = datasets.load_dataset("imagefolder", data_files={"train": f"{args.input}/*"}, split="train", drop_labels=True)  # nosec B615
    workers = len(os.sched_getaffinity(0))
    decoded = found.map(decode, batched=True, batch_size=256, features=FEATURES, num_proc=workers)
    decoded.to_parquet(f"{args.output}/data.parquet")


if __name__ == "__main__":
    os.makedirs(args.output)
    datasets.disable_progress_bars()
    try:
        report(convert)
    finally:
        shutil.rmtree(CACHE, ignore_errors=True)
    sys.stdout.flush()
