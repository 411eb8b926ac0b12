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


def coloured(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(40, 216, (count, 12, 40, 3), np.uint8)


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


EVERYTHING = {
    "rotate": 5,
    "shift": 0.1,
    "elastic": 0.05,
    "brightness": 0.2,
    "contrast": (0.5, 1.5),
    "saturation": (0.5, 1.5),
    "blur": 1.5,
    "noise": 0.05,
    "cutout": 0.5,
}


@pytest.mark.parametrize("sizes", [{}, EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_are_changed_as_in_the_whole_batch(parts, sizes):
    images = coloured(8)
    pieces = [changed(piece, part=part, parts=parts, **sizes) for part, piece in enumerate(np.split(images, parts))]
    np.testing.assert_allclose(np.concatenate(pieces), changed(images, **sizes), atol=1e-3)


@pytest.mark.parametrize("kind", EVERYTHING)
def test_each_change_is_a_function_of_the_seed_alone(kind):
    images, sizes = np.repeat(coloured(1), 6, axis=0), {kind: EVERYTHING[kind]}
    result = changed(images, **sizes)
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 255
    assert len({row.tobytes() for row in result}) == 6
    np.testing.assert_array_equal(result, changed(images, **sizes))
    assert not np.array_equal(result, changed(images, seed=(3, 15), **sizes))


def test_one_change_does_not_move_the_draws_of_another():
    images = spots(4, 41, 101, 20, 50)
    places = [centres(changed(images, shift=0.2, **more)) for more in ({}, {"contrast": (0.999, 1.001)}, {"elastic": 1e-6})]
    np.testing.assert_allclose(places[1], places[0], atol=1.0)
    np.testing.assert_allclose(places[2], places[0], atol=0.01)


def test_it_runs_in_a_graph_with_the_part_as_a_tensor():
    images, settings = coloured(4), AugmentSettings(**(NONE | EVERYTHING))
    graph = tf.function(lambda part: augment(tf.constant(images), settings, tf.constant(SEED), part=part, parts=2))
    eager = augment(tf.constant(images), settings, tf.constant(SEED), part=1, parts=2)
    np.testing.assert_allclose(graph(tf.constant(1)), eager, atol=0.01)


def test_brightness_is_added():
    images = np.full((200, 4, 4, 3), 100, np.uint8)
    shifts = changed(images, brightness=0.2) - 100
    assert (np.ptp(shifts.reshape(200, -1), axis=1) < 1e-4).all()  # the same for all pixels of an image
    assert shifts.max() == pytest.approx(51, abs=2)  # 0.2 * 255
    assert shifts.min() == pytest.approx(-51, abs=2)
    assert abs(shifts.mean()) < 5


def test_contrast_is_about_each_channels_mean():
    image = np.zeros((200, 2, 2, 3), np.uint8)
    image[:, 0, :] = (100, 50, 20)
    image[:, 1, :] = (120, 70, 40)
    result = changed(image, contrast=(0.5, 1.5))
    np.testing.assert_allclose(result.mean(axis=(1, 2)), np.tile([110, 60, 30], (200, 1)), rtol=1e-4)
    factors = (result[:, 1, 0] - result[:, 0, 0]) / 20
    assert factors.min() == pytest.approx(0.5, abs=0.03)
    assert factors.max() == pytest.approx(1.5, abs=0.03)
    np.testing.assert_allclose(factors[:, 0], factors[:, 2], rtol=1e-4)


def test_saturation_keeps_gray_and_brightness():
    image = np.zeros((200, 1, 2, 3), np.uint8)
    image[:, 0, 0], image[:, 0, 1] = 90, (100, 60, 60)
    result = changed(image, saturation=(0, 2))
    np.testing.assert_allclose(result[:, 0, 0], 90, rtol=1e-3)
    distances = result[:, 0, 1, 0] - result[:, 0, 1, 1]
    assert distances.min() == pytest.approx(0, abs=1)
    assert distances.max() == pytest.approx(80, abs=1)  # twice the 40 that it was
    np.testing.assert_allclose(result[:, 0, 1] @ [0.2989, 0.5870, 0.1140], [0.2989 * 100 + 0.701 * 60] * 200, rtol=1e-3)


def test_saturation_leaves_gray_images_alone():
    images = noise()
    np.testing.assert_array_equal(changed(images, saturation=(0, 2)), images)


def test_noise_has_its_standard_deviation():
    result = changed(np.full((20, 50, 50, 1), 128, np.uint8), noise=0.03) - 128
    assert result.std() == pytest.approx(0.03 * 255, rel=0.02)
    assert abs(result.mean()) < 0.1


def test_a_blur_spreads_a_spot_and_keeps_its_sum():
    images = spots(100, 31, 31, 15, 15)
    result = changed(images, blur=2.0)
    np.testing.assert_allclose(result.sum(axis=(1, 2, 3)), 9 * 255, rtol=1e-4)
    assert result[:, 15, 15].max() > 250  # next to nothing mixed in
    assert result[:, 15, 15].min() == pytest.approx(255 * 0.3075, rel=0.08)  # (1.765 + 1) / 4.986 of a line's sum, squared


def test_a_blur_leaves_one_colour_alone_up_to_the_edge():
    np.testing.assert_allclose(changed(np.full((4, 9, 20, 3), 77, np.uint8), blur=3.0), 77, rtol=1e-4)


def test_a_cut_out_is_a_rectangle_of_the_images_mean():
    images = np.zeros((300, 40, 80, 1), np.uint8)
    images[:, ::2] = 200  # stripes: no pixel has their mean, 100
    filled = changed(images, cutout=0.5)[..., 0] == 100
    high, wide = filled.any(axis=2).sum(axis=1), filled.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(filled.sum(axis=(1, 2)), high * wide)  # whole rectangles
    assert 18 <= high.max() <= 20  # half of 40
    assert 36 <= wide.max() <= 40
    assert high.min() <= 1


def test_an_elastic_field_moves_by_up_to_its_share_of_the_height_and_bends():
    moves = centres(changed(spots(300, 41, 101, 20, 50), elastic=0.1)) - (20, 50)
    assert 2 < np.abs(moves).max() < 5.5  # 4.1 at the knots of the field, a bit more between them
    both = spots(50, 41, 101, 20, 30) | spots(50, 41, 101, 20, 70)
    result = changed(both, elastic=0.1)
    left, right = centres(result[:, :, :51]) - (20, 30), centres(result[:, :, 50:]) - (20, 20)
    assert np.abs(np.corrcoef(left[:, 0], right[:, 0])[0, 1]) < 0.5  # far places move by themselves


def test_an_elastic_field_of_nothing_is_the_affine_change():
    images = coloured(4)
    np.testing.assert_allclose(changed(images, rotate=10, elastic=1e-7), changed(images, rotate=10), atol=0.6)


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
