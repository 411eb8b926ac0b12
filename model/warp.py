"""Where the pixels of images come from when these are turned, sheared, zoomed, shifted and bent; interpolated once."""

import math

import keras
import tensorflow as tf

from model.config import AugmentSettings


def warped(pixels: tf.Tensor, settings: AugmentSettings, draws: tf.Tensor, field: tf.Tensor | None) -> tf.Tensor:
    """(N, H, W, C) float32: `pixels` under an affine change of six `draws` (6, N) in -1 to 1, and bent by a `field`.

    The field (N, rows, columns, 2) in -1 to 1 is spread smoothly over the image (Simard et al. 2003, with a coarse grid in
    place of the smoothing). Beyond the edge stands what stands at the edge.
    """
    matrices = _matrices(draws, settings, float(pixels.shape[1]), float(pixels.shape[2]))
    if field is None:
        return keras.ops.image.affine_transform(pixels, matrices, interpolation="bilinear", fill_mode="nearest")
    offsets = settings.elastic * pixels.shape[1] * tf.image.resize(field, pixels.shape[1:3], method="bicubic")
    return _sampled(pixels, _sources(matrices, pixels.shape[1], pixels.shape[2]) + offsets)


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


def _sources(matrices: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """(N, H, W, 2): y and x of the input pixel that each output pixel shows."""
    y, x = tf.meshgrid(tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32), indexing="ij")
    a0, a1, a2, b0, b1, b2 = tf.unstack(matrices[:, :6, None, None], axis=1)
    return tf.stack([b0 * x + b1 * y + b2, a0 * x + a1 * y + a2], axis=-1)


def _sampled(pixels: tf.Tensor, sources: tf.Tensor) -> tf.Tensor:
    """(N, H, W, C): bilinear values of `pixels` at (N, H, W, 2) places."""
    _, height, width, channels = pixels.shape
    y = tf.clip_by_value(sources[..., 0], 0.0, height - 1.0)
    x = tf.clip_by_value(sources[..., 1], 0.0, width - 1.0)
    top, left = tf.minimum(tf.floor(y), height - 2.0), tf.minimum(tf.floor(x), width - 2.0)
    down, right = (y - top)[..., None], (x - left)[..., None]
    flat = tf.reshape(pixels, (-1, height * width, channels))
    first = tf.cast(top, tf.int32) * width + tf.cast(left, tf.int32)
    corner = [tf.gather(flat, first + step, batch_dims=1) for step in (0, 1, width, width + 1)]
    above = corner[0] * (1 - right) + corner[1] * right
    below = corner[2] * (1 - right) + corner[3] * right
    return above * (1 - down) + below * down
