"""Random affine changes to a batch, on the device, as a function of a seed alone."""

import math

import keras
import tensorflow as tf

from model.config import AugmentSettings


def augment(
    images: tf.Tensor, settings: AugmentSettings, seed: tf.Tensor, *, part: tf.Tensor | int = 0, parts: int = 1
) -> tf.Tensor:
    """(N, H, W, C) float32 in 0 to 255 from images (N, H, W, C) uint8; `seed` is (2,) int32.

    The images are part `part` of a batch of `parts` times N, so that a row is changed the same way on any number of devices.
    Rotation, shear, zoom and shift are composed into one matrix for each image, so pixels are interpolated once.
    """
    pixels = tf.cast(images, tf.float32)
    count = images.shape[0]
    draws = tf.random.stateless_uniform((6, parts, count), seed, -1.0, 1.0)[:, part]
    if not (settings.rotate or settings.shear or settings.zoom or settings.shift):
        return pixels
    matrices = _matrices(draws, settings, float(images.shape[1]), float(images.shape[2]))
    return keras.ops.image.affine_transform(pixels, matrices, interpolation="bilinear", fill_mode="nearest")


def _matrices(draws: tf.Tensor, settings: AugmentSettings, height: float, width: float) -> tf.Tensor:
    """(N, 8) rows a0, a1, a2, b0, b1, b2, 0, 0 that map output pixels to input pixels, about the image's centre."""
    angle = draws[0] * math.radians(settings.rotate)
    shear = tf.tan(draws[1] * math.radians(settings.shear))
    zoom_x, zoom_y = 1 + settings.zoom * draws[2], 1 + settings.zoom * draws[3]
    a0 = tf.cos(angle) * zoom_x
    a1 = (tf.cos(angle) * shear - tf.sin(angle)) * zoom_y
    b0 = tf.sin(angle) * zoom_x
    b1 = (tf.sin(angle) * shear + tf.cos(angle)) * zoom_y
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    a2 = centre_x - a0 * centre_x - a1 * centre_y + settings.shift * width * draws[4]
    b2 = centre_y - b0 * centre_x - b1 * centre_y + settings.shift * height * draws[5]
    zero = tf.zeros_like(a0)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)
