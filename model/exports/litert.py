"""A network as a LiteRT (TensorFlow Lite) file, with what it says of itself in a zip at its end; quantised where asked.

A zip behind the model is how LiteRT packs associated files: https://ai.google.dev/edge/litert/models/metadata
"""

import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from model.exports import savedmodel
from model.exports.about import FILE, INPUT, OUTPUT, PLAIN
from model.exports.loops import unrolled
from pipelines.errors import DataError

FULL, DYNAMIC = "full integer", "dynamic range"
INT8: tuple[str, ...] = (FULL, DYNAMIC)
PACKAGES: tuple[str, ...] = ("ai_edge_litert",)


def write(network: keras.Model, about: str, path: Path, quantisation: str, calibration: np.ndarray) -> None:
    """Writes the file `path`: (N, H, W, C) uint8 `image` -> `logits`, quantised as one of INT8 says, or not."""
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the ends of a quantised network are none: they are meant to be
        folder = Path(scratch) / "model"
        savedmodel.write(unrolled(network), about, folder, PLAIN, calibration)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[savedmodel.SIGNATURE])
        if quantisation != PLAIN:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantisation == FULL:
            converter.representative_dataset = lambda: _one_by_one(calibration)
        path.write_bytes(_converted(converter))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, about)


def load(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The function from (N, H, W, C) uint8 to logits that `path` holds, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    run = interpreter.get_signature_runner(savedmodel.SIGNATURE)

    def logits(images: np.ndarray) -> np.ndarray:
        return run(**{INPUT: images})[OUTPUT]

    return logits


def told(path: Path) -> str:
    """What the file says of itself."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(FILE).decode("utf-8")


def _converted(converter: tf.lite.TFLiteConverter) -> bytes:
    try:
        return converter.convert()
    except Exception as error:  # TensorFlow has no public class for it
        raise DataError(f"the network has no LiteRT form: {' '.join(str(error).split())[:300]}; take --format onnx") from None


def _one_by_one(images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    return ({INPUT: image[None]} for image in images)
