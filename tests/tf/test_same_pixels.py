"""Preprocessing is the same to the bit at ingest, in training and in the downloaded bundle."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.export import write_bundle, write_code
from model.reader import ShardReader
from pipelines.config import IngestSettings
from pipelines.ingest import ingest
from pipelines.manifest import Dataset

pytestmark = [pytest.mark.tf, pytest.mark.slow]

ALL = {"crop": "auto", "invert": "auto", "stroke": "strong", "contrast": "clahe"}
SPECS = {
    "default": ({}, "tensor"),
    "clahe": ({"contrast": "clahe"}, "tensor"),
    "crop and invert": ({"crop": "auto", "invert": "auto", "fit": "pad"}, "tensor"),
    "strong rgb": ({"mode": "rgb", "stroke": "strong", "invert": "always"}, "tensor"),
    "all": (ALL, "tensor"),
    "all rgb": (ALL | {"mode": "rgb", "fit": "pad"}, "tensor"),
    "all encoded": (ALL, "encoded"),
}
# Reads with the bundle's own code, and nothing else of this repository, and keeps what the network is given
ALONE = """
import json, sys
from pathlib import Path
code, bundles, images, out = json.loads(sys.argv[1])
sys.path[:0] = [code]
import numpy as np
from model.recognizer import Recognizer
assert Path(sys.modules["pipelines.preprocess"].__file__).is_relative_to(code)
for name, bundle in bundles.items():
    found, given = {}, []
    recognizer = Recognizer.load(bundle)
    keep = lambda path, stages: found.update({Path(path).name: stages[-1][1]})
    read = list(recognizer.predict(((path, Path(path)) for path in images), 5, keep))
    assert [one.path for one in read if not one.error] == images, read
    np.savez(Path(out) / f"{name}.npz", **found)
"""


def pictures() -> dict[str, bytes]:
    """Files of many kinds: gray, colours, palette and alpha; PNG, JPEG and WebP; large and small, dark and light."""
    rng, files = np.random.default_rng(0), {}
    sizes = [(40, 100), (16, 32), (17, 33), (120, 90), (300, 1100), (8, 200)]
    for n in range(24):
        height, width = sizes[n % len(sizes)]
        paper, ink = ((230, 20), (30, 220), (128, 90))[n % 3]
        pixels = np.full((height, width, 3), paper, np.uint8) + rng.integers(0, 9, (height, width, 3), np.uint8)
        for place in range(width // 5, 4 * width // 5, max(4, height // 4)):
            pixels[height // 4 : 3 * height // 4, place : place + max(1, height // 16)] = ink + rng.integers(0, 9, 3)
        image = Image.fromarray(pixels)
        buffer = io.BytesIO()
        if n % 4 == 3:
            image.convert("P").save(buffer, "PNG")
        elif n % 4 == 2:
            image.save(buffer, ("JPEG", "WEBP")[n % 8 // 4])
        else:
            image.convert(("L", "RGBA")[n % 4]).save(buffer, "PNG")
        files[f"{n:02d}.png"] = buffer.getvalue()
    return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fill) -> Path:
    folder = tmp_path_factory.mktemp("same")
    fill(folder / "images", pictures())
    return folder


@pytest.fixture(scope="module")
def datasets(folder, loop) -> dict[str, Dataset]:
    made = {}
    for name, (image, storage) in SPECS.items():
        settings = IngestSettings.model_validate(
            {
                "image": {"height": 16, "width": 40} | image,
                "shards": {"storage": storage},
                "split": {"train": 1, "val": 0, "test": 0},
            }
        )
        made[name] = ingest(str(folder / "images"), str(folder / name), settings, loop).dataset
    return made


@pytest.fixture(scope="module")
def downloaded(folder, datasets, light, quick) -> dict[str, dict[str, np.ndarray]]:
    """What the networks of the bundles of all datasets are given, by file name."""
    (folder / "out").mkdir()
    bundles = {name: folder / "bundles" / name for name in datasets}
    for name, dataset in datasets.items():
        write_bundle(bundles[name], light(None, dataset.manifest.image_shape, 10), dataset.manifest, quick())
    write_code(folder / "code")
    images = sorted(str(path) for path in (folder / "images").iterdir())
    given = json.dumps([str(folder / "code"), {k: str(v) for k, v in bundles.items()}, images, str(folder / "out")])
    done = subprocess.run([sys.executable, "-I", "-c", ALONE, given], cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: dict(np.load(folder / "out" / f"{name}.npz")) for name in datasets}


@pytest.mark.parametrize("name", SPECS)
def test_training_and_the_bundle_see_the_same_bits(datasets, downloaded, name):
    trained = {}
    for rows in ShardReader(datasets[name], "train"):
        trained |= dict(zip(rows.paths, rows.images, strict=True))
    assert sorted(trained) == sorted(downloaded[name]) == sorted(pictures())
    for path, pixels in trained.items():
        np.testing.assert_array_equal(pixels, downloaded[name][path], err_msg=path)


def test_each_setting_shapes_the_pixels(downloaded):
    assert len({b"".join(found[path].tobytes() for path in sorted(found)) for found in downloaded.values()}) == len(SPECS) - 1
    for path, pixels in downloaded["all"].items():  # the shards hold pixels, or the files that they are made of: the same
        np.testing.assert_array_equal(pixels, downloaded["all encoded"][path])
