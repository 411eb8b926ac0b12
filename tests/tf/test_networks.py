"""The CRNN: its shape for any image, its start, and its file."""

import keras
import numpy as np
import pytest

from model.config import CrnnSettings
from model.networks import build

pytestmark = pytest.mark.tf


def network(shape=(16, 32, 1), characters=5, **changes) -> keras.Model:
    return build(CrnnSettings(**({"widths": (4, 6), "units": 8, "depth": 1} | changes)), shape, characters, longest=3)


def images(shape=(16, 32, 1), count=2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "changes", "frames"),
    [
        ((16, 32, 1), {}, 8),
        ((48, 160, 1), {}, 40),
        ((48, 160, 3), {"sequence": "lstm"}, 40),
        ((100, 200, 3), {"depth": 0}, 50),
        ((64, 8, 3), {}, 2),  # tall and narrow
        ((8, 200, 1), {}, 50),  # flat and wide
        ((8, 200, 1), {"widths": (2, 2, 2, 2, 2, 2)}, 50),  # more stages than the height can be halved
        ((17, 33, 1), {"sequence": "lstm"}, 8),
        ((31, 35, 1), {}, 9),
        ((48, 160, 1), {"stem": "separable"}, 40),
        ((48, 160, 1), {"convolutions": "full"}, 40),
        ((48, 160, 1), {"convolutions": "full", "last_blocks": 2}, 40),
        ((8, 200, 1), {"widths": (2, 2, 2, 2, 2, 2), "last_blocks": 3}, 50),
    ],
)
def test_a_quarter_of_the_width_are_time_steps(shape, changes, frames):
    made = network(shape, **changes)
    logits = made(images(shape)).numpy()
    assert made.output_shape == (None, frames, 6)
    assert logits.shape == (2, frames, 6)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        # To the stage's width, 4 -> 6, and blocks of two convolutions, each with 4 values of normalisation for a channel.
        ({"convolutions": "full", "last_blocks": 1}, (9 * 24 + 24) + 2 * (9 * 36 + 24)),
        ({"convolutions": "full", "last_blocks": 2}, (9 * 24 + 24) + 4 * (9 * 36 + 24)),
        ({"convolutions": "separable", "last_blocks": 1}, (24 + 24) + 2 * (9 * 6 + 36 + 24)),
        ({"convolutions": "separable", "last_blocks": 3}, (24 + 24) + 6 * (9 * 6 + 36 + 24)),
    ],
)
def test_the_weights_of_a_stage(changes, weights):
    stem = (25 * 4 + 16) + (9 * 16 + 16)
    rest = (2 * 6 * 8 + 32) + (3 * 64 + 32) + (8 * 6 + 6)  # two rows to one, a sequence layer, logits of 5 characters and blank
    assert network(**changes).count_params() == stem + weights + rest


def test_the_weights_of_a_separable_stem():
    full, separable = 9 * 16 + 16, 9 * 4 + (16 + 16)  # with 4 values of normalisation for a channel
    assert network(stem="separable").count_params() - network(stem="full").count_params() == separable - full


@pytest.mark.parametrize("sequence", ["conv", "lstm"])
@pytest.mark.parametrize("shape", [(16, 32, 1), (12, 20, 3)])
def test_a_saved_network_is_the_same_network(tmp_path, sequence, shape):
    made = network(shape, sequence=sequence)
    made.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", compile=False)  # safe mode is the default
    np.testing.assert_array_equal(loaded(images(shape)).numpy(), made(images(shape)).numpy())


def test_brightness_and_contrast_do_not_matter():
    keras.utils.set_random_seed(0)
    made, pixels = network(), images() * 0.5
    np.testing.assert_allclose(made(pixels * 1.5 + 40).numpy(), made(pixels).numpy(), rtol=1e-3, atol=0.01)


@pytest.mark.parametrize("value", [0, 255])
def test_an_image_of_one_colour_is_read(value):
    assert np.isfinite(network()(np.full((1, 16, 32, 1), value, np.float32)).numpy()).all()


def test_the_blank_is_unlikely_at_the_start():
    kernel, bias = network(characters=5).get_layer("logits").get_weights()
    assert kernel.shape[-1] == 6
    assert bias.tolist() == [0, 0, 0, 0, 0, -2]


def test_a_seed_makes_the_same_weights():
    made = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        made.append(network()(images()).numpy())
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_dropout_acts_in_training_only():
    made = network(dropout=0.5)
    assert not np.array_equal(made(images(), training=True), made(images(), training=True))
    np.testing.assert_array_equal(made(images(), training=False), made(images(), training=False))
