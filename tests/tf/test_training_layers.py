"""The layers that stand in while a network is trained are Keras's: outputs, gradients and moving statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from model.training_layers import FusedBatchNormalization, PointwiseConvolution, for_training

RNG = np.random.default_rng(7)


def network(**settings: object) -> keras.Model:
    image = keras.Input((5, 6, 3))
    x = layers.Conv2D(4, 3)(image)
    x = layers.BatchNormalization(name="norm", **settings)(x)
    return keras.Model(image, layers.Dense(2)(x))


def kinds(model: keras.Model, base: type = layers.BatchNormalization) -> set[type]:
    return {type(layer) for layer in model.layers if isinstance(layer, base)}


def convolution(**settings: object) -> keras.Model:
    image = keras.Input((5, 6, 3))
    return keras.Model(image, layers.Conv2D(**{"filters": 4, "kernel_size": 1, "use_bias": False} | settings)(image))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "epsilon": 0.1}, {"trainable": False}], ids=str)
def test_it_gives_what_kerass_own_gives(settings: dict, training: bool) -> None:
    plain = network(**settings)
    for weight in plain.get_layer("norm").weights:
        weight.assign(RNG.uniform(0.5, 2, weight.shape))
    other = for_training(plain)
    assert kinds(other) == {FusedBatchNormalization}
    alike(plain, other, training)


@pytest.mark.parametrize("training", [True, False])
def test_a_convolution_of_single_pixels_gives_what_kerass_own_gives(training: bool) -> None:
    plain = convolution()
    other = for_training(plain)
    assert kinds(other, layers.Conv2D) == {PointwiseConvolution}
    alike(plain, other, training)


def alike(plain: keras.Model, other: keras.Model, training: bool) -> None:
    images = tf.constant(RNG.normal(1, 3, (7, 5, 6, 3)), tf.float32)
    wanted, got = (worked(model, images, training) for model in (plain, other))
    assert [one.shape for one in got] == [one.shape for one in wanted]
    for one, expected in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)


def worked(model: keras.Model, images: tf.Tensor, training: bool) -> list[np.ndarray]:
    """The outputs, the gradients of their squares by the image and all weights, and the weights after the call."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = model(images, training=training)
        loss = tf.reduce_sum(outputs**2)
    found = tape.gradient(loss, [images, *(weight.value for weight in model.trainable_variables)])
    return [outputs.numpy(), *(gradient.numpy() for gradient in found), *model.get_weights()]


def test_a_batch_of_one_value_has_no_variance() -> None:
    image = keras.Input((1, 1, 2))
    model = for_training(keras.Model(image, layers.BatchNormalization(momentum=0.0)(image)))
    assert model(np.array([[[[3.0, 5.0]]]], np.float32), training=True).numpy().tolist() == [[[[0.0, 0.0]]]]
    *_, mean, variance = model.get_weights()
    assert (mean.tolist(), variance.tolist()) == ([3.0, 5.0], [0.0, 0.0])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_goes_in_and_comes_out(policy: str) -> None:
    image = keras.Input((4, 4, 2), dtype=policy.removeprefix("mixed_"))
    norm = layers.BatchNormalization(dtype=policy, momentum=0.0)
    model = for_training(keras.Model(image, norm(image)))
    pixels = RNG.normal(2, 3, (8, 4, 4, 2))
    outputs = model(tf.cast(pixels, image.dtype), training=True)
    assert outputs.dtype == image.dtype
    assert np.abs(outputs.numpy().astype(float).mean(axis=(0, 1, 2))).max() < 0.02
    np.testing.assert_allclose(model.get_weights()[2], pixels.mean(axis=(0, 1, 2)), rtol=0.01)
    assert {weight.dtype.name for weight in model.get_weights()} == {"float32"}


@pytest.mark.parametrize(
    "settings", [{"axis": 1}, {"scale": False}, {"center": False}, {"synchronized": True}, {"renorm": True}], ids=str
)
def test_what_it_cannot_do_stays_kerass_own(settings: dict) -> None:
    assert kinds(for_training(network(**settings))) == {layers.BatchNormalization}


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_convolution_of_single_pixels_computes_in_half_precision(policy: str) -> None:
    image = keras.Input((4, 4, 2), dtype="float32")
    model = for_training(keras.Model(image, layers.Conv2D(3, 1, use_bias=False, dtype=policy)(image)))
    outputs = model(tf.ones((2, 4, 4, 2)), training=True)
    assert outputs.dtype == policy.removeprefix("mixed_")
    (kernel,) = model.get_weights()
    np.testing.assert_allclose(outputs[1, 3, 2], kernel[0, 0].sum(axis=0), rtol=0.02, atol=0.02)
    assert kernel.dtype == np.float32


@pytest.mark.parametrize(
    "settings",
    [{"kernel_size": 3}, {"kernel_size": (1, 3)}, {"strides": 2}, {"use_bias": True}, {"activation": "relu"}, {"groups": 3}],
    ids=str,
)
def test_other_convolutions_stay_kerass_own(settings: dict) -> None:
    assert kinds(for_training(convolution(**{"filters": 6} | settings)), layers.Conv2D) == {layers.Conv2D}


def test_a_convolution_of_images_of_any_size_stays_kerass_own() -> None:
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(4, 1, use_bias=False)(image))
    assert kinds(for_training(model), layers.Conv2D) == {layers.Conv2D}
