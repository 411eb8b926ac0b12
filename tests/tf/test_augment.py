"""Random changes: a function of the seed, the same on any number of devices, and of the size that is set."""

import numpy as np
import pytest
import tensorflow as tf

from model.augment import augment
from model.config import AugmentSettings

pytestmark = pytest.mark.tf
NONE = {"rotate": 0, "shear": 0, "zoom": 0, "shift": 0}
SEED = (3, 14)


def changed(images: np.ndarray, seed: tuple[int, int] = SEED, part: int = 0, parts: int = 1, **sizes: float) -> np.ndarray:
    settings = AugmentSettings(**(NONE | sizes if sizes else {}))
    return augment(tf.constant(images), settings, tf.constant(seed), part=part, parts=parts).numpy()


def noise(count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 12, 40, 1), np.uint8)


def spots(count: int, height: int, width: int, y: int, x: int) -> np.ndarray:
    """Black images with a white spot of 3 x 3 around (y, x)."""
    images = np.zeros((count, height, width, 1), np.uint8)
    images[:, y - 1 : y + 2, x - 1 : x + 2] = 255
    return images


def centres(images: np.ndarray) -> np.ndarray:
    """(N, 2) centres of brightness, y and x."""
    weights = images[..., 0] / images.sum(axis=(1, 2, 3))[:, None, None]
    ys, xs = np.mgrid[: images.shape[1], : images.shape[2]]
    return np.stack([(weights * ys).sum(axis=(1, 2)), (weights * xs).sum(axis=(1, 2))], axis=1)


def test_nothing_set_changes_nothing():
    images = noise()
    still = augment(tf.constant(images), AugmentSettings(**NONE), tf.constant(SEED))
    assert still.dtype == tf.float32
    np.testing.assert_array_equal(still.numpy(), images)


def test_a_seed_gives_the_same_and_another_gives_another():
    images = noise()
    np.testing.assert_array_equal(changed(images), changed(images))
    assert not np.array_equal(changed(images), changed(images, seed=(3, 15)))
    assert not np.array_equal(changed(images), changed(images, seed=(4, 14)))


def test_every_image_is_changed_for_itself():
    same = np.repeat(noise(1), 6, axis=0)
    results = changed(same)
    assert len({result.tobytes() for result in results}) == 6


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_are_changed_as_in_the_whole_batch(parts):
    images = noise(8)
    pieces = [changed(piece, part=part, parts=parts) for part, piece in enumerate(np.split(images, parts))]
    np.testing.assert_allclose(np.concatenate(pieces), changed(images), atol=1e-3)


def test_colour_and_the_range_of_pixels_stay():
    images = np.random.default_rng(1).integers(0, 256, (4, 12, 40, 3), np.uint8)
    result = changed(images)
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 255


def test_a_shift_moves_the_whole_image_by_up_to_its_share_of_each_side():
    moves = centres(changed(spots(200, 41, 101, 20, 50), shift=0.1)) - (20, 50)
    down, right = np.abs(moves).max(axis=0)
    assert 3.5 < down <= 4.1  # a tenth of 41
    assert 9 < right <= 10.1  # a tenth of 101
    assert np.abs(moves.mean(axis=0)).max() < 1.5  # to all sides
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.2  # the two sides are drawn apart


def test_a_shift_keeps_distances():
    images = spots(20, 41, 101, 20, 30) | spots(20, 41, 101, 20, 70)
    result = changed(images, shift=0.05)
    left, right = centres(result[:, :, :51]), centres(result[:, :, 50:]) + (0, 50)
    np.testing.assert_allclose(right - left, np.tile([0, 40], (20, 1)), atol=0.3)


@pytest.mark.parametrize("kind", [{"rotate": 20}, {"shear": 20}, {"zoom": 0.2}])
def test_the_middle_stays_where_it_is(kind):
    moves = centres(changed(spots(50, 41, 101, 20, 50), **kind)) - (20, 50)
    np.testing.assert_allclose(moves, 0, atol=0.3)


def test_a_rotation_turns_by_up_to_its_angle_and_keeps_the_distance_to_the_middle():
    moves = centres(changed(spots(200, 101, 101, 50, 80), rotate=10)) - (50, 50)
    angles = np.degrees(np.arctan2(moves[:, 0], moves[:, 1]))
    assert angles.max() == pytest.approx(10, abs=0.7)
    assert angles.min() == pytest.approx(-10, abs=0.7)
    np.testing.assert_allclose(np.hypot(*moves.T), 30, atol=0.5)


def test_a_shear_moves_rows_sideways_by_their_height():
    moves = centres(changed(spots(200, 101, 101, 30, 50), shear=20)) - (30, 50)
    np.testing.assert_allclose(moves[:, 0], 0, atol=0.3)
    assert np.abs(moves[:, 1]).max() == pytest.approx(20 * np.tan(np.radians(20)), abs=0.5)  # 20 rows above the middle


def test_a_zoom_is_relative_to_the_middle():
    moves = centres(changed(spots(200, 101, 101, 50, 80), zoom=0.2))[:, 1] - 50
    assert moves.min() == pytest.approx(30 / 1.2, abs=0.7)
    assert moves.max() == pytest.approx(30 / 0.8, abs=0.9)
