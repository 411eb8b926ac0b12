"""fast-plate-ocr (ankandrew/fast-plate-ocr) by its own training command, in the environment of benchmarks/requirements.txt.

Its schedule goes by epochs, so a few over a part of the images are timed first (not counted), and as many are asked for as the
time has room for; where it has none for a whole one, one over as many images as it has. The network is its smallest published
one (cct_xs_v1), the image 64 x 192 in colour as in its newest configuration; every option of the command stays as it comes.
`--input` holds train.csv, val.csv and test.csv (image_path, plate_text).
"""

import argparse
import csv
import json
import math
import os
import random
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

BATCH = 128
PROBED, PROBED_IMAGES = 3, 20 * BATCH  # epochs; the images that each of them is trained on
COMMAND = Path(sys.executable).with_name("fast-plate-ocr")
PADS = "_" + string.punctuation  # one that no label has marks the places after a label's end


def _conv(filters: int) -> dict[str, Any]:
    return {"layer": "Conv2D", "filters": filters, "kernel_size": 3, "strides": 1, "padding": "valid", "activation": "relu"}


POOL = {"layer": "MaxBlurPooling2D", "pool_size": 2, "filter_size": 3}
NETWORK = {
    "model": "cct",
    "rescaling": {"scale": 1 / 255, "offset": 0.0},
    "tokenizer": {
        "blocks": [_conv(32), POOL, _conv(48), _conv(64), POOL, _conv(80), _conv(96)],
        "positional_emb": True,
        "patch_size": 2,
        "patch_mlp": {"layer": "MLP", "hidden_units": [64], "activation": "gelu", "dropout_rate": 0.05},
    },
    "transformer_encoder": {
        "layers": 4,
        "heads": 1,
        "projection_dim": 64,
        "units": [64, 64],
        "activation": "gelu",
        "stochastic_depth": 0.05,
        "attention_dropout": 0.05,
        "mlp_dropout": 0.1,
        "head_mlp_dropout": 0.05,
        "token_reducer_heads": 4,
        "normalization": "dyt",
    },
}


def plates(alphabet: str, longest: int) -> dict[str, Any]:
    """Its settings of images and labels."""
    pad = next(character for character in PADS if character not in alphabet)
    size = {"img_height": 64, "img_width": 192, "keep_aspect_ratio": True, "interpolation": "cubic", "image_color_mode": "rgb"}
    return {"max_plate_slots": longest, "alphabet": alphabet + pad, "pad_char": pad, **size}


def train(folder: Path, output: Path, share: float, epochs: int, seed: int) -> tuple[Path, list[float]]:
    """Its folder with the model, and the time.monotonic() at which each epoch over this share of the images was over.

    Raises SystemExit where it failed.
    """
    settings = {name: folder / file for name, file in SETTINGS.items()}
    tables = {name: part_of(folder / file, share) for name, file in TABLES.items()}
    options = {**settings, **tables, "epochs": epochs, "seed": seed, "output-dir": output}
    command = [str(COMMAND), "train", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    ended: list[float] = []
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            time.sleep(0.05)
            done = max((len(path.read_text().splitlines()) - 1 for path in output.glob("*/training_log.csv")), default=0)
            ended += [time.monotonic()] * (done - len(ended))
    if process.returncode or not ended:
        raise SystemExit(
            f"error: fast-plate-ocr train ended with {process.returncode}: {(folder / 'log.txt').read_text()[-300:]}"
        )
    return next(output.glob("*/best.keras")).parent, ended


SETTINGS = {"model-config-file": "network.yaml", "plate-config-file": "plates.yaml"}
TABLES = {"annotations": "train.csv", "val-annotations": "val.csv"}


def part_of(table: Path, share: float) -> Path:
    """The table itself, or a new one beside it of this share of its rows: any, as they stand in the order of paths."""
    if share >= 1:
        return table
    header, *rows = table.read_text(encoding="utf-8").splitlines(keepends=True)
    part = table.with_stem(f"{table.stem}-{share:.6f}")
    part.write_text("".join([header, *random.Random(0).sample(rows, math.ceil(share * len(rows)))]), encoding="utf-8")
    return part


def read(model_folder: Path, folder: Path) -> tuple[list[str], float, int]:
    """What its best model reads in the images of test.csv, ms an image in batches, and its number of weights."""
    import numpy as np
    from fast_plate_ocr.core.process import postprocess_output, read_and_resize_plate_image
    from fast_plate_ocr.train.model.config import load_plate_config_from_yaml
    from fast_plate_ocr.train.utilities.utils import load_keras_model

    settings = load_plate_config_from_yaml(folder / "plates.yaml")
    model = load_keras_model(model_folder / "best.keras", settings)
    names = ("img_height", "img_width", "image_color_mode", "keep_aspect_ratio")
    sizes = {name: getattr(settings, name) for name in names} | {"interpolation_method": settings.interpolation}
    images = np.stack([read_and_resize_plate_image(folder / row["image_path"], **sizes) for row in _rows(folder / "test.csv")])
    model.predict(images[:BATCH], batch_size=BATCH, verbose=0)  # traces the graph, which is not timed
    began = time.perf_counter()
    found = model.predict(images, batch_size=BATCH, verbose=0)
    seconds = time.perf_counter() - began
    shape = settings.max_plate_slots, settings.alphabet, settings.pad_char
    texts = [read.plate for read in postprocess_output(found["plate"] if isinstance(found, dict) else found, *shape)]
    return texts, 1000 * seconds / len(images), model.count_params()


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--minutes", required=True, type=float)
    parser.add_argument("--seed", required=True, type=int)
    args = parser.parse_args()
    labels = [row["plate_text"] for split in ("train", "val", "test") for row in _rows(args.input / f"{split}.csv")]
    settings = {"network.yaml": NETWORK, "plates.yaml": plates("".join(sorted({*"".join(labels)})), max(map(len, labels)))}
    for name, values in settings.items():
        (args.input / name).write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    images = len(_rows(args.input / "train.csv"))
    probed = min(1.0, PROBED_IMAGES / images)
    _, ended = train(args.input, args.output / "probe", probed, PROBED, args.seed)
    each = (ended[-1] - ended[0]) / (PROBED - 1) / probed  # seconds of an epoch over all images
    epochs = 60 * args.minutes / each
    share = min(1.0, epochs)
    folder, ended = train(args.input, args.output / "run", share, max(1, int(epochs)), args.seed)
    texts, ms, weights = read(folder, args.input)
    found = {
        "texts": texts,
        "weights": weights,
        "images_per_s": images / each,
        "ms_per_image": ms,
        "seconds": ended[-1] - ended[0] + each * share,
        "epochs": len(ended),
        "images": math.ceil(share * images),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
