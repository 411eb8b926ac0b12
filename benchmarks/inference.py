"""ms an image, one at a time on one core: the presets' networks through onnxruntime, and through TensorFlow beside it.

make bench-inference                   # default and fast, 500 images of each size; the result: build/bench/inference.json
make bench-inference ARGS="--images 2000 --presets default fast large"

The networks are as they are made, with 36 characters and labels of up to 6: weights do not change the time. All are in one
process that has one core, and take turns of 50 images; pixels are random, preprocessing and decoding are left out. The median
counts, and the 95th percentile shows what else the machine did.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine, versions
from benchmarks.tables import bar, bar_lines, number, table, write_result
from jobs import entry
from model.config import TrainSettings
from pipelines.settings import read

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "build/bench/inference.json"
PACKAGES = ("numpy", "tensorflow", "keras", "onnxruntime", "onnx", "tf2onnx")
SHAPES = ((64, 160, 1), (64, 200, 1))
CHARACTERS, LONGEST = 36, 6
BARS = {"default": 6.0, "fast": 2.0}
WARMUP, TURN = 20, 50
ONNX, TENSORFLOW = "onnxruntime", "TensorFlow"
Read = Callable[[np.ndarray], Any]
Row = dict[str, Any]


def main() -> None:
    args = _arguments()
    about = {"machine": machine(), "versions": versions(sys.executable, PACKAGES)}  # before the other cores are given up
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    entry.load_tensorflow()
    rows = []
    with tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as work:
        for preset in args.presets:
            for shape in SHAPES:
                weights, readers = prepare(preset, shape, Path(work))
                found = measure(readers, shape, args.images)
                rows += [summary((preset, shape, weights), runtime, found[runtime]) for runtime in readers]
    result = {"images": args.images, **about, "rows": rows, "bars": bars(rows)}
    write_result(RESULT, result)
    told = ", ".join(f"{name} {value}" for part in about.values() for name, value in part.items())
    print("\n".join([table(list(map(cells, rows))), "", *bar_lines(result["bars"]), "", told]))


def prepare(preset: str, shape: tuple[int, int, int], work: Path) -> tuple[int, dict[str, Read]]:
    """The number of weights of a preset's network, and what reads an image with it, by runtime."""
    import tensorflow as tf

    from model import heads
    from model.networks import build
    from model.onnx import open_onnx, write_onnx

    settings = read(TrainSettings, ROOT / f"conf/train/{preset}.yaml")
    network = heads.reader(build(settings.network, shape, CHARACTERS, LONGEST))
    file = work / f"{preset}-{shape[1]}.onnx"
    write_onnx(network, file)
    traced = tf.function(
        lambda images: network(tf.cast(images, tf.float32), training=False),
        input_signature=[tf.TensorSpec((None, *shape), tf.uint8)],
    )
    return network.count_params(), {ONNX: open_onnx(file, threads=1), TENSORFLOW: lambda images: traced(images).numpy()}


def measure(readers: Mapping[str, Read], shape: tuple[int, int, int], count: int) -> dict[str, list[float]]:
    """The ms of each image, by runtime."""
    images = np.random.default_rng(0).integers(0, 256, (TURN, 1, *shape), np.uint8)
    ms: dict[str, list[float]] = {name: [] for name in readers}
    for reader in readers.values():
        for image in images[:WARMUP]:
            reader(image)
    while min(map(len, ms.values())) < count:
        for name, reader in readers.items():
            for image in images:
                began = time.perf_counter()
                reader(image)
                ms[name].append(1000 * (time.perf_counter() - began))
    return ms


def summary(network: tuple[str, tuple[int, int, int], int], runtime: str, ms: Sequence[float]) -> Row:
    """A row: the preset, the image's shape and the number of weights, the runtime, and percentiles of its times."""
    preset, shape, weights = network
    median, high = np.percentile(ms, [50, 95]).tolist()
    return {"preset": preset, "shape": list(shape), "weights": weights, "runtime": runtime, "ms": median, "ms_p95": high}


def bars(rows: Sequence[Row]) -> dict[str, Any]:
    """The bars of onnxruntime's times, by preset and size."""
    return {
        f"{row['preset']}_{row['shape'][0]}x{row['shape'][1]}_ms": bar(row["ms"], BARS[row["preset"]], least=False)
        for row in rows
        if row["runtime"] == ONNX and row["preset"] in BARS
    }


def cells(row: Row) -> dict[str, str]:
    """A row of the printed table."""
    return {
        "preset": row["preset"],
        "image": "x".join(map(str, row["shape"])),
        "weights": number(row["weights"]),
        "runtime": row["runtime"],
        "ms": number(row["ms"], 2),
        "95%": number(row["ms_p95"], 2),
    }


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=500, help="images of each size (default 500)")
    options.add_argument("--presets", nargs="+", default=["default", "fast"], metavar="NAME", help="files of conf/train/")
    return options.parse_args()


if __name__ == "__main__":
    main()
