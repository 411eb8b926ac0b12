"""The presets' networks through onnxruntime: ms of a single image on one core, beside TensorFlow; images/s of batches on two.

make bench-inference                   # default and fast, 500 images of each size; the result: build/bench/inference.json
make bench-inference ARGS="--images 2000 --presets default fast large"

The networks are as they are made, with 36 characters and labels of up to 6: weights do not change the time. All are in one
process. Single images: it has one core, and the runtimes take turns of 50 images; onnxruntime once more in 8 bits, as
`jobs.export --format onnx --int8` writes a network. Batches: of 32, on two cores. Pixels are random, preprocessing and decoding
are left out. The median counts, and the 95th percentile shows what else the machine did.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine, versions
from benchmarks.readings import TURN, Read, cores, random_images, readings
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
SHARE = 0.5  # of TensorFlow's time for a single image
BATCH, CORES = 32, 2
BATCH_BARS = {"default": 400.0, "fast": 1500.0}  # images/s
ONNX, INT8, TENSORFLOW = "onnxruntime", "onnxruntime, 8 bits", "TensorFlow"
Row = dict[str, Any]


def main() -> None:
    args = _arguments()
    about = {"machine": machine(), "versions": versions(sys.executable, PACKAGES)}  # before the other cores are given up
    rows, batches = [], []
    with tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as work:
        with cores(1):
            entry.load_tensorflow()
            for preset in args.presets:
                for shape in SHAPES:
                    weights, readers = prepare(preset, shape, Path(work))
                    found = readings(readers, args.images)
                    rows += [summary((preset, shape, weights), runtime, found[runtime]) for runtime in readers]
        with cores(CORES) as count:
            for preset in args.presets:
                batches += [batch_summary(preset, shape, count, batch_ms(preset, shape, Path(work), count)) for shape in SHAPES]
    result = {"images": args.images, **about, "rows": rows, "batches": batches, "bars": bars(rows, batches)}
    write_result(RESULT, result)
    told = ", ".join(f"{name} {value}" for part in about.values() for name, value in part.items())
    tables = [table(list(map(cells, rows))), "", table(list(map(batch_cells, batches)))]
    print("\n".join([*tables, "", *bar_lines(result["bars"]), "", told]))


def prepare(preset: str, shape: tuple[int, int, int], work: Path) -> tuple[int, dict[str, Read]]:
    """The number of weights of a preset's network, and what reads an image with it, by runtime."""
    import tensorflow as tf

    from model import heads
    from model.exports import onnx
    from model.exports.about import PLAIN
    from model.networks import build

    settings = read(TrainSettings, ROOT / f"conf/train/{preset}.yaml")
    network = heads.reader(build(settings.network, shape, CHARACTERS, LONGEST))
    plain, small = _file(preset, shape, work), work / "int8.onnx"
    for file, quantisation in ((plain, PLAIN), (small, onnx.INT8[0])):
        onnx.write(network, "", file, quantisation, random_images((BATCH, *shape)))
    traced = tf.function(
        lambda images: network(tf.cast(images, tf.float32), training=False),
        input_signature=[tf.TensorSpec((None, *shape), tf.uint8)],
    )
    image, read_plain, read_small = random_images((1, *shape)), onnx.load(plain), onnx.load(small)
    readers: dict[str, Read] = {
        ONNX: lambda: read_plain(image),
        INT8: lambda: read_small(image),
        TENSORFLOW: lambda: traced(image).numpy(),
    }
    return network.count_params(), readers


def _file(preset: str, shape: tuple[int, int, int], work: Path) -> Path:
    return work / f"{preset}-{shape[1]}.onnx"


def batch_ms(preset: str, shape: tuple[int, int, int], work: Path, threads: int) -> list[float]:
    """The ms of each batch, of the file that `prepare` has written."""
    from model.runtimes import open_onnx

    read = open_onnx(_file(preset, shape, work), threads)
    images = random_images((BATCH, *shape))
    return readings({"": lambda: read(images)}, TURN)[""]


def summary(network: tuple[str, tuple[int, int, int], int], runtime: str, ms: Sequence[float]) -> Row:
    """A row: the preset, the image's shape and the number of weights, the runtime, and percentiles of its times."""
    preset, shape, weights = network
    median, high = np.percentile(ms, [50, 95]).tolist()
    return {"preset": preset, "shape": list(shape), "weights": weights, "runtime": runtime, "ms": median, "ms_p95": high}


def batch_summary(preset: str, shape: tuple[int, int, int], cores: int, ms: Sequence[float]) -> Row:
    """A row: the preset, the image's shape, the cores, and images/s by the median and the 95th percentile of batches."""
    median, high = (1000 * BATCH / value for value in np.percentile(ms, [50, 95]).tolist())
    return {"preset": preset, "shape": list(shape), "cores": cores, "images_per_s": median, "images_per_s_p95": high}


def bars(rows: Sequence[Row], batches: Sequence[Row] = ()) -> dict[str, Any]:
    """By preset and size: onnxruntime's time, its shares of TensorFlow's, and images/s of batches where there were CORES."""
    found = {}
    of = {(_name(row), row["runtime"]): row["ms"] for row in rows if row["preset"] in BARS}
    for (name, runtime), ms in of.items():
        if runtime == ONNX:
            found[f"{name}_ms"] = bar(ms, BARS[name.partition("_")[0]], least=False)
        share = {ONNX: f"{name}_share", INT8: f"{name}_int8_share"}.get(runtime)
        if share and (name, TENSORFLOW) in of:
            found[share] = bar(ms / of[name, TENSORFLOW], SHARE, least=False)
    for row in batches:
        if row["preset"] in BATCH_BARS:
            value = row["images_per_s"] if row["cores"] == CORES else None
            found[f"{_name(row)}_images_per_s"] = bar(value, BATCH_BARS[row["preset"]], digits=0)
    return found


def _name(row: Row) -> str:
    return f"{row['preset']}_{row['shape'][0]}x{row['shape'][1]}"


def batch_cells(row: Row) -> dict[str, str]:
    """A row of the second printed table."""
    return {
        "preset": row["preset"],
        "image": "x".join(map(str, row["shape"])),
        "batch": str(BATCH),
        "cores": str(row["cores"]),
        "images/s": number(row["images_per_s"]),
        "95%": number(row["images_per_s_p95"]),
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
