"""A network as TensorFlow's SavedModel, with what it says of itself among its assets."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from model.exports.about import FILE, INPUT, OUTPUT
from model.exports.loops import portable

INT8: tuple[str, ...] = ()
PACKAGES: tuple[str, ...] = ()  # beside TensorFlow
SIGNATURE = "serving_default"


class _Served(tf.Module):
    """What is saved: the weights, and the file that tells of them."""

    def __init__(self, network: keras.Model, about: Path) -> None:
        super().__init__()
        self.weights = [variable.value for variable in network.variables]
        self.about = tf.saved_model.Asset(str(about))


def write(network: keras.Model, about: str, path: Path, quantisation: str, calibration: np.ndarray) -> None:
    """Writes the folder `path`, whose signature takes (N, H, W, C) uint8 `image` and gives `logits`."""
    path.mkdir()
    told = path.with_name(FILE)
    told.write_text(about, encoding="utf-8")
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8, name=INPUT)]

    def logits(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: network(tf.cast(image, tf.float32), training=False)}

    with portable(network):
        served = tf.function(logits, input_signature=signature).get_concrete_function()
    tf.saved_model.save(_Served(network, told), str(path), signatures={SIGNATURE: served})
    told.unlink()


def load(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The function from (N, H, W, C) uint8 to logits that `path` holds; TensorFlow's settings say on how many threads."""
    loaded = tf.saved_model.load(str(path))  # a signature alone does not keep the weights that it computes with

    def logits(images: np.ndarray) -> np.ndarray:
        return loaded.signatures[SIGNATURE](**{INPUT: tf.constant(images)})[OUTPUT].numpy()

    return logits


def told(path: Path) -> str:
    """What the folder says of itself."""
    return (path / "assets" / FILE).read_text(encoding="utf-8")
