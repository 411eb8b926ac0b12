"""A trained network as an ONNX file, and the runtime that reads it."""

import logging
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

INPUT, OUTPUT = "image", "logits"
OPSET = 17  # has all that the networks need, and runtimes of 2022 know it


def write_onnx(network: keras.Model, file: Path) -> None:
    """Writes `network` to `file`: (N, H, W, C) uint8 `image` -> (N, T, characters + 1) float32 `logits`, of any N.

    Through tf2onnx, which Keras calls. Activations whose ONNX form runtimes lack (the exact GELU is an Erf of float64) are for
    the networks to avoid.
    """
    image = keras.Input(network.input_shape[1:], dtype="uint8", name=INPUT)
    logits = {OUTPUT: network(keras.ops.cast(image, "float32"), training=False)}  # the key names the output
    signature = [keras.InputSpec(shape=(None, *network.input_shape[1:]), dtype="uint8", name=INPUT)]
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    keras.Model(image, logits).export(file, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET)


def open_onnx(file: Path, threads: int | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """The function from (N, H, W, C) uint8 to logits that `file` holds, on `threads` threads of the CPU (None: all cores)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def logits(images: np.ndarray) -> np.ndarray:
        return session.run(None, {name: images})[0]

    return logits
