"""Changes to the values of pixels (N, H, W, C) float32 in 0 to 255, each by one drawn number (N,) for an image, or a few."""

import math

import tensorflow as tf


def contrasted(pixels: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Distances from each channel's mean times `factors`, as tf.image.adjust_contrast has it."""
    means = tf.reduce_mean(pixels, axis=(1, 2), keepdims=True)
    return means + (pixels - means) * factors[:, None, None, None]


def saturated(pixels: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Distances of RGB from the gray of the same brightness times `factors`."""
    gray = tf.image.rgb_to_grayscale(pixels)
    return gray + (pixels - gray) * factors[:, None, None, None]


def blurred(pixels: tf.Tensor, sigma: float, shares: tf.Tensor) -> tf.Tensor:
    """The image blurred by a Gaussian, mixed in with `shares` in 0 to 1: one kernel for all images, so it is cheap."""
    radius = max(1, math.ceil(2.5 * sigma))
    weights = tf.exp(-0.5 * (tf.range(-radius, radius + 1, dtype=tf.float32) / sigma) ** 2)
    weights /= tf.reduce_sum(weights)
    soft = tf.pad(pixels, [[0, 0], [radius, radius], [radius, radius], [0, 0]], mode="SYMMETRIC")
    for shape in ((-1, 1), (1, -1)):
        kernel = tf.tile(tf.reshape(weights, (*shape, 1, 1)), (1, 1, pixels.shape[3], 1))
        soft = tf.nn.depthwise_conv2d(soft, kernel, (1, 1, 1, 1), "VALID")
    return pixels + shares[:, None, None, None] * (soft - pixels)


def covered(pixels: tf.Tensor, largest: float, draws: tf.Tensor) -> tf.Tensor:
    """A rectangle filled with the image's mean (cut-out, DeVries & Taylor 2017, arXiv 1708.04552).

    `draws` (4, N) in 0 to 1 are its height and width, in shares of `largest` times the image's, and where its centre is.
    """
    high, wide, centre_y, centre_x = (draw[:, None] for draw in tf.unstack(draws))
    y, x = ((tf.range(side, dtype=tf.float32)[None] + 0.5) / side for side in pixels.shape[1:3])
    rows = tf.abs(y - centre_y) < largest * high / 2
    columns = tf.abs(x - centre_x) < largest * wide / 2
    inside = (rows[:, :, None] & columns[:, None, :])[..., None]
    return tf.where(inside, tf.reduce_mean(pixels, axis=(1, 2), keepdims=True), pixels)
