"""What computes a bundle's network: onnxruntime, or TensorFlow. Goes with the bundle."""

import os
from collections.abc import Callable, Container
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import DataError

if TYPE_CHECKING:  # each is imported when it is to run, so that the other one need not be there
    import keras
    import tensorflow as tf

AUTO, ONNX, TENSORFLOW = "auto", "onnx", "tensorflow"
NETWORK, NETWORK_ONNX = "network.keras", "network.onnx"
FILE_OF = {ONNX: NETWORK_ONNX, TENSORFLOW: NETWORK}
PACKAGE_OF = {ONNX: "onnxruntime", TENSORFLOW: "tensorflow"}
REFUSED = (ValueError, TypeError, KeyError, AttributeError, OSError)  # what Keras raises for a file that it does not take
ELSEWHERE = "session.model_external_initializers_file_folder_path"  # where onnxruntime looks for weights beside the file's own
SPINNING = "session.intra_op.allow_spinning"  # threads that wait take a core: where others work, 2 to 4 times as long
Compute = Callable[[np.ndarray], np.ndarray]  # of (N, H, W, C) uint8


def chosen(runtime: str, files: Container[str], where: object = "this bundle") -> str:
    """The runtime that a bundle with these files is read by: `runtime`, or of `auto` onnxruntime where it can.

    Raises DataError where the bundle has no such file, or the package is not installed.
    """
    if runtime == AUTO:
        runtime = ONNX if NETWORK_ONNX in files and find_spec(PACKAGE_OF[ONNX]) else TENSORFLOW
    if runtime not in FILE_OF:
        raise DataError(f"runtime {runtime!r}: there are {AUTO}, {', '.join(FILE_OF)}")
    if FILE_OF[runtime] not in files:
        raise DataError(f"{where}: no {FILE_OF[runtime]} in it, so it is not read by {runtime}; take another runtime")
    if not find_spec(PACKAGE_OF[runtime]):
        raise DataError(f"{where}: {PACKAGE_OF[runtime]} is not installed; pip install {PACKAGE_OF[runtime]}")
    return runtime


def open_onnx(file: Path | bytes, threads: int | None = None) -> Compute:
    """The logits that an ONNX file computes, on `threads` threads of the CPU (None: all cores).

    It reads no other file: one that says that its weights are elsewhere is refused. Raises DataError for what is no network.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry(ELSEWHERE, os.devnull)
    options.add_session_config_entry(SPINNING, "0")
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no narrower class for all of its own
        raise DataError(f"{NETWORK_ONNX} cannot be used: {_one_line(error)}") from None
    name = session.get_inputs()[0].name

    def logits(images: np.ndarray) -> np.ndarray:
        return session.run(None, {name: images})[0]

    return logits


def open_keras(file: Path, threads: int | None = None) -> "keras.Model":
    """The network in a Keras file, in safe mode: no code in the file is run. Raises DataError where Keras refuses it.

    `threads` counts for the first one of a process: once TensorFlow works, it keeps its threads.
    """
    import keras
    import tensorflow as tf

    if threads is not None:
        with suppress(RuntimeError):  # it works already
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    try:
        return keras.models.load_model(file, compile=False, safe_mode=True)
    except REFUSED as error:
        raise DataError(f"{file}: Keras refuses it: {_one_line(error)}") from None


def onnx_distributions(file: bytes, threads: int | None = None) -> Compute:
    """Probabilities of each class, (N, T, classes) float32, by onnxruntime."""
    logits = open_onnx(file, threads)
    return lambda images: softmax(logits(images))


def keras_distributions(network: "keras.Model", shape: tuple[int, int, int]) -> Compute:
    """The same of images of a shape, by TensorFlow."""
    import tensorflow as tf

    def distributions(images: "tf.Tensor") -> "tf.Tensor":
        return tf.nn.softmax(network(tf.cast(images, tf.float32), training=False))

    traced = tf.function(distributions, input_signature=[tf.TensorSpec((None, *shape), tf.uint8)])
    return lambda images: traced(images).numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
