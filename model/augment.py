"""Random changes to a batch, on the device, as a function of a seed alone."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from model.colours import blurred, contrasted, covered, saturated
from model.config import AugmentSettings
from model.warp import warped

OFF = (1.0, 1.0)
ELASTIC_ROWS = 4  # of the coarse field that is drawn, over the image's height
# Each change draws under a number of its own, so that one that is switched on moves no other. The affine ones are the seed's.
ELASTIC, BRIGHTNESS, CONTRAST, SATURATION, BLUR, NOISE, CUTOUT = range(1, 8)


class Draws(NamedTuple):
    """Random numbers for part `part` of a batch of `parts` times `rows` images: a row's are the same whatever the devices."""

    seed: tf.Tensor
    part: tf.Tensor | int
    parts: int
    rows: int

    def even(self, number: int | None, shape: Sequence[int], lowest: float = -1.0, highest: float = 1.0) -> tf.Tensor:
        """(*shape, N) float32, evenly between two bounds."""
        drawn = tf.random.stateless_uniform((*shape, self.parts, self.rows), self._seed(number), lowest, highest)
        return tf.gather(drawn, self.part, axis=len(shape))

    def normal(self, number: int, shape: Sequence[int]) -> tf.Tensor:
        """(N, *shape) float32, of a Gaussian of mean 0 and standard deviation 1."""
        return tf.random.stateless_normal((self.parts, self.rows, *shape), self._seed(number))[self.part]

    def _seed(self, number: int | None) -> tf.Tensor:
        return self.seed if number is None else tf.random.fold_in(self.seed, number)


def augment(
    images: tf.Tensor, settings: AugmentSettings, seed: tf.Tensor, *, part: tf.Tensor | int = 0, parts: int = 1
) -> tf.Tensor:
    """(N, H, W, C) float32 in 0 to 255 from images (N, H, W, C) uint8; `seed` is (2,) int32.

    The images are part `part` of a batch of `parts` times N, so that a row is changed the same way on any number of devices.
    What is switched off costs nothing.
    """
    draws = Draws(seed, part, parts, images.shape[0])
    pixels = _moved(tf.cast(images, tf.float32), settings, draws)
    changed = _coloured(pixels, settings, draws)
    if settings.blur:
        changed = blurred(changed, settings.blur, draws.even(BLUR, (), 0.0))
    if settings.noise:
        changed += 255 * settings.noise * draws.normal(NOISE, changed.shape[1:])
    if settings.cutout:
        changed = covered(changed, settings.cutout, draws.even(CUTOUT, (4,), 0.0))
    return changed if changed is pixels else tf.clip_by_value(changed, 0.0, 255.0)


def _moved(pixels: tf.Tensor, settings: AugmentSettings, draws: Draws) -> tf.Tensor:
    if not (settings.rotate or settings.shear or settings.zoom or settings.shift or settings.elastic):
        return pixels
    field = None
    if settings.elastic:
        rows, columns = ELASTIC_ROWS, max(2, round(ELASTIC_ROWS * pixels.shape[2] / pixels.shape[1]))
        field = tf.transpose(draws.even(ELASTIC, (rows, columns, 2)), (3, 0, 1, 2))
    return warped(pixels, settings, draws.even(None, (6,)), field)


def _coloured(pixels: tf.Tensor, settings: AugmentSettings, draws: Draws) -> tf.Tensor:
    if settings.brightness:
        pixels += 255 * settings.brightness * draws.even(BRIGHTNESS, ())[:, None, None, None]
    if settings.contrast != OFF:
        pixels = contrasted(pixels, draws.even(CONTRAST, (), *settings.contrast))
    if settings.saturation != OFF and pixels.shape[3] == 3:
        pixels = saturated(pixels, draws.even(SATURATION, (), *settings.saturation))
    return pixels
