"""A trained network as an ONNX file."""

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from model.exports.about import INPUT, OUTPUT
from model.exports.loops import portable
from model.runtimes import open_onnx
from pipelines.errors import DataError

OPSET = 17  # has all that the networks need, and runtimes of 2022 know it
PACKAGES = ("tf2onnx", "onnx", "onnxruntime")  # that writing and checking need
ROWS, TOLERANCE = 4, 1e-3  # rows of noise, and how far logits may differ


def missing() -> list[str]:
    """Those of PACKAGES that are not installed."""
    return [name for name in PACKAGES if not find_spec(name)]


def write_onnx(network: keras.Model, file: Path) -> None:
    """Writes `network` to `file`: (N, H, W, C) uint8 `image` -> (N, T, characters + 1) float32 `logits`, of any N.

    Through tf2onnx, which Keras calls. Activations whose ONNX form runtimes lack (the exact GELU is an Erf of float64) are for
    the networks to avoid.
    """
    image = keras.Input(network.input_shape[1:], dtype="uint8", name=INPUT)
    signature = [keras.InputSpec(shape=(None, *network.input_shape[1:]), dtype="uint8", name=INPUT)]
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with portable(network), warnings.catch_warnings():
        logits = {OUTPUT: network(keras.ops.cast(image, "float32"), training=False)}  # the key names the output
        warnings.simplefilter("ignore", FutureWarning)  # Keras looks whether NumPy has what tf2onnx takes
        keras.Model(image, logits).export(file, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET)


def check_onnx(network: keras.Model, file: Path, tolerance: float = TOLERANCE) -> None:
    """Raises DataError where `file` gives other logits than `network` on rows of noise, one alone and some together.

    Both on the CPU: a GPU rounds to fewer digits (TensorFloat-32) than this looks at.
    """
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, *network.input_shape[1:]), np.uint8)
    logits = open_onnx(file)
    for images in (noise, noise[:1]):
        with portable(network), keras.device("cpu:0"):
            theirs = keras.ops.convert_to_numpy(network(images.astype(np.float32), training=False))
        ours = logits(images)
        apart = np.abs(ours - theirs).max() if ours.shape == theirs.shape else np.inf
        if not apart <= tolerance * max(1.0, np.abs(theirs).max()):  # a NaN is apart too
            raise DataError(f"{file}: its logits are up to {apart:g} from the network's; it has no faithful ONNX form")
